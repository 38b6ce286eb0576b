/* SPDX-License-Identifier: MIT */
/*
 * Restores whose process is killed at the N-th call of the connections that restore, N = 1, 2, ... until one
 * is through. After each the live database is wholly the old or wholly the new one.
 */
#include "restores.h"

#define OLD_ROWS 40
#define NEW_ROWS 90
#define WAL_OLD WAL_TABLE APP_ROWS(40)
#define ROLLBACK_OLD ROLLBACK_TABLE APP_ROWS(40)
#define NEW TABLE APP_ROWS(90)
#define N_MAX 400

static int die_at_nth(void *arg, enum vfs_call call)
{
	int *left = arg;

	(void)call;
	if (--*left == 0)
		raise(SIGKILL);
	return SQLITE_OK;
}

/* A restore in a process that dies at the N-th call of any kind. */
struct death {
	struct fixture *f;
	int n;
};

static int restore_and_die(void *arg)
{
	struct death *d = arg;
	struct restoring how = RESTORING;
	int left = d->n;
	struct upload u;

	snap_up(d->f);
	how.fault = die_at_nth;
	how.arg = &left;
	upload_make(&u, d->f->snap, 4096, NEW);
	return restore(d->f, &u, &how) == 0 ? 0 : 1;
}

static void check_death(const char *sql)
{
	int status = 1, n = 0, old = 0;

	while (status != 0 && n < N_MAX) {
		struct fixture f;
		struct death death = {&f, ++n};
		struct restoring how = RESTORING;
		struct upload u;
		int64_t rows;

		app_up(&f, sql);
		status = in_child(restore_and_die, &death);
		assert_true(status == 0 || status == 256 + SIGKILL);
		rows = look_afresh(&f, COUNT_T, OLD_ROWS) == 0 ? OLD_ROWS : NEW_ROWS;
		assert_afresh(&f, COUNT_T, rows);
		assert_int_equal(app_get(&f.app, COUNT_T), rows);
		app_do(&f.app, "INSERT INTO t(b) VALUES(1); DELETE FROM t WHERE b=1");
		old += rows == OLD_ROWS;
		/* What is in the store is whole, or goes; and the next restore works. */
		snap_up(&f);
		assert_int_equal(keep_clean(f.snap->core.store, NULL, NULL, NULL, NULL), 0);
		if (rows == NEW_ROWS)
			assert_true(count_kept(&f) >= 1);
		upload_make(&u, f.snap, 4096, "CREATE TABLE t(a); INSERT INTO t VALUES(1)");
		assert_restored(&f, &u, &how);
		assert_afresh(&f, COUNT_T, 1);
		restore_down(&f, &u);
	}
	print_message("# died at each of %d calls: %d times the old, %d the new\n", n - 1, old, n - old);
	assert_int_equal(status, 0);
	assert_between(old, 10, n - 1);
}

static void test_death_wal(void **state)
{
	(void)state;
	check_death(WAL_OLD);
}

static void test_death_rollback(void **state)
{
	(void)state;
	check_death(ROLLBACK_OLD);
}

static void cut(struct fixture *f)
{
	char path[PATH_MAX];

	assert_int_equal(truncate(folder_file(&f->folder, "db", path), 3 * 4096 + 100), 0);
}

/* Over what cannot be read: a journal that is rolled back to that is no reason to refuse the next restore. */
static void check_death_over(void (*make)(struct fixture *f))
{
	int status = 1, n = 0, hot = 0;

	while (status != 0 && n < N_MAX) {
		struct fixture f;
		struct death death = {&f, ++n};
		struct restoring how = RESTORING;
		struct upload u;

		app_up(&f, ROLLBACK_OLD);
		app_stop(&f.app);
		make(&f);
		status = in_child(restore_and_die, &death);
		assert_true(status == 0 || status == 256 + SIGKILL);
		hot += file_bytes(&f, "db-journal") > 0;
		snap_up(&f);
		upload_make(&u, f.snap, 4096, "CREATE TABLE t(a); INSERT INTO t VALUES(1)");
		assert_restored(&f, &u, &how);
		assert_afresh(&f, COUNT_T, 1);
		upload_finish(&u);
		down(&f);
	}
	print_message("# died at each of %d calls: %d journals\n", n - 1, hot);
	assert_int_equal(status, 0);
	assert_true(hot > 5);
}

static void test_death_damaged(void **state)
{
	(void)state;
	check_death_over(damage_header);
	check_death_over(cut);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_death_wal),
		cmocka_unit_test(test_death_rollback),
		cmocka_unit_test(test_death_damaged),
	};

	if (argc == 5 && strcmp(argv[1], LOOK) == 0)
		return look_main(argv);
	return cmocka_run_group_tests(tests, own_tmp, NULL);
}
