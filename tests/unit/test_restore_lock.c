/* SPDX-License-Identifier: MIT */
/* The write lock of a restore is waited for, whatever SQLite calls it. */
#include "restores.h"

#define TABLE "CREATE TABLE t(a INTEGER PRIMARY KEY, b);"
#define WAL_OLD "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;" TABLE
#define NEW TABLE APP_ROWS(500)
#define COUNT_T "SELECT count(*) FROM t"

/* ---- waiting ------------------------------------------------------------------------------------------- */

/* As while somebody recovers the wal-index, or does so over and over. */
struct recovery {
	int code;
	int stays; /* looks of the restore for which it lasts, once it was met */
	int met;   /* calls that failed of it */
	int looks; /* since then */
};

static int be_busy(void *arg, enum vfs_call call)
{
	struct recovery *r = arg;

	if (call != VFS_SHM_LOCK || r->looks >= r->stays)
		return SQLITE_OK;
	r->met++;
	return r->code;
}

/* Asked between two attempts. */
static bool count_looks(void *arg)
{
	struct recovery *r = arg;

	r->looks += r->met > 0;
	return false;
}

static const int codes[] = {SQLITE_BUSY_RECOVERY, SQLITE_PROTOCOL};

static void test_whatever_it_is_called(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		struct recovery recovery = {.code = codes[i], .stays = 2};
		struct restoring how = RESTORING;
		struct upload u;
		struct fixture f;

		up(&f, WAL_OLD APP_ROWS(200));
		upload_make(&u, f.snap, 4096, NEW);
		how.fault = be_busy;
		how.cancelled = count_looks;
		how.arg = &recovery;
		assert_restored(&f, &u, &how);
		assert_in_range(recovery.looks, 2, 100);
		assert_int_equal(app_get(&f.app, COUNT_T), 500);
		upload_finish(&u);
		app_stop(&f.app);
		down(&f);
	}
}

/* It is tried until the time is over, and not without a pause. */
static void test_for_as_long_as_was_said(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		struct recovery recovery = {.code = codes[i], .stays = INT_MAX};
		struct restoring how = RESTORING;
		int64_t began, took;
		struct upload u;
		struct fixture f;

		up(&f, WAL_OLD APP_ROWS(200));
		upload_make(&u, f.snap, 4096, NEW);
		how.busy_timeout_ms = 600;
		how.fault = be_busy;
		how.cancelled = count_looks;
		how.arg = &recovery;
		began = monotonic_ns();
		assert_int_equal(restore(&f, &u, &how), -EBUSY);
		took = monotonic_ns() - began;
		assert_true(took >= 600 * NS_PER_MS);
		assert_in_range(recovery.looks, 2, 600 * 2);
		assert_true(recovery.met > recovery.looks);
		assert_int_equal(count_kept(&f), 0);
		assert_int_equal(app_get(&f.app, COUNT_T), 200);
		upload_finish(&u);
		app_stop(&f.app);
		down(&f);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whatever_it_is_called),
		cmocka_unit_test(test_for_as_long_as_was_said),
	};

	if (argc == 5 && strcmp(argv[1], LOOK) == 0)
		return look_main(argv);
	return cmocka_run_group_tests(tests, own_tmp, NULL);
}
