/* SPDX-License-Identifier: MIT */
/* What a restore answers that finds no room, or cannot write for another reason: the system's, not a guess.
 */
#include "restores.h"

#define TABLE "CREATE TABLE t(a INTEGER PRIMARY KEY, b);"
#define WAL_OLD "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;" TABLE APP_ROWS(200)
#define ROLLBACK_OLD "PRAGMA journal_mode=DELETE;" TABLE APP_ROWS(200)
#define NEW TABLE APP_ROWS(500)
#define COUNT_T "SELECT count(*) FROM t"

static const char *const modes[] = {WAL_OLD, ROLLBACK_OLD};

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
		up(&f, modes[i % 2]);
		upload_make(&u, f.snap, 4096, NEW);
		how.fault = fail_for;
		how.arg = &why;
		rc = restore(&f, &u, &how);
		if (rc != why.answer)
			fail_msg("%zu: %d instead of %d: %s", i, rc, why.answer, how.err.text);
		assert_false(how.result.committed);
		if (why.call == VFS_OPEN && rc != -ENOSPC) /* SQLite knows only that it cannot */
			assert_non_null(strstr(how.err.text, strerror(why.error)));
		assert_int_equal(app_get(&f.app, COUNT_T), 200);
		upload_finish(&u);
		app_stop(&f.app);
		down(&f);
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
	folder_make(&f.folder);
	folder_make(&f.store);
	assert_int_equal(mount("test", f.folder.path, "tmpfs", 0, "size=8m,nr_inodes=40"), 0);
	close(f.folder.fd);
	f.folder.fd = open(f.folder.path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	app_start(&f.app, &f.folder, "db");
	app_do(&f.app, ROLLBACK_OLD);
	snap_up(&f);
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
	upload_finish(&u);
	app_stop(&f.app);
	snap_destroy(f.snap);
	assert_int_equal(umount2(f.folder.path, MNT_DETACH), 0);
	folder_remove(&f.folder);
	folder_remove(&f.store);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reasons),
		cmocka_unit_test(test_journal_that_cannot_be_made),
	};

	if (argc == 5 && strcmp(argv[1], LOOK) == 0)
		return look_main(argv);
	return cmocka_run_group_tests(tests, own_tmp, NULL);
}
