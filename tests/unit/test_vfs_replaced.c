/* SPDX-License-Identifier: MIT */
/* test_vfs_replaced.c - the database is replaced while a connection of ours is about to delete what stands
 * beside it: that belongs to the new one, in which an application has committed. */
#include "gens.h"

#include <fcntl.h>

#include "../../src/db.h"
#include "../../src/live.h"

/* SQLite looks itself whether the database was moved, when it begins to close: here it is while the WAL is
 * copied. */
static int replace_at_write(void *arg, enum vfs_call call)
{
	static bool done;

	if (call == VFS_WRITE && !done) {
		done = true;
		replace(arg, true);
	}
	return SQLITE_OK;
}

static void test_last_close(void **state)
{
	struct db closer = DB_INIT;
	struct fixture f;
	struct app other;

	(void)state;
	app_up(&f, APP_WAL ";" APP_ROWS(3));
	app_start(&other, &f.folder, "new");
	app_do(&other, APP_WAL ";" APP_ROWS(7));
	assert_int_equal(db_open(&closer, f.folder.fd, "db", DB_CLOSER, NULL), 0);
	assert_int_equal(db_exec(&closer, "PRAGMA user_version"), SQLITE_OK);
	app_stop(&f.app); /* the closer is the last one */
	vfs_set_fault(closer.vfs, replace_at_write, &f);
	db_close(&closer);
	assert_false(file_exists(&f.folder, "new"));
	assert_true(file_exists(&f.folder, "db-wal"));
	assert_true(file_exists(&f.folder, "db-shm"));
	assert_int_equal(app_get(&other, "SELECT count(*) FROM t"), 7);
	app_stop(&other);
	folder_remove(&f.folder);
	folder_remove(&f.store);
}

static void test_journal(void **state)
{
	struct db db = DB_INIT;
	struct fixture f;
	int fd;

	(void)state;
	app_up(&f, "PRAGMA journal_mode=DELETE; CREATE TABLE t(a INTEGER PRIMARY KEY, b);" APP_ROWS(3));
	app_stop(&f.app);
	assert_int_equal(db_open(&db, f.folder.fd, "db", DB_RESTORER, NULL), 0);
	assert_int_equal(db_exec(&db, "BEGIN IMMEDIATE; UPDATE t SET b=1"), SQLITE_OK);
	assert_true(file_exists(&f.folder, "db-journal"));
	/* It is somebody else's by now. */
	assert_int_equal(unlinkat(f.folder.fd, "db-journal", 0), 0);
	fd = openat(f.folder.fd, "db-journal", O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	db_exec(&db, "COMMIT");
	db_close(&db);
	assert_true(file_exists(&f.folder, "db-journal"));
	folder_remove(&f.folder);
	folder_remove(&f.store);
}

/* The -wal of the database that has taken the place of ours, which is open already: what we write or cut
 * there is what an application has committed. */
static void test_wal_of_another(void **state)
{
	static const enum db_kind kinds[] = {DB_READER, DB_CLOSER, DB_RESTORER};

	(void)state;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct db ours = DB_INIT;
		struct file_look wal;
		struct fixture f;
		struct app other;

		app_up(&f, APP_WAL ";" APP_ROWS(3));
		app_start(&other, &f.folder, "new");
		app_do(&other, APP_WAL ";" APP_ROWS(7));
		assert_int_equal(db_open(&ours, f.folder.fd, "db", kinds[i], NULL), 0);
		replace(&f, true);
		wal = file_look(&f.folder, "db-wal");
		assert_int_equal(db_exec(&ours, "PRAGMA user_version"), SQLITE_CANTOPEN);
		assert_false(vfs_wal_is_open(ours.vfs));
		db_close(&ours);
		assert_same_file(wal, file_look(&f.folder, "db-wal"));
		assert_int_equal(app_get(&other, "SELECT count(*) FROM t"), 7);
		app_stop(&other);
		app_stop(&f.app);
		folder_remove(&f.folder);
		folder_remove(&f.store);
	}
}

/* Nor is a -wal made beside one that has none. */
static void test_no_wal_is_made(void **state)
{
	struct db ours = DB_INIT;
	struct fixture f;
	struct app other;

	(void)state;
	app_up(&f, APP_WAL ";" APP_ROWS(3));
	app_stop(&f.app);
	app_start(&other, &f.folder, "new");
	app_do(&other, "CREATE TABLE t(a)");
	assert_int_equal(db_open(&ours, f.folder.fd, "db", DB_RESTORER, NULL), 0);
	assert_int_equal(renameat(f.folder.fd, "new", f.folder.fd, "db"), 0);
	assert_int_equal(db_exec(&ours, "PRAGMA user_version"), SQLITE_CANTOPEN);
	db_close(&ours);
	assert_false(file_exists(&f.folder, "db-wal"));
	app_stop(&other);
	folder_remove(&f.folder);
	folder_remove(&f.store);
}

/* And its journal, which is no hot one of ours. */
static void test_journal_of_another(void **state)
{
	static const enum db_kind kinds[] = {DB_READER, DB_RESTORER};

	(void)state;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct db ours = DB_INIT;
		struct fixture f;
		struct app other;

		app_up(&f,
		       "PRAGMA journal_mode=DELETE; CREATE TABLE t(a INTEGER PRIMARY KEY, b);" APP_ROWS(3));
		app_start(&other, &f.folder, "new");
		app_do(&other,
		       "PRAGMA journal_mode=DELETE; CREATE TABLE t(a INTEGER PRIMARY KEY, b);" APP_ROWS(7));
		app_do(&other, "PRAGMA cache_size=5; BEGIN; UPDATE t SET b=randomblob(3000)");
		assert_true(file_exists(&f.folder, "new-journal"));
		assert_int_equal(db_open(&ours, f.folder.fd, "db", kinds[i], NULL), 0);
		assert_int_equal(renameat(f.folder.fd, "new", f.folder.fd, "db"), 0);
		assert_int_equal(renameat(f.folder.fd, "new-journal", f.folder.fd, "db-journal"), 0);
		db_exec(&ours, "PRAGMA user_version");
		assert_true(file_exists(&f.folder, "db-journal"));
		db_close(&ours);
		assert_true(file_exists(&f.folder, "db-journal"));
		app_stop(&other);
		app_stop(&f.app);
		folder_remove(&f.folder);
		folder_remove(&f.store);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_last_close),	   cmocka_unit_test(test_journal),
		cmocka_unit_test(test_wal_of_another),	   cmocka_unit_test(test_no_wal_is_made),
		cmocka_unit_test(test_journal_of_another),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
