/* SPDX-License-Identifier: MIT */
/* test_keep_meta.c - the text beside the bytes: whatever is written is read again, anything else is garbage.
 */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/keep_private.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct keep_record usual = {
	.meta = {.mtime_ns = 2,
		 .made_ns = 1,
		 .mode = 0644,
		 .uid = 3,
		 .gid = 4,
		 .size = 5,
		 .page_size = 4096,
		 .why = "so"},
	.has = {true, false, false},
	.sizes = {5, 0, 0},
};

#define HEAD "sqlsnapfs kept 1\n"
#define USUAL_TEXT HEAD "made_ns 1\nmtime_ns 2\nmode 0644\nuid 3\ngid 4\ndb 5\npage_size 4096\nwhy so\nend\n"

/* The bytes stand at the end of an allocation, so that a sanitizer sees who reads past them. */
static int parse(struct keep_record *out, const char *text, size_t size)
{
	char *bytes = malloc(size ? size : 1);
	int rc;

	assert_non_null(bytes);
	memcpy(bytes, text, size);
	rc = keep_record_parse(out, bytes, size);
	free(bytes);
	return rc;
}

static void assert_same(const struct keep_record *a, const struct keep_record *b)
{
	assert_int_equal(a->meta.mtime_ns, b->meta.mtime_ns);
	assert_int_equal(a->meta.made_ns, b->meta.made_ns);
	assert_int_equal(a->meta.mode, b->meta.mode);
	assert_int_equal(a->meta.uid, b->meta.uid);
	assert_int_equal(a->meta.gid, b->meta.gid);
	assert_int_equal(a->meta.size, b->meta.size);
	assert_int_equal(a->meta.page_size, b->meta.page_size);
	assert_string_equal(a->meta.why, b->meta.why);
	for (int part = 0; part < KEEP_PARTS; part++) {
		assert_int_equal(a->has[part], b->has[part]);
		assert_int_equal(a->sizes[part], b->sizes[part]);
	}
}

static void test_text(void **state)
{
	char text[KEEP_RECORD_SIZE];
	size_t size = keep_record_format(&usual, text);

	(void)state;
	assert_int_equal(size, strlen(text));
	assert_string_equal(text, USUAL_TEXT);
}

static void test_extremes(void **state)
{
	struct keep_record records[] = {
		usual,
		{.meta = {.mtime_ns = INT64_MIN, .made_ns = INT64_MIN}, .has = {true}},
		{.meta = {.mtime_ns = INT64_MAX,
			  .made_ns = INT64_MAX,
			  .mode = 0777,
			  .uid = UINT32_MAX,
			  .gid = UINT32_MAX,
			  .size = INT64_MAX,
			  .page_size = 65536},
		 .has = {true, true, true},
		 .sizes = {INT64_MAX, INT64_MAX, INT64_MAX}},
		{.meta = {.mtime_ns = -1}, .has = {true, true, false}},
		{.meta = {.mtime_ns = 0}, .has = {true, false, true}, .sizes = {0, 0, 7}},
	};

	(void)state;
	memset(records[2].meta.why, 'w', sizeof(records[2].meta.why) - 1);
	for (size_t i = 0; i < COUNT(records); i++) {
		char text[KEEP_RECORD_SIZE];
		struct keep_record out;
		size_t size = keep_record_format(&records[i], text);

		assert_true(size < sizeof(text));
		assert_int_equal(parse(&out, text, size), 0);
		assert_same(&out, &records[i]);
	}
}

/* Words that would be lines of their own, and ones without an end. */
static void test_words(void **state)
{
	struct keep_record record = usual, out;
	char text[KEEP_RECORD_SIZE];

	(void)state;
	snprintf(record.meta.why, sizeof(record.meta.why), "a\nend\nuid 0\x7f\t\r");
	record.meta.mode = S_IFREG | S_ISUID | 0600; /* of which only the permissions are kept */
	assert_int_equal(parse(&out, text, keep_record_format(&record, text)), 0);
	assert_string_equal(out.meta.why, "a?end?uid 0???");
	assert_int_equal(out.meta.mode, 0600);
	assert_int_equal(out.meta.uid, 3);
	memset(record.meta.why, 'x', sizeof(record.meta.why));
	assert_int_equal(parse(&out, text, keep_record_format(&record, text)), 0);
	assert_int_equal(strlen(out.meta.why), sizeof(out.meta.why) - 1);
}

/* However it is cut, and whichever byte is lost. */
static void test_cut(void **state)
{
	struct keep_record out = usual;
	char text[] = USUAL_TEXT;
	size_t size = strlen(text);

	(void)state;
	for (size_t cut = 0; cut < size; cut++)
		assert_int_equal(parse(&out, text, cut), -EINVAL);
	for (size_t i = 0; i < size; i++) {
		char saved = text[i];

		text[i] = '\0';
		assert_int_equal(parse(&out, text, size), -EINVAL);
		text[i] = saved;
	}
	assert_same(&out, &usual); /* untouched */
	assert_int_equal(parse(&out, text, size), 0);
}

static void test_garbage(void **state)
{
	static const char *const texts[] = {
		"",
		"\n",
		"end\n",
		HEAD,
		HEAD "end\n",
		/* another program's, or another version's */
		"sqlsnapfs kept 2\nmade_ns 1\nmtime_ns 2\nmode 0644\nuid 3\ngid 4\ndb 5\nend\n",
		"made_ns 1\nmtime_ns 2\nmode 0644\nuid 3\ngid 4\ndb 5\nend\n",
		/* something is missing */
		HEAD "mtime_ns 2\nmode 0644\nuid 3\ngid 4\ndb 5\nend\n",
		HEAD "made_ns 1\nmode 0644\nuid 3\ngid 4\ndb 5\nend\n",
		HEAD "made_ns 1\nmtime_ns 2\nuid 3\ngid 4\ndb 5\nend\n",
		HEAD "made_ns 1\nmtime_ns 2\nmode 0644\ngid 4\ndb 5\nend\n",
		HEAD "made_ns 1\nmtime_ns 2\nmode 0644\nuid 3\ndb 5\nend\n",
		HEAD "made_ns 1\nmtime_ns 2\nmode 0644\nuid 3\ngid 4\nend\n",
		HEAD "made_ns 1\nmtime_ns 2\nmode 0644\nuid 3\ngid 4\nwal 5\nend\n",
		/* said twice */
		HEAD "made_ns 1\nmtime_ns 2\nmode 0644\nuid 3\ngid 4\ndb 5\ndb 5\nend\n",
		HEAD "made_ns 1\nmtime_ns 2\nmode 0644\nuid 3\ngid 4\ndb 5\nwhy a\nwhy a\nend\n",
		/* out of range, or no number */
		HEAD "made_ns 9223372036854775808\nmtime_ns 2\nmode 0644\nuid 3\ngid 4\ndb 5\nend\n",
		HEAD "made_ns -9223372036854775809\nmtime_ns 2\nmode 0644\nuid 3\ngid 4\ndb 5\nend\n",
		HEAD "made_ns --1\nmtime_ns 2\nmode 0644\nuid 3\ngid 4\ndb 5\nend\n",
		HEAD "made_ns \nmtime_ns 2\nmode 0644\nuid 3\ngid 4\ndb 5\nend\n",
		HEAD "made_ns 1 \nmtime_ns 2\nmode 0644\nuid 3\ngid 4\ndb 5\nend\n",
		HEAD "made_ns  1\nmtime_ns 2\nmode 0644\nuid 3\ngid 4\ndb 5\nend\n",
		HEAD "made_ns +1\nmtime_ns 2\nmode 0644\nuid 3\ngid 4\ndb 5\nend\n",
		HEAD "made_ns 1\nmtime_ns 2\nmode 1777\nuid 3\ngid 4\ndb 5\nend\n",
		HEAD "made_ns 1\nmtime_ns 2\nmode 0648\nuid 3\ngid 4\ndb 5\nend\n",
		HEAD "made_ns 1\nmtime_ns 2\nmode 0644\nuid 4294967296\ngid 4\ndb 5\nend\n",
		HEAD "made_ns 1\nmtime_ns 2\nmode 0644\nuid -1\ngid 4\ndb 5\nend\n",
		HEAD "made_ns 1\nmtime_ns 2\nmode 0644\nuid 3\ngid 4294967296\ndb 5\nend\n",
		HEAD "made_ns 1\nmtime_ns 2\nmode 0644\nuid 3\ngid 4\ndb 9223372036854775808\nend\n",
		HEAD "made_ns 1\nmtime_ns 2\nmode 0644\nuid 3\ngid 4\ndb 99999999999999999999999\nend\n",
		HEAD "made_ns 1\nmtime_ns 2\nmode 0644\nuid 3\ngid 4\ndb 0x5\nend\n",
		HEAD "made_ns 1\nmtime_ns 2\nmode 0644\nuid 3\ngid 4\ndb 5\npage_size 65537\nend\n",
		/* no line that we write */
		HEAD "made_ns 1\nmtime_ns 2\nmode 0644\nuid 3\ngid 4\ndb 5\nodd\nend\n",
		HEAD "made_ns 1\nmtime_ns 2\nmode 0644\nuid 3\ngid 4\ndb 5\n\nend\n",
		/* more behind the end */
		HEAD "made_ns 1\nmtime_ns 2\nmode 0644\nuid 3\ngid 4\ndb 5\nend\n\n",
		HEAD "made_ns 1\nmtime_ns 2\nmode 0644\nuid 3\ngid 4\ndb 5\nend\nuid 0\nend\n",
	};
	char big[KEEP_RECORD_SIZE + 2];
	struct keep_record out;

	(void)state;
	for (size_t i = 0; i < COUNT(texts); i++)
		if (parse(&out, texts[i], strlen(texts[i])) != -EINVAL)
			fail_msg("text %zu was accepted", i);
	memset(big, 'x', sizeof(big));
	memcpy(big, HEAD "made_ns 1\nmtime_ns 2\nmode 0644\nuid 3\ngid 4\ndb 5\nlater ",
	       strlen(HEAD "made_ns 1\nmtime_ns 2\nmode 0644\nuid 3\ngid 4\ndb 5\nlater "));
	memcpy(big + KEEP_RECORD_SIZE - 5, "\nend\n", 5);
	assert_int_equal(parse(&out, big, KEEP_RECORD_SIZE), 0);
	/* a byte behind the end that is no text */
	big[KEEP_RECORD_SIZE - 6] = '\n';
	memcpy(big + KEEP_RECORD_SIZE - 5, "end\n", 5);
	assert_int_equal(parse(&out, big, KEEP_RECORD_SIZE - 1), 0);
	assert_int_equal(parse(&out, big, KEEP_RECORD_SIZE), -EINVAL);
	/* too long */
	memcpy(big + KEEP_RECORD_SIZE - 6, "xx\nend\n", 7);
	assert_int_equal(parse(&out, big, KEEP_RECORD_SIZE + 1), -EINVAL);
}

/* What a later program may add, and what need not be there. */
static void test_other_lines(void **state)
{
	static const char text[] =
		HEAD "checksum abc def\ngid 4\nuid 3\nmode 644\ndb 5\nmtime_ns 2\nmade_ns 1\nx 1\nx 1\nend\n";
	struct keep_record out, expected = usual;

	(void)state;
	expected.meta.page_size = 0;
	expected.meta.why[0] = '\0';
	assert_int_equal(parse(&out, text, strlen(text)), 0);
	assert_same(&out, &expected);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),	cmocka_unit_test(test_extremes),
		cmocka_unit_test(test_words),	cmocka_unit_test(test_cut),
		cmocka_unit_test(test_garbage), cmocka_unit_test(test_other_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
