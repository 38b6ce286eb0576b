/* SPDX-License-Identifier: MIT */
/* test_live_account.c - how much WAL an incarnation's pins hold back, and what a restore may add to it. */
#include "live_names.h"

/* ---- how much WAL is held back --------------------------------------------------------------------------
 */

static uint64_t grow(struct fixture *f)
{
	app_do(&f->app, "INSERT INTO t(b) VALUES(zeroblob(20000))");
	return live_held_back(f->live);
}

/* Counted from the first pin on, as long as the next one comes before the WAL could start over. */
static void test_held_back(void **state)
{
	struct fixture *f = *state;
	struct conn *one, *two;
	struct wal_header now;
	uint64_t held, more;

	make_database(f, "WAL", 4096, 3, 100);
	connect_live(f);
	one = pin(f, 0);
	assert_int_equal(live_held_back(f->live), 0);
	assert_true(one->start.max_frame > 0);
	held = grow(f);
	assert_int_equal(live_sample(f->live, &now), 0);
	assert_true(now.max_frame > one->start.max_frame);
	assert_int_equal(held, (now.max_frame - one->start.max_frame) * (4096 + 24));
	/* Pins that overlap, however long ago there was none. */
	f->live->gap_since -= 10 * LIVE_GAP_NS;
	two = pin(f, 0);
	more = grow(f);
	assert_true(more > held);
	live_unpin(one);
	assert_int_equal(live_held_back(f->live), more);
	/* A gap that was too short. */
	live_unpin(two);
	assert_true(live_is_full(f->live, more));
	assert_false(live_is_full(f->live, more + 1));
	f->live->gap_since = monotonic_ns();
	one = pin(f, 0);
	assert_int_equal(live_held_back(f->live), more);
	/* One that was long enough. */
	live_unpin(one);
	f->live->gap_since -= LIVE_GAP_NS;
	assert_false(live_is_full(f->live, more));
	one = pin(f, 0);
	assert_int_equal(live_held_back(f->live), 0);
	assert_true(grow(f) > 0);
	live_unpin(one);
	/* It has started over. */
	assert_int_equal(app_get(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)"), 0);
	assert_int_equal(grow(f), 0);
	f->live->gap_since = monotonic_ns();
	one = pin(f, 0);
	assert_true(grow(f) > 20000);
	live_unpin(one);
	/* It was empty: what comes while it is pinned counts, what comes afterwards does not. */
	for (int i = 0; i < 2; i++) {
		assert_int_equal(app_get(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)"), 0);
		one = pin(f, 0);
		assert_int_equal(one->start.max_frame, 0);
		if (i == 1)
			break;
		live_unpin(one);
		assert_int_equal(grow(f), 0);
	}
	held = grow(f);
	assert_true(held > 20000);
	two = pin(f, 0);
	assert_int_equal(live_held_back(f->live), held);
	live_unpin(two);
	/* What was waited for in vain is allowed. */
	live_allow(f->live, held);
	assert_false(live_is_full(f->live, held));
	assert_true(live_is_full(f->live, 0));
	live_unpin(one);
}

/* Who comes now: for the pins that there are, if they end soon, or will be ended; for the rest of the gap in
 * any case. */
static void test_who_must_wait(void **state)
{
	struct fixture *f = *state;
	struct conn *conn;
	uint64_t held;

	make_database(f, "WAL", 4096, 3, 100);
	connect_live(f);
	conn = pin(f, 0);
	assert_false(live_must_wait(f->live, 0, 0, true)); /* nothing is held back */
	held = grow(f);
	assert_true(live_must_wait(f->live, held, UINT64_MAX, true));
	assert_false(live_must_wait(f->live, held + 1, UINT64_MAX, true));
	assert_false(live_must_wait(f->live, held, held + 1, false));
	assert_true(live_must_wait(f->live, held, held, false));
	/* What was waited for in vain is allowed, but not beyond where pins are ended. */
	live_allow(f->live, held);
	assert_false(live_must_wait(f->live, held, held + 1, true));
	assert_true(live_must_wait(f->live, held, held, true));
	f->live->forgiven = 1;
	assert_false(live_must_wait(f->live, held, held, true));
	f->live->forgiven = f->live->allowance = 0;
	/* The gap is not over, however slow this process is; and then it is. */
	live_unpin(conn);
	f->live->gap_since = INT64_MAX;
	assert_true(live_must_wait(f->live, held, held + 1, false));
	f->live->gap_since = monotonic_ns() - LIVE_GAP_NS;
	assert_false(live_must_wait(f->live, 0, 0, true));
}

/* ---- what a restore writes ----------------------------------------------------------------------------- */

/* It is not the fault of who comes while it is being written, though no pin was there before. */
static void test_forgiven_while_written(void **state)
{
	struct fixture *f = *state;
	struct conn *conn;

	make_database(f, "WAL", 4096, 3, 100);
	connect_live(f);
	live_forgive(f->live, 1000);
	f->live->gap_since -= LIVE_GAP_NS; /* it takes its time */
	conn = pin(f, 0);
	assert_int_equal(live_forgiven(f->live), 1000);
	live_forgive_end(f->live, true);
	assert_int_equal(live_forgiven(f->live), 1000);
	live_forgive(f->live, 500);
	live_forgive_end(f->live, false); /* there was no room */
	assert_int_equal(live_forgiven(f->live), 1000);
	live_unpin(conn);
	f->live->gap_since -= LIVE_GAP_NS;
	conn = pin(f, 0);
	assert_int_equal(live_forgiven(f->live), 0);
	live_unpin(conn);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(test_held_back),
		test(test_who_must_wait),
		test(test_forgiven_while_written),
	};

	return cmocka_run_group_tests(tests, own_mounts, NULL);
}
