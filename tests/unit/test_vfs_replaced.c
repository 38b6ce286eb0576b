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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_last_close),
		cmocka_unit_test(test_journal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
