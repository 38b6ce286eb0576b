/* SPDX-License-Identifier: MIT */
/* A copy that is begun while an upload arrives: it becomes what the restore keeps, whatever was committed
 * since, and is nowhere when there is no restore. */
#include "restores.h"

#include <dirent.h>
#include <stdatomic.h>
#include <sys/statvfs.h>

#include "../../src/clock.h"
#include "../../src/headstart.h"

#define LARGE APP_ROWS(20000) "; UPDATE t SET b=randomblob(300); PRAGMA wal_checkpoint(TRUNCATE)"
#define SUM_T "SELECT sum(a) + sum(length(b)) + sum(length(replace(hex(b), '0', ''))) FROM t"
#define MIB ((size_t)1 << 20)

static const char *const modes[] = {WAL_TABLE LARGE, ROLLBACK_TABLE LARGE};

/* ---- what is in the store ------------------------------------------------------------------------------ */

/* The unfinished snapshot of "db": its bytes, -1: there is none. */
static int64_t unfinished(struct fixture *f, uint64_t *ino)
{
	char path[PATH_MAX];
	int source = store_open_source(f->snap->core.store, folder_file(&f->folder, "db", path), true, NULL);
	int kept = openat(source, "kept", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *entry;
	struct stat st;
	int64_t bytes = -1;
	DIR *dir;

	assert_true(source >= 0);
	close(source);
	if (kept < 0)
		return -1;
	dir = fdopendir(kept);
	while ((entry = readdir(dir))) {
		snprintf(path, sizeof(path), "%s/db", entry->d_name);
		if (strstr(entry->d_name, ".partial") && fstatat(kept, path, &st, 0) == 0) {
			bytes = st.st_size;
			if (ino)
				*ino = st.st_ino;
		}
	}
	closedir(dir);
	return bytes;
}

/* Waits until as much is copied as the database file has. */
static uint64_t await_copy(struct fixture *f)
{
	int64_t until = monotonic_ns() + 60 * NS_PER_S;
	uint64_t ino = 0;

	while (unfinished(f, &ino) < file_bytes(f, "db")) {
		if (monotonic_ns() > until)
			fail_msg("nothing is copied");
		usleep(1000);
	}
	return ino;
}

/* ---- restoring ----------------------------------------------------------------------------------------- */

/* The database is changed by SQL when all of it has been copied, and is then replaced. */
static void check_undo(const char *mode, const char *sql)
{
	struct restoring how = RESTORING;
	struct keep_entry entry;
	struct upload u;
	struct fixture f;
	char path[PATH_MAX];
	int64_t rows, sum;
	uint64_t ino;

	up(&f, mode);
	assert_int_equal(headstart_begin(&how.headstart, f.snap, "db"), 0);
	ino = await_copy(&f);
	app_do(&f.app, sql);
	rows = app_get(&f.app, COUNT_T);
	sum = app_get(&f.app, SUM_T);
	upload_make(&u, f.snap, 4096, TABLE APP_ROWS(500));
	assert_restored(&f, &u, &how);
	headstart_end(how.headstart);
	assert_int_equal(app_get(&f.app, COUNT_T), 500);
	assert_int_equal(ask_kept(&f, how.result.undo, COUNT_T), rows);
	assert_int_equal(ask_kept(&f, how.result.undo, SUM_T), sum);
	assert_int_equal(
		keep_find(f.snap->core.store, folder_file(&f.folder, "db", path), how.result.undo, &entry),
		0);
	assert_int_equal(entry.ino, ino); /* it is that copy */
	assert_int_equal(unfinished(&f, NULL), -1);
	restore_down(&f, &u);
}

static void test_commits_since(void **state)
{
	static const char *const since[] = {
		"UPDATE t SET b=randomblob(300) WHERE a%500=0",
		"INSERT INTO t(b) SELECT randomblob(300) FROM t",
		"DELETE FROM t WHERE a>500; VACUUM",
		"UPDATE t SET b=randomblob(300) WHERE a%7=0; PRAGMA wal_checkpoint(TRUNCATE)",
		"SELECT 1",
	};

	(void)state;
	for (size_t i = 0; i < 2 * sizeof(since) / sizeof(since[0]); i++)
		check_undo(modes[i % 2], since[i / 2]);
}

/* Most pages are one of two, so that what a page was, or should have become, stands in many other places. */
static void test_pages_alike(void **state)
{
	static const char alike[] =
		";UPDATE t SET b=zeroblob(4500) WHERE a<=1600; DELETE FROM t WHERE a>1600; VACUUM;"
		"UPDATE t SET b=replace(hex(zeroblob(2250)),'0','x') WHERE a/60%2;"
		"PRAGMA wal_checkpoint(TRUNCATE)";

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		char mode[1024];

		snprintf(mode, sizeof(mode), "%s%s", modes[i], alike);
		check_undo(mode, "UPDATE t SET b=zeroblob(4500)");
	}
}

/* What stands there when the restore comes is no database any more: it is kept as it is, with nothing of the
 * copy behind it. */
static void test_garbage_since(void **state)
{
	struct restoring how = RESTORING;
	struct keep_entry entry;
	struct upload u;
	struct fixture f;
	char path[PATH_MAX];

	(void)state;
	up(&f, modes[1]);
	assert_int_equal(headstart_begin(&how.headstart, f.snap, "db"), 0);
	await_copy(&f);
	app_stop(&f.app);
	assert_int_equal(truncate(folder_file(&f.folder, "db", path), 5000), 0);
	upload_make(&u, f.snap, 4096, TABLE APP_ROWS(500));
	assert_restored(&f, &u, &how);
	headstart_end(how.headstart);
	assert_int_equal(keep_find(f.snap->core.store, path, how.result.undo, &entry), 0);
	assert_int_equal(entry.meta.size, 5000);
	upload_finish(&u);
	down(&f);
}

static void test_another_database(void **state)
{
	struct headstart *h;
	struct source *other;
	struct fixture f;
	struct keep *keep;
	uint64_t bytes;

	(void)state;
	up(&f, modes[0]);
	assert_int_equal(headstart_begin(&h, f.snap, "db"), 0);
	await_copy(&f);
	other = source_of(&f);
	keep = headstart_take(h, other, &bytes);
	assert_non_null(keep);
	assert_int_equal(bytes, file_bytes(&f, "db"));
	keep_destroy(keep);
	assert_null(headstart_take(h, other, &bytes)); /* once */
	headstart_end(h);
	assert_int_equal(headstart_begin(&h, f.snap, "db"), 0);
	await_copy(&f);
	assert_null(headstart_take(h, NULL, &bytes));
	headstart_end(h);
	assert_int_equal(unfinished(&f, NULL), -1);
	source_unref(other);
	app_stop(&f.app);
	down(&f);
}

/* ---- a store that fills up ----------------------------------------------------------------------------- */

static struct {
	const char *store; /* NULL: it does not */
	int fd;
	atomic_bool full;
} filling;
static atomic_bool stalled; /* nothing can be written */

int __real_spool_write(int fd, const void *buf, size_t size, uint64_t offset, struct snap_err *err);
int __wrap_spool_write(int fd, const void *buf, size_t size, uint64_t offset, struct snap_err *err);

/* As the first bytes are written somebody else takes all the room but for the database, the reserve, and two
 * megabytes. */
int __wrap_spool_write(int fd, const void *buf, size_t size, uint64_t offset, struct snap_err *err)
{
	struct statvfs vfs;

	if (filling.store && !atomic_load(&filling.full)) {
		filling.fd = open(filling.store, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
		assert_int_equal(fstatvfs(filling.fd, &vfs), 0);
		assert_int_equal(fallocate(filling.fd, 0, 0,
					   (off_t)(vfs.f_bavail * vfs.f_frsize - 10 * MIB - STORE_RESERVE)),
				 0);
		atomic_store(&filling.full, true);
	}
	while (atomic_load(&stalled))
		usleep(1000);
	return __real_spool_write(fd, buf, size, offset, err);
}

static void test_store_fills_up(void **state)
{
	int64_t until = monotonic_ns() + 60 * NS_PER_S;
	struct headstart *h;
	struct source *source;
	struct fixture f;
	uint64_t bytes;

	(void)state;
	app_up(&f, modes[0]);
	folder_mount_tmpfs(&f.store, "size=128m");
	snap_up(&f);
	assert_between(file_bytes(&f, "db"), 6 * MIB, 8 * MIB);
	source = source_of(&f);
	filling.store = f.store.path;
	assert_int_equal(headstart_begin(&h, f.snap, "db"), 0);
	while (!atomic_load(&filling.full) || unfinished(&f, NULL) >= 0) {
		assert_true(monotonic_ns() < until && unfinished(&f, NULL) < file_bytes(&f, "db"));
		usleep(1000);
	}
	filling.store = NULL;
	assert_null(headstart_take(h, source, &bytes));
	assert_int_equal(bytes, 0);
	headstart_end(h);
	close(filling.fd);
	source_unref(source);
	app_stop(&f.app);
	down(&f);
}

/* ---- a store that is slow ------------------------------------------------------------------------------ */

static void do_nothing(void *arg)
{
	(void)arg;
}

/* However many uploads have begun, there are threads left for those who open and restore. */
static void test_threads_are_left(void **state)
{
	struct headstart *h[2 * SNAP_DEFER_MAX];
	struct fixture f;
	size_t n = 0;

	(void)state;
	up(&f, modes[0]);
	atomic_store(&stalled, true);
	while (n < 2 * SNAP_DEFER_MAX && headstart_begin(&h[n], f.snap, "db") == 0)
		n++;
	assert_true(n > 0 && n <= SNAP_DEFER_MAX / 16);
	assert_int_equal(headstart_begin(&h[n], f.snap, "db"), -EAGAIN);
	assert_int_equal(snap_defer(f.snap, do_nothing, NULL), 0);
	atomic_store(&stalled, false);
	/* Each that ends makes room for one. */
	headstart_end(h[--n]);
	assert_int_equal(headstart_begin(&h[n++], f.snap, "db"), 0);
	while (n > 0)
		headstart_end(h[--n]);
	assert_int_equal(unfinished(&f, NULL), -1);
	app_stop(&f.app);
	down(&f);
}

/* ---- uploads ------------------------------------------------------------------------------------------- */

static void up_keeping(struct fixture *f, const char *sql)
{
	struct snap_config config = {.wal_limit = 1 << 20,
				     .wal_max = 64 << 20,
				     .keep = 3,
				     .busy_timeout_ms = 5000,
				     .store = f->store.path,
				     .event = quiet};

	app_up(f, sql);
	config.store = f->store.path;
	assert_int_equal(snap_create(&f->snap, &config, NULL), 0);
	assert_int_equal(snap_add_folder(f->snap, f->folder.path, NULL), 0);
	assert_int_equal(snap_start(f->snap, NULL), 0);
}

static void begin_upload(struct fixture *f, struct snap_upload **u, const struct copy *copy, size_t size)
{
	assert_int_equal(snap_upload_create(f->snap, u, NULL), 0);
	assert_int_equal(snap_upload_expect(*u, "db"), 0);
	assert_int_equal(snap_upload_truncate(*u, 0, NULL), 0);
	assert_int_equal(snap_upload_write(*u, copy->bytes, size, 0, NULL), size);
}

static void test_upload(void **state)
{
	const struct snap_restore order = {.path = "db"};
	struct copy copy = database_of(4096, TABLE LARGE);
	struct snap_restored done;
	struct snap_upload *u;
	struct fixture f;
	uint64_t ino;

	(void)state;
	assert_true(copy.size > 5 * MIB);
	up_keeping(&f, modes[0]);
	begin_upload(&f, &u, &copy, 5 * MIB);
	ino = await_copy(&f);
	assert_int_equal(snap_upload_write(u, copy.bytes + 5 * MIB, copy.size - 5 * MIB, 5 * MIB, NULL),
			 copy.size - 5 * MIB);
	assert_int_equal(snap_upload_restore(u, &order, &done, NULL), 0);
	assert_true(done.committed);
	struct keep_entry entry;
	char path[PATH_MAX];

	folder_file(&f.folder, "db", path);
	assert_int_equal(keep_find(f.snap->core.store, path, done.undo, &entry), 0);
	assert_int_equal(entry.ino, ino);
	snap_upload_destroy(u);
	sqlite3_free(copy.bytes);
	app_stop(&f.app);
	down(&f);
}

/* What has begun is let go of by another thread. */
static void await_nothing(struct fixture *f)
{
	for (int64_t until = monotonic_ns() + 60 * NS_PER_S; unfinished(f, NULL) != -1; usleep(1000))
		assert_true(monotonic_ns() < until);
}

/* Refused, it leaves nothing, before whoever wrote it hears of it; nor does one that was given up, a moment
 * later. */
static void test_no_restore(void **state)
{
	const struct snap_restore order = {.path = "db"};
	struct copy copy = database_of(4096, TABLE LARGE);
	struct snap_restored done;
	struct snap_upload *u;
	struct snap_err err;
	struct fixture f;

	(void)state;
	up_keeping(&f, modes[0]);
	begin_upload(&f, &u, &copy, 5 * MIB);
	await_copy(&f);
	assert_int_equal(snap_upload_restore(u, &order, &done, &err), -EIO); /* it was cut */
	assert_int_equal(unfinished(&f, NULL), -1);
	snap_upload_destroy(u);
	begin_upload(&f, &u, &copy, 5 * MIB);
	await_copy(&f);
	snap_upload_destroy(u);
	await_nothing(&f);
	sqlite3_free(copy.bytes);
	app_stop(&f.app);
	down(&f);
}

/* Nor does one whose content is thrown away while somebody still knows it, who may begin anew. */
static void test_discarded(void **state)
{
	struct copy copy = database_of(4096, TABLE LARGE);
	struct snap_upload *u;
	struct fixture f;

	(void)state;
	up_keeping(&f, modes[0]);
	begin_upload(&f, &u, &copy, 5 * MIB);
	await_copy(&f);
	snap_upload_discard(u);
	await_nothing(&f);
	assert_int_equal(snap_upload_write(u, copy.bytes, 5 * MIB, 0, NULL), 5 * MIB);
	await_copy(&f);
	snap_upload_destroy(u);
	await_nothing(&f);
	sqlite3_free(copy.bytes);
	app_stop(&f.app);
	down(&f);
}

/* Descriptors of "db" itself. */
static int count_open(const struct fixture *f)
{
	struct stat db, st;
	char path[32];
	int n = 0;

	assert_int_equal(fstatat(f->folder.fd, "db", &db, 0), 0);
	for (int fd = 0; fd < 1024; fd++) { /* by their names: other threads close theirs at this moment */
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		n += stat(path, &st) == 0 && st.st_dev == db.st_dev && st.st_ino == db.st_ino;
	}
	return n;
}

/* A database that stays connected, so that every close of it is put off. */
static void test_many_uploads(void **state)
{
	struct copy copy = database_of(4096, TABLE LARGE);
	struct rawfd_table *raw;
	struct snap_upload *u;
	struct fixture f;
	struct stat st;

	(void)state;
	up_keeping(&f, modes[0]);
	raw = f.snap->core.raw;
	assert_int_equal(fstatat(f.folder.fd, "db", &st, 0), 0);
	assert_int_equal(rawfd_connect(raw, f.folder.fd, "db", st.st_dev, st.st_ino),
			 0); /* as a connection does it */
	for (int i = 0; i < 20; i++) {
		begin_upload(&f, &u, &copy, 5 * MIB);
		await_copy(&f);
		snap_upload_destroy(u);
		await_nothing(&f);
		assert_int_equal(count_open(&f),
				 1 + 1); /* the table's; its close was put off, and it served ever after */
	}
	rawfd_disconnect(raw, st.st_dev, st.st_ino);
	assert_int_equal(count_open(&f), 0);
	sqlite3_free(copy.bytes);
	app_stop(&f.app);
	down(&f);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_commits_since),  cmocka_unit_test(test_pages_alike),
		cmocka_unit_test(test_garbage_since),  cmocka_unit_test(test_another_database),
		cmocka_unit_test(test_upload),	       cmocka_unit_test(test_no_restore),
		cmocka_unit_test(test_discarded),      cmocka_unit_test(test_many_uploads),
		cmocka_unit_test(test_store_fills_up), cmocka_unit_test(test_threads_are_left),
	};

	if (argc > 1 && strcmp(argv[1], SNAP_CHILD_ARGUMENT) == 0)
		return snap_validate_child(argc, argv);
	return cmocka_run_group_tests(tests, own_tmp, NULL);
}
