/* SPDX-License-Identifier: MIT */
/* What a restore keeps of what it replaces: all of it, to the last commit, before anything is written. */
#include "restores.h"

#include <sys/statvfs.h>

#define NEW TABLE APP_ROWS(500)

static const char *const modes[] = {WAL_TABLE APP_ROWS(10000), ROLLBACK_TABLE APP_ROWS(10000)};

/* What the application does while the old content is copied, one thing at each look. */
struct busy_app {
	struct app *app;
	const char *const *sql;
	int next, done;
	int64_t rows; /* after the last one that worked */
};

static int64_t mtime_of(struct fixture *f, const char *name)
{
	struct stat st;

	return fstatat(f->folder.fd, name, &st, AT_SYMLINK_NOFOLLOW) ? 0 : timespec_ns(st.st_mtim);
}

static bool work_on(void *arg)
{
	struct busy_app *busy = arg;

	if (busy->sql[busy->next] && app_ask(busy->app, busy->sql[busy->next++]).rc == SQLITE_OK) {
		busy->done++;
		busy->rows = app_get(busy->app, COUNT_T);
	}
	return false;
}

static void check_commits_meanwhile(const char *const *sql, int least)
{
	struct restoring how = RESTORING;
	struct busy_app busy = {.sql = sql};
	struct upload u;
	struct fixture f;

	restore_up(&f, &u, modes[0], NEW);
	busy.app = &f.app;
	how.cancelled = work_on;
	how.arg = &busy;
	assert_restored(&f, &u, &how);
	assert_true(busy.done >= least);
	assert_int_equal(ask_kept(&f, how.result.undo, COUNT_T), busy.rows);
	assert_int_equal(app_get(&f.app, COUNT_T), 500);
	restore_down(&f, &u);
}

static void test_commits_while_it_is_copied(void **state)
{
	static const char *const adds[] = {"INSERT INTO t(b) SELECT randomblob(300) FROM t",
					   "UPDATE t SET b=randomblob(200) WHERE a%3=0",
					   "INSERT INTO t(b) VALUES('last')", NULL};
	static const char *const shrinks[] = {"DELETE FROM t WHERE a>500; VACUUM",
					      "PRAGMA wal_checkpoint(PASSIVE)",
					      "INSERT INTO t(b) VALUES('last')", NULL};

	(void)state;
	check_commits_meanwhile(adds, 3);
	check_commits_meanwhile(shrinks, 3);
}

/* What SQLite has open cannot be told by names: the WAL of a database that was deleted. */
static void leave_wal(struct fixture *f)
{
	up(f, WAL_TABLE APP_ROWS(200));
	app_kill(&f->app);
	assert_true(file_bytes(f, "db-wal") > 0);
}

static void test_stale_wal(void **state)
{
	(void)state;
	for (int empty = 0; empty < 2; empty++) {
		struct restoring how = RESTORING;
		struct keep_entry entry;
		struct file_look wal;
		struct upload u;
		struct fixture f;
		char path[PATH_MAX];

		leave_wal(&f);
		wal = file_look(&f.folder, "db-wal");
		folder_file(&f.folder, "db", path);
		assert_int_equal(empty ? truncate(path, 0) : unlink(path), 0);
		upload_make(&u, f.snap, 4096, NEW);
		assert_restored(&f, &u, &how);
		assert_afresh(&f, COUNT_T, 500);
		assert_shows_upload(&f, &u);
		assert_int_equal(keep_find(f.snap->core.store, path, how.result.undo, &entry), 0);
		assert_true(entry.has_wal);
		assert_int_equal(entry.meta.size, 0);
		int fd = kept_file_open(f.snap->core.store, path, how.result.undo, "-wal", NULL);
		assert_int_equal(lseek(fd, 0, SEEK_END), wal.size);
		close(fd);
		upload_finish(&u);
		down(&f);
	}
}

/* A crash left a journal: what is kept is what the next open would have found. */
static void test_hot_journal(void **state)
{
	struct restoring how = RESTORING;
	struct upload u;
	struct fixture f;

	(void)state;
	up(&f, modes[1]);
	app_do(&f.app, "PRAGMA cache_size=5; PRAGMA cache_spill=1; BEGIN; UPDATE t SET b=randomblob(300)");
	app_kill(&f.app);
	assert_true(file_bytes(&f, "db-journal") > 0);
	upload_make(&u, f.snap, 4096, NEW);
	assert_restored(&f, &u, &how);
	assert_afresh(&f, COUNT_T, 500);
	assert_shows_upload(&f, &u);
	assert_int_equal(ask_kept(&f, how.result.undo, COUNT_T), 10000);
	upload_finish(&u);
	down(&f);
}

static void test_garbage_is_kept_as_it_is(void **state)
{
	struct restoring how = RESTORING;
	struct copy garbage = {sqlite3_malloc64(70000), 70000};
	unsigned char *kept = malloc(garbage.size + 1);
	struct upload u;
	struct fixture f;
	char path[PATH_MAX];
	int fd;

	(void)state;
	up(&f, ROLLBACK_TABLE);
	app_stop(&f.app);
	sqlite3_randomness((int)garbage.size, garbage.bytes);
	put_bytes(&f, "db", &garbage);
	upload_make(&u, f.snap, 4096, NEW);
	assert_restored(&f, &u, &how);
	fd = kept_file_open(f.snap->core.store, folder_file(&f.folder, "db", path), how.result.undo, "",
			    NULL);
	assert_int_equal(pread(fd, kept, garbage.size + 1, 0), garbage.size);
	assert_memory_equal(kept, garbage.bytes, garbage.size);
	close(fd);
	free(kept);
	sqlite3_free(garbage.bytes);
	upload_finish(&u);
	down(&f);
}

static void test_how_many_are_kept(void **state)
{
	struct restoring how = RESTORING;
	char first[64] = "";
	struct upload u;
	struct fixture f;

	(void)state;
	restore_up(&f, &u, WAL_TABLE APP_ROWS(10), NEW);
	how.keep = 0;
	assert_restored(&f, &u, &how);
	assert_int_equal(count_kept(&f), 0);
	for (int i = 0; i < 5; i++) {
		app_do(&f.app, "INSERT INTO t(b) VALUES(1)");
		how = RESTORING;
		how.keep = 2;
		assert_restored(&f, &u, &how);
		if (i == 0)
			strcpy(first, how.result.undo);
	}
	/* The oldest of a day is the state before the trouble. */
	assert_int_equal(count_kept(&f), 3);
	assert_int_equal(ask_kept(&f, first, COUNT_T), 501);
	restore_down(&f, &u);
}

/* What is kept says of itself what it is, and not what was there at the look. */
static void check_meta(struct fixture *f, const char *undo, int64_t changed_ns)
{
	struct keep_entry entry;
	char path[PATH_MAX];

	assert_int_equal(keep_find(f->snap->core.store, folder_file(&f->folder, "db", path), undo, &entry),
			 0);
	assert_int_equal(entry.meta.page_size, 4096);
	assert_int_equal(entry.meta.mtime_ns, changed_ns);
}

/* As the connection that restores first asks for something, which is before it writes. */
struct late {
	struct busy_app busy; /* first */
	struct fixture *f;
	int64_t changed_ns;
};

static int work_late(void *arg, enum vfs_call call)
{
	struct late *late = arg;

	(void)call;
	if (late->busy.done == 0) {
		nanosleep(&(struct timespec){.tv_nsec = 20 * NS_PER_MS}, NULL); /* another mtime */
		work_on(&late->busy);
		late->changed_ns = mtime_of(late->f, "db-wal");
		if (mtime_of(late->f, "db") > late->changed_ns)
			late->changed_ns = mtime_of(late->f, "db");
	}
	return SQLITE_OK;
}

/* What is there is what was last restored, and need not be kept; but then it is not. */
static void test_commit_after_the_look(void **state)
{
	static const char *const adds[] = {"INSERT INTO t(b) VALUES('last')", NULL};

	(void)state;
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		struct restoring how = RESTORING;
		struct late late = {.busy = {.sql = adds}};
		struct upload first, u;
		struct fixture f;

		up(&f, modes[i]);
		late.busy.app = &f.app;
		late.f = &f;
		upload_make(&first, f.snap, 4096, NEW);
		upload_make(&u, f.snap, 4096, TABLE APP_ROWS(20));
		assert_restored(&f, &first, &how);
		how = RESTORING;
		how.fault = work_late;
		how.arg = &late;
		assert_restored(&f, &u, &how);
		assert_int_equal(late.busy.done, 1);
		check_meta(&f, how.result.undo, late.changed_ns);
		assert_int_equal(ask_kept(&f, how.result.undo, COUNT_T), 501);
		assert_int_equal(app_get(&f.app, COUNT_T), 20);
		upload_finish(&first);
		restore_down(&f, &u);
	}
}

/* The snapshot has its name before the first byte of the database is written. */
struct first_write {
	struct fixture *f;
	size_t kept;
	bool seen;
};

static int look_at_first_write(void *arg, enum vfs_call call)
{
	struct first_write *w = arg;

	if (call == VFS_WRITE && !w->seen) {
		w->seen = true;
		w->kept = count_kept(w->f);
	}
	return SQLITE_OK;
}

static void test_kept_before_it_is_written(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct restoring how = RESTORING;
		struct first_write write = {.seen = false};
		struct upload u;
		struct fixture f;

		restore_up(&f, &u, modes[i], NEW);
		write.f = &f;
		how.fault = look_at_first_write;
		how.arg = &write;
		assert_restored(&f, &u, &how);
		assert_true(write.seen);
		assert_int_equal(write.kept, 1);
		restore_down(&f, &u);
	}
}

/* ---- clones, which this file system does not have ------------------------------------------------------ */

static struct {
	bool on;
	const char *path;
	off_t cut_to; /* before it is cloned; 0: it is not cut */
} clones;

bool __real_spool_clone_into(struct live *live, int fd);
bool __wrap_spool_clone_into(struct live *live, int fd);

/* Through SQLite's own handle: a close of another would drop its locks. */
bool __wrap_spool_clone_into(struct live *live, int fd)
{
	unsigned char buf[4096];
	ssize_t got;

	if (!clones.on)
		return __real_spool_clone_into(live, fd);
	if (clones.cut_to)
		assert_int_equal(truncate(clones.path, clones.cut_to), 0);
	for (off_t at = 0; (got = vfs_read_db(live->hub->db.vfs, buf, sizeof(buf), (uint64_t)at)) > 0;
	     at += got)
		assert_int_equal(pwrite(fd, buf, (size_t)got, at), got);
	return true;
}

static void check_clone(const char *sql, off_t cut_to)
{
	struct restoring how = RESTORING;
	struct keep_entry entry;
	char path[PATH_MAX];
	struct upload u;
	struct fixture f;

	up(&f, sql);
	folder_file(&f.folder, "db", path);
	upload_make(&u, f.snap, 4096, NEW);
	clones.on = true;
	clones.path = path;
	clones.cut_to = cut_to;
	assert_restored(&f, &u, &how);
	clones.on = false;
	assert_int_equal(count_kept(&f), 1);
	assert_int_equal(keep_find(f.snap->core.store, path, how.result.undo, &entry), 0);
	if (cut_to)
		assert_int_equal(entry.meta.size, cut_to); /* as it is, and not with zeros behind it */
	else
		assert_int_equal(ask_kept(&f, how.result.undo, COUNT_T), 10000);
	assert_afresh(&f, COUNT_T, 500);
	restore_down(&f, &u);
}

static void test_clones(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++)
		check_clone(modes[i], 0);
	check_clone(WAL_TABLE APP_ROWS(9000) "; PRAGMA wal_checkpoint(TRUNCATE);" APP_ROWS(1000), 0);
	check_clone(WAL_TABLE APP_ROWS(10000) "; PRAGMA wal_checkpoint(TRUNCATE)", 100000);
	check_clone(modes[1], 100000);
}

/* No room in the store for what is replaced: nothing is replaced. */
static void test_no_room_to_keep(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct restoring how = RESTORING;
		struct upload u;
		struct fixture f;
		struct file_look db;

		app_up(&f, modes[i]);
		folder_mount_tmpfs(&f.store, "size=19m");
		snap_up(&f);
		upload_make(&u, f.snap, 4096, NEW);
		int fd = open(f.store.path, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
		assert_int_equal(fallocate(fd, 0, 0, 17 << 20), 0);
		db = file_look(&f.folder, "db");
		assert_int_equal(restore(&f, &u, &how), -ENOSPC);
		assert_non_null(strstr(how.err.text, "keep=0"));
		assert_false(how.result.committed);
		assert_same_file(file_look(&f.folder, "db"), db);
		assert_int_equal(app_get(&f.app, COUNT_T), 10000);
		close(fd);
		how = RESTORING;
		assert_restored(&f, &u, &how);
		restore_down(&f, &u);
	}
}

/* What is only shown gives way to what must be kept. */
static void test_shown_bytes_give_way(void **state)
{
	struct restoring how = RESTORING;
	struct upload shown, u;
	struct statvfs vfs;
	struct fixture f;
	int fd;

	(void)state;
	app_up(&f, modes[0]);
	folder_mount_tmpfs(&f.store, "size=64m");
	snap_up(&f);
	upload_make(&shown, f.snap, 4096, TABLE APP_ROWS(15000));
	how.keep = 0;
	assert_restored(&f, &shown, &how);
	upload_finish(&shown);
	app_do(&f.app, "INSERT INTO t(b) VALUES(1)");
	upload_make(&u, f.snap, 4096, NEW);
	fd = open(f.store.path, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
	assert_int_equal(statvfs(f.store.path, &vfs), 0);
	assert_int_equal(fallocate(fd, 0, 0, (off_t)(vfs.f_bavail * vfs.f_frsize) - (2 << 20)), 0);
	how = RESTORING;
	assert_restored(&f, &u, &how);
	assert_int_equal(ask_kept(&f, how.result.undo, COUNT_T), 15001);
	close(fd);
	restore_down(&f, &u);
}

/* The log refers to each of them by its name, also to those that are dropped in the same second. */
static void test_no_name_twice(void **state)
{
	char names[6][sizeof(((struct snap_restored *)NULL)->undo)];
	struct upload uploads[2];
	struct fixture f;

	(void)state;
	restore_up(&f, &uploads[0], WAL_TABLE APP_ROWS(200), TABLE APP_ROWS(500));
	upload_make(&uploads[1], f.snap, 4096, TABLE APP_ROWS(600));
	for (int i = 0; i < 6; i++) {
		struct restoring how = RESTORING;

		how.keep = 1;
		assert_restored(&f, &uploads[i % 2], &how);
		snprintf(names[i], sizeof(names[i]), "%s", how.result.undo);
		for (int j = 0; j < i; j++)
			assert_string_not_equal(names[i], names[j]);
	}
	upload_finish(&uploads[1]);
	restore_down(&f, &uploads[0]);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_commits_while_it_is_copied),
		cmocka_unit_test(test_stale_wal),
		cmocka_unit_test(test_hot_journal),
		cmocka_unit_test(test_garbage_is_kept_as_it_is),
		cmocka_unit_test(test_how_many_are_kept),
		cmocka_unit_test(test_commit_after_the_look),
		cmocka_unit_test(test_kept_before_it_is_written),
		cmocka_unit_test(test_clones),
		cmocka_unit_test(test_no_room_to_keep),
		cmocka_unit_test(test_shown_bytes_give_way),
		cmocka_unit_test(test_no_name_twice),
	};

	if (argc == 5 && strcmp(argv[1], LOOK) == 0)
		return look_main(argv);
	return cmocka_run_group_tests(tests, own_tmp, NULL);
}
