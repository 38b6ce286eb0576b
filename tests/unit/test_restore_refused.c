/* SPDX-License-Identifier: MIT */
/* Restores that are refused, or fail: the live database is what it was, and nothing is left behind. */
#include "restores.h"

#include <sys/statvfs.h>

#include "../../src/clock.h"

#define TABLE "CREATE TABLE t(a INTEGER PRIMARY KEY, b);"
#define WAL_OLD "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;" TABLE APP_ROWS(200)
#define ROLLBACK_OLD "PRAGMA journal_mode=DELETE;" TABLE APP_ROWS(200)
#define NEW TABLE APP_ROWS(500)
#define COUNT_T "SELECT count(*) FROM t"

static const char *const modes[] = {WAL_OLD, ROLLBACK_OLD};

/* Restores UPLOAD, which is refused with CODE, and looks that nothing happened. */
static void assert_refused(struct fixture *f, struct upload *u, struct restoring *how, int code)
{
	struct file_look db = file_look(&f->folder, "db"), wal = file_look(&f->folder, "db-wal");
	int rc = restore(f, u, how);

	if (rc != code)
		fail_msg("%d instead of %d: %s", rc, code, how->err.text);
	assert_true(strlen(how->err.text) > 0);
	assert_false(how->result.committed);
	assert_string_equal(how->result.undo, "");
	assert_same_file(file_look(&f->folder, "db"), db);
	if (wal.size > 0)
		assert_same_file(file_look(&f->folder, "db-wal"), wal);
	assert_int_equal(count_kept(f), 0);
}

/* ---- what cannot be meant ------------------------------------------------------------------------------ */

static const struct {
	const char *old, *new;
	int code; /* 0: it is fine */
	bool even_forced;
} meanings[] = {
	{TABLE, "CREATE VIEW v AS SELECT 1", -EINVAL, false},
	{TABLE, "CREATE TABLE other(x)", -EINVAL, false},
	{TABLE, "CREATE TABLE other(x); CREATE TABLE T(x)", 0, false},
	{"SELECT 1", "CREATE TABLE other(x)", 0, false},
	/* SQLite 3.40 calls such a schema malformed where it is not trusted. */
	{TABLE "CREATE TABLE j(a); CREATE INDEX i ON j(json_extract(a, '$.x'))", "CREATE TABLE other(x)",
	 -EINVAL, false},
	{TABLE "PRAGMA application_id=1", TABLE "PRAGMA application_id=2", -EINVAL, false},
	{TABLE "PRAGMA application_id=1", TABLE, 0, false},
	{TABLE, TABLE "PRAGMA application_id=2", 0, false},
	{TABLE, "PRAGMA encoding='UTF-16le';" TABLE, -EINVAL, true},
};

static void test_live_checksums(void **state)
{
	struct restoring how = RESTORING, forced = RESTORING;
	struct upload u;
	struct fixture f;

	(void)state;
	folder_make(&f.folder);
	folder_make(&f.store);
	make_reserved(&f.folder, "db");
	app_start(&f.app, &f.folder, "db");
	app_do(&f.app, "PRAGMA journal_mode=WAL;" TABLE);
	snap_up(&f);
	upload_make(&u, f.snap, 4096, TABLE);
	assert_refused(&f, &u, &how, -EINVAL);
	assert_non_null(strstr(how.err.text, "checksum"));
	forced.force = true;
	assert_restored(&f, &u, &forced);
	upload_finish(&u);
	app_stop(&f.app);
	down(&f);
}

static void test_meaning(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++) {
		for (int wal = 0; wal < 2; wal++) {
			struct restoring how = RESTORING, forced = RESTORING;
			struct upload u;
			struct fixture f;

			up(&f, wal ? "PRAGMA journal_mode=WAL; CREATE TABLE x(a); DROP TABLE x"
				   : "CREATE TABLE x(a); DROP TABLE x");
			app_do(&f.app, meanings[i].old);
			upload_make(&u, f.snap, 4096, meanings[i].new);
			if (meanings[i].code)
				assert_refused(&f, &u, &how, meanings[i].code);
			else
				assert_restored(&f, &u, &how);
			forced.force = true;
			if (meanings[i].even_forced)
				assert_refused(&f, &u, &forced, meanings[i].code);
			else
				assert_restored(&f, &u, &forced);
			upload_finish(&u);
			app_stop(&f.app);
			down(&f);
		}
	}
}

static void test_several_names(void **state)
{
	struct restoring how = RESTORING;
	char from[PATH_MAX], to[PATH_MAX];
	struct upload u;
	struct fixture f;

	(void)state;
	up(&f, WAL_OLD);
	upload_make(&u, f.snap, 4096, NEW);
	assert_int_equal(link(folder_file(&f.folder, "db", from), folder_file(&f.folder, "another", to)), 0);
	assert_refused(&f, &u, &how, -EMLINK);
	assert_int_equal(unlink(to), 0);
	assert_restored(&f, &u, &how);
	upload_finish(&u);
	app_stop(&f.app);
	down(&f);
}

/* ---- locks --------------------------------------------------------------------------------------------- */

static void test_locked(void **state)
{
	const char *const locks[] = {"BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"};

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct restoring how = RESTORING;
		struct upload u;
		struct fixture f;
		int64_t began;

		up(&f, modes[i % 2]);
		upload_make(&u, f.snap, 4096, NEW);
		app_do(&f.app, locks[i / 2]);
		how.busy_timeout_ms = 300;
		began = monotonic_ns();
		assert_refused(&f, &u, &how, -EBUSY);
		assert_true(monotonic_ns() - began >= 300 * NS_PER_MS);
		app_do(&f.app, "COMMIT; INSERT INTO t(b) VALUES(1); DELETE FROM t WHERE b=1");
		how = RESTORING;
		assert_restored(&f, &u, &how);
		assert_int_equal(app_get(&f.app, COUNT_T), 500);
		upload_finish(&u);
		app_stop(&f.app);
		down(&f);
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

		up(&f, modes[i]);
		upload_make(&u, f.snap, 4096, NEW);
		app_do(&f.app, "BEGIN IMMEDIATE; INSERT INTO t(b) VALUES('late')");
		how.keep = 0;
		how.busy_timeout_ms = 30000;
		how.cancelled = let_go;
		how.arg = &f.app;
		assert_restored(&f, &u, &how);
		assert_int_equal(app_get(&f.app, COUNT_T), 500);
		assert_int_equal(count_kept(&f), 0);
		upload_finish(&u);
		app_stop(&f.app);
		down(&f);
	}
}

/* A reader of the application's that stays: in WAL mode it is in nobody's way. */
static void test_open_read_transaction(void **state)
{
	struct restoring how = RESTORING;
	struct upload u;
	struct fixture f;

	(void)state;
	up(&f, WAL_OLD);
	upload_make(&u, f.snap, 4096, NEW);
	app_do(&f.app, "BEGIN");
	assert_int_equal(app_get(&f.app, COUNT_T), 200);
	assert_restored(&f, &u, &how);
	assert_int_equal(app_get(&f.app, COUNT_T), 200);
	assert_shows_upload(&f, &u);
	assert_int_equal(app_ask(&f.app, "INSERT INTO t(b) VALUES(1)").rc, SQLITE_BUSY_SNAPSHOT);
	app_do(&f.app, "ROLLBACK");
	assert_int_equal(app_get(&f.app, COUNT_T), 500);
	upload_finish(&u);
	app_stop(&f.app);
	down(&f);

	up(&f, ROLLBACK_OLD);
	upload_make(&u, f.snap, 4096, NEW);
	app_do(&f.app, "BEGIN");
	assert_int_equal(app_get(&f.app, COUNT_T), 200);
	how = RESTORING;
	how.busy_timeout_ms = 200;
	assert_refused(&f, &u, &how, -EBUSY);
	app_do(&f.app, "ROLLBACK; INSERT INTO t(b) VALUES(1)");
	upload_finish(&u);
	app_stop(&f.app);
	down(&f);
}

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

		up(&f, modes[i]);
		upload_make(&u, f.snap, 4096, NEW);
		how.cancelled = always;
		assert_refused(&f, &u, &how, -ECANCELED);
		how = RESTORING;
		assert_restored(&f, &u, &how);
		upload_finish(&u);
		app_stop(&f.app);
		down(&f);
	}
}

/* ---- room ---------------------------------------------------------------------------------------------- */

/* The database on a file system of its own; SIZE: "size=..." of tmpfs(5). */
static void app_up_small(struct fixture *f, const char *size, const char *sql)
{
	folder_make(&f->folder);
	folder_make(&f->store);
	folder_mount_tmpfs(&f->folder, size);
	app_start(&f->app, &f->folder, "db");
	app_do(&f->app, sql);
}

static void up_small(struct fixture *f, const char *size, const char *sql)
{
	app_up_small(f, size, sql);
	snap_up(f);
}

#define BIG TABLE APP_ROWS(4000)

static void test_no_room_beside(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct restoring how = RESTORING;
		struct upload u;
		struct fixture f;

		up_small(&f, "size=1500k", modes[i]);
		upload_make(&u, f.snap, 4096, BIG);
		assert_refused(&f, &u, &how, -ENOSPC);
		assert_non_null(strstr(how.err.text, "MiB"));
		app_do(&f.app, "INSERT INTO t(b) VALUES(1)");
		upload_finish(&u);
		app_stop(&f.app);
		down(&f);
	}
}

/* Asked for the last time before it writes: the disk fills at this moment. */
static bool fill_disk(void *arg)
{
	const struct fixture *f = arg;
	int fd = openat(f->folder.fd, "filler", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	static const char zeros[65536];
	struct stat st;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	if (st.st_size == 0) {
		while (write(fd, zeros, sizeof(zeros)) == (ssize_t)sizeof(zeros))
			;
		/* What a few pages need stays. */
		assert_int_equal(fstat(fd, &st), 0);
		assert_int_equal(ftruncate(fd, st.st_size - 600000), 0);
	}
	close(fd);
	return false;
}

static void test_disk_fills_meanwhile(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct restoring how = RESTORING;
		struct upload u;
		struct fixture f;

		up_small(&f, "size=8m", modes[i]);
		upload_make(&u, f.snap, 4096, BIG);
		how.keep = 0;
		how.cancelled = fill_disk;
		how.arg = &f;
		assert_refused(&f, &u, &how, -ENOSPC);
		/* What it wrote is not in the application's way. */
		app_do(&f.app, "INSERT INTO t(b) SELECT randomblob(300) FROM t");
		assert_int_equal(app_get(&f.app, COUNT_T), 400);
		assert_int_equal(app_get(&f.app, "PRAGMA wal_checkpoint(TRUNCATE)"), 0);
		assert_afresh(&f, COUNT_T, 400);
		assert_int_equal(unlinkat(f.folder.fd, "filler", 0), 0);
		how = RESTORING;
		assert_restored(&f, &u, &how);
		assert_afresh(&f, COUNT_T, 4000);
		upload_finish(&u);
		app_stop(&f.app);
		down(&f);
	}
}

/* Leaves FREE bytes of the database's file system. */
static void leave_free(struct fixture *f, uint64_t free_bytes)
{
	struct statvfs vfs;
	int fd = openat(f->folder.fd, "filler", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(fstatvfs(fd, &vfs), 0);
	assert_int_equal(fallocate(fd, 0, 0, (off_t)(vfs.f_bavail * vfs.f_frsize - free_bytes)), 0);
	close(fd);
}

enum reading { NOBODY, APPLICATION, OURSELVES };

/* A WAL that is all in the database file is written over, and needs no room, unless somebody reads from it.
 */
static void check_room_again(enum reading who, bool copied)
{
	struct restoring how = RESTORING;
	struct snap_gen *gen = NULL;
	struct app reader;
	struct upload u;
	struct fixture f;

	app_up_small(&f, "size=8m", WAL_OLD ";" APP_ROWS(4000));
	app_start(&reader, &f.folder, "db");
	if (who == APPLICATION) {
		app_do(&reader, "BEGIN");
		assert_int_equal(app_get(&reader, COUNT_T), 4200);
	}
	snap_up(&f);
	if (who == OURSELVES)
		gen = open_now(&f);
	if (copied) /* as far as readers let it: to their mark, which is the last frame */
		app_do(&f.app, "PRAGMA wal_checkpoint(PASSIVE)");
	upload_make(&u, f.snap, 4096, BIG);
	leave_free(&f, 3 << 19);
	if (who == NOBODY && copied)
		assert_restored(&f, &u, &how);
	else
		assert_refused(&f, &u, &how, -ENOSPC);
	/* It was not found out by filling the disk. */
	assert_true(how.result.committed || strstr(how.err.text, "in one transaction"));
	assert_afresh(&f, COUNT_T, how.result.committed ? 4000 : 4200);
	if (gen)
		close_gen(gen);
	upload_finish(&u);
	app_stop(&reader);
	app_stop(&f.app);
	down(&f);
}

static void test_room_of_the_wal(void **state)
{
	(void)state;
	check_room_again(NOBODY, false);
	check_room_again(NOBODY, true);
	check_room_again(APPLICATION, true);
	check_room_again(OURSELVES, true);
}

/* ---- a missing file that was made ---------------------------------------------------------------------- */

/* An application opens the file as soon as it is there, and does nothing yet: no lock of it can be seen. */
static int open_and_fail(void *arg, enum vfs_call call)
{
	struct fixture *f = arg;
	char path[PATH_MAX], sql[PATH_MAX + 32];

	if (call != VFS_LOCK)
		return call == VFS_WRITE ? SQLITE_FULL : SQLITE_OK;
	snprintf(sql, sizeof(sql), "ATTACH '%s' AS made", folder_file(&f->folder, "db", path));
	app_ask(&f->app, sql); /* an error when that was done before */
	return SQLITE_OK;
}

/* No database, an application that has another one open, and an upload. */
static void up_missing(struct fixture *f, struct upload *u)
{
	folder_make(&f->folder);
	folder_make(&f->store);
	app_start(&f->app, &f->folder, "elsewhere");
	snap_up(f);
	upload_make(u, f->snap, 4096, NEW);
}

/* The restore into it fails then: what the application writes later is not lost with it. */
static void test_made_and_opened_meanwhile(void **state)
{
	struct restoring how = RESTORING;
	struct upload u;
	struct fixture f;

	(void)state;
	up_missing(&f, &u);
	how.fault = open_and_fail;
	how.arg = &f;
	assert_int_equal(restore(&f, &u, &how), -ENOSPC);
	assert_false(how.result.committed);
	assert_string_equal(how.result.undo, "");
	assert_int_equal(count_kept(&f), 0);
	assert_int_equal(app_get(&f.app, "SELECT count(*) FROM made.sqlite_schema"), 0);
	app_do(&f.app, "CREATE TABLE made.t(a); INSERT INTO made.t VALUES(1), (2), (3)");
	assert_afresh(&f, COUNT_T, 3);
	/* Nor is it in the way of the next restore. */
	how = RESTORING;
	assert_restored(&f, &u, &how);
	assert_int_equal(app_get(&f.app, "SELECT count(*) FROM made.t"), 500);
	assert_int_equal(ask_kept(&f, how.result.undo, COUNT_T), 3);
	upload_finish(&u);
	app_stop(&f.app);
	down(&f);
}

/* Whose application opens the file before it is given its owner, which fails; NULL: that works. */
static struct fixture *unowned;

int __real_fchown(int fd, uid_t uid, gid_t gid);
int __wrap_fchown(int fd, uid_t uid, gid_t gid);

int __wrap_fchown(int fd, uid_t uid, gid_t gid)
{
	if (!unowned)
		return __real_fchown(fd, uid, gid);
	open_and_fail(unowned, VFS_LOCK);
	errno = EPERM;
	return -1;
}

static void test_made_and_not_owned(void **state)
{
	struct restoring how = RESTORING;
	struct upload u;
	struct fixture f;

	(void)state;
	up_missing(&f, &u);
	unowned = &f;
	assert_int_equal(restore(&f, &u, &how), -EPERM);
	unowned = NULL;
	assert_false(how.result.committed);
	app_do(&f.app, "CREATE TABLE made.t(a); INSERT INTO made.t VALUES(1), (2), (3)");
	assert_afresh(&f, COUNT_T, 3);
	upload_finish(&u);
	app_stop(&f.app);
	down(&f);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_live_checksums),
		cmocka_unit_test(test_meaning),
		cmocka_unit_test(test_several_names),
		cmocka_unit_test(test_locked),
		cmocka_unit_test(test_waits_for_the_lock),
		cmocka_unit_test(test_open_read_transaction),
		cmocka_unit_test(test_cancelled),
		cmocka_unit_test(test_no_room_beside),
		cmocka_unit_test(test_disk_fills_meanwhile),
		cmocka_unit_test(test_room_of_the_wal),
		cmocka_unit_test(test_made_and_opened_meanwhile),
		cmocka_unit_test(test_made_and_not_owned),
	};

	if (argc == 5 && strcmp(argv[1], LOOK) == 0)
		return look_main(argv);
	return cmocka_run_group_tests(tests, own_tmp, NULL);
}
