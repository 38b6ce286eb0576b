/* SPDX-License-Identifier: MIT */
/* Restores of a database that an application has open: what it sees, and what a power failure would. */
#include "restores.h"

#define OLD_ROWS 500
#define OLD APP_WAL ";" APP_ROWS(500)
#define NEW                                                                                   \
	"CREATE TABLE t(a INTEGER PRIMARY KEY, b); CREATE TABLE u(x); PRAGMA user_version=7;" \
	"WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<2000) "         \
	"INSERT INTO t(b) SELECT randomblob(300) FROM c"

static void test_open_connection_sees_it(void **state)
{
	struct restoring how = RESTORING;
	struct upload u;
	struct fixture f;

	(void)state;
	restore_up(&f, &u, OLD, NEW);
	assert_restored(&f, &u, &how);
	assert_false(how.result.unchanged);
	assert_int_equal(how.result.size, u.size);
	assert_int_equal(how.result.old_user_version, 0);
	assert_int_equal(how.result.new_user_version, 7);
	assert_int_equal(app_get(&f.app, COUNT_T), 2000);
	assert_shows_upload(&f, &u);
	assert_afresh(&f, COUNT_T, 2000);
	assert_int_equal(count_kept(&f), 1);
	assert_int_equal(ask_kept(&f, how.result.undo, COUNT_T), OLD_ROWS);
	/* Until the next commit. */
	app_do(&f.app, "INSERT INTO t(b) VALUES(1)");
	struct snap_gen *gen = open_now(&f);
	assert_int_equal(ask(gen, COUNT_T), 2001);
	close_gen(gen);
	restore_down(&f, &u);
}

/* ---- a journal that is deleted is to stay so ----------------------------------------------------------- */

static struct {
	bool deleted; /* the journal was, or is just about to be */
	ino_t file;   /* the folder, or what is in it */
	int synced;   /* times that the file was, since */
	bool fails;   /* it cannot be */
} seen;

static int note_sync(int fd)
{
	struct stat st;

	if (!seen.deleted || fstat(fd, &st) || st.st_ino != seen.file)
		return 0;
	seen.synced++;
	errno = EIO;
	return seen.fails ? -1 : 0;
}

/* In front of the C library's: the disk is taken for a fast one. */
int fsync(int fd)
{
	return note_sync(fd);
}

int fdatasync(int fd)
{
	return note_sync(fd);
}

static int note_delete(void *arg, enum vfs_call call)
{
	(void)arg;
	seen.deleted |= call == VFS_DELETE;
	return SQLITE_OK;
}

static void test_deleted_journal_is_durable(void **state)
{
	struct restoring how = RESTORING;
	struct upload u;
	struct fixture f;
	struct stat st;

	(void)state;
	up(&f, "PRAGMA journal_mode=DELETE; CREATE TABLE t(a INTEGER PRIMARY KEY, b);" APP_ROWS(500));
	assert_int_equal(fstat(f.folder.fd, &st), 0);
	seen.file = st.st_ino;
	upload_make(&u, f.snap, 4096, NEW);
	how.fault = note_delete;
	assert_restored(&f, &u, &how);
	assert_true(seen.deleted);
	assert_true(seen.synced > 0);
	restore_down(&f, &u);
}

static int forget_syncs(void *arg, enum vfs_call call)
{
	(void)arg;
	if (call == VFS_WRITE)
		seen.synced = 0;
	return SQLITE_OK;
}

static void note_durable(void *arg)
{
	*(int *)arg = seen.synced;
}

/* In WAL mode the commit itself is not synced. */
static void test_durable_when_it_is_said(void **state)
{
	struct restoring how = RESTORING;
	int synced = -1;
	struct upload u;
	struct fixture f;
	struct stat st;

	(void)state;
	restore_up(&f, &u, OLD, NEW);
	assert_int_equal(fstatat(f.folder.fd, "db-wal", &st, 0), 0);
	seen.deleted = true;
	seen.file = st.st_ino;
	how.fault = forget_syncs;
	how.durable = note_durable;
	how.arg = &synced;
	assert_restored(&f, &u, &how);
	assert_true(synced > 0); /* since the last write */
	seen.deleted = false;
	restore_down(&f, &u);
}

/* What is there already was committed by an application, which need not have synced it, nor the folder. */
static void test_unchanged_is_durable(void **state)
{
	static const struct {
		const char *mode, *name;
	} cases[] = {
		{ROLLBACK_TABLE, "."},
		{ROLLBACK_TABLE, "db"},
		{WAL_TABLE, "db-wal"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct restoring how = RESTORING;
		struct upload u;
		struct fixture f;
		struct stat st;

		restore_up(&f, &u, cases[i].mode, TABLE);
		assert_int_equal(fstatat(f.folder.fd, cases[i].name, &st, 0), 0);
		seen.deleted = true;
		seen.file = st.st_ino;
		seen.synced = 0;
		seen.fails = true;
		assert_int_equal(restore(&f, &u, &how), -EIO);
		assert_false(how.result.committed);
		assert_true(seen.synced > 0);
		seen.synced = 0;
		seen.fails = false;
		assert_restored(&f, &u, &how);
		assert_true(how.result.unchanged);
		assert_true(seen.synced > 0);
		seen.deleted = false;
		restore_down(&f, &u);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open_connection_sees_it),
		cmocka_unit_test(test_deleted_journal_is_durable),
		cmocka_unit_test(test_durable_when_it_is_said),
		cmocka_unit_test(test_unchanged_is_durable),
	};

	if (argc > 1 && strcmp(argv[1], VALIDATE_ARGUMENT) == 0)
		return validate_child_main(argc, argv);
	if (argc == 5 && strcmp(argv[1], LOOK) == 0)
		return look_main(argv);
	return cmocka_run_group_tests(tests, own_tmp, NULL);
}
