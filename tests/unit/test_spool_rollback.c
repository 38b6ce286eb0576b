/* SPDX-License-Identifier: MIT */
/* test_spool_rollback.c - copies of a rollback-journal database that is in use: each is of one moment. */
#include "spools.h"

static void test_rollback(void **state)
{
	static const struct {
		const char *journal_mode;
		uint32_t page_size;
		unsigned rows, bytes;
	} cases[] = {
		{"DELETE", 512, 1, 10},		{"DELETE", 512, 500, 300},     {"PERSIST", 1024, 3000, 900},
		{"TRUNCATE", 4096, 1000, 3000}, {"MEMORY", 65536, 100, 60000},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fixture *f = *state;
		struct spool_flat flat = SPOOL_FLAT_INIT;
		struct copy expected;
		int fds;

		make_database(f, cases[i].journal_mode, cases[i].page_size, cases[i].rows, cases[i].bytes);
		expected = read_file(f, NAME);
		connect_live(f);
		for (int k = 0; k < 2; k++) {
			assert_int_equal(spool_rollback(&flat, pin(f, PIN_ROLLBACK), &f->err), 0);
			assert_stat(f, &flat.st);
			assert_flat(&flat, &expected);
			fds = k == 0 ? count_fds() : fds;
		}
		assert_int_equal(count_fds(), fds);
		/* Nothing is held any more. */
		app_do(&f->app, "DROP TABLE t; VACUUM");
		disconnect_live(f);
		sqlite3_free(expected.bytes);
		app_stop(&f->app);
		assert_int_equal(unlinkat(f->folder.fd, NAME, 0), 0);
		unlinkat(f->folder.fd, NAME "-journal", 0);
		app_start(&f->app, &f->folder, NAME);
	}
}

/* A disk that takes 20 ms for 64 KiB: a mebibyte takes longer than a step may. */
struct slow {
	bool on;
	int reads;
	struct app *ask; /* is asked SQL at the first read, and not waited for */
	const char *sql;
};

static int read_slowly(void *arg, enum vfs_call call)
{
	struct slow *slow = arg;

	if (!slow->on || call != VFS_READ)
		return SQLITE_OK;
	if (slow->reads++ == 0 && slow->ask) {
		uint32_t size = (uint32_t)strlen(slow->sql);

		if (write(slow->ask->sock, &size, sizeof(size)) != sizeof(size) ||
		    write(slow->ask->sock, slow->sql, size) != size)
			return SQLITE_IOERR_READ;
	}
	nanosleep(&(struct timespec){.tv_nsec = 20 * NS_PER_MS}, NULL);
	return SQLITE_OK;
}

static struct conn *pin_slowly(struct fixture *f, struct slow *slow)
{
	struct conn *conn = pin(f, PIN_ROLLBACK);

	vfs_set_fault(conn->db.vfs, read_slowly, slow);
	return conn;
}

static int64_t await_reply(struct app *app)
{
	struct app_reply reply;

	assert_int_equal(read(app->sock, &reply, sizeof(reply)), sizeof(reply));
	assert_int_equal(reply.rc, SQLITE_OK);
	return reply.value;
}

/* A whole database of one moment. */
static void assert_consistent(const struct spool_flat *flat, int64_t sum)
{
	sqlite3 *db = copy_open(read_whole(flat->fd, flat->size));

	assert_int_equal(copy_ask(db, "SELECT sum(n) FROM t"), sum);
	assert_whole(db);
}

/* Writers get in between the steps, so that it starts over, until it takes its two seconds. */
static void test_rollback_beside_writer(void **state)
{
	struct fixture *f = *state;
	struct spool_flat flat = SPOOL_FLAT_INIT;
	struct slow slow = {.on = false};
	char path[PATH_MAX];
	int rc;

	make_database(f, "DELETE", 4096, 450, 3000);
	writer_prepare(&f->writer, folder_file(&f->folder, NAME, path));
	connect_live(f);
	writer_await(&f->writer, 20);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(spool_rollback(&flat, pin(f, PIN_ROLLBACK), &f->err), 0);
		writer_await(&f->writer, 2);
		assert_consistent(&flat, 45000);
		close(flat.fd);
	}
	/* Three tries that ended after a mebibyte, and the one that did not; again, when a machine that stood
	 * still gave neither the writer its commits nor the last try its two seconds. */
	for (int i = 0; slow.reads <= 3 * 16 + 16; i++) {
		assert_true(i < 5);
		slow.reads = 0;
		slow.on = true;
		rc = spool_rollback(&flat, pin_slowly(f, &slow), &f->err);
		slow.on = false;
		writer_await(&f->writer, 2);
		if (rc) {
			assert_int_equal(rc, -EBUSY);
			slow.reads = 0;
			continue;
		}
		assert_consistent(&flat, 45000);
		close(flat.fd);
	}
	writer_stop(&f->writer);
}

/* More than two seconds are not asked of writers. */
static void test_rollback_gives_up(void **state)
{
	struct fixture *f = *state;
	struct spool_flat flat = {.fd = 1000};
	struct slow slow = {.on = true};
	int fds, entries = count_entries(&f->store);
	struct conn *conn;
	int64_t began;
	char path[PATH_MAX];

	make_database(f, "DELETE", 4096, 3000, 3000);
	writer_prepare(&f->writer, folder_file(&f->folder, NAME, path));
	connect_live(f);
	writer_await(&f->writer, 20);
	fds = count_fds();
	conn = pin_slowly(f, &slow);
	began = monotonic_ns();
	assert_int_equal(spool_rollback(&flat, conn, &f->err), -EBUSY);
	slow.on = false;
	assert_true(monotonic_ns() - began > 2 * NS_PER_S);
	assert_true(strlen(f->err.text) > 0);
	assert_int_equal(flat.fd, 1000);
	assert_int_equal(count_entries(&f->store), entries);
	assert_true(count_fds() <= fds + 2); /* SQLite's, and the one for clones */
	writer_await(&f->writer, 5);
	writer_stop(&f->writer);
}

/* One commit between two steps: what is given is the state after it. */
static void test_rollback_starts_over(void **state)
{
	struct fixture *f = *state;
	struct spool_flat flat = SPOOL_FLAT_INIT;
	struct slow slow = {.on = true, .ask = &f->app};
	struct copy expected;

	make_database(f, "DELETE", 4096, 700, 3000);
	app_do(&f->app, "PRAGMA busy_timeout=20000");
	connect_live(f);
	slow.sql = "UPDATE t SET b=randomblob(3000)";
	assert_int_equal(spool_rollback(&flat, pin_slowly(f, &slow), &f->err), 0);
	slow.on = false;
	await_reply(&f->app);
	disconnect_live(f);
	expected = read_file(f, NAME);
	assert_stat(f, &flat.st);
	assert_flat(&flat, &expected);
	sqlite3_free(expected.bytes);
}

static void test_rollback_becomes_wal(void **state)
{
	struct fixture *f = *state;
	struct spool_flat flat = {.fd = 1000};
	struct slow slow = {.on = true, .ask = &f->app};

	make_database(f, "DELETE", 4096, 700, 3000);
	app_do(&f->app, "PRAGMA busy_timeout=20000");
	connect_live(f);
	slow.sql = "PRAGMA journal_mode=WAL";
	assert_int_equal(spool_rollback(&flat, pin_slowly(f, &slow), &f->err), -EBUSY);
	assert_true(strlen(f->err.text) > 0);
	assert_int_equal(flat.fd, 1000);
	slow.on = false;
	await_reply(&f->app);
	app_do(&f->app, "UPDATE t SET b=randomblob(3000); PRAGMA wal_checkpoint(TRUNCATE)");
	/* And it can be pinned. */
	live_unpin(pin(f, 0));
}

/* Its name goes, or leads to another file, between the pin and the copy: whoever asked is to look again. */
static void test_rollback_of_what_has_gone(void **state)
{
	struct fixture *f = *state;
	struct spool_flat flat = SPOOL_FLAT_INIT;
	struct conn *conn;

	make_database(f, "DELETE", 4096, 10, 100);
	connect_live(f);
	conn = pin(f, PIN_ROLLBACK);
	assert_int_equal(renameat(f->folder.fd, NAME, f->folder.fd, "away"), 0);
	assert_int_equal(spool_rollback(&flat, conn, &f->err), -ESTALE);
	assert_int_equal(renameat(f->folder.fd, "away", f->folder.fd, NAME), 0);

	conn = pin(f, PIN_ROLLBACK);
	assert_int_equal(renameat(f->folder.fd, NAME, f->folder.fd, "away"), 0);
	close(openat(f->folder.fd, NAME, O_CREAT | O_WRONLY | O_EXCL | O_CLOEXEC, 0600));
	assert_int_equal(spool_rollback(&flat, conn, &f->err), -ESTALE);
	assert_int_equal(flat.fd, -1);
}

static void test_rollback_fails(void **state)
{
	static const struct {
		const char *store;
		bool read_only, read_fails;
		int rc;
	} cases[] = {
		{"size=17m", false, false, -ENOSPC},
		{"size=64m", true, false, -EROFS},
		{"size=64m", false, true, -EIO},
	};
	struct fixture *f = *state;

	make_database(f, "DELETE", 4096, 500, 3000);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct spool_flat flat = {.fd = 1000};
		bool fail = cases[i].read_fails;
		struct conn *conn;

		folder_mount_tmpfs(&f->store, cases[i].store);
		if (cases[i].read_only)
			assert_int_equal(mount(NULL, f->store.path, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
		connect_live(f);
		conn = pin(f, PIN_ROLLBACK);
		vfs_set_fault(conn->db.vfs, fail_reads, &fail);
		f->err.text[0] = '\0';
		assert_int_equal(spool_rollback(&flat, conn, &f->err), cases[i].rc);
		fail = false;
		assert_true(strlen(f->err.text) > 0);
		assert_int_equal(flat.fd, 1000);
		assert_int_equal(count_entries(&f->store), 0);
		/* The application is free to write. */
		app_do(&f->app, "UPDATE t SET n=n");
		disconnect_live(f);
		unmount(&f->store);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(test_rollback),
		test(test_rollback_beside_writer),
		test(test_rollback_gives_up),
		test(test_rollback_starts_over),
		test(test_rollback_becomes_wal),
		test(test_rollback_of_what_has_gone),
		test(test_rollback_fails),
	};

	return cmocka_run_group_tests(tests, own_mounts, NULL);
}
