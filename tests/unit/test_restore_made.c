/* SPDX-License-Identifier: MIT */
/* Restores that make the missing file of a database and then fail: an application that opened it meanwhile
 * loses nothing. */
#include "restores.h"

#define NEW TABLE APP_ROWS(500)

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
	restore_down(&f, &u);
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
	restore_down(&f, &u);
}

/* A missing file gets the owner and mode that the newest snapshot knows; without any nobody else may read it.
 */
static void test_made_as_it_was(void **state)
{
	static const struct keep_meta metas[] = {
		{.made_ns = 1, .mode = S_IFREG | 0604, .uid = 1, .gid = 2},
		{.made_ns = 2, .mode = S_IFREG | 04640, .uid = 12, .gid = 34},
		{.made_ns = 3, .mode = 0, .uid = 5, .gid = 6}, /* of no file */
	};

	(void)state;
	for (size_t count = 0; count <= sizeof(metas) / sizeof(metas[0]); count += 3) {
		struct restoring how = RESTORING;
		char path[PATH_MAX], name[2] = "a";
		struct keep *keep;
		struct upload u;
		struct fixture f;
		struct stat st;

		up_missing(&f, &u);
		folder_file(&f.folder, "db", path);
		assert_int_equal(chown(f.folder.path, 56, 78), 0);
		for (size_t i = 0; i < count; i++, name[0]++) {
			assert_int_equal(keep_begin(&keep, f.snap->core.store, path, name, NULL), 0);
			assert_int_equal(keep_commit(keep, &metas[i], NULL), 0);
			keep_destroy(keep);
		}
		assert_restored(&f, &u, &how);
		assert_int_equal(fstatat(f.folder.fd, "db", &st, 0), 0);
		assert_int_equal(st.st_mode & 07777, count ? 0640 : 0600);
		assert_int_equal(st.st_uid, count ? 12 : 56);
		assert_int_equal(st.st_gid, count ? 34 : 78);
		restore_down(&f, &u);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_made_and_opened_meanwhile),
		cmocka_unit_test(test_made_and_not_owned),
		cmocka_unit_test(test_made_as_it_was),
	};

	if (argc == 5 && strcmp(argv[1], LOOK) == 0)
		return look_main(argv);
	return cmocka_run_group_tests(tests, own_tmp, NULL);
}
