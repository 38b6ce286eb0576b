/* SPDX-License-Identifier: MIT */
/* test_validate_vfs.c - what SQLite gets of the world in the process that looks at an upload: two
 * descriptors, of which one cannot be changed, and the time; and what it hears when they fail. */
#include "hostile.h"

#include <time.h>

#include "../../src/validate_private.h"

/* Has NAME, absolute, at the number that the child would have it at. */
static void put_at(int fd, const char *name, int flags)
{
	int from = open(name, flags | O_CLOEXEC, 0644);

	assert_true(from >= 0);
	if (from == fd)
		return;
	assert_int_equal(dup3(from, fd, O_CLOEXEC), fd);
	close(from);
}

static int setup(void **state)
{
	int rc = scratch_setup(state);

	make_db("db", SAMPLE);
	put_at(VALIDATE_FD_FILE, at("db"), O_RDWR); /* even so */
	put_at(VALIDATE_FD_FIT, at("fit"), O_RDWR | O_CREAT);
	return rc;
}

static int teardown(void **state)
{
	close(VALIDATE_FD_FILE);
	close(VALIDATE_FD_FIT);
	return scratch_teardown(state);
}

static sqlite3 *open_here(const char *name)
{
	sqlite3 *db;

	assert_int_equal(validate_vfs_register((uint64_t)size_of("db")), SQLITE_OK);
	/* For everybody else in this process. */
	assert_int_equal(sqlite3_vfs_register(sqlite3_vfs_find("unix"), 1), SQLITE_OK);
	assert_int_equal(sqlite3_open_v2(name, &db, SQLITE_OPEN_READWRITE, VALIDATE_VFS), SQLITE_OK);
	return db;
}

static void assert_fails(sqlite3 *db, const char *sql, int code)
{
	int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);

	if ((rc & 0xff) != code)
		fail_msg("%s: %d (%s) instead of %d", sql, rc, sqlite3_errmsg(db), code);
}

static void test_never_changed(void **state)
{
	sqlite3 *db = open_here(VALIDATE_FILE);
	sqlite3_file *file;
	int reserved = 1;

	(void)state;
	copy_file("db", "before");
	assert_int_equal(number(db, "SELECT count(*) FROM t"), 500);
	assert_fails(db, "INSERT INTO t VALUES(501, '')", SQLITE_READONLY);
	/* Nor by a SQLite that asked for it all the same. */
	assert_int_equal(sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file), SQLITE_OK);
	assert_int_equal(file->pMethods->xWrite(file, "x", 1, 0), SQLITE_READONLY);
	assert_int_equal(file->pMethods->xTruncate(file, 0), SQLITE_READONLY);
	assert_int_equal(file->pMethods->xCheckReservedLock(file, &reserved), SQLITE_OK);
	assert_int_equal(reserved, 0);
	sqlite3_close(db);
	assert_int_equal(size_of("db"), size_of("before"));
	assert_int_equal(query("db", "SELECT count(*) FROM t"), 500);
}

static void test_nothing_else(void **state)
{
	sqlite3 *db = open_here(VALIDATE_FILE);
	char sql[PATH_MAX + 32];

	(void)state;
	make_db("other", SAMPLE);
	snprintf(sql, sizeof(sql), "ATTACH '%s' AS other", at("other"));
	assert_fails(db, sql, SQLITE_CANTOPEN);
	assert_fails(db, "ATTACH 'none' AS none", SQLITE_CANTOPEN);
	/* No temporary file either. */
	assert_fails(
		db,
		"PRAGMA temp_store=FILE; PRAGMA temp.cache_size=10; CREATE TEMP TABLE big AS WITH RECURSIVE "
		"n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n WHERE x<2000) SELECT randomblob(1000) FROM n",
		SQLITE_CANTOPEN);
	sqlite3_close(db);
}

/* The other one is a database as any. */
static void test_fit(void **state)
{
	sqlite3 *db = open_here(VALIDATE_FIT);
	off_t full;

	(void)state;
	run_sql(db, "PRAGMA temp_store=MEMORY;" SAMPLE);
	full = size_of("fit");
	run_sql(db, "DROP TABLE u; DELETE FROM t WHERE a>1; VACUUM");
	assert_int_equal(number(db, "SELECT count(*) FROM t"), 1);
	sqlite3_close(db);
	assert_between(size_of("fit"), 512, full - 1);
	assert_int_equal(query("fit", "SELECT integrity_check='ok' FROM pragma_integrity_check"), 1);
	assert_int_equal(query("fit", "SELECT a FROM t"), 1);
}

static void test_reads_fail(void **state)
{
	sqlite3 *db = open_here(VALIDATE_FILE);

	(void)state;
	assert_int_equal(validate_vfs_errno(), 0);
	put_at(VALIDATE_FD_FILE, scratch.path, O_RDONLY | O_DIRECTORY);
	assert_fails(db, "SELECT * FROM t", SQLITE_IOERR);
	assert_int_equal(sqlite3_system_errno(db), EISDIR);
	assert_int_equal(validate_vfs_errno(), EISDIR);
	sqlite3_close(db);
}

static void test_writes_fail(void **state)
{
	static const struct {
		const char *name;
		int flags, code, error;
	} cases[] = {
		{"/dev/full", O_RDWR, SQLITE_FULL, ENOSPC},
		{"/dev/null", O_RDONLY, SQLITE_IOERR, EBADF},
	};
	sqlite3 *db;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		put_at(VALIDATE_FD_FIT, cases[i].name, cases[i].flags);
		db = open_here(VALIDATE_FILE);
		run_sql(db, "PRAGMA temp_store=MEMORY");
		assert_fails(db, "VACUUM INTO '" VALIDATE_FIT "'", cases[i].code);
		assert_int_equal(validate_vfs_errno(), cases[i].error);
		sqlite3_close(db);
	}
}

static void test_time(void **state)
{
	sqlite3 *db = open_here(VALIDATE_FILE);
	sqlite3_vfs *vfs = sqlite3_vfs_find(VALIDATE_VFS);
	time_t before = time(NULL), now = (time_t)number(db, "SELECT strftime('%s', 'now')");

	(void)state;
	assert_between(now, before, time(NULL) + 1);
	assert_int_equal(vfs->xSleep(vfs, 2000000000), 2000000000); /* at once */
	sqlite3_close(db);
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(test_never_changed), test(test_nothing_else), test(test_fit),
		test(test_reads_fail),	  test(test_writes_fail),  test(test_time),
	};

	return cmocka_run_group_tests(tests, scratch_namespace, NULL);
}
