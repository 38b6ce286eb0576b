/* SPDX-License-Identifier: MIT */
/* Generations, through the contract of sqlsnap.h: what a reader of a live database is promised. */
#include "gens.h"

#include <errno.h>
#include <time.h>

#include "../../src/clock.h"

static bool wal_can_be_truncated(struct fixture *f)
{
	return app_get(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)") == 0;
}

static bool sidecars_are_gone(struct fixture *f)
{
	return !file_exists(&f->folder, "db-wal") && !file_exists(&f->folder, "db-shm");
}

/* ---- */

static void test_commit_is_in_the_next_open(void **state)
{
	struct fixture f;
	struct snap_gen *last = NULL;
	char sql[64];

	(void)state;
	up(&f, APP_WAL);
	for (int i = 1; i <= 50; i++) {
		snprintf(sql, sizeof(sql), "INSERT INTO t VALUES(%d, randomblob(%d))", i, i * 40);
		app_do(&f.app, sql);
		struct snap_gen *gen = open_now(&f);
		assert_int_equal(ask(gen, "SELECT count(*) FROM t"), i);
		if (last) {
			assert_int_equal(ask(last, "SELECT count(*) FROM t"), i - 1);
			assert_true(snap_gen_id(last) != snap_gen_id(gen));
			close_gen(last);
		}
		last = gen;
	}
	close_gen(last);
	app_stop(&f.app);
	down(&f);
}

static void test_bytes_stay_while_the_application_goes_on(void **state)
{
	struct fixture f;

	(void)state;
	up(&f, APP_WAL ";" APP_ROWS(100));
	struct snap_gen *gen = open_now(&f);
	unsigned char *before = bytes_of(gen);

	app_do(&f.app, "PRAGMA wal_autocheckpoint=10");
	for (int i = 0; i < 50; i++)
		app_do(&f.app, "UPDATE t SET b=randomblob(300)");
	app_do(&f.app, "DELETE FROM t; VACUUM; PRAGMA wal_checkpoint(PASSIVE)");
	assert_same_bytes(gen, before);
	free(before);
	close_gen(gen);
	app_stop(&f.app);
	down(&f);
}

static void test_unchanged_database_keeps_its_generation(void **state)
{
	static const char *const schemas[] = {APP_WAL ";" APP_ROWS(10), "CREATE TABLE t(a, b);" APP_ROWS(10)};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct fixture f;
		struct snap_attr first, again;

		up(&f, schemas[i]);
		nanosleep(&(struct timespec){.tv_nsec = 30000000},
			  NULL); /* times younger than 20 ms prove nothing */
		struct snap_gen *a = open_now(&f), *b = open_now(&f);
		assert_true(a == b);
		snap_gen_stat(a, &first);
		close_gen(a);
		close_gen(b);
		struct snap_gen *c = look(&f, &again);
		assert_true(c == a);
		assert_int_equal(timespec_ns(first.mtime), timespec_ns(again.mtime));
		snap_gen_unref(c);
		app_stop(&f.app);
		down(&f);
	}
}

static void test_size_that_moved_leads_to_another_generation(void **state)
{
	struct fixture f;
	struct snap_gen *moved = NULL;

	(void)state;
	up(&f, APP_WAL);
	struct snap_gen *gen = look(&f, NULL);
	app_do(&f.app, APP_ROWS(1000));
	assert_int_equal(snap_gen_open(gen, 0, &moved, NULL), SNAP_MOVED);
	assert_true(size_of(moved) > size_of(gen));
	/* The database moves on; what the caller was led to stays openable. */
	app_do(&f.app, APP_ROWS(1000));
	assert_int_equal(snap_gen_open(moved, 0, NULL, NULL), 0);
	assert_int_equal(ask(moved, "SELECT count(*) FROM t"), 1000);
	close_gen(moved);
	snap_gen_unref(gen);
	app_stop(&f.app);
	down(&f);
}

static void vacuum_into(struct fixture *f, const char *name)
{
	char sql[PATH_MAX + 64];

	snprintf(sql, sizeof(sql), "VACUUM INTO '%s/%s'", f->folder.path, name);
	app_do(&f->app, sql);
}

/* Who looked a name up was shown the rights on one file, and gets the bytes of no other. */
static void test_another_file_of_the_name_is_another_generation(void **state)
{
	struct fixture f;
	struct snap_gen *moved = NULL;
	struct snap_attr attr, other;

	(void)state;
	up(&f, "CREATE TABLE t(a, b);" APP_ROWS(10) "; VACUUM");
	vacuum_into(&f, "other");
	app_stop(&f.app);
	struct snap_gen *gen = look(&f, &attr);
	assert_int_equal(renameat2(f.folder.fd, "db", f.folder.fd, "other", RENAME_EXCHANGE), 0);
	assert_int_equal(snap_gen_open(gen, 0, &moved, NULL), SNAP_MOVED);
	assert_int_equal(size_of(moved), size_of(gen));
	assert_int_equal(snap_gen_stat_at(f.snap, NULL, "db", gen, false, &other), -ESTALE);
	assert_int_equal(fchmodat(f.folder.fd, "db", 0640, 0), 0);
	assert_int_equal(snap_gen_stat_at(f.snap, NULL, "db", moved, false, &other), 0);
	assert_int_equal(other.mode & 0777, 0640);
	/* Its name leads to the first again: what is shown of it is its own, and only to who knows it. */
	assert_int_equal(renameat2(f.folder.fd, "db", f.folder.fd, "other", RENAME_EXCHANGE), 0);
	assert_int_equal(snap_gen_stat_at(f.snap, NULL, "db", moved, false, &other), -ESTALE);
	assert_int_equal(snap_gen_stat_at(f.snap, NULL, "db", moved, true, &other), 0);
	assert_int_equal(other.mode & 0777, 0640);
	snap_gen_unref(moved);
	assert_int_equal(snap_gen_open(gen, 0, &moved, NULL), 0);
	close_gen(gen);
	down(&f);
}

/* The same of the folder that it was looked up in. */
static void test_another_folder_of_the_name_is_stale(void **state)
{
	struct fixture f;
	struct snap_attr attr;
	struct snap_inode folder;
	struct snap_list *list;

	(void)state;
	up(&f, "CREATE TABLE t(a, b)");
	vacuum_into(&f, "x");
	assert_int_equal(mkdirat(f.folder.fd, "one", 0700), 0);
	assert_int_equal(mkdirat(f.folder.fd, "two", 0700), 0);
	assert_int_equal(renameat(f.folder.fd, "x", f.folder.fd, "one/x"), 0);
	assert_int_equal(snap_lookup(f.snap, "one", &attr, NULL, NULL), 0);
	folder = (struct snap_inode){attr.key_dev, attr.key_ino};
	assert_int_equal(snap_lookup_in(f.snap, &folder, "one/x", &attr, NULL, NULL), 0);
	assert_int_equal(snap_list_create(f.snap, &folder, "one", &list, NULL), 0);
	snap_list_destroy(list);
	assert_int_equal(renameat2(f.folder.fd, "one", f.folder.fd, "two", RENAME_EXCHANGE), 0);
	assert_int_equal(renameat(f.folder.fd, "two/x", f.folder.fd, "one/x"), 0);
	assert_int_equal(snap_lookup(f.snap, "one/x", &attr, NULL, NULL), 0);
	assert_int_equal(snap_lookup_in(f.snap, &folder, "one/x", &attr, NULL, NULL), -ESTALE);
	assert_int_equal(snap_list_create(f.snap, &folder, "one", &list, NULL), -ESTALE);
	app_stop(&f.app);
	down(&f);
}

static void test_quick_open_never_waits(void **state)
{
	struct fixture f;

	(void)state;
	up(&f, APP_WAL);
	struct snap_gen *gen = look_connected(&f), *moved = NULL;
	/* The connection that has looked is idle. */
	assert_int_equal(snap_gen_open(gen, SNAP_NOWAIT, &moved, NULL), 0);
	app_do(&f.app, "INSERT INTO t VALUES(1, 1)");
	struct snap_gen *next = look(&f, NULL);
	assert_int_equal(snap_gen_open(next, SNAP_NOWAIT, &moved, NULL), 0);
	close_gen(next);
	close_gen(gen);
	app_stop(&f.app);
	down(&f);
}

static void test_reading_leaves_no_trace(void **state)
{
	struct fixture f;

	(void)state;
	up(&f, APP_WAL ";" APP_ROWS(500));
	app_kill(&f.app); /* its WAL holds everything */
	struct file_look db = file_look(&f.folder, "db"), wal = file_look(&f.folder, "db-wal");
	struct snap_gen *gen = open_now(&f);
	assert_int_equal(ask(gen, "SELECT count(*) FROM t"), 500);
	close_gen(gen);
	snap_destroy(f.snap);
	assert_same_file(file_look(&f.folder, "db"), db);
	assert_same_file(file_look(&f.folder, "db-wal"), wal);
	snap_up(&f);
	down(&f);
}

static void test_sidecars_of_ours_go_again(void **state)
{
	struct fixture f;

	(void)state;
	up(&f, APP_WAL ";" APP_ROWS(500));
	app_stop(&f.app);
	assert_true(sidecars_are_gone(&f));
	struct snap_gen *gen = open_now(&f);
	assert_int_equal(ask(gen, "SELECT count(*) FROM t"), 500);
	close_gen(gen);
	await(sidecars_are_gone, &f);
	down(&f);
}

static void test_last_close_below_us_is_made_good(void **state)
{
	struct fixture f;

	(void)state;
	up(&f, APP_WAL);
	struct snap_gen *gen = open_now(&f);
	app_do(&f.app, APP_ROWS(500));
	app_stop(&f.app); /* cannot checkpoint: we are connected */
	assert_true(file_look(&f.folder, "db-wal").size > 0);
	close_gen(gen);
	await(sidecars_are_gone, &f);
	gen = open_now(&f);
	assert_int_equal(ask(gen, "SELECT count(*) FROM t"), 500);
	close_gen(gen);
	down(&f);
}

/* A reader that stays: the pin turns into a spool, the WAL is free, the bytes are the same. */
static void test_slow_reader_frees_the_wal(void **state)
{
	struct fixture f;

	(void)state;
	app_up(&f, APP_WAL ";" APP_ROWS(2000));
	snap_up_still(&f);
	struct snap_gen *gen = open_now(&f);
	unsigned char *before = bytes_of(gen);
	app_do(&f.app, "UPDATE t SET b=randomblob(301); UPDATE t SET b=randomblob(302)");
	assert_false(wal_can_be_truncated(&f));
	assert_int_equal(snap_start(f.snap, NULL), 0);
	await(wal_can_be_truncated, &f);
	app_do(&f.app, "UPDATE t SET b=randomblob(303)");
	assert_same_bytes(gen, before);
	free(before);
	close_gen(gen);
	app_stop(&f.app);
	down(&f);
}

static void test_rollback_database_is_copied_and_let_go(void **state)
{
	struct fixture f;

	(void)state;
	up(&f, "CREATE TABLE t(a INTEGER PRIMARY KEY, b);" APP_ROWS(1000));
	struct snap_gen *gen = open_now(&f);
	unsigned char *before = bytes_of(gen);
	app_do(&f.app, "UPDATE t SET b=randomblob(300)"); /* a commit needs EXCLUSIVE */
	assert_same_bytes(gen, before);
	struct snap_gen *next = open_now(&f);
	assert_true(next != gen);
	assert_int_equal(ask(next, "SELECT count(*) FROM t"), 1000);
	free(before);
	close_gen(gen);
	close_gen(next);
	app_stop(&f.app);
	down(&f);
}

static void test_hot_journal_is_rolled_back_in_a_copy(void **state)
{
	struct fixture f;

	(void)state;
	up(&f, "CREATE TABLE t(a INTEGER PRIMARY KEY, b);" APP_ROWS(1000));
	app_do(&f.app, "PRAGMA cache_size=5; PRAGMA cache_spill=5; BEGIN; DELETE FROM t WHERE a>10");
	app_kill(&f.app);
	struct file_look db = file_look(&f.folder, "db"), journal = file_look(&f.folder, "db-journal");
	assert_true(journal.size > 0);
	struct snap_gen *gen = open_now(&f);
	assert_int_equal(ask(gen, "SELECT count(*) FROM t"), 1000);
	close_gen(gen);
	assert_same_file(file_look(&f.folder, "db"), db);
	assert_same_file(file_look(&f.folder, "db-journal"), journal);
	down(&f);
}

static void test_exclusive_application_is_busy(void **state)
{
	struct fixture f;
	struct snap_gen *gen = NULL;

	(void)state;
	up(&f, "PRAGMA locking_mode=EXCLUSIVE;" APP_WAL);
	assert_int_equal(try_open(&f, &gen), -EBUSY);
	app_stop(&f.app);
	gen = open_now(&f);
	assert_int_equal(ask(gen, "SELECT count(*) FROM t"), 0);
	close_gen(gen);
	down(&f);
}

static void test_replaced_file_is_followed(void **state)
{
	struct fixture f;
	struct app other;

	(void)state;
	folder_make(&f.folder);
	folder_make(&f.store);
	app_start(&other, &f.folder, "new");
	app_do(&other, APP_WAL ";" APP_ROWS(7));
	app_stop(&other);
	app_start(&f.app, &f.folder, "db");
	app_do(&f.app, APP_WAL ";" APP_ROWS(3));
	snap_up(&f);
	struct snap_gen *gen = open_now(&f);
	app_stop(&f.app);
	assert_int_equal(renameat(f.folder.fd, "new", f.folder.fd, "db"), 0);
	unlinkat(f.folder.fd, "db-wal", 0);
	unlinkat(f.folder.fd, "db-shm", 0);
	struct snap_gen *next = open_now(&f);
	assert_int_equal(ask(next, "SELECT count(*) FROM t"), 7);
	assert_int_equal(ask(gen, "SELECT count(*) FROM t"), 3);
	close_gen(gen);
	close_gen(next);
	down(&f);
}

/* Its -shm stays behind while it is read from, and is no database. */
static void test_deleted_file_leaves_no_other_database(void **state)
{
	struct snap_gen *gen = NULL;
	struct snap_attr attr;
	struct fixture f;

	(void)state;
	up(&f, APP_WAL ";" APP_ROWS(3));
	gen = open_now(&f);
	assert_int_equal(unlinkat(f.folder.fd, "db", 0), 0);
	assert_int_equal(snap_lookup(f.snap, "db-shm", &attr, NULL, NULL), 0);
	assert_int_equal(attr.kind, SNAP_PLAIN);
	close_gen(gen);
	app_stop(&f.app);
	down(&f);
}

static void test_empty_and_garbage_files(void **state)
{
	struct fixture f;
	struct snap_attr attr;
	char path[PATH_MAX];
	FILE *file;

	(void)state;
	up(&f, NULL);
	app_do(&f.app, "SELECT 1"); /* it has opened the file by then */
	assert_int_equal(snap_lookup(f.snap, "db", &attr, NULL, NULL), 0);
	assert_int_equal(attr.kind, SNAP_PLAIN);
	assert_int_equal(attr.size, 0);
	app_stop(&f.app);
	file = fopen(folder_file(&f.folder, "db", path), "w");
	assert_non_null(file);
	fputs("SQLite format 3", file); /* with its terminating zero, and nothing right behind it */
	fwrite("\0garbage", 1, 8, file);
	for (int i = 0; i < 500; i++)
		fputs("garbage", file);
	fclose(file);
	struct snap_gen *gen = NULL;
	if (snap_lookup(f.snap, "db", &attr, NULL, NULL) == 0 && attr.kind == SNAP_DATABASE)
		assert_int_equal(try_open(&f, &gen), -EIO);
	down(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_commit_is_in_the_next_open),
		cmocka_unit_test(test_bytes_stay_while_the_application_goes_on),
		cmocka_unit_test(test_unchanged_database_keeps_its_generation),
		cmocka_unit_test(test_size_that_moved_leads_to_another_generation),
		cmocka_unit_test(test_another_file_of_the_name_is_another_generation),
		cmocka_unit_test(test_another_folder_of_the_name_is_stale),
		cmocka_unit_test(test_quick_open_never_waits),
		cmocka_unit_test(test_reading_leaves_no_trace),
		cmocka_unit_test(test_sidecars_of_ours_go_again),
		cmocka_unit_test(test_last_close_below_us_is_made_good),
		cmocka_unit_test(test_slow_reader_frees_the_wal),
		cmocka_unit_test(test_rollback_database_is_copied_and_let_go),
		cmocka_unit_test(test_hot_journal_is_rolled_back_in_a_copy),
		cmocka_unit_test(test_exclusive_application_is_busy),
		cmocka_unit_test(test_replaced_file_is_followed),
		cmocka_unit_test(test_deleted_file_leaves_no_other_database),
		cmocka_unit_test(test_empty_and_garbage_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
