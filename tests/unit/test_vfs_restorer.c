/* SPDX-License-Identifier: MIT */
/* The shim below the connection that writes, and below the one that reads a file of the store. */
#include "reader.h"

#include <errno.h>

#include "../../src/vfs_private.h"

#define LOCK_CKPT 1
#define LOCK_READ0 3
#define EXCLUSIVE (SQLITE_SHM_LOCK | SQLITE_SHM_EXCLUSIVE)
#define UNLOCK (SQLITE_SHM_UNLOCK | SQLITE_SHM_EXCLUSIVE)
#define COUNT_T "SELECT count(*) FROM t"

static void open_restorer(struct fixture *f)
{
	assert_int_equal(db_open(&f->db, f->folder.fd, NAME, DB_RESTORER, NULL), 0);
	assert_int_equal(db_exec(&f->db, "PRAGMA user_version"), SQLITE_OK);
}

static sqlite3_file *db_file(struct fixture *f)
{
	return raw_file(&f->db, SQLITE_FCNTL_FILE_POINTER);
}

static int64_t bytes_of(struct fixture *f, const char *name)
{
	struct stat st;

	return fstatat(f->folder.fd, name, &st, AT_SYMLINK_NOFOLLOW) ? -1 : (int64_t)st.st_size;
}

/* ---- the guard of checkpoints -------------------------------------------------------------------------- */

/* The WAL starts over with the next commit. */
static void copy_all(struct fixture *f)
{
	app_do(&f->app, "PRAGMA wal_checkpoint(PASSIVE)");
}

static void test_guard(void **state)
{
	struct fixture *f = *state;
	sqlite3_file *file;

	app_do(&f->app, APP_WAL);
	app_do(&f->app, APP_ROWS(50));
	open_restorer(f);
	file = db_file(f);
	copy_all(f);
	/* Without a commit in between it goes on; and with one that does not start the WAL over. */
	assert_int_equal(file->pMethods->xShmLock(file, LOCK_CKPT, 1, EXCLUSIVE), SQLITE_OK);
	assert_int_equal(file->pMethods->xShmLock(file, LOCK_READ0, 1, EXCLUSIVE), SQLITE_OK);
	assert_int_equal(file->pMethods->xShmLock(file, LOCK_READ0, 1, UNLOCK), SQLITE_OK);
	app_do(&f->app, "INSERT INTO t(b) VALUES(1)");
	assert_int_equal(file->pMethods->xShmLock(file, LOCK_READ0, 1, EXCLUSIVE), SQLITE_BUSY);
	assert_int_equal(file->pMethods->xShmLock(file, LOCK_CKPT, 1, UNLOCK), SQLITE_OK);
	/* Nothing is left locked. */
	assert_int_equal(app_get(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)"), 0);
	/* The next one begins anew. */
	assert_int_equal(file->pMethods->xShmLock(file, LOCK_CKPT, 1, EXCLUSIVE), SQLITE_OK);
	app_do(&f->app, "INSERT INTO t(b) VALUES(1); INSERT INTO t(b) VALUES(1)");
	assert_int_equal(file->pMethods->xShmLock(file, LOCK_READ0, 1, EXCLUSIVE), SQLITE_OK);
	assert_int_equal(file->pMethods->xShmLock(file, LOCK_READ0, 1, UNLOCK), SQLITE_OK);
	assert_int_equal(file->pMethods->xShmLock(file, LOCK_CKPT, 1, UNLOCK), SQLITE_OK);
}

/* SQLite calls xUnfetch between reading the header and copying by it, when the header has changed: the one
 * moment in which the bug can happen. */
static struct {
	struct app *app;
	sqlite3_io_methods methods;
	int calls;
} meanwhile;

static int commit_meanwhile(sqlite3_file *file, sqlite3_int64 offset, void *page)
{
	(void)file;
	(void)offset;
	(void)page;
	if (meanwhile.calls++ == 0)
		app_do(meanwhile.app, "INSERT INTO t(b) VALUES(randomblob(3000))");
	return SQLITE_OK;
}

static void test_wal_reset_bug(void **state)
{
	struct fixture *f = *state;
	struct wal_header header;
	sqlite3_file *file;
	uint32_t copied;
	int64_t rows;

	app_do(&f->app, APP_WAL);
	open_restorer(f);
	app_do(&f->app, APP_ROWS(300));
	copy_all(f);
	file = db_file(f);
	meanwhile.app = &f->app;
	meanwhile.calls = 0;
	meanwhile.methods = *file->pMethods;
	meanwhile.methods.xUnfetch = commit_meanwhile;
	file->pMethods = &meanwhile.methods;
	sqlite3_wal_checkpoint_v2(f->db.handle, "main", SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
	assert_true(meanwhile.calls > 0);
	assert_int_equal(vfs_wal_header(f->db.vfs, &header), 0);
	assert_int_equal(vfs_wal_backfill(f->db.vfs, &copied), 0);
	assert_true(copied <= header.max_frame);
	for (int i = 0; i < 60; i++)
		app_do(&f->app, "INSERT INTO t(b) VALUES(randomblob(3000))");
	rows = app_get(&f->app, COUNT_T);
	assert_int_equal(rows, 361);
	db_close(&f->db);
	assert_int_equal(app_get(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)"), 0);
	app_do(&f->app, "PRAGMA shrink_memory");
	assert_int_equal(app_get(&f->app, COUNT_T), 361);
	assert_int_equal(
		app_get(&f->app, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check='ok'"),
		1);
}

/* ---- the write lock ------------------------------------------------------------------------------------ */

struct seen {
	struct fixture *f;
	int granted, given_up;
	uint32_t frames_at_grant, frames_at_end;
	bool held_at_end;
	int app_at_end; /* what an application is answered that wants the lock */
};

static void on_write(void *arg, bool held)
{
	struct seen *seen = arg;
	struct wal_header header = {.max_frame = 0};

	vfs_wal_header(seen->f->db.vfs, &header);
	if (held) {
		seen->granted++;
		seen->frames_at_grant = header.max_frame;
		return;
	}
	seen->given_up++;
	seen->frames_at_end = header.max_frame;
	seen->held_at_end = vfs_write_is_held(seen->f->db.vfs);
	seen->app_at_end = app_ask(&seen->f->app, "BEGIN EXCLUSIVE").rc;
}

static void test_tells_of_the_lock(void **state)
{
	struct fixture *f = *state;
	const char *const modes[] = {"DELETE", "WAL"};

	app_do(&f->app, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
	for (int wal = 0; wal < 2; wal++) {
		struct seen seen = {.f = f};
		char sql[64];

		snprintf(sql, sizeof(sql), "PRAGMA journal_mode=%s", modes[wal]);
		app_do(&f->app, sql);
		open_restorer(f);
		vfs_set_write_watch(f->db.vfs, on_write, &seen);
		assert_false(vfs_write_is_held(f->db.vfs));
		assert_int_equal(db_exec(&f->db, "BEGIN EXCLUSIVE"), SQLITE_OK);
		assert_int_equal(seen.granted, 1);
		assert_true(vfs_write_is_held(f->db.vfs));
		assert_int_equal(db_exec(&f->db, "INSERT INTO t(b) VALUES(1)"), SQLITE_OK);
		assert_int_equal(seen.given_up, 0);
		assert_int_equal(db_exec(&f->db, "COMMIT"), SQLITE_OK);
		assert_int_equal(seen.given_up, 1);
		assert_true(seen.held_at_end);
		assert_int_equal(seen.app_at_end, SQLITE_BUSY);
		assert_false(vfs_write_is_held(f->db.vfs));
		if (wal)
			assert_true(seen.frames_at_end > seen.frames_at_grant);
		db_close(&f->db);
	}
}

/* ---- the end of the WAL -------------------------------------------------------------------------------- */

static void test_cut_wal(void **state)
{
	struct fixture *f = *state;

	app_do(&f->app, APP_WAL);
	open_restorer(f);
	for (int empty = 0; empty < 2; empty++) {
		int64_t before;

		app_do(&f->app, "INSERT INTO t(b) VALUES(1)");
		if (empty)
			assert_int_equal(app_get(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)"), 0);
		before = bytes_of(f, NAME "-wal");
		assert_int_equal(vfs_cut_wal(f->db.vfs), -EBUSY);
		db_exec(&f->db, "PRAGMA cache_size=10");
		assert_int_equal(db_exec(&f->db, "BEGIN IMMEDIATE;" APP_ROWS(2000)), SQLITE_OK);
		assert_true(bytes_of(f, NAME "-wal") > before + 100000);
		assert_int_equal(vfs_cut_wal(f->db.vfs), 0);
		assert_int_equal(bytes_of(f, NAME "-wal"), before);
		assert_int_equal(vfs_cut_wal(f->db.vfs), 0);
		assert_int_equal(db_exec(&f->db, "ROLLBACK"), SQLITE_OK);
		app_do(&f->app, "INSERT INTO t(b) VALUES(1)");
	}
	assert_int_equal(app_get(&f->app, COUNT_T), 4);
	assert_int_equal(
		app_get(&f->app, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check='ok'"),
		1);
	assert_int_equal(vfs_sync_wal(f->db.vfs), 0);
}

/* ---- files of the store -------------------------------------------------------------------------------- */

static void test_staged(void **state)
{
	struct fixture *f = *state;
	unsigned char page[100], part[4];
	sqlite3_file *file;
	struct stat st;

	app_do(&f->app, APP_WAL);
	app_do(&f->app, APP_ROWS(50));
	app_stop(&f->app);
	f->app.pid = 0;
	assert_int_equal(db_open(&f->db, f->folder.fd, NAME, DB_STAGED, NULL), 0);
	vfs_set_journal_version(f->db.vfs, 1);
	assert_int_equal(db_exec(&f->db, COUNT_T), SQLITE_OK);
	assert_false(vfs_wal_is_open(f->db.vfs));
	assert_int_not_equal(db_exec(&f->db, "INSERT INTO t(b) VALUES(1)"), SQLITE_OK);
	assert_int_equal(fstatat(f->folder.fd, NAME "-wal", &st, 0), -1);
	assert_int_equal(fstatat(f->folder.fd, NAME "-shm", &st, 0), -1);
	file = db_file(f);
	assert_int_equal(file->pMethods->xRead(file, page, 100, 0), SQLITE_OK);
	assert_int_equal(page[18], 1);
	assert_int_equal(page[19], 1);
	assert_int_equal(page[17], 0);
	for (int at = 15; at < 21; at++) {
		assert_int_equal(file->pMethods->xRead(file, part, sizeof(part), at), SQLITE_OK);
		assert_memory_equal(part, page + at, sizeof(part));
	}
	vfs_set_journal_version(f->db.vfs, 0);
	assert_int_equal(file->pMethods->xRead(file, page, 100, 0), SQLITE_OK);
	assert_int_equal(page[18], 2);
	assert_int_equal(page[19], 2);
}

/* ---- the journal that ends a transaction --------------------------------------------------------------- */

static int synced_folder = -1;

static int note_delete(sqlite3_vfs *vfs, const char *path, int sync)
{
	(void)vfs;
	(void)path;
	synced_folder = sync;
	return SQLITE_OK;
}

/* Whatever SQLite thinks of it: it cannot be told by a PRAGMA while the schema cannot be read, and an
 * application that holds the lock, or damage, is when a restore comes. */
static void test_journal_goes_for_good(void **state)
{
	struct fixture *f = *state;
	sqlite3_vfs *real, noting;
	struct vfs *vfs;
	char journal[PATH_MAX];

	app_do(&f->app, "CREATE TABLE j(x)");
	open_restorer(f);
	vfs = f->db.vfs;
	real = vfs->real;
	noting = *real;
	noting.xDelete = note_delete;
	vfs->real = &noting;
	snprintf(journal, sizeof(journal), "%s-journal", vfs->path);
	assert_int_equal(vfs->base.xDelete(&vfs->base, journal, 0), SQLITE_OK);
	assert_int_equal(synced_folder, 1);
	/* What it is told to delete besides is somebody else's. */
	synced_folder = -1;
	assert_int_equal(vfs->base.xDelete(&vfs->base, "/no/db-journal", 0), SQLITE_OK);
	assert_int_equal(vfs->base.xDelete(&vfs->base, "/no/db-wal", 0), SQLITE_OK);
	assert_int_equal(synced_folder, -1);
	vfs->real = real;
}

/* ---- the end of a transaction -------------------------------------------------------------------------- */

static bool blind;

int __real_lstat64(const char *path, struct stat64 *st);
int __wrap_lstat64(const char *path, struct stat64 *st);

int __wrap_lstat64(const char *path, struct stat64 *st)
{
	errno = EIO;
	return blind ? -1 : __real_lstat64(path, st);
}

/* A journal that stays is rolled back by whoever comes next: nothing is committed then. */
static void test_journal_that_cannot_be_looked_at(void **state)
{
	struct fixture *f = *state;

	app_do(&f->app, "PRAGMA journal_mode=DELETE; CREATE TABLE t(a INTEGER PRIMARY KEY, b);" APP_ROWS(3));
	open_restorer(f);
	assert_int_equal(db_exec(&f->db, "BEGIN; DELETE FROM t"), SQLITE_OK);
	blind = true;
	assert_int_not_equal(db_exec(&f->db, "COMMIT"), SQLITE_OK);
	blind = false;
	db_close(&f->db);
	assert_int_equal(app_get(&f->app, COUNT_T), 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(test_guard),
		test(test_wal_reset_bug),
		test(test_tells_of_the_lock),
		test(test_cut_wal),
		test(test_staged),
		test(test_journal_goes_for_good),
		test(test_journal_that_cannot_be_looked_at),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
