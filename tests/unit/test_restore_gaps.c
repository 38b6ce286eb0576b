/* SPDX-License-Identifier: MIT */
/* A restore that takes its time to read what it replaces lets the application have its turn in between. */
#include "restores.h"

#include <poll.h>

#define WAL_OLD "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=50;" TABLE
#define LARGE APP_ROWS(30000) /* about ten pieces of a megabyte */
#define PIECES 9
#define NEW TABLE APP_ROWS(500)
#define SUM_T "SELECT sum(length(b)) FROM t"
#define COMMIT "UPDATE t SET b=zeroblob(length(b)-1) WHERE a%300=0" /* a hundred pages */
#define MIB ((int64_t)1 << 20)

static void up_bounded(struct fixture *f, const char *sql)
{
	struct snap_config config = {.wal_limit = MIB, .wal_max = 2 * MIB, .event = quiet};

	app_up(f, sql);
	config.store = f->store.path;
	assert_int_equal(snap_create(&f->snap, &config, NULL), 0);
	assert_int_equal(snap_add_folder(f->snap, f->folder.path, NULL), 0);
	assert_int_equal(snap_start(f->snap, NULL), 0);
}

/* ---- an application that commits all the time ---------------------------------------------------------- */

struct writing {
	struct fixture *f;
	int commits, looks; /* of these at most, until now */
	int64_t sum;	    /* after the last one that worked */
	int64_t wal;	    /* bytes, at most */
};

static bool write_on(void *arg)
{
	struct writing *w = arg;

	assert_true(++w->looks < 2000); /* it comes to an end */
	if (w->commits == 0 || app_ask(&w->f->app, COMMIT).rc != SQLITE_OK)
		return false;
	w->commits--;
	w->sum = app_get(&w->f->app, SUM_T);
	if (file_bytes(w->f, "db-wal") > w->wal)
		w->wal = file_bytes(w->f, "db-wal");
	return false;
}

static void check_writer(struct writing *w)
{
	struct restoring how = RESTORING;
	struct upload u;
	struct fixture f;

	up_bounded(&f, WAL_OLD LARGE);
	app_do(&f.app, "PRAGMA wal_checkpoint(TRUNCATE)");
	upload_make(&u, f.snap, 4096, NEW);
	w->f = &f;
	how.cancelled = write_on;
	how.arg = w;
	assert_restored(&f, &u, &how);
	assert_true(w->looks > PIECES && w->sum > 0);
	assert_int_equal(ask_kept(&f, how.result.undo, SUM_T), w->sum);
	assert_int_equal(app_get(&f.app, COUNT_T), 500);
	assert_shows_upload(&f, &u);
	restore_down(&f, &u);
}

static void test_wal_is_bounded(void **state)
{
	struct writing w = {.commits = 24};

	(void)state;
	check_writer(&w);
	assert_between(w.wal, MIB / 2, 2 * MIB);
	assert_int_equal(w.commits, 0);
}

static void test_a_writer_that_never_stops(void **state)
{
	struct writing w = {.commits = INT32_MAX};

	(void)state;
	check_writer(&w);
	assert_true(w.wal > 2 * MIB); /* the restore comes to its end instead */
}

/* ---- an application that waits ------------------------------------------------------------------------- */

struct waiting {
	struct fixture *f;
	const char *sql;
	bool awaits_readers; /* so it is a checkpoint */
	bool asked, opened;
	int looks, let_in; /* at which look it had its turn; 0: it had none */
};

/* One piece, in the time that a slow disk takes. */
static bool read_slowly(void *arg)
{
	struct waiting *w = arg;
	uint32_t size = (uint32_t)strlen(w->sql);
	struct pollfd fd = {.fd = w->f->app.sock, .events = POLLIN};

	w->looks++;
	if (!w->asked && w->awaits_readers) {
		begin_checkpoint(w->f, w->sql);
	} else if (!w->asked) {
		assert_int_equal(write(w->f->app.sock, &size, sizeof(size)), sizeof(size));
		assert_int_equal(write(w->f->app.sock, w->sql, size), size);
	}
	w->asked = true;
	if (!w->let_in && !w->opened && poll(&fd, 1, 60) > 0)
		w->let_in = w->looks;
	return false;
}

/* What is read from now on is read under the write lock. */
static int note_open(void *arg, enum vfs_call call)
{
	struct waiting *w = arg;

	(void)call;
	w->opened = true;
	return SQLITE_OK;
}

/* A checkpoint that waits for readers does not wait for the whole copy. */
static void test_a_checkpoint_that_waits(void **state)
{
	struct waiting w = {.sql = BUSY_CHECKPOINT, .awaits_readers = true};
	struct restoring how = RESTORING;
	struct upload u;
	struct fixture f;
	int64_t sum;

	(void)state;
	up(&f, WAL_OLD LARGE);
	sum = app_get(&f.app, SUM_T);
	upload_make(&u, f.snap, 4096, NEW);
	w.f = &f;
	how.cancelled = read_slowly;
	how.fault = note_open;
	how.arg = &w;
	assert_restored(&f, &u, &how);
	end_checkpoint(&f);
	assert_between(w.let_in, 1, PIECES);
	assert_int_equal(ask_kept(&f, how.result.undo, SUM_T), sum);
	assert_int_equal(app_get(&f.app, COUNT_T), 500);
	restore_down(&f, &u);
}

/* What the live database holds already, but for its counters. */
static void upload_same(struct fixture *f, struct upload *u)
{
	struct snap_gen *gen = open_now(f);
	struct copy copy = {.size = size_of(gen)};
	unsigned char *bytes = bytes_of(gen);

	copy.bytes = sqlite3_malloc64(copy.size);
	memcpy(copy.bytes, bytes, copy.size);
	copy.bytes[24]++;
	free(bytes);
	close_gen(gen);
	upload_bytes(u, f->snap, copy);
}

/* A writer does not wait for the whole comparison, and what he has written is seen. */
static void check_commit(const char *sql, bool unchanged)
{
	struct waiting w = {.sql = sql};
	struct restoring how = RESTORING;
	struct app_reply reply;
	struct upload u;
	struct fixture f;

	up(&f, ROLLBACK_TABLE LARGE);
	upload_same(&f, &u);
	w.f = &f;
	how.cancelled = read_slowly;
	how.fault = note_open;
	how.arg = &w;
	assert_restored(&f, &u, &how);
	assert_int_equal(read(f.app.sock, &reply, sizeof(reply)), sizeof(reply));
	assert_int_equal(reply.rc, SQLITE_OK);
	assert_between(w.let_in, 1, PIECES);
	assert_int_equal(how.result.unchanged, unchanged);
	if (!unchanged)
		assert_int_equal(ask_kept(&f, how.result.undo, COUNT_T), 30001);
	assert_int_equal(app_get(&f.app, COUNT_T), 30000);
	assert_shows_upload(&f, &u);
	restore_down(&f, &u);
}

static void test_a_commit_that_waits(void **state)
{
	(void)state;
	check_commit("PRAGMA busy_timeout=20000; INSERT INTO t(b) VALUES('last')", false);
	/* A commit, and the content is what it was. */
	check_commit("PRAGMA busy_timeout=20000; UPDATE t SET b=b WHERE a=20000", true);
	check_commit("SELECT 1", true);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wal_is_bounded),
		cmocka_unit_test(test_a_writer_that_never_stops),
		cmocka_unit_test(test_a_checkpoint_that_waits),
		cmocka_unit_test(test_a_commit_that_waits),
	};

	if (argc == 5 && strcmp(argv[1], LOOK) == 0)
		return look_main(argv);
	return cmocka_run_group_tests(tests, own_tmp, NULL);
}
