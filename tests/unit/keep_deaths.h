/* SPDX-License-Identifier: MIT */
/*
 * keep_deaths.h - death and failure at every system call of keeping, dropping and cleaning: the part that is
 * the same for one kept database and for several. Before including this, a test defines CALLS_MIN and
 * CALLS_MAX, the number of calls that it expects; it also defines the functions below.
 */
#ifndef SQLSNAP_TEST_KEEP_DEATHS_H
#define SQLSNAP_TEST_KEEP_DEATHS_H

#include "keeps.h"
#include "syscalls.h"

static int do_keep(void *arg);	/* keeps "one"; with the signature that the watch takes */
static int do_drop(void *arg);	/* and drops it */
static void keep_one(void);	/* keeps it when nothing fails */
static bool is_kept(void);	/* whether "one" is there; then it is whole */
static void assert_clean(void); /* after the next daemon has started nothing is left but what is whole */

static inline int do_clean(void *arg)
{
	(void)arg;
	return keep_clean(store, NULL, NULL, NULL, &err);
}

/* Leaves what a process leaves that dies after DO_HALF, in which nothing fails. */
static inline void leave(int (*do_half)(void))
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(do_half() != 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* FN begins with "one" kept or not (BEFORE), and ends with it kept or not (AFTER), unless a call fails. */
static inline void fail_each_call(int error, int (*fn)(void *arg), bool before, bool after)
{
	int fds = count_fds(), rc;
	unsigned n = 0;
	bool failed;

	do {
		if (before && !is_kept())
			keep_one();
		failed = run_failing(++n, error, fn, NULL, &rc);
		assert_true(n < CALLS_MAX);
		assert_true(failed || rc == 0);
		/* Its answer is true. */
		if (rc == 0)
			assert_int_equal(is_kept(), after);
		else if (!before)
			assert_false(is_kept());
		assert_clean();
		assert_int_equal(count_fds(), fds);
		if (failed && !before && exists(at("fast/a")))
			wipe();
	} while (failed);
	assert_true(n > CALLS_MIN);
}

static inline void test_killed_dropping(void **state)
{
	bool was_kept = true;
	unsigned n;

	(void)state;
	for (n = 1;; n++) {
		assert_true(n < CALLS_MAX);
		if (!is_kept())
			keep_one();
		if (!run_killed(n, do_drop, NULL))
			break;
		assert_true(was_kept || !is_kept());
		was_kept = is_kept();
		assert_clean();
	}
	assert_true(n > CALLS_MIN && !was_kept);
	assert_false(is_kept());
	assert_clean();
}

static inline void test_failed_dropping(void **state)
{
	(void)state;
	fail_each_call(EIO, do_drop, true, false);
}

#endif
