/* SPDX-License-Identifier: MIT */
/*
 * test_source_races.c - what may come between two steps of an open: a file that is replaced, a source that is
 * let go, an image that is spooled or lost, another caller who was led to the same generation.
 *
 * No thread is left to chance. There is no janitor; what would come from another thread comes out of a
 * function that the open itself calls at that point: out of the shim, which asks before it locks
 * (vfs_set_fault()), and out of live_unref_later() and live_unref(), which stand between choosing an image
 * and adopting it.
 */
#include "gens.h"

#include <errno.h>

#include "../../src/clock.h"
#include "../../src/snap_private.h"
#include "../../src/source_private.h"
#include "../../src/vfs_private.h"

static void up_still(struct fixture *f, const char *sql)
{
	app_up(f, sql);
	snap_up_still(f);
}

/* ---- a file that is replaced --------------------------------------------------------------------------- */

/*
 * A pin that began on an empty WAL has no salt by which a header could be told to be another file's: its
 * incarnation must tell.
 */
static void test_header_of_another_incarnation(void **state)
{
	struct fixture f;
	struct app other;

	(void)state;
	app_up(&f, APP_WAL ";" APP_ROWS(3) "; PRAGMA wal_checkpoint(TRUNCATE)");
	app_start(&other, &f.folder, "new");
	app_do(&other, APP_WAL ";" APP_ROWS(700));
	snap_up_still(&f);
	struct snap_gen *gen = open_now(&f);
	assert_int_equal(gen->max_frame, 0);
	unsigned char *before = bytes_of(gen);
	replace(&f, true);
	struct snap_gen *next = open_now(&f);
	assert_int_equal(ask(next, "SELECT count(*) FROM t"), 700);
	assert_int_equal(ask(gen, "SELECT count(*) FROM t"), 3);
	assert_same_bytes(gen, before);
	free(before);
	close_gen(gen);
	close_gen(next);
	app_stop(&f.app);
	app_stop(&other);
	down(&f);
}

/*
 * The file is replaced, the -shm stays: SQLite would open it a second time and lose the first file's locks
 * with the next close. Whoever reads the first file gives way.
 */
static void test_shm_of_the_file_before(void **state)
{
	struct fixture f;
	struct app other, later;
	unsigned char byte;
	char sql[PATH_MAX + 16];

	(void)state;
	app_up(&f, APP_WAL ";" APP_ROWS(3) "; PRAGMA wal_checkpoint(TRUNCATE)");
	app_start(&later, &f.folder, "later");
	app_start(&other, &f.folder, "new");
	app_do(&other, APP_WAL ";" APP_ROWS(700));
	app_stop(&other);
	assert_false(file_exists(&f.folder, "new-shm") || file_exists(&f.folder, "new-wal"));
	snap_up_still(&f);
	struct snap_gen *gen = open_now(&f), *same = open_now(&f);
	app_stop(&f.app);
	replace(&f, false);
	assert_true(file_exists(&f.folder, "db-shm"));
	struct snap_gen *next = open_now(&f);
	assert_int_equal(ask(next, "SELECT count(*) FROM t"), 700);
	assert_int_equal(snap_gen_read(gen, &byte, 1, 0, NULL), -EIO);
	assert_int_equal(snap_gen_read(same, &byte, 1, 0, NULL), -EIO);
	close_gen(gen);
	close_gen(same);
	/* The new one's pin has lost nothing by these closes: an application has to wait for it. */
	snprintf(sql, sizeof(sql), "ATTACH '%s/db' AS d; INSERT INTO d.t(b) VALUES(1)", f.folder.path);
	app_do(&later, sql);
	assert_int_equal(app_get(&later, "PRAGMA d.wal_checkpoint(TRUNCATE)"), 1);
	assert_int_equal(ask(next, "SELECT count(*) FROM t"), 700);
	close_gen(next);
	assert_int_equal(app_get(&later, "PRAGMA d.wal_checkpoint(TRUNCATE)"), 0);
	app_stop(&later);
	down(&f);
}

/* ---- a source that is let go --------------------------------------------------------------------------- */

/* What the janitor, or a close elsewhere, does while an open pins. */
struct letting_go {
	struct source *source;
	void (*how)(struct source *source);
	int code; /* what SQLite is told */
	int seen;
};

static int let_go(void *arg, enum vfs_call call)
{
	struct letting_go *l = arg;

	if (call != VFS_SHM_LOCK)
		return SQLITE_OK;
	l->seen++;
	l->how(l->source);
	return l->code;
}

/* A pin on an incarnation that is not the source's is bounded by nothing: nobody looks at its WAL. */
static void test_not_let_go_while_it_is_opened(void **state)
{
	static void (*const hows[])(struct source * source) = {source_disconnect, source_shed};
	struct fixture f;

	(void)state;
	up_still(&f, APP_WAL ";" APP_ROWS(10));
	for (int i = 0; i < 2; i++) {
		struct letting_go l = {.how = hows[i]};
		struct snap_gen *gen = open_now(&f);

		l.source = gen->source;
		close_gen(gen);
		assert_true(list_empty(&l.source->gens));
		app_do(&f.app, APP_ROWS(10));
		vfs_set_fault(l.source->live->hub->db.vfs, let_go, &l);
		gen = open_now(&f);
		assert_true(l.seen > 0);
		assert_non_null(l.source->live);
		assert_ptr_equal(image_live(gen->image), l.source->live);
		assert_int_equal(ask(gen, "SELECT count(*) FROM t"), 20 + i * 10);
		vfs_set_fault(l.source->live->hub->db.vfs, NULL, NULL);
		/* Nor while it is open. */
		hows[i](l.source);
		assert_ptr_equal(image_live(gen->image), l.source->live);
		close_gen(gen);
		hows[i](l.source);
		assert_null(l.source->live);
	}
	app_stop(&f.app);
	down(&f);
}

/* An open that fails does not keep the source connected. */
static void test_let_go_after_a_failed_open(void **state)
{
	struct fixture f;
	struct letting_go l = {.how = source_disconnect, .code = SQLITE_IOERR_SHMLOCK};
	struct snap_gen *gen, *moved = NULL;

	(void)state;
	up_still(&f, APP_WAL ";" APP_ROWS(10));
	gen = open_now(&f);
	l.source = gen->source;
	close_gen(gen);
	app_do(&f.app, APP_ROWS(10));
	gen = look(&f, NULL);
	vfs_set_fault(l.source->live->hub->db.vfs, let_go, &l);
	assert_int_equal(snap_gen_open(gen, SNAP_NOWAIT, &moved, NULL), SNAP_WOULD_WAIT);
	assert_true(l.seen > 0);
	l.seen = 0;
	assert_int_equal(snap_gen_open(gen, 0, &moved, NULL), -EIO);
	assert_true(l.seen > 0);
	assert_non_null(l.source->live);
	vfs_set_fault(l.source->live->hub->db.vfs, NULL, NULL);
	source_disconnect(l.source);
	assert_null(l.source->live);
	snap_gen_unref(gen);
	app_stop(&f.app);
	down(&f);
}

/* What a dead writer left takes a recovery, which reads all of the WAL: nothing for a thread that may not
 * wait. */
static void test_recovery_is_waited_for(void **state)
{
	struct fixture f;
	struct snap_gen *gen, *moved = NULL;

	(void)state;
	up_still(&f, APP_WAL ";" APP_ROWS(10));
	gen = look_connected(&f);
	gen->source->live->hub->db.vfs->regions[0][2]++; /* iChange of the header's first copy */
	assert_int_equal(snap_gen_open(gen, SNAP_NOWAIT, &moved, NULL), SNAP_WOULD_WAIT);
	assert_int_equal(snap_gen_open(gen, 0, &moved, NULL), 0);
	assert_int_equal(ask(gen, "SELECT count(*) FROM t"), 10);
	close_gen(gen);
	app_stop(&f.app);
	down(&f);
}

/* ---- an image that is spooled or lost ------------------------------------------------------------------ */

/* What is done once, when an open lets go of the incarnation on which it has chosen the image of GEN. */
static struct {
	void (*act)(struct snap_gen *gen); /* NULL: nothing */
	struct snap_gen *gen;
} between;

static void act_once(const struct live *live)
{
	void (*act)(struct snap_gen * gen) = between.act;

	if (live && act) {
		between.act = NULL;
		act(between.gen);
	}
}

/* The same for an open that has found its incarnation to be the source's, so that it has none to let go, and
 * is about to take it. */
static void (*before_it_is_taken)(void); /* NULL: nothing */

void __real_live_unref(struct live *live);
void __wrap_live_unref(struct live *live);
void __real_live_unref_later(struct live *live);
void __wrap_live_unref_later(struct live *live);

void __wrap_live_unref(struct live *live)
{
	void (*act)(void) = before_it_is_taken;

	act_once(live);
	__real_live_unref(live);
	if (!live && act) {
		before_it_is_taken = NULL;
		act();
	}
}

void __wrap_live_unref_later(struct live *live)
{
	act_once(live);
	__real_live_unref_later(live);
}

/* As a drain does that began before the open: up to what the image's generations need so far. */
static void spool_image(struct snap_gen *gen)
{
	struct image *image = image_ref(gen->image);

	assert_int_equal(image_spool(&image, &gen->max_frame, 1, gen->size, false, NULL), 0);
	image_unref(image);
}

static void kill_image(struct snap_gen *gen)
{
	image_kill(gen->image);
}

/* A commit and a look at it: the pin of LAST would serve what was seen. The next open that chooses it meets
 * ACT. */
static struct snap_gen *look_beside(struct fixture *f, struct snap_gen *last,
				    void (*act)(struct snap_gen *gen))
{
	struct snap_gen *gen;
	int64_t since;

	app_do(&f->app, APP_ROWS(100));
	assert_true(image_is_pinned(last->image, &since));
	gen = look(f, NULL);
	between.act = act;
	between.gen = last;
	return gen;
}

static void test_image_spooled_since_it_was_chosen(void **state)
{
	struct fixture f;
	struct snap_gen *gens[3], *moved = NULL;
	int64_t since;

	(void)state;
	up_still(&f, APP_WAL ";" APP_ROWS(100));
	gens[0] = open_now(&f);
	unsigned char *before = bytes_of(gens[0]);
	/* The spool does not have what was promised, and so takes no pin's place. */
	gens[1] = look_beside(&f, gens[0], spool_image);
	assert_int_equal(snap_gen_open(gens[1], SNAP_NOWAIT, &moved, NULL), 0);
	assert_null(between.act);
	assert_true(image_is_pinned(gens[0]->image, &since));
	assert_int_equal(ask(gens[1], "SELECT count(*) FROM t"), 200);
	assert_same_bytes(gens[0], before);
	gens[2] = look_beside(&f, gens[1], spool_image);
	assert_int_equal(snap_gen_open(gens[2], 0, &moved, NULL), 0);
	assert_null(between.act);
	assert_int_equal(ask(gens[2], "SELECT count(*) FROM t"), 300);
	assert_int_equal(ask(gens[1], "SELECT count(*) FROM t"), 200);
	assert_same_bytes(gens[0], before);
	assert_null(moved);
	free(before);
	for (int i = 0; i < 3; i++)
		close_gen(gens[i]);
	app_stop(&f.app);
	down(&f);
}

static void test_image_lost_since_it_was_chosen(void **state)
{
	struct fixture f;
	struct snap_gen *gens[3], *moved = NULL;
	unsigned char byte;

	(void)state;
	up_still(&f, APP_WAL ";" APP_ROWS(100));
	gens[0] = open_now(&f);
	for (int i = 1; i < 3; i++) {
		gens[i] = look_beside(&f, gens[i - 1], kill_image);
		if (i == 1)
			assert_int_equal(snap_gen_open(gens[i], SNAP_NOWAIT, &moved, NULL), SNAP_WOULD_WAIT);
		assert_int_equal(snap_gen_open(gens[i], 0, &moved, NULL), 0);
		assert_null(between.act);
		assert_int_equal(ask(gens[i], "SELECT count(*) FROM t"), 100 + i * 100);
		assert_int_equal(snap_gen_read(gens[i - 1], &byte, 1, 0, NULL), -EIO);
	}
	assert_null(moved);
	for (int i = 0; i < 3; i++)
		close_gen(gens[i]);
	app_stop(&f.app);
	down(&f);
}

/* ---- a commit and a look in between -------------------------------------------------------------------- */

static struct snap_gen *told;
static struct fixture *writing;

/* The state that is being opened gets a successor of its size, and somebody looks after that commit. */
static void commit_and_look(struct snap_gen *gen)
{
	(void)gen;
	app_do(&writing->app, "UPDATE t SET b=2 WHERE a=1");
	told = look(writing, NULL);
}

/* Whoever opens what he was told of by a look sees what had been committed before it, although somebody else
 * was opening it then, with what there was before. */
static void test_look_while_it_is_opened(void **state)
{
	(void)state;
	for (int waits = 0; waits < 2; waits++) {
		struct fixture f;
		struct snap_gen *gen, *moved = NULL, *later, *before;
		int rc;

		up_still(&f, APP_WAL ";" APP_ROWS(100));
		writing = &f;
		before = open_now(&f);
		app_do(&f.app, "UPDATE t SET b=1 WHERE a=1");
		if (waits) {
			close_gen(before); /* there is no pin: it is a new one's version */
			source_shed(before->source);
		}
		gen = look_connected(&f);
		between.act = commit_and_look;
		rc = snap_gen_open(gen, waits ? 0 : SNAP_NOWAIT, &moved, NULL);
		assert_null(between.act);
		assert_ptr_equal(told, gen);
		assert_int_equal(rc, SNAP_MOVED);
		assert_int_equal(snap_gen_open(moved, SNAP_NOWAIT, &later, NULL), 0);
		snap_gen_arrived(moved);
		assert_int_equal(ask(moved, "SELECT b FROM t WHERE a=1"), 1);
		assert_int_equal(snap_gen_open(told, 0, &later, NULL), 0);
		assert_int_equal(ask(told, "SELECT b FROM t WHERE a=1"), 2);
		close_gen(told);
		close_gen(moved);
		snap_gen_unref(gen);
		if (!waits)
			close_gen(before);
		app_stop(&f.app);
		down(&f);
	}
}

/* The janitor's round, with an open under way: the application has made the database smaller, and nobody else
 * reads what it was. */
static struct snap_gen *smaller;
static struct fixture *shrinking;

static void shrink_and_drain(struct snap_gen *gen)
{
	struct source *s = gen->source;
	int64_t since;

	app_do(&shrinking->app, "DELETE FROM t WHERE a>1; VACUUM");
	smaller = open_now(shrinking);
	assert_ptr_equal(smaller->image, gen->image);
	close_gen(gen);
	source_tend(s, monotonic_ns() + 2 * SOURCE_OLD_PIN_NS);
	work_stop(shrinking->snap->core.work); /* waits for it */
	assert_false(image_is_pinned(smaller->image, &since));
}

static void test_larger_one_promised_than_is_read(void **state)
{
	struct fixture f;
	struct snap_gen *gen, *before, *moved = NULL;

	(void)state;
	up_still(&f,
		 APP_WAL ";" APP_ROWS(2000) "; PRAGMA wal_checkpoint(TRUNCATE); UPDATE t SET a=-1 WHERE a=1");
	f.snap->core.config.wal_limit = 64 << 20; /* one pin serves all that follows */
	shrinking = &f;
	before = open_now(&f);
	app_do(&f.app, "UPDATE t SET a=0 WHERE a=2000");
	gen = look(&f, NULL);
	between.act = shrink_and_drain;
	between.gen = before;
	assert_int_equal(snap_gen_open(gen, SNAP_NOWAIT, &moved, NULL), 0);
	assert_null(between.act);
	/* What no frame holds is in the database file, beyond what the smaller one needs. */
	assert_true(size_of(gen) > 4 * size_of(smaller));
	assert_int_equal(ask(gen, "SELECT count(*) FROM t"), 2000);
	assert_int_equal(ask(gen, "SELECT min(a) FROM t"), -1);
	assert_int_equal(ask(smaller, "SELECT count(*) FROM t"), 2);
	assert_null(moved);
	close_gen(gen);
	close_gen(smaller);
	app_stop(&f.app);
	down(&f);
}

/* ---- others who were led to the same generation -------------------------------------------------------- */

/* N callers who have looked at SEEN, before the last commit, are led to the generation of now: a reference.
 */
static struct snap_gen *lead(struct snap_gen *seen, int n)
{
	struct snap_gen *target = NULL;

	for (int i = 0; i < n; i++) {
		struct snap_gen *moved = NULL;

		assert_int_equal(snap_gen_open(seen, 0, &moved, NULL), SNAP_MOVED);
		assert_true(!target || target == moved);
		snap_gen_unref(target);
		target = moved;
	}
	return target;
}

/* One of them comes, at once and without another look, reads and goes. */
static void arrive(struct snap_gen *gen, int64_t rows)
{
	struct snap_gen *moved = NULL;

	assert_int_equal(snap_gen_open(gen, SNAP_NOWAIT, &moved, NULL), 0);
	snap_gen_arrived(gen);
	assert_int_equal(ask(gen, "SELECT count(*) FROM t"), rows);
	snap_gen_close(gen);
}

static void test_held_for_everybody_who_was_led(void **state)
{
	struct fixture f;
	struct snap_gen *seen, *gen, *other;

	(void)state;
	/* It is held for five seconds, whatever a disk needs for a commit. */
	up_still(&f, "PRAGMA synchronous=OFF;" APP_WAL ";" APP_ROWS(100));
	seen = look(&f, NULL);
	app_do(&f.app, APP_ROWS(100));
	gen = lead(seen, 3);
	for (int i = 0; i < 3; i++) {
		assert_non_null(gen->image);
		arrive(gen, 200);
		app_do(&f.app, APP_ROWS(100)); /* what it was led to is not what there is now */
		other = open_now(&f);
		assert_int_equal(ask(other, "SELECT count(*) FROM t"), 300 + i * 100);
		close_gen(other);
	}
	/* After the last of them nothing is kept. */
	assert_null(gen->image);
	assert_true(list_empty(&gen->source->gens));
	snap_gen_unref(seen);
	snap_gen_unref(gen);
	app_stop(&f.app);
	down(&f);
}

/* Whoever does not come is waited for no longer than the hold lasts, and is not counted afterwards. */
static void test_hold_ends_without_them(void **state)
{
	struct fixture f;
	struct snap_gen *seen, *gen;
	int64_t led;

	(void)state;
	up_still(&f, APP_WAL ";" APP_ROWS(100));
	seen = look(&f, NULL);
	app_do(&f.app, APP_ROWS(100));
	gen = lead(seen, 2);
	led = monotonic_ns();
	source_tend(gen->source, led);
	assert_non_null(gen->image);
	source_tend(gen->source, led + SNAP_HOLD_MS * NS_PER_MS);
	assert_null(gen->image);
	snap_gen_unref(gen);
	gen = lead(seen, 1);
	arrive(gen, 200);
	assert_null(gen->image);
	snap_gen_unref(seen);
	snap_gen_unref(gen);
	app_stop(&f.app);
	down(&f);
}

/* ---- another file and an open of it in between ----------------------------------------------------------
 */

static struct {
	struct fixture *fixture;
	struct snap_gen *gen; /* of the file that came */
} arrived;

static void another_comes(void)
{
	replace(arrived.fixture, true);
	arrived.gen = open_now(arrived.fixture);
}

/* What was sampled of one file is never bound to what the other one's incarnation shows. */
static void test_incarnation_of_another_file(void **state)
{
	struct fixture f;
	struct app other;
	struct snap_gen *gen, *moved = NULL;
	struct stat was, is;

	(void)state;
	app_up(&f, APP_WAL ";" APP_ROWS(3));
	app_start(&other, &f.folder, "new");
	app_do(&other, APP_WAL ";" APP_ROWS(700));
	snap_up_still(&f);
	close_gen(open_now(&f));
	app_do(&f.app, APP_ROWS(3));
	gen = look(&f, NULL);
	assert_int_equal(fstatat(f.folder.fd, "db", &was, 0), 0);
	arrived.fixture = &f;
	before_it_is_taken = another_comes;
	assert_int_equal(snap_gen_open(gen, 0, &moved, NULL), SNAP_MOVED);
	assert_null(before_it_is_taken);
	assert_int_equal(fstatat(f.folder.fd, "db", &is, 0), 0);
	assert_int_not_equal(was.st_ino, is.st_ino);
	assert_ptr_equal(moved, arrived.gen);
	assert_int_equal(moved->version.ino, is.st_ino);
	assert_int_equal(snap_gen_open(moved, 0, NULL, NULL), 0);
	assert_int_equal(ask(moved, "SELECT count(*) FROM t"), 700);
	snap_gen_unref(gen);
	close_gen(arrived.gen);
	close_gen(moved);
	app_stop(&f.app);
	app_stop(&other);
	down(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_header_of_another_incarnation),
		cmocka_unit_test(test_shm_of_the_file_before),
		cmocka_unit_test(test_not_let_go_while_it_is_opened),
		cmocka_unit_test(test_let_go_after_a_failed_open),
		cmocka_unit_test(test_recovery_is_waited_for),
		cmocka_unit_test(test_image_spooled_since_it_was_chosen),
		cmocka_unit_test(test_image_lost_since_it_was_chosen),
		cmocka_unit_test(test_look_while_it_is_opened),
		cmocka_unit_test(test_larger_one_promised_than_is_read),
		cmocka_unit_test(test_held_for_everybody_who_was_led),
		cmocka_unit_test(test_hold_ends_without_them),
		cmocka_unit_test(test_incarnation_of_another_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
