/* SPDX-License-Identifier: MIT */
/* test_pin_read_only.c - pins in a folder that we may only read. */
#include "reader.h"

#include <errno.h>
#include <grp.h>

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
	struct wal_header start;
	int rc;

	if (!become_somebody() || db_open(&db, folder->fd, NAME, DB_READER, NULL) != 0)
		return 99;
	rc = pin_begin(&db, monotonic_ns() + NS_PER_S / 10, &start, NULL);
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
	assert_true(monotonic_ns() - began < 8 * NS_PER_S);
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

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(test_read_only_shm),
		test(test_read_only_shm_without_marks),
		test(test_no_sidecars_possible),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
