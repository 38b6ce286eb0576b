/* SPDX-License-Identifier: MIT */
/*
 * test_keep_crash.c - death and failure at every system call of keeping, dropping and cleaning; what is on
 * the disk when; several at it at once.
 */
#define CALLS_MIN 10
#define CALLS_MAX 400 /* more than any of these makes */

#include "keep_deaths.h"

#include <sys/file.h>

static int do_keep(void *arg)
{
	(void)arg;
	return try_keep(DB, "one", "bytes", 1, NULL);
}

static void keep_one(void)
{
	keep(DB, "one", "bytes", 1);
}

static int do_drop(void *arg)
{
	(void)arg;
	return keep_drop(store, DB, "one", &err);
}

static int do_save_seen(void *arg)
{
	struct store_seen seen = {.mtime_ns = 7};

	(void)arg;
	return store_save_seen(store, DB, &seen);
}

static bool is_kept(void)
{
	if (strcmp(kept(DB), "") == 0)
		return false;
	assert_string_equal(kept(DB), "one ");
	assert_content(DB, "one", "", "bytes");
	return true;
}

static void assert_clean(void)
{
	bool there = is_kept();

	assert_int_equal(keep_clean(store, NULL, NULL, NULL, &err), 0);
	assert_int_equal(is_kept(), there);
	if (!store_knows(store, DB)) {
		assert_false(there);
		return;
	}
	assert_null(strchr(names_in(source_folder(DB)), '.'));
	if (exists(in_source(DB, "kept")))
		assert_string_equal(names_in(in_source(DB, "kept")), there ? "one " : "");
	assert_null(strchr(names_in(at("fast/a/store")), '.'));
}

/* ---- death --------------------------------------------------------------------------------------------- */

static void test_killed_keeping(void **state)
{
	bool was_kept = false;
	unsigned n;

	(void)state;
	for (n = 1; run_killed(n, do_keep, NULL); n++) {
		assert_true(n < CALLS_MAX);
		/* Once it has its name, dying later takes it away no more. */
		assert_true(!was_kept || is_kept());
		was_kept = is_kept();
		assert_clean();
		assert_int_equal(is_kept(), was_kept);
		if (exists(at("fast/a")))
			wipe();
	}
	assert_true(n > 20);
	assert_true(was_kept && is_kept());
	assert_clean();
}

/* A partial snapshot and a private folder. */
static int do_half(void)
{
	char name[32];
	struct keep *k;

	return keep_begin(&k, store, DB, "half", NULL) || keep_add_file(k, "-wal") < 0 ||
	       store_make_folder(store, name, NULL) < 0;
}

/* These, and a spool of a killed daemon. */
static void leave_partial(void)
{
	leave(do_half);
	write_file(at("fast/a/store/.spool-0123456789abcdef"), "x", 1);
	write_file(in_source(DB, ".seen-0123456789abcdef"), "x", 1);
	write_file(in_source(DB, ".source-0123456789abcdef"), "x", 1);
}

static void test_killed_cleaning(void **state)
{
	unsigned n;

	(void)state;
	keep(DB, "one", "bytes", 1);
	for (n = 1;; n++) {
		assert_true(n < CALLS_MAX);
		leave_partial();
		if (!run_killed(n, do_clean, NULL))
			break;
		assert_true(is_kept());
	}
	assert_true(n > 20);
	assert_string_equal(names_in(in_source(DB, "kept")), "one ");
	assert_clean();
	assert_true(is_kept());
}

static void test_killed_saving(void **state)
{
	struct store_seen seen;
	unsigned n;

	(void)state;
	for (n = 1; run_killed(n, do_save_seen, NULL); n++) {
		int rc = store_load_seen(store, DB, &seen);

		assert_true(n < CALLS_MAX);
		assert_true(rc == -ENOENT || (rc == 0 && seen.mtime_ns == 7));
		assert_clean();
		if (exists(at("fast/a")))
			wipe();
	}
	assert_true(n > 8);
	assert_int_equal(store_load_seen(store, DB, &seen), 0);
	assert_true(store_knows(store, DB));
	assert_clean();
}

/* ---- failure ------------------------------------------------------------------------------------------- */

static void test_failed_keeping(void **state)
{
	(void)state;
	fail_each_call(EIO, do_keep, false, true);
	wipe();
	fail_each_call(ENOSPC, do_keep, false, true);
	wipe();
	fail_each_call(EMFILE, do_keep, false, true);
}

/* Cleaning can do no harm, whatever fails. */
static void test_failed_cleaning(void **state)
{
	unsigned n = 0;
	int rc;

	(void)state;
	keep(DB, "one", "bytes", 1);
	do {
		leave_partial();
		assert_true(n < CALLS_MAX);
	} while (run_failing(++n, EIO, do_clean, NULL, &rc) && is_kept());
	assert_true(is_kept());
	assert_int_equal(rc, 0);
	assert_string_equal(names_in(in_source(DB, "kept")), "one ");
	assert_clean();
}

/* Whether "one" could be locked, as keep_drop() does, before each system call. */
static int try_lock(void *arg, const struct seccomp_data *call)
{
	unsigned *busy = arg;
	int source = store_open_source(store, DB, false, NULL);
	int folder = openat(source, "kept/one", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	(void)call;
	*busy += flock(folder, LOCK_EX | LOCK_NB) != 0;
	close(folder);
	close(source);
	return 0;
}

static void test_cleaning_locks_nothing_that_counts(void **state)
{
	unsigned busy = 0;
	struct watch w = {.fn = do_clean, .judge = try_lock, .judge_arg = &busy};

	(void)state;
	assert_int_equal(do_keep(NULL), 0);
	assert_int_equal(watch_run(&w), 0);
	assert_int_equal(busy, 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test_fast(test_killed_keeping),	 test_fast(test_killed_dropping),
		test_fast(test_killed_cleaning), test_fast(test_killed_saving),
		test_fast(test_failed_keeping),	 test_fast(test_failed_dropping),
		test_fast(test_failed_cleaning), test_fast(test_cleaning_locks_nothing_that_counts),
	};

	return cmocka_run_group_tests(tests, scratch_namespace, NULL);
}
