/* SPDX-License-Identifier: MIT */
/*
 * test_spool_files.c - copies of files that nobody has open: of a database with a hot journal, and of one
 * without anything beside it; and whether it is noticed that somebody writes after all.
 */
#include "spools.h"
#include "syscalls.h"

/* Changes FILE all the time, as far as stat(2) tells, until it is killed. */
static pid_t start_toucher(struct fixture *f, const char *file)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (utimensat(f->folder.fd, file, NULL, 0) == 0)
			;
		_exit(1);
	}
	return pid;
}

/* Until FN finds that FILE was changed while it was copied; it never says anything else but that all is well.
 */
static void assert_notices(struct fixture *f, const char *file,
			   int (*fn)(struct spool_flat *out, struct core *core, const struct place *place,
				     struct snap_err *err))
{
	pid_t pid = start_toucher(f, file);
	int64_t began = monotonic_ns();
	int fds = count_fds(), rc;

	do {
		struct spool_flat flat = SPOOL_FLAT_INIT;

		rc = fn(&flat, &f->core, &f->place, &f->err);
		assert_true(rc == 0 || rc == -EAGAIN);
		assert_int_equal(flat.fd >= 0, rc == 0);
		if (flat.fd >= 0)
			close(flat.fd);
	} while (rc == 0 && monotonic_ns() - began < 20 * NS_PER_S);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(rc, -EAGAIN);
	assert_int_equal(count_fds(), fds);
	assert_int_equal(count_entries(&f->store), 0);
}

/* ---- hot journals -------------------------------------------------------------------------------------- */

static const char *const hot_transactions[] = {
	"UPDATE t SET b=randomblob(300)",
	"INSERT INTO t(n, b) SELECT n, b FROM t; INSERT INTO t(n, b) SELECT n, b FROM t",
	"DELETE FROM t WHERE a%2=0; CREATE TABLE u AS SELECT * FROM t",
};

/* The application is killed in a transaction that had spilled its cache. */
static void die_in_transaction(struct fixture *f, const char *sql)
{
	app_run(f, "PRAGMA cache_size=10; PRAGMA cache_spill=1; BEGIN; %s", sql);
	app_kill(&f->app);
	f->app.pid = 0;
}

/* Files as young as these prove nothing by their times; the caller tries again, as an open does. */
static int hot_when_settled(struct fixture *f, struct spool_flat *flat)
{
	int rc = -EAGAIN;

	for (int i = 0; i < 200 && rc == -EAGAIN; i++) {
		rc = spool_hot(flat, &f->core, &f->place, &f->err);
		if (rc == -EAGAIN)
			nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
	}
	return rc;
}

static void test_hot(void **state)
{
	static const char *const modes[] = {"DELETE", "TRUNCATE", "PERSIST"};
	static const uint32_t page_sizes[] = {512, 4096};
	struct fixture *f = *state;

	for (int i = 0; i < 18; i++) {
		struct spool_flat flat = SPOOL_FLAT_INIT;
		struct file_look db, journal;
		struct copy before;
		int fds;

		make_database(f, modes[i % 3], page_sizes[i / 3 % 2], 2000, 300);
		app_run(f, "PRAGMA synchronous=%s", i % 2 ? "OFF" : "FULL");
		before = read_file(f, NAME);
		die_in_transaction(f, hot_transactions[i / 6]);
		db = file_look(&f->folder, NAME);
		journal = file_look(&f->folder, NAME "-journal");
		assert_true(journal.size > 512);
		fds = count_fds();
		assert_int_equal(hot_when_settled(f, &flat), 0);
		assert_stat(f, &flat.st);
		assert_flat(&flat, &before);
		assert_same_file(db, file_look(&f->folder, NAME));
		assert_same_file(journal, file_look(&f->folder, NAME "-journal"));
		assert_int_equal(count_entries(&f->store), 0);
		assert_int_equal(count_fds(), fds);
		sqlite3_free(before.bytes);
		assert_int_equal(unlinkat(f->folder.fd, NAME, 0), 0);
		assert_int_equal(unlinkat(f->folder.fd, NAME "-journal", 0), 0);
		app_start(&f->app, &f->folder, NAME);
	}
}

/* It is what a pin asks for. */
static void test_hot_as_pinned(void **state)
{
	struct fixture *f = *state;
	struct snap_err err;
	struct live *live;
	struct stat st;

	make_database(f, "DELETE", 4096, 2000, 300);
	die_in_transaction(f, hot_transactions[0]);
	assert_int_equal(place_stat(&f->place, "", &st), 0);
	assert_int_equal(live_create(&live, &f->core, &f->place, &st, monotonic_ns() + NS_PER_S, &err),
			 PIN_HOT_JOURNAL);
}

static void test_hot_fails(void **state)
{
	struct fixture *f = *state;
	struct spool_flat flat = {.fd = 1000};
	struct file_look db, journal;
	int fds;

	make_database(f, "DELETE", 4096, 3000, 300);
	assert_int_equal(hot_when_settled(f, &flat), -EAGAIN); /* somebody rolled it back */
	die_in_transaction(f, hot_transactions[0]);
	db = file_look(&f->folder, NAME);
	journal = file_look(&f->folder, NAME "-journal");
	fds = count_fds();
	for (int i = 0; i < 2; i++) {
		folder_mount_tmpfs(&f->store, "size=1m");
		if (i)
			assert_int_equal(mount(NULL, f->store.path, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
		f->err.text[0] = '\0';
		assert_int_equal(hot_when_settled(f, &flat), i ? -EROFS : -ENOSPC);
		assert_true(strlen(f->err.text) > 0);
		assert_int_equal(count_entries(&f->store), 0);
		unmount(&f->store);
	}
	assert_int_equal(flat.fd, 1000);
	assert_int_equal(count_fds(), fds);
	assert_same_file(db, file_look(&f->folder, NAME));
	assert_same_file(journal, file_look(&f->folder, NAME "-journal"));
}

static void test_hot_changed(void **state)
{
	struct fixture *f = *state;

	make_database(f, "DELETE", 4096, 10000, 3000);
	die_in_transaction(f, hot_transactions[0]);
	assert_notices(f, NAME, spool_hot);
	assert_notices(f, NAME "-journal", spool_hot);
}

#define SUPER NAME "-mj0123459AB"

struct hot {
	struct fixture *f;
	struct spool_flat flat;
	bool looked; /* at the super-journal */
};

static int copy_hot(void *arg)
{
	struct hot *hot = arg;

	return spool_hot(&hot->flat, &hot->f->core, &hot->f->place, &hot->f->err);
}

/* Right before the look at the super-journal, applications roll back all that it names, and delete it. */
static int roll_back_first(void *arg, const struct seccomp_data *call)
{
	struct hot *hot = arg;
	struct fixture *f = hot->f;

	if (call->nr != SYS_statx || strcmp(watch_text(call->args[1]), SUPER) != 0)
		return 0;
	hot->looked = true;
	app_start(&f->app, &f->folder, NAME);
	app_do(&f->app, "SELECT * FROM t");
	app_stop(&f->app); /* it has the watch's pipe, too */
	f->app.pid = 0;
	assert_false(file_exists(&f->folder, NAME "-journal"));
	unlinkat(f->folder.fd, SUPER, 0);
	return 0;
}

static void test_hot_rolled_back_meanwhile(void **state)
{
	struct fixture *f = *state;
	struct hot hot = {.f = f, .flat = SPOOL_FLAT_INIT};
	struct watch w = {.fn = copy_hot, .arg = &hot, .judge = roll_back_first, .judge_arg = &hot};
	char super[PATH_MAX];

	make_database(f, "DELETE", 4096, 2000, 300);
	die_in_transaction(f, hot_transactions[0]);
	name_super(&f->folder, NAME "-journal", folder_file(&f->folder, SUPER, super));
	close(openat(f->folder.fd, SUPER, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL); /* to be settled */
	assert_int_equal(watch_run(&w), -EAGAIN);
	assert_true(hot.looked);
	assert_int_equal(count_entries(&f->store), 0);
}

/* A journal from elsewhere beside a database in WAL mode: for SQLite the frames of the -wal count all the
 * same. */
static void test_hot_beside_wal(void **state)
{
	static const char magic[] = {'\xd9', '\xd5', 5, '\xf9', 0x20, '\xa1', 0x63, '\xd7'};
	struct fixture *f = *state;
	struct spool_flat flat = SPOOL_FLAT_INIT;
	struct file_look db, wal;
	sqlite3 *copy;
	int fd;

	make_database(f, "WAL", 4096, 50, 300);
	app_kill(&f->app);
	f->app.pid = 0;
	fd = openat(f->folder.fd, NAME "-journal", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, magic, sizeof(magic)), sizeof(magic));
	assert_int_equal(ftruncate(fd, 512), 0);
	close(fd);
	db = file_look(&f->folder, NAME);
	wal = file_look(&f->folder, NAME "-wal");
	assert_true(wal.size > 0);
	assert_int_equal(hot_when_settled(f, &flat), 0);
	copy = copy_open(read_whole(flat.fd, flat.size));
	assert_int_equal(copy_ask(copy, "SELECT count(*) FROM t"), 50);
	assert_whole(copy);
	close(flat.fd);
	assert_same_file(db, file_look(&f->folder, NAME));
	assert_same_file(wal, file_look(&f->folder, NAME "-wal"));
	assert_int_equal(count_entries(&f->store), 0);
}

/* ---- files that nobody writes -------------------------------------------------------------------------- */

static void test_raw(void **state)
{
	static const char *const modes[] = {"DELETE", "WAL"};
	struct fixture *f = *state;

	for (int i = 0; i < 2; i++) {
		struct spool_flat flat = SPOOL_FLAT_INIT;
		struct copy expected;
		int fds;

		make_database(f, modes[i], 4096, 600, 3000);
		app_stop(&f->app);
		f->app.pid = 0;
		assert_int_equal(count_entries(&f->folder), 1);
		expected = read_file(f, NAME);
		fds = count_fds();
		assert_int_equal(spool_raw(&flat, &f->core, &f->place, &f->err), 0);
		assert_stat(f, &flat.st);
		assert_int_equal(header_is_wal(&flat.header), i == 1);
		assert_flat(&flat, &expected);
		assert_int_equal(count_entries(&f->folder), 1);
		assert_int_equal(count_entries(&f->store), 0);
		assert_int_equal(count_fds(), fds);
		sqlite3_free(expected.bytes);
		assert_int_equal(unlinkat(f->folder.fd, NAME, 0), 0);
		app_start(&f->app, &f->folder, NAME);
	}
}

static void put(struct fixture *f, const char *name, const char *bytes, size_t size)
{
	int fd = openat(f->folder.fd, name, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);

	assert_int_equal(write(fd, bytes, size), size);
	close(fd);
}

static void test_raw_refused(void **state)
{
	static const char *const sidecars[] = {NAME "-wal", NAME "-shm", NAME "-journal"};
	static char garbage[8192] = "SQLite format 2";
	struct fixture *f = *state;
	struct spool_flat flat = {.fd = 1000};
	int fds;

	make_database(f, "DELETE", 4096, 1000, 3000);
	app_stop(&f->app);
	f->app.pid = 0;
	fds = count_fds();
	/* An empty one too: it says that somebody has it open. */
	for (int i = 0; i < 3; i++) {
		put(f, sidecars[i], "x", i == 0 ? 0 : 1);
		assert_int_equal(spool_raw(&flat, &f->core, &f->place, &f->err), -EAGAIN);
		assert_true(strlen(f->err.text) > 0);
		assert_int_equal(unlinkat(f->folder.fd, sidecars[i], 0), 0);
	}
	folder_mount_tmpfs(&f->store, "size=18m");
	assert_int_equal(spool_raw(&flat, &f->core, &f->place, &f->err), -ENOSPC);
	assert_int_equal(mount(NULL, f->store.path, NULL, MS_REMOUNT | MS_RDONLY, "size=64m"), 0);
	assert_int_equal(spool_raw(&flat, &f->core, &f->place, &f->err), -EROFS);
	assert_int_equal(mount(NULL, f->store.path, NULL, MS_REMOUNT, "size=64m"), 0);
	put(f, NAME, garbage, sizeof(garbage));
	assert_int_equal(spool_raw(&flat, &f->core, &f->place, &f->err), -EIO);
	assert_true(strlen(f->err.text) > 0);
	put(f, NAME, "", 0);
	assert_int_equal(spool_raw(&flat, &f->core, &f->place, &f->err), -EIO);
	assert_int_equal(unlinkat(f->folder.fd, NAME, 0), 0);
	assert_int_equal(spool_raw(&flat, &f->core, &f->place, &f->err), -ENOENT);
	assert_int_equal(flat.fd, 1000);
	assert_int_equal(count_fds(), fds);
	assert_int_equal(count_entries(&f->store), 0);
}

static void test_raw_changed(void **state)
{
	struct fixture *f = *state;

	make_database(f, "DELETE", 4096, 10000, 3000);
	app_stop(&f->app);
	f->app.pid = 0;
	assert_notices(f, NAME, spool_raw);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(test_hot),		test(test_hot_as_pinned),  test(test_hot_fails),
		test(test_hot_changed), test(test_hot_beside_wal), test(test_raw),
		test(test_raw_refused), test(test_raw_changed),	   test(test_hot_rolled_back_meanwhile),
	};

	return cmocka_run_group_tests(tests, own_mounts, NULL);
}
