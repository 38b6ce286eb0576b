/* SPDX-License-Identifier: MIT */
/*
 * test_source_led.c - whoever is led from a state that he has looked at to the one of now: as soon as he has
 * it open, or goes nowhere, nothing is held back for his way any more.
 *
 * There is no janitor: its rounds are the test's.
 */
#include "gens.h"

#include <errno.h>

#include "../../src/clock.h"
#include "../../src/image.h"
#include "../../src/snap_private.h"
#include "../../src/source.h"

#define ROWS "SELECT count(*) FROM t"

/* Nothing is read any more, and nothing waits for a reader: the janitor's next round ends the last pin. */
static void assert_nothing_held(struct source *s)
{
	source_tend(s, monotonic_ns());
	assert_true(list_empty(&s->gens));
	assert_int_equal(s->live->pins, 0);
}

/* An upload that begins with what stands there, of which there is a commit since it was looked at. */
static struct snap_upload *begin_with(struct fixture *f, bool readable)
{
	struct snap_gen *seen = look(f, NULL);
	struct snap_upload *u;

	if (readable)
		app_do(&f->app, APP_ROWS(100));
	assert_int_equal(snap_upload_create(f->snap, &u, NULL), 0);
	assert_int_equal(snap_upload_begin_with(u, seen, readable, NULL), 0);
	if (!readable)
		app_do(&f->app, APP_ROWS(100));
	snap_gen_unref(seen);
	return u;
}

static void test_upload_that_follows(void **state)
{
	struct snap_upload *u;
	struct fixture f;
	struct source *s;
	uint64_t size;

	(void)state;
	app_up(&f, APP_WAL ";" APP_ROWS(100));
	snap_up_still(&f);
	u = begin_with(&f, true);
	size = snap_upload_size(u);

	unsigned char *bytes = malloc(size);

	assert_non_null(bytes);
	assert_int_equal(snap_upload_read(u, bytes, size, 0, NULL), size);
	assert_int_equal(ask_bytes(bytes, size, ROWS), 200);
	free(bytes);

	struct snap_gen *now = look(&f, NULL);

	s = now->source;
	assert_int_equal(s->live->pins, 1);
	assert_int_equal(now->hold_until, 0);
	snap_upload_destroy(u);
	assert_nothing_held(s);
	snap_gen_unref(now);
	app_stop(&f.app);
	down(&f);
}

/* Its size was told: it may not follow. */
static void test_upload_that_stays(void **state)
{
	struct snap_upload *u;
	struct fixture f;
	unsigned char byte;

	(void)state;
	app_up(&f, APP_WAL ";" APP_ROWS(100));
	snap_up_still(&f);
	u = begin_with(&f, false);
	assert_int_equal(snap_upload_read(u, &byte, 1, 0, NULL), -ESTALE);

	struct snap_gen *now = look(&f, NULL);

	assert_non_null(now->image);
	assert_nothing_held(now->source);
	snap_upload_destroy(u);
	snap_gen_unref(now);
	app_stop(&f.app);
	down(&f);
}

/* A file of a snapshot that is still being written, whose bytes had to be given up, is nothing else. */
static void test_kept_file_that_is_lost(void **state)
{
	struct kept_pending pending = {.name = "one", .path = "db", .entry = {.dev = 1, .ino = 2}};
	struct snap_gen *lost, *now;
	struct fixture f;
	struct source *s;

	(void)state;
	app_up(&f, APP_WAL ";" APP_ROWS(100));
	snap_up_still(&f);
	lost = open_now(&f);
	s = lost->source;
	app_do(&f.app, APP_ROWS(100));
	now = open_now(&f);
	pending.gen = lost;
	list_init(&pending.link);
	kept_tree_show(f.snap->kept, &pending, 1);
	image_kill(lost->image);
	close_gen(now);
	now = open_now(&f); /* under a pin of its own */
	assert_null(kept_tree_open_pending(f.snap->kept, KEPT_FOLDER "/snapshots/one/db", 1, 2));
	assert_int_equal(now->expected, 0);
	kept_tree_hide(f.snap->kept, &pending, 1);
	close_gen(lost);
	close_gen(now);
	assert_nothing_held(s);
	app_stop(&f.app);
	down(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_upload_that_follows),
		cmocka_unit_test(test_upload_that_stays),
		cmocka_unit_test(test_kept_file_that_is_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
