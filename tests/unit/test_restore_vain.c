/* SPDX-License-Identifier: MIT */
/* What restores in vain leave of the files that they had kept as they were: nothing, where nothing has become
 * of those; else the last of it. */
#include "restores.h"

#define WAL_OLD WAL_TABLE APP_ROWS(200)
#define ROLLBACK_OLD ROLLBACK_TABLE APP_ROWS(200)
#define NEW TABLE APP_ROWS(500)
#define DAYS_OLD 3

/* A database that is damaged, with a -wal or a -journal beside it, in the midst of a transaction. */
static const char *const damaged[] = {
	WAL_OLD "; PRAGMA wal_checkpoint(TRUNCATE); UPDATE t SET b=zeroblob(length(b)) WHERE a=1; BEGIN "
		"IMMEDIATE",
	ROLLBACK_OLD "; BEGIN IMMEDIATE; UPDATE t SET b=zeroblob(length(b))",
};

/* All of "db"; sqlite3_malloc'ed. */
static struct copy read_db(struct fixture *f)
{
	size_t size = (size_t)file_bytes(f, "db");
	struct copy copy = {sqlite3_malloc64(size + 1), size};
	int fd = openat(f->folder.fd, "db", O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_non_null(copy.bytes);
	assert_int_equal(pread(fd, copy.bytes, size, 0), size);
	close(fd);
	return copy;
}

static void test_locked(void **state)
{
	static const char *const beside[] = {"db-wal", "db-journal"};

	(void)state;
	for (size_t i = 0; i < sizeof(damaged) / sizeof(damaged[0]); i++) {
		struct file_look db, sidecar;
		struct upload u;
		struct fixture f;
		struct stat st;

		up(&f, damaged[i]);
		damage_header(&f);
		db = file_look(&f.folder, "db");
		sidecar = file_look(&f.folder, beside[i]);
		assert_true(sidecar.size > 0);
		upload_make(&u, f.snap, 4096, NEW);
		for (int n = 0; n < 3; n++) {
			struct restoring how = RESTORING;

			how.force = true;
			how.keep = 1;
			how.busy_timeout_ms = 100;
			assert_int_equal(restore(&f, &u, &how), -EBUSY);
			assert_string_equal(how.result.undo, "");
			assert_int_equal(count_kept(&f), 0);
			assert_same_file(file_look(&f.folder, "db"), db);
			assert_same_file(file_look(&f.folder, beside[i]), sidecar);
			/* Nothing of ours is connected, so that its descriptors can be closed. */
			assert_int_equal(fstatat(f.folder.fd, "db", &st, 0), 0);
			assert_false(rawfd_connected(f.snap->core.raw, st.st_dev, st.st_ino));
		}
		upload_finish(&u);
		app_kill(&f.app);
		down(&f);
	}
}

/* Old enough to go. */
static void keep_old(struct fixture *f, int number)
{
	struct keep_meta meta = {.made_ns = realtime_ns() - DAYS_OLD * KEEP_DAY_NS + number, .mode = 0600};
	char path[PATH_MAX], name[32];
	struct keep *keep;

	snprintf(name, sizeof(name), KEEP_UNDO "%d", number);
	assert_int_equal(
		keep_begin(&keep, f->snap->core.store, folder_file(&f->folder, "db", path), name, NULL), 0);
	assert_int_equal(keep_commit(keep, &meta, NULL), 0);
	keep_destroy(keep);
}

static int fill(void *arg, enum vfs_call call)
{
	(void)arg;
	return call == VFS_WRITE ? SQLITE_FULL : SQLITE_OK;
}

/* SQLite deletes the -wal as soon as it looks: what was kept of it is all that there is, and the old ones
 * make room for it as after a restore that has worked. */
static void test_gone(void **state)
{
	struct restoring how = RESTORING;
	struct keep_entry entry;
	char path[PATH_MAX];
	struct upload u;
	struct fixture f;

	(void)state;
	up(&f, WAL_OLD);
	app_kill(&f.app);
	assert_int_equal(truncate(folder_file(&f.folder, "db", path), 0), 0);
	assert_true(file_bytes(&f, "db-wal") > 0);
	for (int i = 0; i < 3; i++)
		keep_old(&f, i);
	upload_make(&u, f.snap, 4096, NEW);
	how.keep = 1;
	how.fault = fill;
	assert_int_equal(restore(&f, &u, &how), -ENOSPC);
	assert_false(how.result.committed);
	assert_int_equal(file_bytes(&f, "db-wal"), -1);
	assert_int_equal(keep_find(f.snap->core.store, path, how.result.undo, &entry), 0);
	assert_true(entry.has_wal);
	assert_true(how.result.undo_raw);
	assert_false(how.result.doubtful);
	assert_int_equal(count_kept(&f), 1);
	upload_finish(&u);
	down(&f);
}

/* One write that fails. */
static int fail_write(void *arg, enum vfs_call call)
{
	int *left = arg;

	if (call != VFS_WRITE || *left <= 0 || --*left > 0)
		return SQLITE_OK;
	errno = ENOSPC;
	return SQLITE_FULL;
}

static void cut(struct fixture *f)
{
	char path[PATH_MAX];

	assert_int_equal(truncate(folder_file(&f->folder, "db", path), 3 * 4096 + 100), 0);
}

static void cut_to_one_byte(struct fixture *f)
{
	char path[PATH_MAX];

	assert_int_equal(truncate(folder_file(&f->folder, "db", path), 1), 0);
}

static void overwrite(struct fixture *f)
{
	struct copy garbage = {sqlite3_malloc64(70000), 70000};

	sqlite3_randomness((int)garbage.size, garbage.bytes);
	put_bytes(f, "db", &garbage);
	sqlite3_free(garbage.bytes);
}

/* A restore whose N-th write fails, over what SQLite cannot read in rollback-journal mode: what stands there
 * is what it was, to the last byte, and nobody is told otherwise. False: no write failed. */
static bool roll_back(void (*make)(struct fixture *f), int n)
{
	struct restoring how = RESTORING;
	struct copy was, is;
	struct upload u;
	struct fixture f;
	int left = n, rc;

	up(&f, ROLLBACK_OLD);
	app_stop(&f.app);
	make(&f);
	was = read_db(&f);
	upload_make(&u, f.snap, 4096, NEW);
	how.fault = fail_write;
	how.arg = &left;
	rc = restore(&f, &u, &how);
	assert_int_equal(rc, left ? 0 : -ENOSPC);
	assert_int_equal(how.result.committed, left > 0);
	assert_false(how.result.doubtful);
	assert_int_equal(count_kept(&f), left > 0);
	is = read_db(&f);
	if (left == 0 && !(was.size == 1 && is.size == 0)) { /* which are one to SQLite */
		/* It rolls back by whole pages. */
		assert_true(is.size == was.size || is.size == (was.size + 4095) / 4096 * 4096);
		assert_memory_equal(is.bytes, was.bytes, was.size);
	}
	sqlite3_free(was.bytes);
	sqlite3_free(is.bytes);
	upload_finish(&u);
	down(&f);
	return left == 0;
}

static void test_rolled_back(void **state)
{
	static void (*const makes[])(struct fixture * f) = {damage_header, overwrite, cut, cut_to_one_byte};

	(void)state;
	for (size_t i = 0; i < sizeof(makes) / sizeof(makes[0]); i++) {
		int n = 1;

		while (roll_back(makes[i], n))
			n++;
		print_message("# %zu: %d writes\n", i, n - 1);
		assert_true(n > 40); /* into the journal and the database */
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_locked),
		cmocka_unit_test(test_gone),
		cmocka_unit_test(test_rolled_back),
	};

	if (argc == 5 && strcmp(argv[1], LOOK) == 0)
		return look_main(argv);
	return cmocka_run_group_tests(tests, own_tmp, NULL);
}
