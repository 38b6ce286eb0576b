/* SPDX-License-Identifier: MIT */
/* Restores that find no room, or cannot write for another reason: they say why, and change nothing. */
#include "restores.h"

#define WAL_OLD WAL_TABLE APP_ROWS(200)
#define ROLLBACK_OLD ROLLBACK_TABLE APP_ROWS(200)
#define NEW TABLE APP_ROWS(500)

static const char *const modes[] = {WAL_OLD, ROLLBACK_OLD};

/* The database on a file system of its own; OPTIONS: tmpfs(5). */
static void app_up_small(struct fixture *f, const char *options, const char *sql)
{
	folder_make(&f->folder);
	folder_make(&f->store);
	folder_mount_tmpfs(&f->folder, options);
	app_start(&f->app, &f->folder, "db");
	app_do(&f->app, sql);
}

static void up_small(struct fixture *f, const char *options, const char *sql)
{
	app_up_small(f, options, sql);
	snap_up(f);
}

/* ---- room ---------------------------------------------------------------------------------------------- */

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
		restore_down(&f, &u);
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

/* A WAL that a restore was to write, and has not, is not taken from what readers are held to. */
static void assert_nothing_forgiven(struct fixture *f)
{
	struct snap_attr attr;
	struct snap_gen *gen;

	assert_int_equal(snap_lookup(f->snap, "db", &attr, &gen, NULL), 0);
	assert_non_null(gen->source->live);
	assert_int_equal(live_forgiven(gen->source->live), 0);
	snap_gen_unref(gen);
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
		if (i == 0)
			assert_nothing_forgiven(&f);
		/* What it wrote is not in the application's way. */
		app_do(&f.app, "INSERT INTO t(b) SELECT randomblob(300) FROM t");
		assert_int_equal(app_get(&f.app, COUNT_T), 400);
		assert_int_equal(app_get(&f.app, "PRAGMA wal_checkpoint(TRUNCATE)"), 0);
		assert_afresh(&f, COUNT_T, 400);
		assert_int_equal(unlinkat(f.folder.fd, "filler", 0), 0);
		how = RESTORING;
		assert_restored(&f, &u, &how);
		assert_afresh(&f, COUNT_T, 4000);
		restore_down(&f, &u);
	}
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
	folder_leave_free(&f.folder, 3 << 19);
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

/* ---- the system's reason ------------------------------------------------------------------------------- */

struct reason {
	enum vfs_call call;
	int code, error;
	int answer;
	bool rollback_only; /* a -wal is open before it is written to */
};

static int fail_for(void *arg, enum vfs_call call)
{
	const struct reason *why = arg;

	if (call != why->call)
		return SQLITE_OK;
	errno = why->error;
	return why->code;
}

static void test_reasons(void **state)
{
	static const struct reason reasons[] = {
		{VFS_WRITE, SQLITE_IOERR_WRITE, EDQUOT, -ENOSPC, false},
		{VFS_WRITE, SQLITE_IOERR_WRITE, EIO, -EIO, false},
		{VFS_OPEN, SQLITE_CANTOPEN, EDQUOT, -ENOSPC, true},
		{VFS_OPEN, SQLITE_CANTOPEN, ENAMETOOLONG, -ENAMETOOLONG, true},
		{VFS_OPEN, SQLITE_CANTOPEN, EPERM, -EPERM, true},
		{VFS_SHM_LOCK, SQLITE_IOERR_SHMLOCK, ENOSPC, -ENOSPC, false},
	};

	(void)state;
	for (size_t i = 0; i < 2 * sizeof(reasons) / sizeof(reasons[0]); i++) {
		struct reason why = reasons[i / 2];
		struct restoring how = RESTORING;
		struct upload u;
		struct fixture f;
		int rc;

		if (i % 2 == 0 ? why.rollback_only : why.call == VFS_SHM_LOCK)
			continue;
		restore_up(&f, &u, modes[i % 2], NEW);
		how.fault = fail_for;
		how.arg = &why;
		rc = restore(&f, &u, &how);
		if (rc != why.answer)
			fail_msg("%zu: %d instead of %d: %s", i, rc, why.answer, how.err.text);
		assert_false(how.result.committed);
		if (why.call == VFS_OPEN && rc != -ENOSPC) /* SQLite knows only that it cannot */
			assert_non_null(strstr(how.err.text, why.error == ENAMETOOLONG
								     ? DB_NAME_TOO_LONG
								     : strerror(why.error)));
		assert_int_equal(app_get(&f.app, COUNT_T), 200);
		restore_down(&f, &u);
	}
}

/* SQLite tries to open what it could not make, and that is not there: which is no reason. */
static void test_journal_that_cannot_be_made(void **state)
{
	struct restoring how = RESTORING;
	struct upload u;
	struct fixture f;
	char name[32];

	(void)state;
	up_small(&f, "size=8m,nr_inodes=40", ROLLBACK_OLD);
	upload_make(&u, f.snap, 4096, NEW);
	source_unref(source_of(&f)); /* which makes a file */
	for (int i = 0, fd = 0; fd >= 0; i++) {
		snprintf(name, sizeof(name), "filler%d", i);
		fd = openat(f.folder.fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		assert_true(fd >= 0 || errno == ENOSPC);
		if (fd >= 0)
			close(fd);
	}
	assert_int_equal(restore(&f, &u, &how), -ENOSPC);
	assert_non_null(strstr(how.err.text, "no room"));
	assert_false(how.result.committed);
	assert_int_equal(app_get(&f.app, COUNT_T), 200);
	assert_int_equal(unlinkat(f.folder.fd, "filler0", 0), 0);
	how = RESTORING;
	assert_restored(&f, &u, &how);
	restore_down(&f, &u);
}

/* ---- clones, which this file system does not have ------------------------------------------------------ */

static bool clones;

bool __real_spool_clone_into(struct live *live, int fd);
bool __wrap_spool_clone_into(struct live *live, int fd);

/* Through SQLite's own handle: a close of another would drop its locks. */
bool __wrap_spool_clone_into(struct live *live, int fd)
{
	unsigned char buf[4096];
	ssize_t got;

	if (!clones)
		return __real_spool_clone_into(live, fd);
	for (off_t at = 0; (got = vfs_read_db(live->hub->db.vfs, buf, sizeof(buf), (uint64_t)at)) > 0;
	     at += got)
		assert_int_equal(pwrite(fd, buf, (size_t)got, at), got);
	return true;
}

#define FILLED TABLE APP_ROWS(8000)
#define WAL_FILLED "PRAGMA journal_mode=WAL;" FILLED ";PRAGMA wal_checkpoint(TRUNCATE)"
#define ROLLBACK_FILLED "PRAGMA journal_mode=DELETE;" FILLED
#define OTHER FILLED ";UPDATE t SET b=randomblob(100)"

/* What is written over where it is shared takes room of its own: it has to be there, too. */
static void check_shared(const char *sql, bool shared, unsigned times, bool refused)
{
	struct restoring how = RESTORING;
	struct file_look db;
	struct upload u;
	struct fixture f;
	int rc;

	up_small(&f, "size=32m", sql);
	upload_make(&u, f.snap, 4096, OTHER);
	folder_leave_free(&f.folder, times * (uint64_t)file_bytes(&f, "db") + (2u << 20));
	db = file_look(&f.folder, "db");
	clones = shared;
	rc = restore(&f, &u, &how);
	clones = false;
	assert_int_equal(rc, refused ? -ENOSPC : 0);
	assert_int_equal(how.result.committed, !refused);
	if (refused) {
		assert_non_null(strstr(how.err.text, "in one transaction"));
		assert_same_file(file_look(&f.folder, "db"), db);
		assert_int_equal(count_kept(&f), 0);
	}
	assert_afresh(&f, COUNT_T, 8000);
	restore_down(&f, &u);
}

static void test_room_of_shared_blocks(void **state)
{
	static const char *const filled[] = {WAL_FILLED, ROLLBACK_FILLED};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		check_shared(filled[i], false, 1, false);
		check_shared(filled[i], true, 1, true);
		check_shared(filled[i], true, 2, false);
	}
}

/* ---- the checkpoint after it --------------------------------------------------------------------------- */

struct full_disk {
	struct source *source; /* a reference */
	bool committed;	       /* and brought to the disk */
	int refused;
};

/* As long as the uploaded bytes are shown there is no room to copy the WAL. */
static int fail_while_shown(void *arg, enum vfs_call call)
{
	struct full_disk *disk = arg;
	const struct snap_gen *now = disk->source->current;

	disk->committed |= call == VFS_SYNC;
	if (call != VFS_WRITE || !disk->committed || !now || !now->uploaded)
		return SQLITE_OK;
	disk->refused++;
	return SQLITE_FULL;
}

static void test_shown_bytes_give_way_to_the_checkpoint(void **state)
{
	struct restoring how = RESTORING;
	struct full_disk disk = {.committed = false};
	struct upload u;
	struct fixture f;

	(void)state;
	restore_up(&f, &u, modes[0], NEW);
	disk.source = source_of(&f);
	how.fault = fail_while_shown;
	how.arg = &disk;
	assert_restored(&f, &u, &how);
	assert_int_equal(disk.refused, 1);
	assert_int_equal(file_bytes(&f, "db-wal"), 0);
	assert_afresh(&f, COUNT_T, 500);
	source_unref(disk.source);
	restore_down(&f, &u);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_room_beside),
		cmocka_unit_test(test_disk_fills_meanwhile),
		cmocka_unit_test(test_room_of_the_wal),
		cmocka_unit_test(test_reasons),
		cmocka_unit_test(test_journal_that_cannot_be_made),
		cmocka_unit_test(test_room_of_shared_blocks),
		cmocka_unit_test(test_shown_bytes_give_way_to_the_checkpoint),
	};

	if (argc == 5 && strcmp(argv[1], LOOK) == 0)
		return look_main(argv);
	return cmocka_run_group_tests(tests, own_tmp, NULL);
}
