/* SPDX-License-Identifier: MIT */
/*
 * test_vfs.c - the shim under real connections, with an application in another process: what it holds,
 * refuses and answers to SQLite.
 */
#include "reader.h"

#include "../../src/shmguard.h"

/* ---- slots --------------------------------------------------------------------------------------------- */

static void test_never_slot_0(void **state)
{
	static const char *const before[] = {
		"SELECT 1",
		"PRAGMA wal_checkpoint(PASSIVE)",  /* frames there, all of them copied */
		"PRAGMA wal_checkpoint(TRUNCATE)", /* empty */
		APP_ROWS(3),
		"PRAGMA wal_checkpoint(PASSIVE)",
	};
	struct fixture *f = *state;

	app_do(&f->app, APP_WAL);
	for (size_t i = 0; i < sizeof(before) / sizeof(before[0]); i++) {
		app_do(&f->app, before[i]);
		open_reader(f);
		assert_int_equal(vfs_read_slot(f->db.vfs), -1);
		assert_false(vfs_wal_is_open(f->db.vfs));
		for (int again = 0; again < 2; again++) {
			assert_int_equal(begin(&f->db), SQLITE_OK);
			assert_between(vfs_read_slot(f->db.vfs), 1, 4);
			assert_true(vfs_wal_is_open(f->db.vfs));
			assert_false(vfs_shm_unreliable(f->db.vfs));
			assert_int_equal(db_exec(&f->db, "ROLLBACK"), SQLITE_OK);
			assert_int_equal(vfs_read_slot(f->db.vfs), -1);
		}
		db_close(&f->db);
	}
}

/* A sidecar of several names may be anybody's: nothing is done to it. */
static void test_linked_sidecars_are_refused(void **state)
{
	static const char *const suffixes[] = {"-wal", "-shm"};
	struct fixture *f = *state;

	app_do(&f->app, APP_WAL);
	app_do(&f->app, APP_ROWS(3));
	for (size_t i = 0; i < 2; i++) {
		char name[32];

		snprintf(name, sizeof(name), "%s%s", NAME, suffixes[i]);
		assert_int_equal(linkat(f->folder.fd, name, f->folder.fd, "other", 0), 0);
		open_reader(f);
		assert_int_equal(begin(&f->db) & 0xff, SQLITE_CANTOPEN);
		assert_int_equal(db_errno(&f->db, SQLITE_CANTOPEN), -EMLINK);
		db_close(&f->db);
		assert_int_equal(unlinkat(f->folder.fd, "other", 0), 0);
		open_reader(f);
		assert_int_equal(begin(&f->db), SQLITE_OK);
		db_close(&f->db);
	}
}

/* What is open is known, whatever its name leads to. */
static void test_opened_inode(void **state)
{
	struct fixture *f = *state;
	struct db db = DB_INIT;
	struct stat st;

	app_do(&f->app, APP_WAL);
	assert_int_equal(fstatat(f->folder.fd, NAME, &st, 0), 0);
	assert_int_equal(db_open_inode(&db, f->folder.fd, NAME, st.st_dev, st.st_ino, DB_READER, NULL), 0);
	db_close(&db);
	assert_int_equal(db_open_inode(&db, f->folder.fd, NAME, st.st_dev, st.st_ino + 1, DB_READER, NULL),
			 -ESTALE);
	assert_null(db.handle);
}

/* The application's own last close is not what these hold. */
static void test_holds_the_wal(void **state)
{
	struct fixture *f = *state;

	begin_reader(f, APP_ROWS(10));
	assert_int_equal(app_get(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)"), 1);
	assert_int_equal(db_exec(&f->db, "ROLLBACK"), SQLITE_OK);
	assert_int_equal(app_get(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)"), 0);
	assert_int_equal(file_look(&f->folder, NAME "-wal").size, 0);
}

static void test_watch(void **state)
{
	struct fixture *f = *state;

	begin_reader(f, APP_ROWS(10));
	vfs_watch(f->db.vfs);
	assert_false(vfs_lost(f->db.vfs));
	assert_int_equal(db_exec(&f->db, "SELECT count(*) FROM t"), SQLITE_OK);
	assert_false(vfs_lost(f->db.vfs));
	vfs_unwatch(f->db.vfs);
	assert_int_equal(db_exec(&f->db, "ROLLBACK"), SQLITE_OK);
	assert_false(vfs_lost(f->db.vfs));
	/* Nothing is held: a watch over nothing is lost from the start. */
	vfs_watch(f->db.vfs);
	assert_true(vfs_lost(f->db.vfs));
	vfs_unwatch(f->db.vfs);
	assert_false(vfs_lost(f->db.vfs));
}

static void test_lost_by_an_error(void **state)
{
	struct fixture *f = *state;
	bool fail = false;

	begin_reader(f, APP_ROWS(100));
	vfs_set_fault(f->db.vfs, fail_reads, &fail);
	vfs_watch(f->db.vfs);
	fail = true;
	assert_int_equal(db_exec(&f->db, "SELECT sum(length(b)) FROM t"), SQLITE_IOERR_READ);
	fail = false;
	assert_true(vfs_lost(f->db.vfs));
	assert_int_equal(vfs_read_slot(f->db.vfs), -1);
	vfs_unwatch(f->db.vfs);
	assert_false(vfs_lost(f->db.vfs));
}

/* ---- what is refused ----------------------------------------------------------------------------------- */

static void test_reader_refuses(void **state)
{
	static const char *const writes[] = {
		"INSERT INTO t(b) VALUES(1)",
		"PRAGMA journal_mode=DELETE",
		"PRAGMA user_version=3",
		"PRAGMA wal_checkpoint(PASSIVE)",
		"PRAGMA wal_checkpoint(TRUNCATE)",
		"VACUUM",
		"PRAGMA locking_mode=EXCLUSIVE; SELECT * FROM t",
	};
	struct fixture *f = *state;
	struct file_look db, wal;
	sqlite3 *handle;
	struct vfs *vfs;
	char path[PATH_MAX];

	app_do(&f->app, APP_WAL);
	app_do(&f->app, APP_ROWS(10));
	db = file_look(&f->folder, NAME);
	wal = file_look(&f->folder, NAME "-wal");
	/* As badly as can be: a read-write connection that may checkpoint when it closes. */
	for (size_t i = 0; i < sizeof(writes) / sizeof(writes[0]); i++) {
		assert_int_equal(vfs_create(&vfs, VFS_READER), 0);
		assert_int_equal(sqlite3_open_v2(folder_file(&f->folder, NAME, path), &handle,
						 SQLITE_OPEN_READWRITE, vfs_name(vfs)),
				 SQLITE_OK);
		sqlite3_exec(handle, writes[i], NULL, NULL, NULL);
		assert_int_equal(sqlite3_close(handle), SQLITE_OK);
		vfs_destroy(vfs);
		assert_same_file(db, file_look(&f->folder, NAME));
		assert_same_file(wal, file_look(&f->folder, NAME "-wal"));
	}
	/* The same with the application gone: a last close of ours. */
	app_kill(&f->app);
	f->app.pid = 0;
	assert_int_equal(vfs_create(&vfs, VFS_READER), 0);
	assert_int_equal(sqlite3_open_v2(path, &handle, SQLITE_OPEN_READWRITE, vfs_name(vfs)), SQLITE_OK);
	assert_int_equal(sqlite3_exec(handle, "SELECT * FROM t", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(handle), SQLITE_OK);
	vfs_destroy(vfs);
	assert_same_file(db, file_look(&f->folder, NAME));
	assert_same_file(wal, file_look(&f->folder, NAME "-wal"));
	assert_true(file_exists(&f->folder, NAME "-shm"));
}

static void test_files_refuse(void **state)
{
	static const enum db_kind kinds[] = {DB_READER, DB_CLOSER};
	static const int ops[] = {SQLITE_FCNTL_FILE_POINTER, SQLITE_FCNTL_JOURNAL_POINTER};
	struct fixture *f = *state;
	struct file_look db, wal;

	app_do(&f->app, APP_WAL);
	app_do(&f->app, APP_ROWS(10));
	db = file_look(&f->folder, NAME);
	wal = file_look(&f->folder, NAME "-wal");
	for (size_t k = 0; k < 2; k++) {
		sqlite3_vfs *vfs;
		sqlite3_int64 hint = 1 << 20;
		int level = -1;

		assert_int_equal(db_open(&f->db, f->folder.fd, NAME, kinds[k], NULL), 0);
		assert_int_equal(begin(&f->db), SQLITE_OK);
		for (size_t i = 0; i < 2; i++) {
			sqlite3_file *file = raw_file(&f->db, ops[i]);

			assert_int_equal(file->pMethods->xWrite(file, "x", 1, 0), SQLITE_READONLY);
			assert_int_equal(file->pMethods->xTruncate(file, 0), SQLITE_READONLY);
			assert_int_equal(
				file->pMethods->xFileControl(file, SQLITE_FCNTL_CHUNK_SIZE, &(int){65536}),
				SQLITE_NOTFOUND);
			assert_int_equal(file->pMethods->xFileControl(file, SQLITE_FCNTL_SIZE_HINT, &hint),
					 SQLITE_NOTFOUND);
		}
		sqlite3_file *file = raw_file(&f->db, SQLITE_FCNTL_FILE_POINTER);

		assert_int_equal(file->pMethods->xLock(file, SQLITE_LOCK_RESERVED), SQLITE_BUSY);
		assert_int_equal(file->pMethods->xLock(file, SQLITE_LOCK_EXCLUSIVE), SQLITE_BUSY);
		/* The refused EXCLUSIVE leaves no PENDING behind, not even until the close. */
		assert_int_equal(file->pMethods->xFileControl(file, SQLITE_FCNTL_LOCKSTATE, &level),
				 SQLITE_OK);
		assert_int_equal(level, SQLITE_LOCK_SHARED);
		assert_int_equal(file->pMethods->xWrite(file, "x", 1, 0), SQLITE_READONLY);
		assert_int_equal(sqlite3_file_control(f->db.handle, "main", SQLITE_FCNTL_VFS_POINTER, &vfs),
				 SQLITE_OK);
		assert_string_equal(vfs->zName, vfs_name(f->db.vfs));
		for (size_t i = 0; i < 4; i++) {
			static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};
			char path[PATH_MAX], name[32];

			snprintf(name, sizeof(name), NAME "%s", suffixes[i]);
			assert_int_equal(vfs->xDelete(vfs, folder_file(&f->folder, name, path), 0),
					 SQLITE_IOERR_DELETE);
		}
		db_close(&f->db);
	}
	assert_same_file(db, file_look(&f->folder, NAME));
	assert_same_file(wal, file_look(&f->folder, NAME "-wal"));
	assert_true(file_exists(&f->folder, NAME "-shm"));
	assert_int_equal(app_get(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)"), 0);
}

/* SQLite deletes the -wal of an empty database when it merely looks at it. */
static void test_stale_wal_stays(void **state)
{
	struct fixture *f = *state;
	struct file_look wal = put_empty_beside_wal(f);

	assert_int_equal(db_open(&f->db, f->folder.fd, "e", DB_READER, NULL), 0);
	assert_int_equal(begin(&f->db), SQLITE_IOERR_DELETE);
	db_close(&f->db);
	assert_same_file(wal, file_look(&f->folder, "e-wal"));
	assert_int_equal(file_look(&f->folder, "e").size, 0);
}

static void test_full_pathname(void **state)
{
	struct fixture *f = *state;
	sqlite3_vfs *vfs;
	char out[512], longer[600];

	open_reader(f);
	assert_int_equal(sqlite3_file_control(f->db.handle, "main", SQLITE_FCNTL_VFS_POINTER, &vfs),
			 SQLITE_OK);
	assert_int_equal(vfs->xFullPathname(vfs, "/proc/self/fd/9/../x", sizeof(out), out), SQLITE_OK);
	assert_string_equal(out, "/proc/self/fd/9/../x");
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(vfs->xFullPathname(vfs, longer, sizeof(out), out), SQLITE_CANTOPEN);
	assert_null(vfs->xDlOpen(vfs, "libm.so"));
}

static void test_names_are_unique(void **state)
{
	struct vfs *vfs[50];

	(void)state;
	for (size_t i = 0; i < 50; i++) {
		assert_int_equal(vfs_create(&vfs[i], VFS_READER), 0);
		assert_non_null(sqlite3_vfs_find(vfs_name(vfs[i])));
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(vfs_name(vfs[i]), vfs_name(vfs[j]));
	}
	for (size_t i = 0; i < 50; i++)
		vfs_destroy(vfs[i]);
	assert_string_equal(sqlite3_vfs_find(NULL)->zName, "unix");
	vfs_destroy(NULL);
}

/* SQLite's own pauses end at the deadline, before it and after. */
static void test_deadline(void **state)
{
	struct fixture *f = *state;
	sqlite3_vfs *vfs;
	int64_t began;

	open_reader(f);
	assert_int_equal(sqlite3_file_control(f->db.handle, "main", SQLITE_FCNTL_VFS_POINTER, &vfs),
			 SQLITE_OK);
	began = monotonic_ns();
	vfs_set_deadline(f->db.vfs, began + 20 * NS_PER_MS);
	for (int i = 0; i < 100; i++)
		vfs->xSleep(vfs, 1000000);
	assert_true(monotonic_ns() - began >= 19 * NS_PER_MS);
	assert_true(monotonic_ns() - began < 50 * NS_PER_S); /* of 100 */
	vfs_set_deadline(f->db.vfs, INT64_MAX);
	began = monotonic_ns();
	vfs->xSleep(vfs, 1000);
	assert_true(monotonic_ns() - began >= NS_PER_MS);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(test_never_slot_0),
		test(test_holds_the_wal),
		test(test_watch),
		test(test_lost_by_an_error),
		test(test_reader_refuses),
		test(test_files_refuse),
		test(test_stale_wal_stays),
		test(test_full_pathname),
		test(test_names_are_unique),
		test(test_deadline),
		test(test_linked_sidecars_are_refused),
		test(test_opened_inode),
	};

	if (shmguard_install() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
