/* SPDX-License-Identifier: MIT */
/* Restores at the place of a database that somebody took away under an application which has it open: it is
 * not given another one's content, and loses nothing. */
#include "restores.h"

#define WAL_OLD WAL_TABLE APP_ROWS(200)
#define ROLLBACK_OLD ROLLBACK_TABLE APP_ROWS(200)
#define NEW TABLE APP_ROWS(500)
#define COPY_WAL "PRAGMA wal_checkpoint(TRUNCATE)"

static void take_away(struct fixture *f)
{
	assert_int_equal(unlinkat(f->folder.fd, "db", 0), 0);
}

static void move_away(struct fixture *f)
{
	assert_int_equal(renameat(f->folder.fd, "db", f->folder.fd, "away"), 0);
}

static void cut(struct fixture *f, off_t size)
{
	char path[PATH_MAX];

	assert_int_equal(truncate(folder_file(&f->folder, "db", path), size), 0);
}

static void cut_all(struct fixture *f)
{
	cut(f, 0);
}

static void cut_all_but_one(struct fixture *f)
{
	cut(f, 1);
}

/* Emptied, and the -shm is gone too: of the application only the lock on the database is left to see. */
static void cut_without_shm(struct fixture *f)
{
	cut(f, 0);
	assert_int_equal(unlinkat(f->folder.fd, "db-shm", 0), 0);
}

static void put_empty(struct fixture *f)
{
	const struct copy none = {(unsigned char *)"", 0};

	take_away(f);
	put_bytes(f, "db", &none);
}

static const struct loss {
	const char *name;
	void (*make)(struct fixture *f);
	bool copied;	  /* before that, the -wal was copied and cut */
	bool comes_back;  /* its end brings it back, for the -wal has all of it */
	const char *says; /* why it is refused */
} losses[] = {
	{"removed", take_away, false, false, "was removed"},
	{"removed, empty -wal", take_away, true, false, "was removed"},
	{"moved", move_away, false, false, "was removed"},
	{"moved, empty -wal", move_away, true, false, "was removed"},
	{"emptied", cut_all, false, true, "was emptied"},
	{"emptied, empty -wal", cut_all, true, false, "was emptied"},
	{"all but a byte", cut_all_but_one, false, true, "was emptied"},
	{"emptied, no -shm", cut_without_shm, false, true, "was emptied"},
	{"replaced by nothing", put_empty, true, false, "was emptied or replaced"},
};

/* Refused because of an application, whose files are what they were. */
static void assert_busy(struct fixture *f, struct upload *u, const char *says)
{
	struct restoring how = RESTORING;

	how.busy_timeout_ms = 100;
	assert_refused(f, u, &how, -EBUSY);
	if (!strstr(how.err.text, says))
		fail_msg("%s", how.err.text);
}

static void check_loss(const struct loss *loss)
{
	struct restoring how = RESTORING;
	struct upload u;
	struct fixture f;

	print_message("# %s\n", loss->name);
	up(&f, WAL_OLD);
	if (loss->copied)
		assert_int_equal(app_get(&f.app, COPY_WAL), 0);
	loss->make(&f);
	upload_make(&u, f.snap, 4096, NEW);
	assert_busy(&f, &u, loss->says);
	if (loss->comes_back) {
		/* What it had acknowledged is there. */
		app_do(&f.app, "INSERT INTO t(b) VALUES('later')");
		assert_int_equal(app_get(&f.app, COUNT_T), 201);
		assert_int_equal(app_get(&f.app, COPY_WAL), 0);
		assert_int_equal(
			app_get(&f.app, "SELECT count(*) FROM pragma_quick_check WHERE quick_check='ok'"), 1);
		assert_int_equal(app_get(&f.app, COUNT_T), 201);
	}
	app_kill(&f.app);
	/* What it has left behind is nobody's. */
	how.force = true;
	assert_restored(&f, &u, &how);
	assert_afresh(&f, COUNT_T, 500);
	assert_shows_upload(&f, &u);
	upload_finish(&u);
	down(&f);
}

static void test_lost_under_an_application(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(losses) / sizeof(losses[0]); i++)
		check_loss(&losses[i]);
}

/* Asked while it waits: the application ends. */
static bool end_it(void *arg)
{
	struct fixture *f = arg;

	if (f->app.pid) {
		app_stop(&f->app);
		f->app.pid = 0;
	}
	return false;
}

/* Of an emptied database its last close makes a whole one, which is looked at again, and kept. */
static void test_waits_for_its_end(void **state)
{
	struct restoring how = RESTORING;
	struct upload u;
	struct fixture f;

	(void)state;
	up(&f, WAL_OLD);
	cut_all(&f);
	upload_make(&u, f.snap, 4096, NEW);
	how.cancelled = end_it;
	how.arg = &f;
	assert_restored(&f, &u, &how);
	assert_int_equal(ask_kept(&f, how.result.undo, COUNT_T), 200);
	assert_afresh(&f, COUNT_T, 500);
	upload_finish(&u);
	down(&f);
}

/* An empty database that an application has open, as one that is to be made has it, is in order. */
static void test_empty_and_open(void **state)
{
	const char *const befores[] = {"SELECT count(*) FROM sqlite_schema", ROLLBACK_OLD};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct restoring how = RESTORING;
		struct upload u;
		struct fixture f;

		up(&f, befores[i]);
		cut_all(&f);
		upload_make(&u, f.snap, 4096, NEW);
		assert_restored(&f, &u, &how);
		assert_int_equal(app_get(&f.app, COUNT_T), 500);
		assert_afresh(&f, COUNT_T, 500);
		restore_down(&f, &u);
	}
}

/* ---- its -wal and -shm --------------------------------------------------------------------------------- */

static void remove_sidecars(struct fixture *f)
{
	assert_int_equal(unlinkat(f->folder.fd, "db-wal", 0), 0);
	assert_int_equal(unlinkat(f->folder.fd, "db-shm", 0), 0);
}

static void move_sidecars(struct fixture *f)
{
	assert_int_equal(renameat(f->folder.fd, "db-wal", f->folder.fd, "moved"), 0);
	assert_int_equal(renameat(f->folder.fd, "db-shm", f->folder.fd, "moved-shm"), 0);
}

enum later {
	NOBODY,	  /* nobody comes afterwards */
	STAYS,	  /* another application makes new ones, and goes on */
	HAS_GONE, /* it has ended, and left them */
};

/* Who reads past the application's -wal sees an old state, or half of what it copies from there; who writes
 * past it destroys the database. */
static void check_without_sidecars(void (*lose)(struct fixture *f), enum later later)
{
	struct restoring how = RESTORING;
	struct snap_gen *gen = NULL;
	struct app other = {.pid = 0};
	struct upload u;
	struct fixture f;

	print_message("# %s, %d\n", lose == remove_sidecars ? "removed" : "moved", later);
	up(&f, WAL_OLD ";" COPY_WAL ";" APP_ROWS(100));
	lose(&f);
	if (later != NOBODY) {
		app_start(&other, &f.folder, "db");
		assert_int_equal(app_get(&other, COUNT_T), 200);
	}
	if (later == HAS_GONE)
		app_kill(&other);
	upload_make(&u, f.snap, 4096, NEW);
	assert_busy(&f, &u, "were removed or replaced");
	if (later == NOBODY) {
		assert_int_equal(try_open(&f, &gen), -EBUSY);
		/* Nothing is made that others would take for the application's. */
		assert_false(file_exists(&f.folder, "db-wal"));
		assert_false(file_exists(&f.folder, "db-shm"));
		/* Its last close loses nothing. */
		assert_int_equal(app_get(&f.app, COUNT_T), 300);
		app_stop(&f.app);
		assert_afresh(&f, COUNT_T, 300);
	} else {
		app_kill(&f.app);
	}
	close_gen(open_now(&f));
	assert_restored(&f, &u, &how);
	if (later == STAYS) {
		assert_int_equal(app_get(&other, COUNT_T), 500);
		app_stop(&other);
	}
	assert_afresh(&f, COUNT_T, 500);
	upload_finish(&u);
	down(&f);
}

static void test_without_sidecars(void **state)
{
	(void)state;
	for (enum later later = NOBODY; later <= HAS_GONE; later++)
		check_without_sidecars(remove_sidecars, later);
	check_without_sidecars(move_sidecars, HAS_GONE);
}

/* The same while we are connected: what is open shares the application's, what is opened next would not. */
static void check_without_sidecars_while_open(bool restores)
{
	struct snap_gen *gen, *next = NULL;
	unsigned char *before;
	struct upload u;
	struct fixture f;

	app_up(&f, WAL_OLD);
	snap_up_still(&f);
	upload_make(&u, f.snap, 4096, NEW);
	gen = open_now(&f);
	before = bytes_of(gen);
	app_do(&f.app, APP_ROWS(2000)); /* more than one pin is good for */
	remove_sidecars(&f);
	assert_same_bytes(gen, before);
	if (restores)
		assert_busy(&f, &u, "were removed or replaced");
	else
		assert_int_equal(try_open(&f, &next), -EBUSY);
	assert_false(file_exists(&f.folder, "db-wal"));
	assert_false(file_exists(&f.folder, "db-shm"));
	close_gen(gen);
	free(before);
	assert_int_equal(app_get(&f.app, COUNT_T), 2200);
	app_stop(&f.app);
	assert_afresh(&f, COUNT_T, 2200);
	upload_finish(&u);
	down(&f);
}

static bool is_refused(struct fixture *f)
{
	struct snap_gen *gen = NULL;
	int rc = try_open(f, &gen);

	if (rc == 0)
		close_gen(gen);
	return rc == -EBUSY;
}

static void test_without_sidecars_while_open(void **state)
{
	struct snap_gen *gen;
	struct fixture f;

	(void)state;
	check_without_sidecars_while_open(true);
	check_without_sidecars_while_open(false);

	/* Nor is the state that is pinned shown for ever: others may commit beside it. */
	up(&f, WAL_OLD);
	gen = open_now(&f);
	remove_sidecars(&f);
	await(is_refused, &f);
	close_gen(gen);
	app_stop(&f.app);
	down(&f);
}

/* The application goes on with the file that was replaced, and has the -shm that stands beside the new one.
 */
static void test_replaced(void **state)
{
	struct copy other = database_of(4096, TABLE APP_ROWS(300));
	const struct copy garbage = {(unsigned char *)"SQLite format 3, it says", 24};
	const struct copy *const news[] = {&other, &garbage};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct restoring how = RESTORING;
		struct upload u;
		struct fixture f;

		up(&f, WAL_OLD);
		assert_int_equal(app_get(&f.app, COPY_WAL), 0);
		put_bytes(&f, "new", news[i]);
		assert_int_equal(renameat(f.folder.fd, "new", f.folder.fd, "db"), 0);
		upload_make(&u, f.snap, 4096, NEW);
		assert_busy(&f, &u, "both share the -shm");
		app_kill(&f.app);
		assert_restored(&f, &u, &how);
		assert_afresh(&f, COUNT_T, 500);
		upload_finish(&u);
		down(&f);
	}
	sqlite3_free(other.bytes);
}

/* A container that was given the file alone, without its folder, has its -wal and -shm beside its own name of
 * it, whether it comes before we connect, or after that, or where we have left others. */
static void test_file_given_alone(void **state)
{
	static const struct {
		bool connected, left;
	} ways[] = {{false, false}, {false, true}, {true, false}};

	(void)state;
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		char own[PATH_MAX], given[PATH_MAX];
		struct snap_gen *gen = NULL;
		struct folder container;
		struct upload u;
		struct fixture f;

		app_up(&f, WAL_OLD);
		app_stop(&f.app);
		folder_make(&container);
		assert_int_equal(mknodat(container.fd, "db", S_IFREG | 0644, 0), 0);
		assert_int_equal(mount(folder_file(&f.folder, "db", own),
				       folder_file(&container, "db", given), NULL, MS_BIND, NULL),
				 0);
		app_start(&f.app, &container, "db");
		snap_up(&f);
		upload_make(&u, f.snap, 4096, NEW);
		if (ways[i].left) {
			assert_int_equal(mknodat(f.folder.fd, "db-shm", S_IFREG | 0644, 0), 0);
			assert_int_equal(mknodat(f.folder.fd, "db-wal", S_IFREG | 0644, 0), 0);
		}
		if (ways[i].connected)
			gen = open_now(&f);
		app_do(&f.app, "PRAGMA wal_autocheckpoint=0;" APP_ROWS(50));
		if (!gen)
			assert_int_equal(try_open(&f, &gen), -EBUSY);
		assert_int_equal(file_exists(&f.folder, "db-wal"), ways[i].connected || ways[i].left);
		assert_busy(&f, &u, "given this file alone");
		if (gen)
			close_gen(gen);
		app_do(&f.app, APP_ROWS(50));
		assert_int_equal(app_get(&f.app, COUNT_T), 300);
		app_stop(&f.app);
		assert_int_equal(umount2(given, MNT_DETACH), 0);
		upload_finish(&u);
		down(&f);
		folder_remove(&container);
	}
}

/* A thread of ours is still in the middle of reading what was removed or replaced by nothing, and has its
 * -shm locked: an application would share that with the new database. */
static void test_still_read(void **state)
{
	(void)state;
	for (int replaced = 0; replaced < 2; replaced++) {
		struct copy new = database_of(4096, NEW);
		struct restoring how = RESTORING;
		struct snap_gen *gen;
		struct live *reading;
		struct upload u;
		struct fixture f;

		new.bytes[18] = new.bytes[19] = 2; /* WAL */
		up(&f, WAL_OLD);
		upload_bytes(&u, f.snap, new);
		gen = open_now(&f);
		reading = live_ref(gen->source->live);
		app_stop(&f.app);
		if (replaced)
			put_empty(&f);
		else
			take_away(&f);
		how.busy_timeout_ms = 100;
		assert_int_equal(restore(&f, &u, &how), -EBUSY);
		assert_non_null(strstr(how.err.text, "or a reader here,"));
		live_unref(reading);
		how.busy_timeout_ms = RESTORING.busy_timeout_ms;
		assert_restored(&f, &u, &how);
		assert_afresh(&f, COUNT_T, 500);
		close_gen(gen);
		upload_finish(&u);
		down(&f);
	}
}

/* Two applications that are in order, and one that comes and goes: nobody is in the way. */
static void test_several_in_order(void **state)
{
	struct app others[2];
	struct upload u;
	struct fixture f;

	(void)state;
	app_up(&f, WAL_OLD);
	for (size_t i = 0; i < 2; i++) {
		app_start(&others[i], &f.folder, "db");
		assert_int_equal(app_get(&others[i], COUNT_T), 200);
	}
	snap_up(&f);
	upload_make(&u, f.snap, 4096, NEW);
	for (size_t i = 0; i < 3; i++) {
		struct restoring how = RESTORING;

		assert_restored(&f, &u, &how);
		if (i < 2)
			app_stop(&others[i]);
	}
	assert_int_equal(app_get(&f.app, COUNT_T), 500);
	restore_down(&f, &u);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lost_under_an_application),
		cmocka_unit_test(test_waits_for_its_end),
		cmocka_unit_test(test_empty_and_open),
		cmocka_unit_test(test_without_sidecars),
		cmocka_unit_test(test_without_sidecars_while_open),
		cmocka_unit_test(test_replaced),
		cmocka_unit_test(test_still_read),
		cmocka_unit_test(test_file_given_alone),
		cmocka_unit_test(test_several_in_order),
	};

	if (argc == 5 && strcmp(argv[1], LOOK) == 0)
		return look_main(argv);
	return cmocka_run_group_tests(tests, own_tmp, NULL);
}
