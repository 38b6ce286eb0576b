/* SPDX-License-Identifier: MIT */
/* test_status_caller.c - who is behind a request: names as the kernel writes them, and what a look at a
 * thread tells. */
#include "../../fs/caller.h"

#include "unit.h"

#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static void test_names(void **state)
{
	static const struct {
		const char *text, *command;
		pid_t tgid;
	} cases[] = {
		{"Name:\tcp\nUmask:\t0022\nTgid:\t42\n", "cp", 42},
		{"Name:\ttwo words\nTgid:\t1\n", "two words", 1},
		{"Name:\t\nTgid:\t7\n", "", 7},
		{"Name:\t\ttab\nTgid:\t7\n", "\ttab", 7},
		{"Name:\t\xff\xc3\xa4\"\nTgid:\t7\n", "\xff\xc3\xa4\"", 7},
		/* A newline in a name cannot make a line. */
		{"Name:\ta\\nTgid:\\t9\nTgid:\t7\n", "a\nTgid:\\t9", 7},
		{"Name:\tb\\\\n\nTgid:\t7\n", "b\\n", 7},
		{"Name:\tc\\\\\\n\nTgid:\t7\n", "c\\\n", 7},
		{"Name:\tend\\\nTgid:\t7\n", "end\\", 7},
		{"Name:\tno end", "no end", 0},
		{"Tgid:\t3\n", "", 3},
		{"", "", 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct caller caller;

		caller_parse(&caller, cases[i].text);
		assert_string_equal(caller.command, cases[i].command);
		assert_int_equal(caller.tgid, cases[i].tgid);
	}
}

static void test_a_long_name_is_cut(void **state)
{
	char text[256] = "Name:\t";
	struct caller caller;

	(void)state;
	memset(text + strlen(text), 'x', 200);
	caller_parse(&caller, text);
	assert_int_equal(strlen(caller.command), sizeof(caller.command) - 1);
}

static void test_this_process(void **state)
{
	struct snap_actor actor;
	struct caller caller;
	char old[16];

	(void)state;
	assert_int_equal(prctl(PR_GET_NAME, old), 0);
	assert_int_equal(prctl(PR_SET_NAME, "a\\b\nc d"), 0);
	assert_true(caller_look(&caller, gettid()));
	assert_int_equal(prctl(PR_SET_NAME, old), 0);
	actor = caller_actor(&caller, 1234);
	assert_string_equal(actor.command, "a\\b\nc d");
	assert_int_equal(actor.pid, getpid());
	assert_int_equal(actor.uid, 1234);
}

static void test_nobody(void **state)
{
	struct snap_actor actor;
	struct caller caller;

	(void)state;
	assert_false(caller_look(&caller, 0));
	actor = caller_actor(&caller, 5);
	assert_string_equal(actor.command, "");
	assert_int_equal(actor.pid, 0);
	assert_int_equal(actor.uid, 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_a_long_name_is_cut),
		cmocka_unit_test(test_this_process),
		cmocka_unit_test(test_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
