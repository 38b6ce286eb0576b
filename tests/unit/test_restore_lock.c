/* SPDX-License-Identifier: MIT */
/* The write lock of a restore: a restore waits for it, or is refused; giving it up unused leaves no trace. */
#include "restores.h"

#include <sys/wait.h>

#define NEW TABLE APP_ROWS(500)

static const char *const modes[] = {WAL_TABLE APP_ROWS(200), ROLLBACK_TABLE APP_ROWS(200)};

/* ---- waiting ------------------------------------------------------------------------------------------- */

static void test_locked(void **state)
{
	const char *const locks[] = {"BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"};

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct restoring how = RESTORING;
		struct upload u;
		struct fixture f;
		int64_t began;

		restore_up(&f, &u, modes[i % 2], NEW);
		app_do(&f.app, locks[i / 2]);
		how.busy_timeout_ms = 300;
		began = monotonic_ns();
		assert_refused(&f, &u, &how, -EBUSY);
		assert_true(monotonic_ns() - began >= 300 * NS_PER_MS);
		app_do(&f.app, "COMMIT; INSERT INTO t(b) VALUES(1); DELETE FROM t WHERE b=1");
		how = RESTORING;
		assert_restored(&f, &u, &how);
		assert_int_equal(app_get(&f.app, COUNT_T), 500);
		restore_down(&f, &u);
	}
}

/* Asked whether it goes on, at a time when it waits for the lock: the application lets go then. */
static bool let_go(void *arg)
{
	struct app *app = arg;

	app_ask(app, "COMMIT"); /* an error when that was done before */
	return false;
}

static void test_waits_for_the_lock(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct restoring how = RESTORING;
		struct upload u;
		struct fixture f;

		restore_up(&f, &u, modes[i], NEW);
		app_do(&f.app, "BEGIN IMMEDIATE; INSERT INTO t(b) VALUES('late')");
		how.keep = 0;
		how.busy_timeout_ms = 30000;
		how.cancelled = let_go;
		how.arg = &f.app;
		assert_restored(&f, &u, &how);
		assert_int_equal(app_get(&f.app, COUNT_T), 500);
		assert_int_equal(count_kept(&f), 0);
		restore_down(&f, &u);
	}
}

/* A reader of the application's that stays: in WAL mode it is in nobody's way. */
static void test_open_read_transaction(void **state)
{
	struct restoring how = RESTORING;
	struct upload u;
	struct fixture f;

	(void)state;
	restore_up(&f, &u, modes[0], NEW);
	app_do(&f.app, "BEGIN");
	assert_int_equal(app_get(&f.app, COUNT_T), 200);
	assert_restored(&f, &u, &how);
	assert_int_equal(app_get(&f.app, COUNT_T), 200);
	assert_shows_upload(&f, &u);
	assert_int_equal(app_ask(&f.app, "INSERT INTO t(b) VALUES(1)").rc, SQLITE_BUSY_SNAPSHOT);
	app_do(&f.app, "ROLLBACK");
	assert_int_equal(app_get(&f.app, COUNT_T), 500);
	restore_down(&f, &u);

	restore_up(&f, &u, modes[1], NEW);
	app_do(&f.app, "BEGIN");
	assert_int_equal(app_get(&f.app, COUNT_T), 200);
	how = RESTORING;
	how.busy_timeout_ms = 200;
	assert_refused(&f, &u, &how, -EBUSY);
	app_do(&f.app, "ROLLBACK; INSERT INTO t(b) VALUES(1)");
	restore_down(&f, &u);
}

/* As while somebody recovers the wal-index, or does so over and over. */
struct recovery {
	int code;
	int stays; /* looks of the restore for which it lasts, once it was met */
	int met;   /* calls that failed of it */
	int looks; /* since then */
};

static int be_busy(void *arg, enum vfs_call call)
{
	struct recovery *r = arg;

	if (call != VFS_SHM_LOCK || r->looks >= r->stays)
		return SQLITE_OK;
	r->met++;
	return r->code;
}

/* Asked between two attempts. */
static bool count_looks(void *arg)
{
	struct recovery *r = arg;

	r->looks += r->met > 0;
	return false;
}

static const int codes[] = {SQLITE_BUSY_RECOVERY, SQLITE_PROTOCOL};

static void test_whatever_it_is_called(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		struct recovery recovery = {.code = codes[i], .stays = 2};
		struct restoring how = RESTORING;
		struct upload u;
		struct fixture f;

		restore_up(&f, &u, modes[0], NEW);
		how.fault = be_busy;
		how.cancelled = count_looks;
		how.arg = &recovery;
		assert_restored(&f, &u, &how);
		assert_between(recovery.looks, 2, 100);
		assert_int_equal(app_get(&f.app, COUNT_T), 500);
		restore_down(&f, &u);
	}
}

/* It is tried until the time is over, and not without a pause. */
static void test_for_as_long_as_was_said(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		struct recovery recovery = {.code = codes[i], .stays = INT_MAX};
		struct restoring how = RESTORING;
		int64_t began, took;
		struct upload u;
		struct fixture f;

		restore_up(&f, &u, modes[0], NEW);
		how.busy_timeout_ms = 600;
		how.fault = be_busy;
		how.cancelled = count_looks;
		how.arg = &recovery;
		began = monotonic_ns();
		assert_int_equal(restore(&f, &u, &how), -EBUSY);
		took = monotonic_ns() - began;
		assert_true(took >= 600 * NS_PER_MS);
		assert_between(recovery.looks, 2, 600 * 2);
		assert_true(recovery.met > recovery.looks);
		assert_int_equal(count_kept(&f), 0);
		assert_int_equal(app_get(&f.app, COUNT_T), 200);
		restore_down(&f, &u);
	}
}

/* The application begins to write, and the wal-index is lost: nobody can read it before the commit. */
static bool lose_index(void *arg)
{
	const char garbage[96] = {1};
	struct fixture *f = arg;
	pid_t pid;

	if (app_ask(&f->app, "BEGIN IMMEDIATE; INSERT INTO t(b) VALUES(1)").rc != SQLITE_OK)
		return false; /* it has begun before */
	pid = fork();	      /* a close here would drop our locks */
	if (pid == 0) {
		int fd = openat(f->folder.fd, "db-shm", O_RDWR | O_CLOEXEC);

		_exit(fd < 0 || pwrite(fd, garbage, sizeof(garbage), 0) != sizeof(garbage));
	}
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	return false;
}

/* SQLite's own patience with that is ten seconds, for each statement. */
static void test_no_longer_than_was_said(void **state)
{
	struct restoring how = RESTORING;
	struct upload u;
	struct fixture f;
	int64_t began;

	(void)state;
	restore_up(&f, &u, modes[0], NEW);
	how.busy_timeout_ms = 600;
	how.cancelled = lose_index;
	how.arg = &f;
	began = monotonic_ns();
	assert_int_equal(restore(&f, &u, &how), -EBUSY);
	assert_between(monotonic_ns() - began, 600 * NS_PER_MS, 8 * NS_PER_S);
	app_do(&f.app, "COMMIT");
	assert_int_equal(app_get(&f.app, COUNT_T), 201);
	restore_down(&f, &u);
}

/* ---- the journal mode ---------------------------------------------------------------------------------- */

struct turning {
	struct app *app;
	bool turned;
};

/* When all has been looked at, and nothing is locked yet. */
static int turn_to_wal(void *arg, enum vfs_call call)
{
	struct turning *turning = arg;

	if (call != VFS_LOCK || turning->turned)
		return SQLITE_OK;
	turning->turned = true;
	app_do(turning->app, "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; "
			     "INSERT INTO t(b) VALUES('last')");
	return SQLITE_OK;
}

/* What is in the WAL would not be kept as it is for a database without one. */
static void test_turned_to_wal_meanwhile(void **state)
{
	struct restoring how = RESTORING;
	struct turning turning = {.turned = false};
	struct upload u;
	struct fixture f;

	(void)state;
	restore_up(&f, &u, modes[1], NEW);
	turning.app = &f.app;
	how.fault = turn_to_wal;
	how.arg = &turning;
	assert_int_equal(restore(&f, &u, &how), -EBUSY);
	assert_true(turning.turned);
	assert_int_equal(app_get(&f.app, COUNT_T), 201);
	assert_int_equal(count_kept(&f), 0);
	how = RESTORING;
	assert_restored(&f, &u, &how);
	assert_int_equal(ask_kept(&f, how.result.undo, COUNT_T), 201);
	restore_down(&f, &u);
}

/* ---- another file -------------------------------------------------------------------------------------- */

struct replacing {
	struct fixture *f;
	enum vfs_call call; /* at the first of which it is replaced */
	const char *name;
	bool removed; /* "successor" does not take its place */
	bool replaced;
};

static int replace_file(void *arg, enum vfs_call call)
{
	struct replacing *r = arg;
	int dir = r->f->folder.fd;

	if (call == r->call && !r->replaced)
		assert_int_equal(
			r->removed ? unlinkat(dir, r->name, 0) : renameat(dir, "successor", dir, r->name), 0);
	r->replaced |= call == r->call;
	return SQLITE_OK;
}

/* What is locked is open, and has no name any more: nothing is restored into it. */
static void test_replaced_meanwhile(void **state)
{
	static const enum vfs_call calls[] = {VFS_SHM_LOCK, VFS_LOCK, VFS_LOCK};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct copy successor = database_of(4096, TABLE);
		struct restoring how = RESTORING;
		struct replacing replacing = {.call = calls[i], .name = "db"};
		struct file_look look;
		struct upload u;
		struct fixture f;

		restore_up(&f, &u, modes[i % 2], NEW);
		put_bytes(&f, "successor", &successor);
		look = file_look(&f.folder, "successor");
		replacing.f = &f;
		how.fault = replace_file;
		how.arg = &replacing;
		assert_int_equal(restore(&f, &u, &how), -EBUSY);
		assert_true(replacing.replaced);
		assert_non_null(strstr(how.err.text, "replaced"));
		assert_same_file(file_look(&f.folder, "db"), look);
		assert_int_equal(count_kept(&f), 0);
		sqlite3_free(successor.bytes);
		restore_down(&f, &u);
	}
}

/* What is written into a -wal without a name is lost with whoever has it open. */
static void test_sidecar_removed_meanwhile(void **state)
{
	static const char *const names[] = {"db-wal", "db-shm"};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct replacing removing = {.call = VFS_SHM_LOCK, .name = names[i], .removed = true};
		struct restoring how = RESTORING;
		struct file_look db;
		struct upload u;
		struct fixture f;

		restore_up(&f, &u, modes[0], NEW);
		db = file_look(&f.folder, "db");
		removing.f = &f;
		how.fault = replace_file;
		how.arg = &removing;
		assert_int_equal(restore(&f, &u, &how), -EBUSY);
		assert_true(removing.replaced);
		assert_non_null(strstr(how.err.text, "removed"));
		assert_same_file(file_look(&f.folder, "db"), db);
		assert_int_equal(app_get(&f.app, COUNT_T), 200);
		restore_down(&f, &u);
	}
}

/* Nor is one opened that has taken the name of the one which applications have. */
static void test_wal_replaced_meanwhile(void **state)
{
	struct replacing replacing = {.call = VFS_LOCK, .name = "db-wal"};
	struct copy empty = {(unsigned char[]){0}, 0};
	struct restoring how = RESTORING;
	struct file_look db;
	struct upload u;
	struct fixture f;

	(void)state;
	restore_up(&f, &u, modes[0], NEW);
	db = file_look(&f.folder, "db");
	put_bytes(&f, "successor", &empty);
	replacing.f = &f;
	how.fault = replace_file;
	how.arg = &replacing;
	assert_int_equal(restore(&f, &u, &how), -EBUSY);
	assert_true(replacing.replaced);
	assert_non_null(strstr(how.err.text, "replaced"));
	assert_same_file(file_look(&f.folder, "db"), db);
	assert_int_equal(file_bytes(&f, "db-wal"), 0);
	assert_int_equal(app_get(&f.app, COUNT_T), 200);
	restore_down(&f, &u);
}

/* Who was asked for his rights on another file, or in another folder, has none on what stands there now. */
static void test_another_than_was_asked_about(void **state)
{
	struct restoring how = RESTORING;
	struct file_look db;
	struct upload u;
	struct fixture f;
	struct stat st;

	(void)state;
	restore_up(&f, &u, modes[0], NEW);
	db = file_look(&f.folder, "db");
	assert_int_equal(fstatat(f.folder.fd, "db", &st, 0), 0);
	how.file = (struct snap_inode){.dev = st.st_dev, .ino = st.st_ino + 1};
	assert_int_equal(restore(&f, &u, &how), -EBUSY);
	assert_same_file(file_look(&f.folder, "db"), db);
	how.file.ino = st.st_ino;
	assert_restored(&f, &u, &how);
	app_stop(&f.app);
	assert_int_equal(unlinkat(f.folder.fd, "db", 0), 0);
	assert_int_equal(restore(&f, &u, &how), -EBUSY);
	how.file.ino = 0;
	assert_int_equal(fstat(f.folder.fd, &st), 0);
	how.folder = (struct snap_inode){.dev = st.st_dev, .ino = st.st_ino + 1};
	assert_int_equal(restore(&f, &u, &how), -EBUSY);
	assert_false(file_exists(&f.folder, "db"));
	how.folder.ino = st.st_ino;
	assert_restored(&f, &u, &how);
	upload_finish(&u);
	down(&f);
}

/* ---- giving it up -------------------------------------------------------------------------------------- */

static bool always(void *arg)
{
	(void)arg;
	return true;
}

static void test_cancelled(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct restoring how = RESTORING;
		struct upload u;
		struct fixture f;

		restore_up(&f, &u, modes[i], NEW);
		how.cancelled = always;
		assert_refused(&f, &u, &how, -ECANCELED);
		how = RESTORING;
		assert_restored(&f, &u, &how);
		restore_down(&f, &u);
	}
}

static bool holds_the_lock(void *arg)
{
	struct fixture *f = arg;
	struct stat st;

	assert_int_equal(fstatat(f->folder.fd, "db-shm", &st, 0), 0);
	return self_locks_now(st.st_dev, st.st_ino, getpid(), PROCLOCKS_WAL_WRITE, PROCLOCKS_WAL_WRITE);
}

/* What stands behind the end of a WAL that has started over is not what a restore wrote that wrote nothing.
 */
static void test_the_wal_stays_as_it_was(void **state)
{
	static const char *const names[] = {"db", "db-wal"};
	struct restoring how = RESTORING;
	struct stat before[2], after;
	struct upload u;
	struct fixture f;

	(void)state;
	up(&f, WAL_TABLE APP_ROWS(4000));
	app_do(&f.app, "PRAGMA wal_checkpoint(RESTART); INSERT INTO t(b) VALUES('last')");
	assert_true(file_bytes(&f, "db-wal") > 100000);
	upload_make(&u, f.snap, 4096, NEW);
	for (int i = 0; i < 2; i++)
		assert_int_equal(fstatat(f.folder.fd, names[i], &before[i], 0), 0);
	how.cancelled = holds_the_lock;
	how.arg = &f;
	assert_int_equal(restore(&f, &u, &how), -ECANCELED);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(fstatat(f.folder.fd, names[i], &after, 0), 0);
		assert_int_equal(after.st_size, before[i].st_size);
		assert_int_equal(timespec_ns(after.st_mtim), timespec_ns(before[i].st_mtim));
	}
	assert_int_equal(app_get(&f.app, COUNT_T), 4001);
	restore_down(&f, &u);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_locked),
		cmocka_unit_test(test_waits_for_the_lock),
		cmocka_unit_test(test_open_read_transaction),
		cmocka_unit_test(test_whatever_it_is_called),
		cmocka_unit_test(test_for_as_long_as_was_said),
		cmocka_unit_test(test_no_longer_than_was_said),
		cmocka_unit_test(test_turned_to_wal_meanwhile),
		cmocka_unit_test(test_replaced_meanwhile),
		cmocka_unit_test(test_sidecar_removed_meanwhile),
		cmocka_unit_test(test_wal_replaced_meanwhile),
		cmocka_unit_test(test_another_than_was_asked_about),
		cmocka_unit_test(test_cancelled),
		cmocka_unit_test(test_the_wal_stays_as_it_was),
	};

	if (argc == 5 && strcmp(argv[1], LOOK) == 0)
		return look_main(argv);
	return cmocka_run_group_tests(tests, own_tmp, NULL);
}
