/* SPDX-License-Identifier: MIT */
/* What the name shows after a restore: exactly what was uploaded, until the database changes. */
#include "restores.h"

#include "../../src/source_private.h"

#define WAL_OLD WAL_TABLE APP_ROWS(200)
#define ROLLBACK_OLD ROLLBACK_TABLE APP_ROWS(200)
#define NEW TABLE APP_ROWS(500)
#define PATIENCE_NS (20 * NS_PER_S)

static const char *const modes[] = {WAL_OLD, ROLLBACK_OLD};

struct fixtures {
	struct fixture f;
	struct upload u;
	struct restoring how;
};

static void restore_over(struct fixtures *x, const char *sql)
{
	x->how = RESTORING;
	up(&x->f, sql);
	upload_make(&x->u, x->f.snap, 4096, NEW);
}

static void end(struct fixtures *x, bool app)
{
	upload_finish(&x->u);
	if (app)
		app_stop(&x->f.app);
	down(&x->f);
}

static int64_t mtime_of(struct fixture *f)
{
	struct snap_attr attr;

	snap_gen_unref(look(f, &attr));
	return timespec_ns(attr.mtime);
}

/* The next commit ends it. */
static void assert_moves_on(struct fixtures *x)
{
	struct snap_gen *gen;

	app_do(&x->f.app, "INSERT INTO t(b) VALUES('after')");
	gen = open_now(&x->f);
	assert_int_equal(ask(gen, "SELECT count(*) FROM t WHERE b='after'"), 1);
	assert_true(mtime_of(&x->f) > UPLOADED_AT);
	close_gen(gen);
}

static void test_until_the_next_commit(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct fixtures x;

		restore_over(&x, modes[i]);
		assert_restored(&x.f, &x.u, &x.how);
		for (int k = 0; k < 5; k++)
			assert_shows_upload(&x.f, &x.u);
		assert_moves_on(&x);
		end(&x, true);
	}
}

static bool is_disconnected(struct fixture *f)
{
	struct source *source = source_of(f);
	bool disconnected;

	pthread_mutex_lock(&source->lock);
	disconnected = source->live == NULL;
	pthread_mutex_unlock(&source->lock);
	source_unref(source);
	return disconnected;
}

static void await_disconnect(struct fixture *f)
{
	int64_t end = monotonic_ns() + PATIENCE_NS;

	while (!is_disconnected(f)) {
		assert_true(monotonic_ns() < end);
		nanosleep(&(struct timespec){.tv_nsec = 10 * NS_PER_MS}, NULL);
	}
}

/* The source lets its connection go before SQLite has closed it. */
static void await_no_sidecars(struct fixture *f)
{
	int64_t end = monotonic_ns() + PATIENCE_NS;

	while (file_exists(&f->folder, "db-wal") || file_exists(&f->folder, "db-shm")) {
		assert_true(monotonic_ns() < end);
		nanosleep(&(struct timespec){.tv_nsec = 10 * NS_PER_MS}, NULL);
	}
}

/* Our last connection goes, and with it the wal-index that told versions apart. */
static void test_outlives_our_connection(void **state)
{
	(void)state;
	for (int app = 0; app < 2; app++) {
		for (size_t i = 0; i < 2; i++) {
			struct fixtures x;

			restore_over(&x, modes[i]);
			if (!app)
				app_stop(&x.f.app);
			assert_restored(&x.f, &x.u, &x.how);
			await_disconnect(&x.f);
			if (!app && i == 0)
				await_no_sidecars(&x.f);
			assert_shows_upload(&x.f, &x.u);
			assert_afresh(&x.f, COUNT_T, 500);
			await_disconnect(&x.f);
			assert_shows_upload(&x.f, &x.u);
			if (app)
				assert_moves_on(&x);
			end(&x, app);
		}
	}
}

/* ---- a restore that comes between a look at the database and what is made of it ------------------------ */

static struct fixtures *comes_between; /* NULL: nothing does */

bool __real_source_await_commit(struct source *s, const struct version *seen, int64_t wait_ns);
bool __wrap_source_await_commit(struct source *s, const struct version *seen, int64_t wait_ns);
bool __wrap_source_await_commit(struct source *s, const struct version *seen, int64_t wait_ns)
{
	struct fixtures *x = comes_between;

	comes_between = NULL;
	if (x)
		assert_restored(&x->f, &x->u, &x->how);
	return __real_source_await_commit(s, seen, wait_ns);
}

static void test_overtakes_a_look(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct fixtures x;

		restore_over(&x, modes[i]);
		close_gen(open_now(&x.f)); /* and so connected */
		comes_between = &x;
		assert_int_equal(mtime_of(&x.f), UPLOADED_AT);
		assert_shows_upload(&x.f, &x.u);
		assert_moves_on(&x);
		end(&x, true);
	}
}

static void test_overtakes_an_open(void **state)
{
	static const unsigned ways[] = {0, SNAP_NOWAIT};

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct snap_gen *gen, *moved = NULL;
		struct fixtures x;
		int rc;

		restore_over(&x, modes[i / 2]);
		close_gen(open_now(&x.f));
		app_do(&x.f.app, "INSERT INTO t(b) VALUES('before')");
		gen = look(&x.f, NULL);
		comes_between = &x;
		rc = snap_gen_open(gen, ways[i % 2], &moved, NULL);
		if (rc == SNAP_WOULD_WAIT)
			rc = snap_gen_open(gen, 0, &moved, NULL);
		assert_null(comes_between);
		assert_int_equal(rc, SNAP_MOVED);
		snap_gen_unref(gen);
		assert_int_equal(snap_gen_open(moved, 0, NULL, NULL), 0);
		assert_same_bytes(moved, x.u.bytes);
		close_gen(moved);
		assert_shows_upload(&x.f, &x.u);
		assert_moves_on(&x);
		end(&x, true);
	}
}

/* ---- a connection that was idle before ----------------------------------------------------------------- */

static struct {
	bool armed;
	void (*run)(void *arg);
	void *arg;
} late_job; /* the next one, which no thread has time for yet */

int __real_work_submit_urgent(struct work *w, void (*run)(void *arg), void *arg);
int __wrap_work_submit_urgent(struct work *w, void (*run)(void *arg), void *arg);
int __wrap_work_submit_urgent(struct work *w, void (*run)(void *arg), void *arg)
{
	if (!late_job.armed)
		return __real_work_submit_urgent(w, run, arg);
	late_job.armed = false;
	late_job.run = run;
	late_job.arg = arg;
	return 0;
}

static void tend_later(struct fixture *f)
{
	struct source *source = source_of(f);

	source_tend(source, monotonic_ns() + SOURCE_LINGER_NS + NS_PER_S);
	source_unref(source);
}

static bool tend_meanwhile(void *arg)
{
	struct fixtures *x = arg;

	tend_later(&x->f);
	return false;
}

/* What the janitor has seen idle before a restore, or during one, stays connected after it: for a moment the
 * wal-index alone tells that nothing was committed since. */
static void check_idle(bool before)
{
	struct fixtures x = {.how = RESTORING};

	app_up(&x.f, WAL_OLD);
	snap_up_still(&x.f);
	upload_make(&x.u, x.f.snap, 4096, NEW);
	close_gen(open_now(&x.f));
	late_job.armed = true;
	late_job.run = NULL;
	if (before) {
		tend_later(&x.f);
		assert_non_null(late_job.run);
	} else {
		x.how.cancelled = tend_meanwhile;
		x.how.arg = &x;
	}
	assert_restored(&x.f, &x.u, &x.how);
	if (late_job.run)
		late_job.run(late_job.arg);
	late_job.armed = false;
	assert_false(is_disconnected(&x.f));
	assert_shows_upload(&x.f, &x.u);
	end(&x, true);
}

static void test_idle_before_it(void **state)
{
	(void)state;
	check_idle(true);
}

static void test_idle_in_between(void **state)
{
	(void)state;
	check_idle(false);
}

/* ---- readers of before, and of it ---------------------------------------------------------------------- */

static void test_old_readers_read_on(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct fixtures x;
		struct snap_gen *before;
		unsigned char *bytes;

		restore_over(&x, modes[i]);
		before = open_now(&x.f);
		bytes = bytes_of(before);
		assert_restored(&x.f, &x.u, &x.how);
		assert_same_bytes(before, bytes);
		assert_shows_upload(&x.f, &x.u);
		app_do(&x.f.app, "DELETE FROM t");
		assert_same_bytes(before, bytes);
		assert_int_equal(ask(before, COUNT_T), 200);
		free(bytes);
		close_gen(before);
		end(&x, true);
	}
}

/* A generation of the upload that is open stays what it is. */
static void test_readers_of_it_read_on(void **state)
{
	struct fixtures x;
	struct snap_gen *gen;

	(void)state;
	restore_over(&x, WAL_OLD);
	assert_restored(&x.f, &x.u, &x.how);
	gen = open_now(&x.f);
	assert_moves_on(&x);
	assert_same_bytes(gen, x.u.bytes);
	source_upload_forget(gen->source);
	assert_same_bytes(gen, x.u.bytes);
	close_gen(gen);
	end(&x, true);
}

/* Once its bytes are gone, it is never given others. */
static void test_forgotten_is_no_more(void **state)
{
	struct fixtures x;
	struct snap_gen *gen, *moved = NULL;

	(void)state;
	restore_over(&x, WAL_OLD);
	assert_restored(&x.f, &x.u, &x.how);
	gen = look(&x.f, NULL);
	source_upload_forget(gen->source);
	assert_int_equal(snap_gen_open(gen, 0, &moved, NULL), SNAP_MOVED);
	assert_int_not_equal(snap_gen_id(moved), snap_gen_id(gen));
	snap_gen_unref(gen);
	assert_int_equal(snap_gen_open(moved, 0, NULL, NULL), 0);
	assert_int_equal(ask(moved, COUNT_T), 500);
	close_gen(moved);
	assert_true(mtime_of(&x.f) > UPLOADED_AT);
	end(&x, true);
}

/* Other bytes must not show the same size and time. */
static void test_remount_shows_another_time(void **state)
{
	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct snap_gen *early, *moved = NULL;
		struct snap_attr attr;
		struct fixtures x;

		restore_over(&x, modes[i % 2]);
		early = look(&x.f, &attr);
		assert_restored(&x.f, &x.u, &x.how);
		if (i >= 2) { /* somebody who has looked before opens what is there by now */
			assert_int_equal(snap_gen_open(early, 0, &moved, NULL), SNAP_MOVED);
			snap_gen_arrived(moved);
			snap_gen_unref(moved);
		}
		snap_gen_unref(early);
		assert_shows_upload(&x.f, &x.u);
		upload_finish(&x.u);
		snap_destroy(x.f.snap);
		snap_up(&x.f);
		assert_true(mtime_of(&x.f) > UPLOADED_AT);
		app_stop(&x.f.app);
		down(&x.f);
	}
}

static void test_set_mtime(void **state)
{
	struct fixtures x;
	struct snap_gen *gen;

	(void)state;
	restore_over(&x, WAL_OLD);
	assert_restored(&x.f, &x.u, &x.how);
	gen = look(&x.f, NULL);
	snap_gen_set_mtime(gen, 5 * NS_PER_S + 7);
	assert_int_equal(mtime_of(&x.f), 5 * NS_PER_S + 7);
	snap_gen_unref(gen);
	assert_moves_on(&x);
	gen = open_now(&x.f);
	int64_t before = mtime_of(&x.f);
	snap_gen_set_mtime(gen, 5 * NS_PER_S);
	assert_int_equal(mtime_of(&x.f), before);
	close_gen(gen);
	end(&x, true);
}

/* The content is there already, but for what SQLite counts: nothing is written. */
static void test_equal_changes_nothing(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct fixtures x;

		restore_over(&x, modes[i]);
		assert_restored(&x.f, &x.u, &x.how);
		app_do(&x.f.app, "PRAGMA user_version=0"); /* the same content, counted on */
		struct file_look db = file_look(&x.f.folder, "db"), wal = file_look(&x.f.folder, "db-wal");
		struct restoring again = RESTORING;
		struct upload u;
		struct copy copy = {sqlite3_malloc64(x.u.size), x.u.size};

		memcpy(copy.bytes, x.u.bytes, x.u.size);
		upload_bytes(&u, x.f.snap, copy);
		assert_restored(&x.f, &u, &again);
		assert_true(again.result.unchanged);
		assert_string_equal(again.result.undo, "");
		assert_same_file(file_look(&x.f.folder, "db"), db);
		assert_same_file(file_look(&x.f.folder, "db-wal"), wal);
		assert_shows_upload(&x.f, &u);
		assert_int_equal(count_kept(&x.f), 1);
		upload_finish(&u);
		assert_moves_on(&x);
		end(&x, true);
	}
}

/* What came from an upload is kept like all else, also one that was there already: nobody else may have it.
 */
static void test_snapshot_of_an_upload(void **state)
{
	struct fixtures x;
	struct upload other, same;
	int64_t rows;

	(void)state;
	restore_over(&x, WAL_OLD);
	assert_restored(&x.f, &x.u, &x.how);
	rows = app_get(&x.f.app, COUNT_T);
	upload_make(&other, x.f.snap, 4096, TABLE APP_ROWS(77));
	x.how = RESTORING;
	assert_restored(&x.f, &other, &x.how);
	assert_int_equal(ask_kept(&x.f, x.how.result.undo, COUNT_T), rows);
	assert_shows_upload(&x.f, &other);
	assert_int_equal(count_kept(&x.f), 2);

	struct copy copy = {sqlite3_malloc64(other.size), other.size};
	memcpy(copy.bytes, other.bytes, other.size);
	upload_bytes(&same, x.f.snap, copy);
	x.how = RESTORING;
	assert_restored(&x.f, &same, &x.how);
	assert_true(x.how.result.unchanged);
	assert_int_equal(count_kept(&x.f), 2);
	x.how = RESTORING;
	assert_restored(&x.f, &x.u, &x.how);
	assert_int_equal(ask_kept(&x.f, x.how.result.undo, COUNT_T), 77);
	upload_finish(&other);
	upload_finish(&same);
	end(&x, true);
}

/* The first restore is shown, the application commits, a second restore starts the WAL over: what is looked
 * at meanwhile is the commit. */
struct onlooker {
	struct fixture *f;
	uint64_t size; /* of the first upload */
	bool looked;
	int64_t rows;
};

static int look_on(void *arg, enum vfs_call call)
{
	struct onlooker *o = arg;
	struct wal_header header;
	struct source *source;

	if (call != VFS_WRITE || o->looked)
		return SQLITE_OK;
	source = source_of(o->f);
	assert_int_equal(vfs_wal_header(source->live->hub->db.vfs, &header), 0);
	source_unref(source);
	if (header.max_frame == 0) { /* it has started over */
		struct snap_gen *gen = open_now(o->f);

		o->looked = true;
		o->rows = ask(gen, COUNT_T);
		close_gen(gen);
	}
	return SQLITE_OK;
}

static void test_commit_before_the_next(void **state)
{
	struct onlooker o = {.looked = false};
	struct fixtures x;
	struct upload other;

	(void)state;
	restore_over(&x, WAL_OLD);
	assert_restored(&x.f, &x.u, &x.how);
	assert_shows_upload(&x.f, &x.u);
	upload_make(&other, x.f.snap, 4096, TABLE APP_ROWS(77));
	app_do(&x.f.app, "INSERT INTO t(b) VALUES('after'); PRAGMA wal_checkpoint(FULL)");
	o.f = &x.f;
	x.how = RESTORING;
	x.how.fault = look_on;
	x.how.arg = &o;
	assert_restored(&x.f, &other, &x.how);
	assert_true(o.looked);
	assert_int_equal(o.rows, 501);
	assert_shows_upload(&x.f, &other);
	upload_finish(&other);
	end(&x, true);
}

/* Where descriptors are short it goes at once when something newer is shown, without lingering. */
static void test_shed_when_it_is_over(void **state)
{
	struct fixtures x = {.how = RESTORING};
	struct snap_gen *gen;
	struct source *source;

	(void)state;
	app_up(&x.f, WAL_OLD);
	snap_up_still(&x.f);
	upload_make(&x.u, x.f.snap, 4096, NEW);
	assert_restored(&x.f, &x.u, &x.how);
	gen = look(&x.f, NULL);
	assert_true(gen->uploaded);
	app_do(&x.f.app, "INSERT INTO t(b) VALUES('after')");
	snap_gen_unref(look(&x.f, NULL));
	assert_non_null(gen->image);
	source = source_of(&x.f);
	source_shed(source);
	assert_null(gen->image);
	source_unref(source);
	snap_gen_unref(gen);
	end(&x, true);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_until_the_next_commit),
		cmocka_unit_test(test_outlives_our_connection),
		cmocka_unit_test(test_overtakes_a_look),
		cmocka_unit_test(test_overtakes_an_open),
		cmocka_unit_test(test_idle_before_it),
		cmocka_unit_test(test_idle_in_between),
		cmocka_unit_test(test_old_readers_read_on),
		cmocka_unit_test(test_readers_of_it_read_on),
		cmocka_unit_test(test_forgotten_is_no_more),
		cmocka_unit_test(test_remount_shows_another_time),
		cmocka_unit_test(test_set_mtime),
		cmocka_unit_test(test_equal_changes_nothing),
		cmocka_unit_test(test_snapshot_of_an_upload),
		cmocka_unit_test(test_commit_before_the_next),
		cmocka_unit_test(test_shed_when_it_is_over),
	};

	if (argc == 5 && strcmp(argv[1], LOOK) == 0)
		return look_main(argv);
	return cmocka_run_group_tests(tests, own_tmp, NULL);
}
