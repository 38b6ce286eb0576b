/* SPDX-License-Identifier: MIT */
/* test_source_tend.c - the rounds of the janitor, one at a time: whose reader a WAL that is too long ends,
 * and a -shm that was removed, what is written when it could not be, when the connection is closed, what is
 * learned of a WAL that came later, and whether a state shares its second with another. */
#include "gens.h"

#include <errno.h>

#include "../../src/clock.h"
#include "../../src/image.h"
#include "../../src/snap_private.h"
#include "../../src/source_private.h"

/* ---- a WAL that is too long ---------------------------------------------------------------------------- */

/* Who reads a file that was replaced holds back nothing of the WAL that came with the new one. */
static void test_ends_the_right_reader(void **state)
{
	struct fixture f;
	struct app other;
	unsigned char byte;

	(void)state;
	app_up(&f, APP_WAL ";" APP_ROWS(300));
	app_start(&other, &f.folder, "new");
	app_do(&other, APP_WAL ";" APP_ROWS(300));
	snap_up_still(&f);
	struct snap_gen *before = open_now(&f);
	unsigned char *bytes = bytes_of(before);
	replace(&f, true);
	struct snap_gen *now = open_now(&f);
	struct source *s = now->source;

	f.snap->core.config.wal_max = 1 << 20;
	pthread_mutex_lock(&s->lock);
	s->no_spool_until = INT64_MAX;
	pthread_mutex_unlock(&s->lock);
	for (int i = 0; i < 200 && !image_is_dead(now->image); i++) {
		app_do(&other, "UPDATE t SET b=randomblob(300)");
		source_tend(s, monotonic_ns());
		assert_false(image_is_dead(before->image));
	}
	assert_int_equal(snap_gen_read(now, &byte, 1, 0, NULL), -EIO);
	assert_same_bytes(before, bytes);
	free(bytes);
	close_gen(before);
	close_gen(now);
	app_stop(&f.app);
	app_stop(&other);
	down(&f);
}

/* Whoever opens right after one reader has gone waits until the WAL could start over, although nothing can be
 * spooled, and is not ended for what that one held back. */
static void test_spares_the_next_reader(void **state)
{
	struct fixture f;

	(void)state;
	app_up(&f, APP_WAL ";" APP_ROWS(300));
	snap_up_still(&f);
	f.snap->core.config.wal_limit = 1 << 18;
	for (int ended = 0; ended < 2; ended++) {
		struct snap_gen *before = open_now(&f);
		struct source *s = before->source;
		uint64_t enough = ended ? UINT64_MAX : 1 << 19; /* or it leaves before that */

		f.snap->core.config.wal_max = 1 << 20;
		pthread_mutex_lock(&s->lock);
		s->no_spool_until = INT64_MAX;
		pthread_mutex_unlock(&s->lock);
		for (int i = 0; i < 200 && !image_is_dead(before->image) && live_held_back(s->live) < enough;
		     i++) {
			app_do(&f.app, "UPDATE t SET b=randomblob(300)");
			source_tend(s, monotonic_ns());
		}
		assert_int_equal(image_is_dead(before->image), ended);
		close_gen(before);

		struct snap_gen *now = open_now(&f);
		unsigned char *bytes = bytes_of(now);

		assert_int_equal(live_held_back(s->live), 0);
		source_tend(s, monotonic_ns());
		assert_same_bytes(now, bytes);
		free(bytes);
		close_gen(now);
	}
	app_stop(&f.app);
	down(&f);
}

/* ---- a -shm that was removed --------------------------------------------------------------------------- */

static void move(struct fixture *f, const char *from, const char *to)
{
	static const char *const suffixes[] = {"", "-wal", "-shm"};
	char old[32], new[32];

	for (int i = 0; i < 3; i++) {
		snprintf(old, sizeof(old), "%s%s", from, suffixes[i]);
		snprintf(new, sizeof(new), "%s%s", to, suffixes[i]);
		assert_int_equal(renameat(f->folder.fd, old, f->folder.fd, new), 0);
	}
}

static void assert_lost(struct snap_gen *gen)
{
	unsigned char byte;

	assert_int_equal(snap_gen_read(gen, &byte, 1, 0, NULL), -EIO);
}

/* Who reads the file that was replaced has a wal-index of his own. Who reads the same file since before it
 * was replaced for a while has not, and keeps it open. */
static void test_loses_the_right_readers(void **state)
{
	struct snap_gen *before, *other, *now;
	struct fixture f;
	struct source *s;
	struct app app;

	(void)state;
	app_up(&f, APP_WAL ";" APP_ROWS(300));
	app_start(&app, &f.folder, "new");
	app_do(&app, APP_WAL ";" APP_ROWS(400));
	snap_up_still(&f);
	before = open_now(&f);
	s = before->source;
	move(&f, "db", "old");
	move(&f, "new", "db");
	other = open_now(&f);
	move(&f, "db", "new");
	move(&f, "old", "db");
	now = open_now(&f);
	assert_true(image_live(now->image) && image_live(now->image) != image_live(before->image));

	unsigned char *bytes = bytes_of(other);

	assert_int_equal(unlinkat(f.folder.fd, "db-shm", 0), 0);
	source_tend(s, monotonic_ns());
	assert_lost(now);
	assert_lost(before);
	assert_same_bytes(other, bytes);
	free(bytes);
	close_gen(before);
	close_gen(now);
	close_gen(other);
	app_stop(&f.app);
	app_stop(&app);
	down(&f);
}

/* ---- what lingers -------------------------------------------------------------------------------------- */

/* However many states of it were read, a database that nobody reads is let go when descriptors run out. */
static void test_sheds_all(void **state)
{
	struct snap_gen *gens[40];
	struct fixture f;

	(void)state;
	app_up(&f, APP_WAL);
	snap_up_still(&f);
	f.snap->core.config.wal_limit = 64 << 20; /* one pin serves all */
	for (int i = 0; i < 40; i++) {
		app_do(&f.app, APP_ROWS(1));
		gens[i] = open_now(&f);
	}
	struct source *s = gens[0]->source;
	struct image *image = gens[39]->image;

	assert_ptr_equal(gens[0]->image, image);
	image_ref(image);
	assert_int_equal(image_spool(&image, &gens[39]->max_frame, 1, gens[39]->size, false, NULL), 0);
	image_unref(image);
	for (int i = 0; i < 40; i++)
		snap_gen_close(gens[i]);
	assert_false(list_empty(&s->gens));
	source_shed(s);
	assert_true(list_empty(&s->gens));
	assert_null(s->live);
	for (int i = 0; i < 40; i++)
		snap_gen_unref(gens[i]);
	app_stop(&f.app);
	down(&f);
}

/* An open for which descriptors have run out lets go of what is held for a reader who was led there; its own
 * connection is then closed like any other, also if the open fails. */
static void test_sheds_in_an_open(void **state)
{
	struct fixture f;

	(void)state;
	app_up(&f, APP_WAL ";" APP_ROWS(3));
	snap_up_still(&f);
	struct snap_gen *gen = open_now(&f);
	struct source *s = gen->source;

	gen->hold_until = monotonic_ns() + SNAP_HOLD_MS * NS_PER_MS;
	snap_gen_close(gen);
	assert_non_null(gen->image);
	s->binding++;
	source_shed(s);
	assert_null(gen->image);
	assert_non_null(s->live);
	s->binding--;
	s->idle_since -= SOURCE_LINGER_NS; /* so much later */
	source_tend(s, monotonic_ns());
	work_stop(f.snap->core.work);
	assert_null(s->live);
	snap_gen_unref(gen);
	app_stop(&f.app);
	down(&f);
}

/* ---- what could not be written ------------------------------------------------------------------------- */

int __real_store_save_seen(struct store *s, const char *source, const struct store_seen *seen);
int __wrap_store_save_seen(struct store *s, const char *source, const struct store_seen *seen);

static bool full;
static int saves;

int __wrap_store_save_seen(struct store *s, const char *source, const struct store_seen *seen)
{
	saves++;
	return full ? -ENOSPC : __real_store_save_seen(s, source, seen);
}

static void test_saved_later(void **state)
{
	struct store_seen seen;
	struct fixture f;

	(void)state;
	app_up(&f, APP_WAL ";" APP_ROWS(3));
	snap_up_still(&f);
	struct snap_gen *gen = open_now(&f);
	int64_t now = monotonic_ns();

	saves = 0;
	full = true;
	source_tend(gen->source, now);
	source_tend(gen->source, now + NS_PER_S / 10);
	assert_int_equal(saves, 1); /* not at every round */
	full = false;
	source_tend(gen->source, now + 60 * NS_PER_S);
	assert_int_equal(saves, 2);
	assert_int_equal(store_load_seen(f.snap->core.store, gen->source->path, &seen), 0);
	source_tend(gen->source, now + 120 * NS_PER_S);
	assert_int_equal(saves, 2);
	close_gen(gen);
	app_stop(&f.app);
	down(&f);
}

/* ---- the close ----------------------------------------------------------------------------------------- */

/* The two seconds after the last reader are not followed by two more because of his spool. */
static void test_a_spool_keeps_nothing_connected(void **state)
{
	struct fixture f;

	(void)state;
	app_up(&f, APP_WAL ";" APP_ROWS(3));
	snap_up_still(&f);
	struct snap_gen *gen = open_now(&f);
	struct source *s = gen->source;
	struct image *image = gen->image;

	snap_gen_arrived(gen);
	app_stop(&f.app);
	source_tend(s, monotonic_ns());
	image_ref(image);
	assert_int_equal(image_spool(&image, &gen->max_frame, 1, gen->size, false, NULL), 0);
	image_unref(image);
	snap_gen_close(gen);
	assert_non_null(gen->image);
	s->idle_since -= SOURCE_LINGER_NS; /* so much later */
	source_tend(s, monotonic_ns() + SOURCE_LINGER_NS);
	assert_null(gen->image);
	work_stop(f.snap->core.work); /* waits for what that has begun */
	assert_null(s->live);
	assert_false(file_exists(&f.folder, "db-wal"));
	snap_gen_unref(gen);
	down(&f);
}

/* ---- WAL mode that came later ---------------------------------------------------------------------------
 */

#define ROLLBACK "CREATE TABLE t(a INTEGER PRIMARY KEY, b); " APP_ROWS(3)

/* A reader of a copy keeps the source connected while the application turns to WAL mode. */
static void test_turns_to_wal_mode(void **state)
{
	struct wal_header header;
	struct sample before, after;
	struct fixture f;

	(void)state;
	app_up(&f, ROLLBACK);
	snap_up_still(&f);
	struct snap_gen *gen = open_now(&f), *next;
	struct source *s = gen->source;
	unsigned char *bytes = bytes_of(gen);
	int64_t now = monotonic_ns();

	assert_int_equal(live_sample(s->live, &header), -ENXIO);
	source_tend(s, now); /* there is nothing to learn */
	app_do(&f.app, "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; " APP_ROWS(100));
	source_tend(s, now);
	work_stop(f.snap->core.work); /* waits for what that has begun */
	assert_int_equal(live_sample(s->live, &header), 0);
	assert_true(header.max_frame > 0);
	assert_true(atomic_load(&s->live->was_wal) && atomic_load(&s->live->had_others));
	assert_int_equal(s->live->pins, 0);
	/* A commit that stat(2) may not tell is seen. */
	assert_int_equal(source_sample_now(s, s->live, &before), 0);
	app_do(&f.app, "PRAGMA wal_checkpoint(RESTART); UPDATE t SET a=-a WHERE a=1");
	assert_int_equal(source_sample_now(s, s->live, &after), 0);
	assert_true(before.version.has_header && after.version.has_header);
	assert_memory_not_equal(before.version.header, after.version.header, WAL_INDEX_HEADER);
	next = open_now(&f);
	assert_int_equal(ask(next, "SELECT count(*) FROM t WHERE a<0"), 1);
	assert_same_bytes(gen, bytes);
	free(bytes);
	close_gen(gen);
	close_gen(next);
	app_stop(&f.app);
	down(&f);
}

/* Where the WAL has gone already, none is made to learn of it. */
static void test_turned_and_gone(void **state)
{
	struct fixture f;

	(void)state;
	app_up(&f, ROLLBACK);
	snap_up_still(&f);
	struct snap_gen *gen = open_now(&f);
	struct source *s = gen->source;
	int64_t now = monotonic_ns(); /* the connection is not idle yet, however long the application takes */

	app_do(&f.app, "PRAGMA journal_mode=WAL; " APP_ROWS(100));
	app_stop(&f.app);
	assert_false(file_exists(&f.folder, "db-wal"));
	source_tend(s, now);
	work_stop(f.snap->core.work);
	assert_false(live_has_wal(s->live));
	assert_false(file_exists(&f.folder, "db-wal") || file_exists(&f.folder, "db-shm"));
	assert_int_equal(s->learn_after, 0);
	close_gen(gen);
	down(&f);
}

/* ---- states of one second ------------------------------------------------------------------------------ */

/* Opens and closes the database, which is at rest by then, and returns the source, a reference, and the id of
 * the generation. */
static struct source *open_once(struct fixture *f, uint64_t *id)
{
	struct snap_gen *gen = open_now(f);
	struct source *source = source_ref(gen->source);

	*id = snap_gen_id(gen);
	close_gen(gen);
	nanosleep(&(struct timespec){.tv_nsec = 100 * NS_PER_MS}, NULL); /* its times are settled */
	snap_gen_unref(look(f, NULL));
	return source;
}

/* The version of the state opened last was sampled so early that it equals none: the same state is not taken
 * for another one, opened in the same second. */
static void test_not_crowded_by_itself(void **state)
{
	struct fixture f;
	struct source *source;
	uint64_t id, again;

	(void)state;
	app_up(&f, APP_WAL);
	snap_up_still(&f);
	source = open_once(&f, &id);
	source->seen.version.seen_ns = 0;
	source->seen.version.incarnation = 0;
	source_shed(source);
	source_unref(open_once(&f, &again));
	assert_int_equal(again, id);
	assert_true(source->seen.version.seen_ns != 0);
	assert_false(source->crowded);
	source_unref(source);
	app_stop(&f.app);
	down(&f);
}

/* The clock was set back: no open is of another generation than the one before. */
static void test_crowded_ahead_of_the_clock(void **state)
{
	struct fixture f;
	struct source *source;
	uint64_t id, again;

	(void)state;
	app_up(&f, APP_WAL);
	snap_up_still(&f);
	source = open_once(&f, &id);
	source->crowded = true;
	source->apart_at = 0;
	source->seen.mtime_ns = realtime_ns() + 600 * NS_PER_S;
	for (int i = 0; i < 3; i++) {
		source_unref(open_once(&f, &again));
		assert_int_equal(again, id);
	}
	source_unref(source);
	app_stop(&f.app);
	down(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ends_the_right_reader),
		cmocka_unit_test(test_spares_the_next_reader),
		cmocka_unit_test(test_loses_the_right_readers),
		cmocka_unit_test(test_sheds_all),
		cmocka_unit_test(test_sheds_in_an_open),
		cmocka_unit_test(test_saved_later),
		cmocka_unit_test(test_a_spool_keeps_nothing_connected),
		cmocka_unit_test(test_turns_to_wal_mode),
		cmocka_unit_test(test_turned_and_gone),
		cmocka_unit_test(test_not_crowded_by_itself),
		cmocka_unit_test(test_crowded_ahead_of_the_clock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
