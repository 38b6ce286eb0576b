/* SPDX-License-Identifier: MIT */
/* test_error.c - what comes out as a failure's text and code. */
#include "unit.h"

#include <errno.h>
#include <string.h>

#include "../../src/error.h"

#define SIZE sizeof(((struct snap_err *)0)->text)

/* A text of LENGTH times the letter x. */
static const char *long_text(size_t length)
{
	static char text[2 * SIZE];

	assert_true(length < sizeof(text));
	memset(text, 'x', length);
	text[length] = '\0';
	return text;
}

static void test_set(void **state)
{
	static const struct {
		const char *given, *shown;
	} cases[] = {
		{"", ""},
		{"plain", "plain"},
		{"two\nlines", "two?lines"},
		{"\t\x01\x7f\x1f end", "???? "
				       "end"},
		{"na\xc3\xafve", "na\xc3\xafve"},
		{"100 %s %n", "100 %s %n"},
	};
	struct snap_err err;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memset(&err, '#', sizeof(err));
		assert_int_equal(err_set(&err, -ENOSPC, "%s", cases[i].given), -ENOSPC);
		assert_string_equal(err.text, cases[i].shown);
	}
	assert_int_equal(err_set(&err, 7, "%d of %s", 3, "four"), 7);
	assert_string_equal(err.text, "3 of four");
}

static void test_cut(void **state)
{
	static const size_t lengths[] = {SIZE - 2, SIZE - 1, SIZE, SIZE + 1, 2 * SIZE - 1};
	struct snap_err guarded[2];

	(void)state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		size_t kept = lengths[i] < SIZE ? lengths[i] : SIZE - 1;

		memset(guarded, '#', sizeof(guarded));
		assert_int_equal(err_set(&guarded[0], -EIO, "%s", long_text(lengths[i])), -EIO);
		assert_int_equal(strlen(guarded[0].text), kept);
		assert_int_equal(guarded[1].text[0], '#');
	}
}

static void test_errno(void **state)
{
	struct snap_err err;

	(void)state;
	errno = ENOENT;
	assert_int_equal(err_errno(&err, "cannot open %s", "a"), -ENOENT);
	assert_string_equal(err.text, "cannot open a: No such file or directory");
	assert_int_equal(errno, ENOENT);
	errno = 123456;
	assert_int_equal(err_errno(&err, "odd"), -123456);
	assert_string_equal(err.text, "odd: Unknown error 123456");
	/* A failure without a reason is still one. */
	errno = 0;
	assert_int_equal(err_errno(&err, "none"), -EIO);
	assert_string_equal(err.text, "none: Input/output error");
	assert_int_equal(err_errno(NULL, "none"), -EIO);
}

/* The reason is what must not be cut. */
static void test_errno_cut(void **state)
{
	static const char reason[] = ": Permission denied";
	struct snap_err err;

	(void)state;
	for (size_t length = SIZE - 30; length < SIZE + 30; length++) {
		size_t room = SIZE - sizeof(reason);

		errno = EACCES;
		assert_int_equal(err_errno(&err, "%s", long_text(length)), -EACCES);
		assert_int_equal(strlen(err.text), (length < room ? length : room) + strlen(reason));
		assert_string_equal(strchr(err.text, ':'), reason);
	}
}

static void test_without_text(void **state)
{
	(void)state;
	errno = EXDEV;
	assert_int_equal(err_set(NULL, -EBUSY, "%s", "x"), -EBUSY);
	assert_int_equal(err_errno(NULL, "%s", "x"), -EXDEV);
	assert_int_equal(errno, EXDEV);
}

static void test_errno_survives(void **state)
{
	struct snap_err err;

	(void)state;
	errno = EXDEV;
	assert_int_equal(err_set(&err, -EBUSY, "%ls", L"\x110000"), -EBUSY); /* no character: EILSEQ */
	assert_int_equal(errno, EXDEV);
	assert_string_equal(err.text, "");
}

/* A text may go around the one that it replaces. */
static void test_own_text(void **state)
{
	struct snap_err err;

	(void)state;
	err_set(&err, -EIO, "%s", "disk");
	err_set(&err, -EIO, "copy of %s: %s", "a", err.text);
	assert_string_equal(err.text, "copy of a: disk");
	err_set(&err, -EIO, "%s", err.text + 5);
	assert_string_equal(err.text, "of a: disk");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set),	     cmocka_unit_test(test_cut),
		cmocka_unit_test(test_errno),	     cmocka_unit_test(test_errno_cut),
		cmocka_unit_test(test_without_text), cmocka_unit_test(test_errno_survives),
		cmocka_unit_test(test_own_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
