/* SPDX-License-Identifier: MIT */
/* test_pin.c - pins beside an application in another process, in every state that a database can be in. */
#include "../../src/pin.h"

#include <errno.h>
#include <grp.h>

#include "../../src/clock.h"
#include "app.h"

#define NAME "db"

struct fixture {
	struct folder folder;
	struct app app;
	struct db db;
	struct snap_err err;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	folder_make(&f->folder);
	app_start(&f->app, &f->folder, NAME);
	app_do(&f->app, "SELECT 1"); /* it has made the file */
	f->db = DB_INIT;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	db_close(&f->db);
	if (f->app.pid)
		app_stop(&f->app);
	folder_remove(&f->folder);
	free(f);
	return 0;
}

static void open_reader(struct fixture *f)
{
	assert_int_equal(db_open(&f->db, f->folder.fd, NAME, DB_READER, NULL), 0);
}

static int pin(struct fixture *f, int64_t patience_ms)
{
	f->err.text[0] = '\0';
	return pin_begin(&f->db, monotonic_ns() + patience_ms * NS_PER_MS, &f->err);
}

static bool in_transaction(struct fixture *f)
{
	return !sqlite3_get_autocommit(f->db.handle);
}

/* Whatever went wrong, nothing is held. */
static void assert_nothing_held(struct fixture *f)
{
	assert_false(in_transaction(f));
	assert_int_equal(vfs_read_slot(f->db.vfs), -1);
}

/* ---- WAL ----------------------------------------------------------------------------------------------- */

static void test_wal(void **state)
{
	static const char *const before[] = {
		"SELECT 1",
		"PRAGMA wal_checkpoint(PASSIVE)",
		"PRAGMA wal_checkpoint(TRUNCATE)",
		APP_ROWS(50),
		"PRAGMA wal_checkpoint(PASSIVE)",
		APP_ROWS(5),
		"PRAGMA wal_checkpoint(RESTART)",
	};
	struct fixture *f = *state;

	app_do(&f->app, APP_WAL);
	open_reader(f);
	for (size_t i = 0; i < sizeof(before) / sizeof(before[0]); i++) {
		struct file_look db, wal;

		app_do(&f->app, before[i]);
		db = file_look(&f->folder, NAME);
		wal = file_look(&f->folder, NAME "-wal");
		assert_int_equal(pin(f, 0), 0);
		assert_in_range(vfs_read_slot(f->db.vfs), 1, 4);
		assert_true(in_transaction(f));
		assert_false(vfs_lost(f->db.vfs));
		/* The application goes on; its blocking checkpoint cannot. */
		assert_same_file(db, file_look(&f->folder, NAME));
		assert_same_file(wal, file_look(&f->folder, NAME "-wal"));
		app_do(&f->app, APP_ROWS(1));
		assert_int_equal(app_get(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)"), 1);
		assert_false(vfs_lost(f->db.vfs));
		pin_end(&f->db);
		assert_nothing_held(f);
		assert_false(vfs_lost(f->db.vfs));
		assert_int_equal(app_get(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)"), 0);
		app_do(&f->app, APP_ROWS(1));
	}
}

/* A dead application's WAL is recovered in the -shm alone. */
static void test_recovers(void **state)
{
	struct fixture *f = *state;
	struct file_look db, wal;
	struct wal_header now;

	app_do(&f->app, APP_WAL);
	app_do(&f->app, APP_ROWS(50));
	app_kill(&f->app);
	f->app.pid = 0;
	db = file_look(&f->folder, NAME);
	wal = file_look(&f->folder, NAME "-wal");
	assert_int_equal(unlinkat(f->folder.fd, NAME "-shm", 0), 0);
	open_reader(f);
	assert_int_equal(pin(f, 0), 0);
	assert_int_equal(vfs_wal_header(f->db.vfs, &now), 0);
	assert_int_equal((int64_t)now.max_frame * (4096 + 24) + 32, wal.size);
	pin_end(&f->db);
	db_close(&f->db);
	assert_same_file(db, file_look(&f->folder, NAME));
	assert_same_file(wal, file_look(&f->folder, NAME "-wal"));
}

static int fail_reads(void *arg, enum vfs_call call)
{
	const bool *on = arg;

	return *on && call == VFS_READ ? SQLITE_IOERR_READ : SQLITE_OK;
}

static void test_end_after_loss(void **state)
{
	struct fixture *f = *state;
	bool fail = false;

	app_do(&f->app, APP_WAL);
	app_do(&f->app, APP_ROWS(500));
	open_reader(f);
	vfs_set_fault(f->db.vfs, fail_reads, &fail);
	assert_int_equal(pin(f, 0), 0);
	fail = true;
	assert_int_equal(db_exec(&f->db, "SELECT sum(length(b)) FROM t"), SQLITE_IOERR_READ);
	fail = false;
	assert_true(vfs_lost(f->db.vfs));
	pin_end(&f->db);
	pin_end(&f->db);
	assert_nothing_held(f);
	assert_int_equal(pin(f, 0), 0);
	assert_false(vfs_lost(f->db.vfs));
	pin_end(&f->db);
}

/* ---- other states -------------------------------------------------------------------------------------- */

static void test_rollback_mode(void **state)
{
	struct fixture *f = *state;

	app_do(&f->app, "CREATE TABLE t(a)");
	open_reader(f);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pin(f, 0), PIN_ROLLBACK);
		assert_int_equal(vfs_read_slot(f->db.vfs), -1);
		/* SHARED is held, until the end of the pin. */
		assert_int_equal(app_ask(&f->app, "INSERT INTO t VALUES(1)").rc, SQLITE_BUSY);
		pin_end(&f->db);
		assert_false(in_transaction(f));
		app_do(&f->app, "INSERT INTO t VALUES(1)");
	}
	/* It changes to WAL under the same connection. */
	app_do(&f->app, "PRAGMA journal_mode=WAL");
	assert_int_equal(pin(f, 0), 0);
	assert_in_range(vfs_read_slot(f->db.vfs), 1, 4);
	pin_end(&f->db);
}

static void test_empty(void **state)
{
	struct fixture *f = *state;

	open_reader(f);
	assert_int_equal(pin(f, 0), PIN_EMPTY);
	pin_end(&f->db);
	assert_nothing_held(f);
	app_do(&f->app, "CREATE TABLE t(a)");
	assert_int_equal(pin(f, 0), PIN_ROLLBACK);
	pin_end(&f->db);
}

static void test_empty_beside_wal(void **state)
{
	struct fixture *f = *state;
	struct file_look wal;
	char from[PATH_MAX], to[PATH_MAX];

	app_do(&f->app, APP_WAL);
	app_do(&f->app, APP_ROWS(50));
	assert_int_equal(
		link(folder_file(&f->folder, NAME "-wal", from), folder_file(&f->folder, "e-wal", to)), 0);
	assert_int_equal(close(openat(f->folder.fd, "e", O_CREAT | O_WRONLY | O_CLOEXEC, 0600)), 0);
	wal = file_look(&f->folder, "e-wal");
	assert_int_equal(db_open(&f->db, f->folder.fd, "e", DB_READER, NULL), 0);
	assert_int_equal(pin(f, 0), PIN_EMPTY);
	pin_end(&f->db);
	assert_nothing_held(f);
	db_close(&f->db);
	assert_same_file(wal, file_look(&f->folder, "e-wal"));
}

static void test_garbage(void **state)
{
	static const char *const contents[] = {"xy", "SQLite format 3",
					       "not a database, for one hundred bytes and more "
					       "not a database, for one hundred bytes and more "
					       "not a database"};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(contents) / sizeof(contents[0]); i++) {
		int fd = openat(f->folder.fd, "g", O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
		ssize_t n = (ssize_t)strlen(contents[i]);

		assert_int_equal(write(fd, contents[i], (size_t)n), n);
		close(fd);
		assert_int_equal(db_open(&f->db, f->folder.fd, "g", DB_READER, NULL), 0);
		assert_int_equal(pin(f, 10000), -EIO);
		assert_true(strlen(f->err.text) > 0);
		assert_nothing_held(f);
		db_close(&f->db);
	}
}

/* A writer that died after its cache had spilled. */
static void test_hot_journal(void **state)
{
	static const enum db_kind kinds[] = {DB_READER, DB_CLOSER};
	struct fixture *f = *state;
	struct file_look db, journal;

	app_do(&f->app, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
	app_do(&f->app, APP_ROWS(2000));
	app_do(&f->app,
	       "PRAGMA cache_size=10; PRAGMA synchronous=OFF; BEGIN; UPDATE t SET b=randomblob(300)");
	app_kill(&f->app);
	f->app.pid = 0;
	db = file_look(&f->folder, NAME);
	journal = file_look(&f->folder, NAME "-journal");
	assert_true(journal.size > 512);
	for (size_t k = 0; k < 2; k++) {
		assert_int_equal(db_open(&f->db, f->folder.fd, NAME, kinds[k], NULL), 0);
		if (kinds[k] == DB_READER)
			assert_int_equal(pin(f, 10000), PIN_HOT_JOURNAL);
		else
			assert_int_not_equal(db_exec(&f->db, "PRAGMA user_version"), SQLITE_OK);
		assert_nothing_held(f);
		db_close(&f->db);
		assert_same_file(db, file_look(&f->folder, NAME));
		assert_same_file(journal, file_look(&f->folder, NAME "-journal"));
	}
}

/* ---- waiting ------------------------------------------------------------------------------------------- */

static void test_busy(void **state)
{
	static const char *const locks[] = {
		"PRAGMA locking_mode=EXCLUSIVE; BEGIN EXCLUSIVE",
		"PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; INSERT INTO t VALUES(1)",
	};

	for (size_t i = 0; i < 2; i++) {
		struct fixture *f = *state;
		int64_t began;

		app_do(&f->app, "CREATE TABLE IF NOT EXISTS t(a)");
		app_do(&f->app, locks[i]);
		open_reader(f);
		began = monotonic_ns();
		assert_int_equal(pin(f, 100), -EBUSY);
		assert_true(monotonic_ns() - began >= 100 * NS_PER_MS);
		assert_true(monotonic_ns() - began < 2 * NS_PER_S);
		assert_true(strlen(f->err.text) > 0);
		assert_nothing_held(f);
		/* A deadline that has passed still means one try. */
		assert_int_equal(pin_begin(&f->db, 0, NULL), -EBUSY);
		db_close(&f->db);
		app_kill(&f->app);
		app_start(&f->app, &f->folder, NAME);
	}
}

struct busy_times {
	int left;
	int code;
	enum vfs_call call;
};

static int busy_for_a_while(void *arg, enum vfs_call call)
{
	struct busy_times *busy = arg;

	return call == busy->call && busy->left > 0 && busy->left-- ? busy->code : SQLITE_OK;
}

static void test_retries(void **state)
{
	static const struct busy_times cases[] = {
		{5, SQLITE_BUSY, VFS_LOCK},
		{5, SQLITE_BUSY_RECOVERY, VFS_LOCK},
		{3, SQLITE_PROTOCOL, VFS_SHM_LOCK},
		{1, SQLITE_READONLY_RECOVERY, VFS_SHM_LOCK},
		{1, SQLITE_READONLY_ROLLBACK, VFS_LOCK},
		{2, SQLITE_READONLY_ROLLBACK, VFS_LOCK},
	};
	struct fixture *f = *state;

	app_do(&f->app, APP_WAL);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct busy_times busy = cases[i];

		open_reader(f);
		vfs_set_fault(f->db.vfs, busy_for_a_while, &busy);
		assert_int_equal(pin(f, 10000), 0);
		assert_int_equal(busy.left, 0);
		pin_end(&f->db);
		db_close(&f->db);
	}
}

/* Somebody who died or hangs inside a header write, with the WRITE lock: SQLite alone would try for ten
 * seconds. */
static int hang_in_write(void *arg)
{
	int *ends = arg, fd = ends[0];
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 120, .l_len = 1};
	char byte = 'x';

	if (fcntl(fd, F_SETLK, &lock) != 0 || pwrite(fd, &byte, 1, 50) != 1 || write(ends[1], &byte, 1) != 1)
		return 1;
	pause();
	return 0;
}

static void test_hanging_writer(void **state)
{
	struct fixture *f = *state;
	int done[2], args[2];
	char path[PATH_MAX], byte;
	int64_t began;
	pid_t pid;

	app_do(&f->app, APP_WAL);
	assert_int_equal(pipe2(done, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		args[0] = open(folder_file(&f->folder, NAME "-shm", path), O_RDWR);
		args[1] = done[1];
		_exit(hang_in_write(args));
	}
	assert_int_equal(read(done[0], &byte, 1), 1);
	open_reader(f);
	began = monotonic_ns();
	assert_int_equal(pin(f, 200), -EBUSY);
	assert_true(monotonic_ns() - began >= 190 * NS_PER_MS);
	assert_true(monotonic_ns() - began < 3 * NS_PER_S);
	assert_nothing_held(f);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	/* The next one recovers the header. */
	assert_int_equal(pin(f, 200), 0);
	pin_end(&f->db);
	close(done[0]);
	close(done[1]);
}

struct countdown {
	enum vfs_call call;
	int left;
	int code;
};

static int count_down(void *arg, enum vfs_call call)
{
	struct countdown *c = arg;

	if (call != c->call || --c->left != 0)
		return SQLITE_OK;
	errno = ENOENT; /* what open(2) says of a -wal on a read-only file system */
	return c->code;
}

static void test_faults(void **state)
{
	static const struct {
		enum vfs_call call;
		int code;
		int error;
	} cases[] = {
		{VFS_READ, SQLITE_IOERR_READ, -EIO},	       {VFS_LOCK, SQLITE_IOERR_LOCK, -EIO},
		{VFS_SHM_MAP, SQLITE_IOERR_SHMMAP, -EIO},      {VFS_SHM_MAP, SQLITE_IOERR_NOMEM, -ENOMEM},
		{VFS_SHM_LOCK, SQLITE_IOERR_SHMLOCK, -EIO},    {VFS_OPEN, SQLITE_NOMEM, -ENOMEM},
		{VFS_OPEN, SQLITE_READONLY_DIRECTORY, -EROFS}, {VFS_OPEN, SQLITE_CANTOPEN, -EROFS},
	};
	struct fixture *f = *state;

	app_do(&f->app, APP_WAL);
	app_do(&f->app, APP_ROWS(50));
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct countdown c;
		int n = 0;

		do {
			int rc;

			c = (struct countdown){cases[i].call, ++n, cases[i].code};
			open_reader(f);
			vfs_set_fault(f->db.vfs, count_down, &c);
			rc = pin(f, 0);
			assert_int_equal(rc, c.left > 0 ? 0 : cases[i].error);
			if (rc < 0)
				assert_nothing_held(f);
			else
				pin_end(&f->db);
			assert_int_equal(app_get(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)"), 0);
			app_do(&f->app, APP_ROWS(1));
			db_close(&f->db);
		} while (c.left <= 0);
		assert_true(n > 1);
	}
}

/* ---- a folder that we may only read -------------------------------------------------------------------- */

/* Root passes over modes. */
static bool become_somebody(void)
{
	if (geteuid() != 0)
		return true;
	return setgroups(0, NULL) == 0 && setgid(65534) == 0 && setuid(65534) == 0 &&
	       prctl(PR_SET_DUMPABLE, 1) == 0;
}

static int pin_as_somebody(void *arg)
{
	const struct folder *folder = arg;
	struct db db = DB_INIT;
	int rc;

	if (!become_somebody() || db_open(&db, folder->fd, NAME, DB_READER, NULL) != 0)
		return 99;
	rc = pin_begin(&db, monotonic_ns() + NS_PER_S / 10, NULL);
	if (rc == 0 && vfs_read_slot(db.vfs) < 1)
		rc = 98;
	if (rc >= 0)
		pin_end(&db);
	db_close(&db);
	return rc < 0 ? 100 - rc : rc;
}

static void make_read_only(struct fixture *f)
{
	static const char *const suffixes[] = {"", "-wal", "-shm"};
	char name[16];

	for (size_t i = 0; i < 3; i++) {
		snprintf(name, sizeof(name), NAME "%s", suffixes[i]);
		if (file_exists(&f->folder, name))
			assert_int_equal(fchmodat(f->folder.fd, name, 0444, 0), 0);
	}
	assert_int_equal(chmod(f->folder.path, 0555), 0);
}

static void test_read_only_shm(void **state)
{
	struct fixture *f = *state;
	struct file_look wal;

	app_do(&f->app, APP_WAL);
	app_do(&f->app, APP_ROWS(50));
	make_read_only(f);
	/* Its writer vouches for the wal-index. */
	assert_int_equal(in_child(pin_as_somebody, &f->folder), 0);
	app_do(&f->app, "PRAGMA wal_checkpoint(PASSIVE)");
	assert_int_equal(in_child(pin_as_somebody, &f->folder), 0);
	app_kill(&f->app);
	f->app.pid = 0;
	wal = file_look(&f->folder, NAME "-wal");
	assert_int_equal(in_child(pin_as_somebody, &f->folder), PIN_UNRELIABLE);
	assert_same_file(wal, file_look(&f->folder, NAME "-wal"));
}

static int clear_marks(void *arg)
{
	const struct folder *folder = arg;
	unsigned char unused[16];
	int fd;

	memset(unused, 0xff, sizeof(unused));
	if (fchmodat(folder->fd, NAME "-shm", 0644, 0) != 0)
		return 1;
	fd = openat(folder->fd, NAME "-shm", O_RDWR);
	if (pwrite(fd, unused, sizeof(unused), 104) != sizeof(unused))
		return 2;
	return fchmodat(folder->fd, NAME "-shm", 0444, 0) == 0 ? 0 : 3;
}

/* No mark that would suit: slot 0 is all there is, and insisting would make SQLite try for ten seconds. */
static void test_read_only_shm_without_marks(void **state)
{
	struct fixture *f = *state;
	int64_t began;

	app_do(&f->app, APP_WAL);
	app_do(&f->app, APP_ROWS(50));
	app_do(&f->app, "PRAGMA wal_checkpoint(PASSIVE)");
	make_read_only(f);
	assert_int_equal(in_child(clear_marks, &f->folder), 0);
	began = monotonic_ns();
	assert_int_equal(in_child(pin_as_somebody, &f->folder), PIN_UNRELIABLE);
	assert_true(monotonic_ns() - began < 2 * NS_PER_S);
	/* Frames that are not in the database, and no mark: a writer has to come first. */
	app_do(&f->app, APP_ROWS(50));
	assert_int_equal(in_child(clear_marks, &f->folder), 0);
	assert_int_equal(in_child(pin_as_somebody, &f->folder), 100 + EROFS);
}

static void test_no_sidecars_possible(void **state)
{
	struct fixture *f = *state;

	app_do(&f->app, APP_WAL);
	app_stop(&f->app);
	f->app.pid = 0;
	assert_false(file_exists(&f->folder, NAME "-wal"));
	make_read_only(f);
	assert_int_equal(in_child(pin_as_somebody, &f->folder), 100 + EROFS);
	assert_false(file_exists(&f->folder, NAME "-wal"));
}

/* ---- stress -------------------------------------------------------------------------------------------- */

#define ACCOUNTS 400
#define TOTAL 40000

#define SPILL_AND_ROLL_BACK                                        \
	"BEGIN; UPDATE acc SET n = n + 1, pad = randomblob(900); " \
	"INSERT INTO junk SELECT NULL, randomblob(9000) FROM acc; ROLLBACK"

/* Moves money between accounts, grows and shrinks, and checkpoints in every mode, until it is killed. */
static int write_at_random(void *arg)
{
	static const char *const others[] = {
		"PRAGMA wal_checkpoint(PASSIVE)",
		"PRAGMA wal_checkpoint(FULL)",
		"PRAGMA wal_checkpoint(RESTART)",
		"PRAGMA wal_checkpoint(TRUNCATE)",
		"INSERT INTO junk SELECT NULL, randomblob(3000) FROM acc LIMIT 60",
		"DELETE FROM junk WHERE a % 3 = abs(random()) % 3",
		SPILL_AND_ROLL_BACK,
		"PRAGMA incremental_vacuum(20)",
	};
	const char *path = arg;
	unsigned random = 12345;
	sqlite3 *db;
	char sql[200];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, "unix") != SQLITE_OK)
		return 1;
	sqlite3_exec(db, "PRAGMA synchronous=OFF; PRAGMA cache_size=30; PRAGMA wal_autocheckpoint=100", NULL,
		     NULL, NULL);
	for (;;) {
		random = random * 1103515245u + 12345u;
		if ((random >> 16) % 12 < 8) {
			sqlite3_exec(db, others[(random >> 16) % 12 % 8], NULL, NULL, NULL);
			if (!sqlite3_get_autocommit(db))
				sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
		}
		snprintf(sql, sizeof(sql),
			 "BEGIN; UPDATE acc SET n=n-7 WHERE a=%u; UPDATE acc SET n=n+7, pad=randomblob(700) "
			 "WHERE a=%u; COMMIT",
			 (random >> 8) % ACCOUNTS + 1, (random >> 20) % ACCOUNTS + 1);
		if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK && !sqlite3_get_autocommit(db))
			sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	}
}

/* The image as of NOW, put together from frames and database; sqlite3_malloc'ed. */
static unsigned char *build_image(struct vfs *vfs, const struct wal_header *now, uint32_t page_size,
				  uint32_t pages)
{
	unsigned char *image = sqlite3_malloc64((uint64_t)pages * page_size);
	uint32_t *pgnos = calloc(now->max_frame + 1u, sizeof(*pgnos));

	assert_non_null(image);
	assert_non_null(pgnos);
	memset(image, 0, (size_t)pages * page_size);
	assert_true(vfs_read_db(vfs, image, (size_t)pages * page_size, 0) >= 0);
	assert_int_equal(vfs_wal_pgnos(vfs, 1, now->max_frame, pgnos), 0);
	for (uint32_t frame = 1; frame <= now->max_frame; frame++) {
		uint64_t at = wal_frame_offset(frame, page_size);
		unsigned char head[WAL_FRAME_HEADER];
		uint32_t pgno = pgnos[frame - 1];

		assert_true(pgno > 0);
		assert_int_equal(vfs_read_wal(vfs, head, sizeof(head), at), sizeof(head));
		assert_true(wal_frame_matches(head, pgno, now->salt));
		if (pgno > pages)
			continue;
		assert_int_equal(vfs_read_wal(vfs, image + (size_t)(pgno - 1) * page_size, page_size,
					      at + WAL_FRAME_HEADER),
				 page_size);
	}
	free(pgnos);
	return image;
}

static void mask(unsigned char *image)
{
	memset(image + 24, 0, 4);
	memset(image + 40, 0, 4);
	memset(image + 92, 0, 8);
}

static int64_t ask(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *stmt;
	int64_t value;

	assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	value = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	return value;
}

/* Whether the image, which it takes over, is a whole database in which no money was lost. */
static void check_image(unsigned char *image, sqlite3_int64 size)
{
	sqlite3 *db;

	image[18] = image[19] = 1; /* sqlite3_deserialize() knows no WAL */
	assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
	assert_int_equal(sqlite3_deserialize(db, "main", image, size, size, SQLITE_DESERIALIZE_FREEONCLOSE),
			 SQLITE_OK);
	assert_int_equal(ask(db, "SELECT sum(n) FROM acc"), TOTAL);
	assert_int_equal(ask(db, "SELECT count(*) FROM acc"), ACCOUNTS);
	assert_int_equal(ask(db, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"),
			 0);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* The same bytes as SQLite's own copy of the same transaction. */
static void check_against_backup(struct db *from, const unsigned char *image, sqlite3_int64 size)
{
	unsigned char *copy, *masked = malloc((size_t)size);
	sqlite3_int64 copy_size;
	sqlite3_backup *backup;
	sqlite3 *to;

	assert_non_null(masked);
	memcpy(masked, image, (size_t)size);
	assert_int_equal(sqlite3_open(":memory:", &to), SQLITE_OK);
	backup = sqlite3_backup_init(to, "main", from->handle, "main");
	assert_non_null(backup);
	assert_int_equal(sqlite3_backup_step(backup, -1), SQLITE_DONE);
	assert_int_equal(sqlite3_backup_finish(backup), SQLITE_OK);
	copy = sqlite3_serialize(to, "main", &copy_size, 0);
	assert_non_null(copy);
	assert_int_equal(copy_size, size);
	mask(copy);
	mask(masked);
	assert_memory_equal(copy, masked, (size_t)size);
	sqlite3_free(copy);
	free(masked);
	sqlite3_close(to);
}

static uint32_t page_count(struct vfs *vfs, const struct wal_header *now)
{
	uint64_t size;

	if (now->page_count)
		return now->page_count;
	assert_int_equal(vfs_db_size(vfs, &size), 0);
	return (uint32_t)(size / 1024);
}

static void test_stress(void **state)
{
	struct fixture *f = *state;
	struct wal_header before, now;
	int pins = 0, compared = 0, with_frames = 0;
	char path[PATH_MAX];
	int64_t end;
	pid_t pid;

	app_do(&f->app,
	       "PRAGMA page_size=1024; PRAGMA auto_vacuum=2; PRAGMA journal_mode=WAL;"
	       "CREATE TABLE acc(a INTEGER PRIMARY KEY, n, pad); CREATE TABLE junk(a INTEGER PRIMARY KEY, b);"
	       "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<400) "
	       "INSERT INTO acc SELECT x, 100, randomblob(500) FROM c");
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		/* Not through the fixture's connections. */
		folder_file(&f->folder, NAME, path);
		_exit(write_at_random(path));
	}
	open_reader(f);
	assert_int_equal(pin(f, 2000), 0);
	pin_end(&f->db);
	for (end = monotonic_ns() + 2 * NS_PER_S; monotonic_ns() < end; pins++) {
		unsigned char *image;
		uint32_t pages;
		int sampled = vfs_wal_header(f->db.vfs, &before);

		assert_int_equal(pin(f, 5000), 0);
		while (vfs_wal_header(f->db.vfs, &now) == WAL_TORN)
			continue;
		pages = page_count(f->db.vfs, &now);
		image = build_image(f->db.vfs, &now, 1024, pages);
		/* Without a commit in between, SQLite's transaction is this very version. */
		if (sampled == 0 && memcmp(before.raw, now.raw, sizeof(now.raw)) == 0) {
			check_against_backup(&f->db, image, (sqlite3_int64)pages * 1024);
			compared++;
		}
		assert_false(vfs_lost(f->db.vfs));
		pin_end(&f->db);
		with_frames += now.max_frame > 0;
		check_image(image, (sqlite3_int64)pages * 1024);
	}
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_true(pins > 10);
	assert_true(with_frames > 5);
	assert_true(compared > 5);
	if (getenv("STRESS_FIGURES"))
		print_message("%d pins, %d with frames, %d compared\n", pins, with_frames, compared);
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(test_wal),
		test(test_recovers),
		test(test_end_after_loss),
		test(test_rollback_mode),
		test(test_empty),
		test(test_empty_beside_wal),
		test(test_garbage),
		test(test_hot_journal),
		test(test_busy),
		test(test_retries),
		test(test_hanging_writer),
		test(test_faults),
		test(test_read_only_shm),
		test(test_read_only_shm_without_marks),
		test(test_no_sidecars_possible),
		test(test_stress),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
