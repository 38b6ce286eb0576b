/* SPDX-License-Identifier: MIT */
/* test_spool_backup.c - copies through SQLite, of a database that only SQLite itself can read. */
#include "spools.h"

#include <grp.h>

#define NOBODY 65534u

static void test_backup(void **state)
{
	struct fixture *f = *state;
	struct spool_flat flat = SPOOL_FLAT_INIT;
	struct copy expected, got;
	struct conn *conn;
	int fds;

	make_database(f, "WAL", 4096, 500, 3000);
	app_do(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)");
	app_do(&f->app, "UPDATE t SET b=randomblob(3000) WHERE a%3=0");
	connect_live(f);
	fds = count_fds();
	for (int i = 0; i < 2; i++) {
		conn = pin(f, 0);
		expected = copy_of(conn->db.handle);
		/* Not of the transaction that was pinned. */
		app_do(&f->app, "UPDATE t SET b=randomblob(3000)");
		assert_int_equal(spool_backup(&flat, conn, &f->err), 0);
		assert_int_equal(app_get(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)"), 0);
		assert_int_equal(flat.size, expected.size);
		got = read_whole(flat.fd, flat.size);
		mask(got.bytes, got.size, 0);
		assert_same(&got, &expected);
		assert_true(header_is_wal(&flat.header));
		close(flat.fd);
		assert_int_equal(count_entries(&f->store), 0);
		assert_int_equal(count_fds(), fds);
		sqlite3_free(expected.bytes);
		sqlite3_free(got.bytes);
	}
}

static void test_backup_fails(void **state)
{
	struct fixture *f = *state;
	int fds;

	make_database(f, "WAL", 4096, 1000, 3000);
	connect_live(f);
	fds = count_fds();
	for (int i = 0; i < 3; i++) {
		struct spool_flat flat = {.fd = 1000};
		struct conn *conn = pin(f, 0);
		bool fail = i == 2;

		folder_mount_tmpfs(&f->store, i == 2 ? "size=64m" : "size=1m");
		if (i == 1)
			assert_int_equal(mount(NULL, f->store.path, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
		vfs_set_fault(conn->db.vfs, fail_reads, &fail);
		f->err.text[0] = '\0';
		assert_int_equal(spool_backup(&flat, conn, &f->err), i == 0   ? -ENOSPC
								     : i == 1 ? -EROFS
									      : -EIO);
		fail = false;
		assert_true(strlen(f->err.text) > 0);
		assert_int_equal(flat.fd, 1000);
		assert_int_equal(count_entries(&f->store), 0);
		assert_int_equal(app_get(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)"), 0);
		app_do(&f->app, "UPDATE t SET n=n");
		unmount(&f->store);
		conn = pin(f, 0);
		vfs_set_fault(conn->db.vfs, NULL, NULL);
		live_unpin(conn);
	}
	assert_int_equal(count_fds(), fds);
}

/* Copies a database whose -shm is read-only and has no writer, as a user who may not change that, to "out".
 */
static int backup_as_nobody(void *arg)
{
	struct fixture *f = arg;
	struct spool_flat flat = SPOOL_FLAT_INIT;
	struct conn *conn;
	struct stat st;
	char path[PATH_MAX], buf[4096];
	uint64_t done = 0;
	ssize_t got;
	int out;

	if (setgroups(0, NULL) || setgid(NOBODY) || setuid(NOBODY) || prctl(PR_SET_DUMPABLE, 1))
		return 90;
	if (place_stat(&f->place, "", &st) ||
	    live_create(&f->live, &f->core, &f->place, &st, monotonic_ns() + NS_PER_S, &f->err))
		return 91;
	if (live_pin(f->live, monotonic_ns() + NS_PER_S, &conn, &f->err) != PIN_UNRELIABLE)
		return 92;
	if (spool_backup(&flat, conn, &f->err))
		return 93;
	out = open(folder_file(&f->store, "out", path), O_CREAT | O_WRONLY, 0600);
	while ((got = pread(flat.fd, buf, sizeof(buf), (off_t)done)) > 0) {
		if (write(out, buf, (size_t)got) != got)
			return 94;
		done += (uint64_t)got;
	}
	live_unref(f->live);
	return got == 0 && done == flat.size ? 0 : 95;
}

static void test_backup_of_unreliable(void **state)
{
	static const char *const files[] = {NAME, NAME "-wal", NAME "-shm"};
	struct fixture *f = *state;
	struct file_look looks[3];
	struct copy expected, got;
	struct conn *conn;
	char path[PATH_MAX];
	int out;

	make_database(f, "WAL", 4096, 500, 3000);
	app_do(&f->app, "PRAGMA wal_checkpoint(PASSIVE)");
	app_do(&f->app, "UPDATE t SET b=randomblob(3000) WHERE a%3=0");
	app_kill(&f->app);
	f->app.pid = 0;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(fchmodat(f->folder.fd, files[i], 0444, 0), 0);
		looks[i] = file_look(&f->folder, files[i]);
	}
	assert_int_equal(chmod(f->folder.path, 0555), 0);
	assert_int_equal(chown(f->store.path, NOBODY, NOBODY), 0);
	assert_int_equal(in_child(backup_as_nobody, f), 0);
	for (int i = 0; i < 3; i++)
		assert_same_file(looks[i], file_look(&f->folder, files[i]));
	assert_int_equal(count_entries(&f->store), 1);
	connect_live(f);
	conn = pin(f, 0);
	expected = copy_of(conn->db.handle);
	live_unpin(conn);
	out = open(folder_file(&f->store, "out", path), O_RDONLY | O_CLOEXEC);
	got = read_whole(out, expected.size);
	close(out);
	mask(got.bytes, got.size, 0);
	assert_same(&got, &expected);
	sqlite3_free(expected.bytes);
	sqlite3_free(got.bytes);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(test_backup),
		test(test_backup_fails),
		test(test_backup_of_unreliable),
	};

	return cmocka_run_group_tests(tests, own_mounts, NULL);
}
