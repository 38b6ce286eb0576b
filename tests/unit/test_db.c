/* SPDX-License-Identifier: MIT */
/* test_db.c - how connections are opened: by name, hardened, touching nothing; and what the closer's close
 * does. */
#include "../../src/db.h"

#include <errno.h>

#include "app.h"

static struct folder folder;

static int setup(void **state)
{
	(void)state;
	folder_make(&folder);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	folder_remove(&folder);
	return 0;
}

static int64_t query(struct db *db, const char *sql)
{
	sqlite3_stmt *stmt;
	int64_t value;

	assert_int_equal(sqlite3_prepare_v2(db->handle, sql, -1, &stmt, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	value = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	return value;
}

/* No name is anything but a name. */
static void test_names(void **state)
{
	static const char *const names[] = {
		"db.sqlite3", "a?mode=memory",	    "a%20b", "a#b", "file:x?immutable=1", ":memory:",
		" ",	      "d\xc3\xa9j\xc3\xa0", "-wal",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct db db = DB_INIT;
		char sql[80];
		struct app app;

		app_start(&app, &folder, names[i]);
		snprintf(sql, sizeof(sql), "PRAGMA user_version=%zu; CREATE TABLE t(a)", i + 100);
		app_do(&app, sql);
		app_stop(&app);
		assert_int_equal(db_open(&db, folder.fd, names[i], DB_READER, NULL), 0);
		assert_int_equal(query(&db, "PRAGMA user_version"), i + 100);
		db_close(&db);
		assert_null(db.handle);
		assert_null(db.vfs);
	}
}

static void test_refused_names(void **state)
{
	static const struct {
		const char *name;
		int error;
	} cases[] = {
		{"", -EINVAL},	      {"a/b", -EINVAL}, {"/etc/passwd", -EINVAL}, {"../x", -EINVAL},
		{"missing", -ENOENT}, {"link", -ELOOP}, {"folder", -EISDIR},
	};
	static const enum db_kind kinds[] = {DB_READER, DB_CLOSER};

	(void)state;
	assert_int_equal(symlinkat("real", folder.fd, "link"), 0);
	assert_int_equal(mkdirat(folder.fd, "folder", 0700), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (size_t k = 0; k < 2; k++) {
			struct snap_err err = {""};
			struct db db = DB_INIT;
			int rc = db_open(&db, folder.fd, cases[i].name, kinds[k], &err);

			/* SQLite gives a folder no errno of its own when it was asked to write. */
			if (cases[i].error == -EISDIR)
				assert_between(-rc, 1, 200);
			else
				assert_int_equal(rc, cases[i].error);
			assert_null(db.handle);
			assert_null(db.vfs);
			assert_true(strlen(err.text) > 0);
			db_close(&db);
		}
	}
	assert_false(file_exists(&folder, "missing"));
}

static void test_hardened(void **state)
{
	static const struct {
		int op;
		int value;
	} cases[] = {
		{SQLITE_DBCONFIG_DEFENSIVE, 1},
		{SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
		{SQLITE_DBCONFIG_ENABLE_TRIGGER, 0},
		{SQLITE_DBCONFIG_ENABLE_VIEW, 0},
		{SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0},
	};
	static const enum db_kind kinds[] = {DB_PRIVATE, DB_READER, DB_CLOSER};

	(void)state;
	for (size_t k = 0; k < 3; k++) {
		struct db db = DB_INIT;
		int value;

		assert_int_equal(db_open(&db, folder.fd, "a", kinds[k], NULL), 0);
		if (kinds[k] == DB_PRIVATE)
			assert_int_equal(db_exec(&db, "CREATE TABLE t(a)"), SQLITE_OK);
		for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
			assert_int_equal(sqlite3_db_config(db.handle, cases[i].op, -1, &value), SQLITE_OK);
			assert_int_equal(value, cases[i].value);
		}
		assert_int_equal(sqlite3_db_config(db.handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, -1, &value),
				 SQLITE_OK);
		assert_int_equal(value, kinds[k] != DB_CLOSER);
		assert_int_equal(query(&db, "PRAGMA cell_size_check"), 1);
		assert_int_equal(query(&db, "PRAGMA mmap_size"), 0);
		assert_int_equal(query(&db, "PRAGMA wal_autocheckpoint"), 0);
		assert_int_equal(query(&db, "PRAGMA busy_timeout"), 0);
		assert_int_equal(db_exec(&db, "ATTACH ':memory:' AS x"),
				 kinds[k] == DB_PRIVATE ? SQLITE_OK : SQLITE_ERROR);
		assert_int_equal(db_exec(&db, "SELECT load_extension('x')"), SQLITE_ERROR);
		assert_int_equal(sqlite3_db_readonly(db.handle, "main"), kinds[k] == DB_READER);
		db_close(&db);
	}
}

/* Mapping cannot be switched on either, for reads must not raise SIGBUS. */
static void test_no_mapping(void **state)
{
	struct db db = DB_INIT;
	struct app app;

	(void)state;
	app_start(&app, &folder, "m");
	app_do(&app, "CREATE TABLE t(a); PRAGMA user_version=5");
	app_stop(&app);
	assert_int_equal(db_open(&db, folder.fd, "m", DB_READER, NULL), 0);
	assert_int_equal(db_exec(&db, "PRAGMA mmap_size=1000000"), SQLITE_OK);
	assert_int_equal(query(&db, "PRAGMA mmap_size"), 0);
	assert_int_equal(query(&db, "PRAGMA user_version"), 5);
	db_close(&db);
}

/* Opening needs neither a lock nor a database that makes sense, and leaves no sidecar. */
static void test_open_touches_nothing(void **state)
{
	static const enum db_kind kinds[] = {DB_READER, DB_CLOSER};
	struct db db = DB_INIT;
	struct app app;
	int fd;

	(void)state;
	fd = openat(folder.fd, "garbage", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_int_equal(write(fd,
			       "this is no database, but it has more than a hundred bytes .................. "
			       "........................................",
			       117),
			 117);
	close(fd);
	app_start(&app, &folder, "locked");
	app_do(&app, "PRAGMA locking_mode=EXCLUSIVE; " APP_WAL);
	for (size_t k = 0; k < 2; k++) {
		assert_int_equal(db_open(&db, folder.fd, "locked", kinds[k], NULL), 0);
		assert_int_equal(db_errno(&db, db_exec(&db, "PRAGMA user_version")), -EBUSY);
		db_close(&db);
		assert_int_equal(db_open(&db, folder.fd, "garbage", kinds[k], NULL), 0);
		assert_int_equal(db_exec(&db, "PRAGMA user_version"), SQLITE_NOTADB);
		assert_int_equal(db_errno(&db, SQLITE_NOTADB), -EIO);
		assert_true(strlen(db_text(&db)) > 0);
		db_close(&db);
	}
	app_stop(&app);
	app_start(&app, &folder, "wal");
	app_do(&app, APP_WAL);
	app_stop(&app);
	assert_false(file_exists(&folder, "wal-wal"));
	assert_int_equal(db_open(&db, folder.fd, "wal", DB_READER, NULL), 0);
	assert_false(file_exists(&folder, "wal-wal"));
	assert_false(file_exists(&folder, "wal-shm"));
	db_close(&db);
}

static void test_errno(void **state)
{
	static const struct {
		int rc;
		int error;
	} cases[] = {
		{SQLITE_OK, 0},
		{SQLITE_ROW, 0},
		{SQLITE_DONE, 0},
		{SQLITE_BUSY, -EBUSY},
		{SQLITE_BUSY_RECOVERY, -EBUSY},
		{SQLITE_BUSY_SNAPSHOT, -EBUSY},
		{SQLITE_LOCKED, -EBUSY},
		{SQLITE_NOMEM, -ENOMEM},
		{SQLITE_IOERR_NOMEM, -ENOMEM},
		{SQLITE_FULL, -ENOSPC},
		{SQLITE_CANTOPEN, -EACCES},
		{SQLITE_PERM, -EACCES},
		{SQLITE_AUTH, -EACCES},
		{SQLITE_READONLY, -EROFS},
		{SQLITE_READONLY_DIRECTORY, -EROFS},
		{SQLITE_IOERR_READ, -EIO},
		{SQLITE_CORRUPT, -EIO},
		{SQLITE_NOTADB, -EIO},
		{SQLITE_PROTOCOL, -EIO},
		{SQLITE_ERROR, -EIO},
	};
	struct db db = DB_INIT;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(db_errno(&db, cases[i].rc), cases[i].error);
	assert_non_null(db_text(&db));
}

/* SQLite's own words would be that it is "unable to open database file". */
static void test_name_too_long(void **state)
{
	char name[253];
	struct db db = DB_INIT;
	struct app app;

	(void)state;
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	app_start(&app, &folder, "n");
	app_do(&app, APP_WAL);
	app_stop(&app);
	assert_int_equal(renameat(folder.fd, "n", folder.fd, name), 0);
	assert_int_equal(db_open(&db, folder.fd, name, DB_READER, NULL), 0);
	assert_int_equal(db_errno(&db, db_exec(&db, "PRAGMA user_version")), -ENAMETOOLONG);
	assert_string_equal(db_text(&db), DB_NAME_TOO_LONG);
	db_close(&db);
}

/* Nor would they say here what there is to do. */
static void test_linked(void **state)
{
	static const char *const suffixes[] = {"-wal", "-shm"};

	(void)state;
	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		char name[16], sidecar[32];
		struct db db = DB_INIT;
		struct app app;

		snprintf(name, sizeof(name), "linked%zu", i);
		snprintf(sidecar, sizeof(sidecar), "%s%s", name, suffixes[i]);
		app_start(&app, &folder, name);
		app_do(&app, APP_WAL);
		assert_int_equal(linkat(folder.fd, sidecar, folder.fd, "another", 0), 0);
		assert_int_equal(db_open(&db, folder.fd, name, DB_RESTORER, NULL), 0);
		assert_int_equal(db_errno(&db, db_exec(&db, "PRAGMA user_version")), -EMLINK);
		assert_string_equal(db_text(&db), DB_LINKED);
		db_close(&db);
		assert_int_equal(unlinkat(folder.fd, "another", 0), 0);
		app_stop(&app);
	}
}

/* As root, opening moves no ctime: SQLite alone would give a -wal to its owner anew each time. */
static void test_ctime_stays(void **state)
{
	struct stat before, after;
	struct db db = DB_INIT;
	struct app app;

	(void)state;
	app_start(&app, &folder, "c");
	app_do(&app, APP_WAL);
	/* The clock that file times are taken from must have moved on. */
	assert_int_equal(fstatat(folder.fd, "c-wal", &before, 0), 0);
	do {
		char path[PATH_MAX];

		close(open(folder_file(&folder, "tick", path), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC,
			   0600));
		assert_int_equal(utimensat(folder.fd, "tick", NULL, 0), 0);
		assert_int_equal(fstatat(folder.fd, "tick", &after, 0), 0);
	} while (after.st_ctim.tv_sec == before.st_ctim.tv_sec &&
		 after.st_ctim.tv_nsec == before.st_ctim.tv_nsec);
	assert_int_equal(db_open(&db, folder.fd, "c", DB_READER, NULL), 0);
	assert_int_equal(db_exec(&db, "PRAGMA user_version"), SQLITE_OK);
	db_close(&db);
	assert_int_equal(fstatat(folder.fd, "c-wal", &after, 0), 0);
	assert_int_equal(after.st_ctim.tv_sec, before.st_ctim.tv_sec);
	assert_int_equal(after.st_ctim.tv_nsec, before.st_ctim.tv_nsec);
	app_stop(&app);
}

static void read_once(enum db_kind kind)
{
	struct db db = DB_INIT;

	assert_int_equal(db_open(&db, folder.fd, "x", kind, NULL), 0);
	assert_int_equal(db_exec(&db, "PRAGMA user_version"), SQLITE_OK);
	db_close(&db);
}

/* The sidecars that our presence left behind, when the application is gone. */
static void leave_sidecars(const char *sql)
{
	struct db db = DB_INIT;
	struct app app;

	app_start(&app, &folder, "x");
	app_do(&app, APP_WAL);
	assert_int_equal(db_open(&db, folder.fd, "x", DB_READER, NULL), 0);
	assert_int_equal(db_exec(&db, "PRAGMA user_version"), SQLITE_OK);
	app_do(&app, sql);
	app_stop(&app);
	db_close(&db);
}

static void test_closer_last(void **state)
{
	struct file_look before;
	struct app app;

	(void)state;
	leave_sidecars(APP_ROWS(20));
	assert_true(file_look(&folder, "x-wal").size > 32);
	assert_true(file_exists(&folder, "x-shm"));
	before = file_look(&folder, "x");
	read_once(DB_READER);
	assert_same_file(before, file_look(&folder, "x"));
	assert_true(file_exists(&folder, "x-wal"));
	read_once(DB_CLOSER);
	assert_false(file_exists(&folder, "x-wal"));
	assert_false(file_exists(&folder, "x-shm"));
	assert_true(file_look(&folder, "x").sum != before.sum);
	app_start(&app, &folder, "x");
	assert_int_equal(app_get(&app, "SELECT count(*) FROM t"), 20);
	app_do(&app, "DROP TABLE t");
	app_stop(&app);
}

static void test_closer_beside_others(void **state)
{
	struct file_look db, wal;
	struct app app;

	(void)state;
	app_start(&app, &folder, "x");
	app_do(&app, APP_WAL);
	app_do(&app, APP_ROWS(20));
	db = file_look(&folder, "x");
	wal = file_look(&folder, "x-wal");
	read_once(DB_CLOSER);
	assert_same_file(db, file_look(&folder, "x"));
	assert_same_file(wal, file_look(&folder, "x-wal"));
	assert_true(file_exists(&folder, "x-shm"));
	/* It left no lock either. */
	app_do(&app, APP_ROWS(20));
	assert_int_equal(app_get(&app, "PRAGMA wal_checkpoint(TRUNCATE)"), 0);
	app_do(&app, "DROP TABLE t");
	app_stop(&app);
}

static int64_t rows(struct db *db)
{
	assert_int_equal(db_open(db, folder.fd, "w", DB_READER, NULL), 0);
	return db_exec(db, "SELECT count(*) FROM t");
}

/* Whether somebody else has the wal-index open is learned on the way, by the first connection to it. */
static void test_meets_others(void **state)
{
	struct db first = DB_INIT, second = DB_INIT;
	struct app app;

	(void)state;
	app_start(&app, &folder, "w");
	app_do(&app, APP_WAL);
	app_do(&app, APP_ROWS(20));
	assert_int_equal(db_open(&first, folder.fd, "w", DB_READER, NULL), 0);
	assert_int_equal(vfs_met_others(first.vfs), -1); /* it is not open yet */
	assert_int_equal(db_exec(&first, "PRAGMA user_version"), SQLITE_OK);
	assert_int_equal(vfs_met_others(first.vfs), 1);
	assert_int_equal(rows(&second), SQLITE_OK);
	assert_int_equal(vfs_met_others(second.vfs), -1);
	db_close(&second);
	app_stop(&app);
	assert_int_equal(vfs_met_others(first.vfs), 1); /* as of then */
	db_close(&first);
	assert_int_equal(rows(&first), SQLITE_OK); /* what the application has left: nobody has it */
	assert_int_equal(vfs_met_others(first.vfs), 0);
	db_close(&first);
}

/* It folds a WAL in; it does not write. */
static void test_closer_cannot_write(void **state)
{
	static const char *const writes[] = {"CREATE TABLE u(a)", "PRAGMA user_version=9", "BEGIN IMMEDIATE",
					     "PRAGMA journal_mode=WAL", "VACUUM"};
	struct db db = DB_INIT;
	struct file_look before;
	struct app app;

	(void)state;
	app_start(&app, &folder, "r");
	app_do(&app, "CREATE TABLE t(a)");
	app_stop(&app);
	before = file_look(&folder, "r");
	for (size_t i = 0; i < sizeof(writes) / sizeof(writes[0]); i++) {
		assert_int_equal(db_open(&db, folder.fd, "r", DB_CLOSER, NULL), 0);
		assert_int_not_equal(db_exec(&db, writes[i]), SQLITE_OK);
		db_close(&db);
	}
	assert_same_file(before, file_look(&folder, "r"));
	assert_false(file_exists(&folder, "r-journal"));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_refused_names),
		cmocka_unit_test(test_hardened),
		cmocka_unit_test(test_no_mapping),
		cmocka_unit_test(test_open_touches_nothing),
		cmocka_unit_test(test_errno),
		cmocka_unit_test(test_name_too_long),
		cmocka_unit_test(test_linked),
		cmocka_unit_test(test_ctime_stays),
		cmocka_unit_test(test_closer_last),
		cmocka_unit_test(test_closer_beside_others),
		cmocka_unit_test(test_meets_others),
		cmocka_unit_test(test_closer_cannot_write),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
