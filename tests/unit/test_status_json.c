/* SPDX-License-Identifier: MIT */
/* test_status_json.c - the writer: what each kind of byte becomes, shapes, numbers, and what it does without
 * memory. */
#include "../../fs/json.h"

#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int allocations_left = -1; /* -1: as many as are wanted */

void *__real_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size);

void *__wrap_realloc(void *p, size_t size)
{
	if (allocations_left == 0)
		return NULL;
	if (allocations_left > 0)
		allocations_left--;
	return __real_realloc(p, size);
}

/* The text of the string VALUE alone. */
static char *string_text(const char *value)
{
	struct json j = JSON_INIT;

	json_string(&j, NULL, value);
	return json_take(&j);
}

static void assert_taken(struct json *j, const char *want)
{
	char *text = json_take(j);

	assert_non_null(text);
	assert_string_equal(text, want);
	free(text);
}

static void test_strings(void **state)
{
	static const struct {
		const char *in, *out; /* without quotes */
	} cases[] = {
		{"", ""},
		{"plain", "plain"},
		{"\"", "\\\""},
		{"\\", "\\\\"},
		{"a\"b\\c", "a\\\"b\\\\c"},
		{"/srv/app", "/srv/app"},
		{"\b\t\n\f\r", "\\b\\t\\n\\f\\r"},
		{"\v", "\\u000b"},
		{"\x01\x1f", "\\u0001\\u001f"},
		{"\x1b[2J", "\\u001b[2J"},
		{"\x7f", "\\u007f"},
		{"\x20\x7e", " ~"},
		/* UTF-8 of one to four bytes, at the ends of each range */
		{"\xc2\xa0", "\xc2\xa0"},
		{"\xc3\xa4\xdf\xbf", "\xc3\xa4\xdf\xbf"},
		{"\xe0\xa0\x80", "\xe0\xa0\x80"},
		{"\xed\x9f\xbf", "\xed\x9f\xbf"},
		{"\xee\x80\x80", "\xee\x80\x80"},
		{"\xef\xbf\xbf", "\xef\xbf\xbf"},
		{"\xf0\x90\x80\x80", "\xf0\x90\x80\x80"},
		{"\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"},
		/* C1 controls */
		{"\xc2\x80", "\\u0080"},
		{"\xc2\x9b"
		 "31m",
		 "\\u009b31m"},
		{"\xc2\x9f", "\\u009f"},
		/* what is none: each byte by itself */
		{"\x80", "\\ufffd"},
		{"\xbf", "\\ufffd"},
		{"\xff", "\\ufffd"},
		{"\xfe\xfe", "\\ufffd\\ufffd"},
		{"\xc0\x80", "\\ufffd\\ufffd"},
		{"\xc1\xbf", "\\ufffd\\ufffd"},
		{"\xe0\x9f\xbf", "\\ufffd\\ufffd\\ufffd"},
		{"\xed\xa0\x80", "\\ufffd\\ufffd\\ufffd"},
		{"\xed\xbf\xbf", "\\ufffd\\ufffd\\ufffd"},
		{"\xf0\x8f\xbf\xbf", "\\ufffd\\ufffd\\ufffd\\ufffd"},
		{"\xf4\x90\x80\x80", "\\ufffd\\ufffd\\ufffd\\ufffd"},
		{"\xf5\x80\x80\x80", "\\ufffd\\ufffd\\ufffd\\ufffd"},
		/* cut off, at the end and before something else */
		{"\xc3", "\\ufffd"},
		{"\xe2\x82", "\\ufffd\\ufffd"},
		{"\xf0\x9f\x98", "\\ufffd\\ufffd\\ufffd"},
		{"\xe2\x82z", "\\ufffd\\ufffdz"},
		{"\xc3\"", "\\ufffd\\\""},
		{"a\xffz\xc3\xa4", "a\\ufffdz\xc3\xa4"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *text = string_text(cases[i].in), want[128];

		snprintf(want, sizeof(want), "\"%s\"\n", cases[i].out);
		assert_non_null(text);
		assert_string_equal(text, want);
		free(text);
	}
}

static void test_no_string_is_null(void **state)
{
	struct json j = JSON_INIT;

	(void)state;
	json_string(&j, NULL, NULL);
	assert_taken(&j, "null\n");
}

static void test_keys_are_strings(void **state)
{
	struct json j = JSON_INIT;

	(void)state;
	json_object(&j, NULL);
	json_bool(&j, "a\"\n\xff", true);
	json_end(&j);
	assert_taken(&j, "{\n\t\"a\\\"\\n\\ufffd\": true\n}\n");
}

static void test_shapes(void **state)
{
	struct json j = JSON_INIT;

	(void)state;
	json_object(&j, NULL);
	json_array(&j, "none");
	json_end(&j);
	json_object(&j, "empty");
	json_end(&j);
	json_array(&j, "some");
	json_number(&j, NULL, 1);
	json_object(&j, NULL);
	json_null(&j, "x");
	json_bool(&j, "y", false);
	json_end(&j);
	json_array(&j, NULL);
	json_end(&j);
	json_end(&j);
	json_number(&j, "after", 2);
	json_end(&j);
	assert_taken(
		&j, "{\n\t\"none\": [],\n\t\"empty\": {},\n\t\"some\": [\n\t\t1,\n\t\t{\n\t\t\t\"x\": null,\n"
		    "\t\t\t\"y\": false\n\t\t},\n\t\t[]\n\t],\n\t\"after\": 2\n}\n");
}

static void test_numbers(void **state)
{
	static const struct {
		int64_t ms;
		const char *text;
	} cases[] = {
		{0, "0.000\n"},
		{1, "0.001\n"},
		{1234, "1.234\n"},
		{-1, "-0.001\n"},
		{INT64_MAX, "9223372036854775.807\n"},
		{INT64_MIN, "-9223372036854775.808\n"},
	};
	struct json j = JSON_INIT;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		json_seconds(&j, NULL, cases[i].ms);
		assert_taken(&j, cases[i].text);
	}
	json_number(&j, NULL, UINT64_MAX);
	assert_taken(&j, "18446744073709551615\n");
}

static void test_times(void **state)
{
	static const struct {
		int64_t ns;
		const char *text;
	} cases[] = {
		{0, "null\n"},
		{-1, "null\n"},
		{1, "\"1970-01-01T00:00:00Z\"\n"},
		{1795144502999999999, "\"2026-11-20T03:15:02Z\"\n"},
		{INT64_MAX, "\"2262-04-11T23:47:16Z\"\n"},
	};
	struct json j = JSON_INIT;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		json_time(&j, NULL, cases[i].ns);
		assert_taken(&j, cases[i].text);
	}
}

/* A text that needs its room enlarged several times. */
static void write_much(struct json *j)
{
	json_array(j, NULL);
	for (int i = 0; i < 2000; i++)
		json_string(j, NULL, "0123456789");
	json_end(j);
}

static void test_length_has_no_limit(void **state)
{
	struct json j = JSON_INIT;
	size_t count = 0;
	char *text;

	(void)state;
	write_much(&j);
	text = json_take(&j);
	assert_non_null(text);
	for (const char *at = text; (at = strstr(at, "\"0123456789\"")) != NULL; at++)
		count++;
	assert_int_equal(count, 2000);
	free(text);
}

static void test_without_memory_there_is_no_text(void **state)
{
	struct json j = JSON_INIT;
	char *text = NULL;
	int n = 0;

	(void)state;
	for (; !text; n++) {
		allocations_left = n;
		write_much(&j);
		text = json_take(&j);
		allocations_left = -1;
	}
	free(text);
	assert_true(n > 2); /* it did fail, at first and in the middle */
	json_bool(&j, NULL, true);
	assert_taken(&j, "true\n");
}

static void test_what_does_not_end_is_no_text(void **state)
{
	struct json j = JSON_INIT;

	(void)state;
	json_object(&j, NULL);
	assert_null(json_take(&j));
	json_end(&j);
	assert_null(json_take(&j));
	for (int i = 0; i <= JSON_DEPTH; i++)
		json_array(&j, NULL);
	for (int i = 0; i <= JSON_DEPTH; i++)
		json_end(&j);
	assert_null(json_take(&j));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_strings),
		cmocka_unit_test(test_no_string_is_null),
		cmocka_unit_test(test_keys_are_strings),
		cmocka_unit_test(test_shapes),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_length_has_no_limit),
		cmocka_unit_test(test_without_memory_there_is_no_text),
		cmocka_unit_test(test_what_does_not_end_is_no_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
