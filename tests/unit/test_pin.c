/* SPDX-License-Identifier: MIT */
/* test_pin.c - pins beside an application in another process, in every state that a database can be in. */
#include "reader.h"

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
		assert_between(vfs_read_slot(f->db.vfs), 1, 4);
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
	assert_between(vfs_read_slot(f->db.vfs), 1, 4);
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
	struct file_look wal = put_empty_beside_wal(f);

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

int __real_nanosleep(const struct timespec *time, struct timespec *left);
int __wrap_nanosleep(const struct timespec *time, struct timespec *left);

static int64_t longest; /* pause, in nanoseconds */

int __wrap_nanosleep(const struct timespec *time, struct timespec *left)
{
	longest = timespec_ns(*time) > longest ? timespec_ns(*time) : longest;
	return __real_nanosleep(time, left);
}

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
		longest = 0;
		assert_int_equal(pin(f, 100), -EBUSY);
		/* Longer ones would miss the moments between the commits of a writer that never pauses. */
		assert_between(longest, 1, 2 * NS_PER_MS);
		assert_true(monotonic_ns() - began >= 100 * NS_PER_MS);
		assert_true(monotonic_ns() - began < 8 * NS_PER_S); /* SQLite alone tries for ten */
		assert_true(strlen(f->err.text) > 0);
		assert_nothing_held(f);
		/* A deadline that has passed still means one try. */
		assert_int_equal(pin_begin(&f->db, 0, &f->start, NULL), -EBUSY);
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
	assert_true(monotonic_ns() - began < 8 * NS_PER_S);
	assert_nothing_held(f);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	/* The next one recovers the header. */
	assert_int_equal(pin(f, 200), 0);
	pin_end(&f->db);
	close(done[0]);
	close(done[1]);
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

			c = (struct countdown){.call = cases[i].call, .left = ++n, .code = cases[i].code};
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

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(test_wal),		  test(test_recovers),	     test(test_end_after_loss),
		test(test_rollback_mode), test(test_empty),	     test(test_empty_beside_wal),
		test(test_garbage),	  test(test_hot_journal),    test(test_busy),
		test(test_retries),	  test(test_hanging_writer), test(test_faults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
