/* SPDX-License-Identifier: MIT */
/* test_redirect.c - who is led where, and for how long. */
#include "../../fs/redirect.h"

#include "unit.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "../../src/clock.h"
#include "counted_gens.h"

#define GENS (2 * REDIRECT_MAX)

static struct redirects r;
static struct snap_gen gens[GENS];

static int setup(void **state)
{
	(void)state;
	redirects_init(&r);
	for (int i = 0; i < GENS; i++)
		gens[i].refs = 1;
	return 0;
}

/* Whatever a test leaves behind is let go. */
static int teardown(void **state)
{
	(void)state;
	redirects_finish(&r);
	for (int i = 0; i < GENS; i++) {
		if (gens[i].refs != 1)
			return -1;
	}
	return 0;
}

/* The generation that is led to, NULL: none. */
static struct snap_gen *find(pid_t tid, uint64_t parent, const char *name)
{
	struct snap_gen *gen = redirect_find(&r, tid, parent, name);

	if (gen) {
		assert_true(gen->refs >= 3); /* ours here, the table's, and the one that was handed out */
		snap_gen_unref(gen);
	}
	return gen;
}

static struct redirect_entry *entry_of(const struct snap_gen *gen)
{
	for (size_t i = 0; i < REDIRECT_MAX; i++) {
		if (r.entries[i].gen == gen)
			return &r.entries[i];
	}
	return NULL;
}

static void test_leads(void **state)
{
	char name[] = "db";

	(void)state;
	assert_null(find(7, 1, "db"));
	redirect_add(&r, 7, 1, name, &gens[0]);
	name[0] = 'x'; /* it has its own copy */
	assert_int_equal(gens[0].refs, 2);
	/* More than once: the kernel may look up and then stat. */
	for (int i = 0; i < 3; i++)
		assert_ptr_equal(find(7, 1, "db"), &gens[0]);
	assert_null(find(8, 1, "db")); /* another thread */
	assert_null(find(0, 1, "db"));
	assert_null(find(7, 2, "db")); /* another folder */
	assert_null(find(7, 1, "d"));
	assert_null(find(7, 1, "db2"));
	assert_null(find(7, 1, ""));
	assert_true(redirect_drop(&r, 7, &gens[0]));
	assert_null(find(7, 1, "db"));
	assert_int_equal(gens[0].refs, 1);
	assert_false(redirect_drop(&r, 7, &gens[0]));
}

static void test_later_one_counts(void **state)
{
	(void)state;
	redirect_add(&r, 7, 1, "db", &gens[0]);
	assert_ptr_equal(find(7, 1, "db"), &gens[0]);
	redirect_add(&r, 7, 1, "db", &gens[1]);
	assert_ptr_equal(find(7, 1, "db"), &gens[1]);
	assert_int_equal(gens[0].refs, 1);
	/* The same one again. */
	redirect_add(&r, 7, 1, "db", &gens[1]);
	assert_int_equal(gens[1].refs, 2);
	assert_ptr_equal(find(7, 1, "db"), &gens[1]);
}

static void test_each_thread_its_own(void **state)
{
	(void)state;
	for (pid_t tid = 1; tid <= 8; tid++)
		redirect_add(&r, tid, 1, "db", &gens[tid]);
	redirect_add(&r, 1, 2, "db", &gens[9]);
	redirect_add(&r, 1, 1, "db2", &gens[10]);
	for (pid_t tid = 1; tid <= 8; tid++)
		assert_ptr_equal(find(tid, 1, "db"), &gens[tid]);
	assert_ptr_equal(find(1, 2, "db"), &gens[9]);
	assert_ptr_equal(find(1, 1, "db2"), &gens[10]);
	/* Another's, or another generation, is not dropped. */
	assert_false(redirect_drop(&r, 2, &gens[1]));
	assert_false(redirect_drop(&r, 1, &gens[2]));
	assert_false(redirect_drop(&r, 1, &gens[20]));
	for (pid_t tid = 1; tid <= 8; tid++)
		assert_ptr_equal(find(tid, 1, "db"), &gens[tid]);
	redirect_drop(&r, 1, &gens[1]);
	assert_null(find(1, 1, "db"));
	assert_ptr_equal(find(1, 2, "db"), &gens[9]);
}

/* Callers of another pid namespace cannot be told apart: as many as were led share it, and nobody who comes
 * after them. */
/* What the test itself needs, on whatever machine, is not to count: 100 ms are soon over. */
static void let_last(const struct snap_gen *gen)
{
	entry_of(gen)->until += 60 * NS_PER_S;
}

static void test_unknown_threads_share(void **state)
{
	(void)state;
	redirect_add(&r, 0, 1, "db", &gens[0]);
	let_last(&gens[0]);
	redirect_add(&r, 0, 1, "db", &gens[1]); /* the newer is good for both */
	let_last(&gens[1]);
	assert_int_equal(gens[0].refs, 1);
	assert_false(redirect_drop(&r, 0, &gens[0]));
	assert_true(redirect_drop(&r, 0, &gens[1]));
	assert_ptr_equal(find(0, 1, "db"), &gens[1]);
	assert_null(find(7, 1, "db"));
	assert_true(redirect_drop(&r, 0, &gens[1]));
	assert_null(find(0, 1, "db"));
	assert_false(redirect_drop(&r, 0, &gens[1]));
	assert_int_equal(gens[1].refs, 1);
}

/* The kernel has not looked the name up again, so it has none: the thread's next look is another open's. */
static void test_not_followed(void **state)
{
	(void)state;
	redirect_add(&r, 7, 1, "db", &gens[0]);
	redirect_add(&r, 7, 1, "db", &gens[0]);
	assert_null(find(7, 1, "db"));
	assert_int_equal(gens[0].refs, 1);
	/* One that has ended was no retry's. */
	redirect_add(&r, 7, 1, "db", &gens[0]);
	entry_of(&gens[0])->until = 1;
	redirect_add(&r, 7, 1, "db", &gens[1]);
	assert_ptr_equal(find(7, 1, "db"), &gens[1]);
}

/* ---- time
 * ----------------------------------------------------------------------------------------------------------
 */

static void test_durations(void **state)
{
	static const struct {
		pid_t tid;
		int64_t lasts;
	} cases[] = {{7, SNAP_HOLD_MS * (NS_PER_S / 1000)}, {0, NS_PER_S / 10}};

	(void)state;
	for (int i = 0; i < 2; i++) {
		int64_t before = monotonic_ns(), after;

		redirect_add(&r, cases[i].tid, 1, "db", &gens[i]);
		after = monotonic_ns();
		assert_between(entry_of(&gens[i])->until, before + cases[i].lasts, after + cases[i].lasts);
	}
}

static void test_ends(void **state)
{
	int64_t began = monotonic_ns(), until;

	(void)state;
	redirect_add(&r, 0, 1, "db", &gens[0]);
	until = entry_of(&gens[0])->until;
	while (find(0, 1, "db"))
		assert_true(monotonic_ns() - began < 30 * NS_PER_S);
	assert_true(monotonic_ns() > until);
	/* It is let go when that is noticed. */
	assert_int_equal(gens[0].refs, 1);
	assert_null(find(0, 1, "db"));
}

static void test_added_again_lasts_again(void **state)
{
	(void)state;
	redirect_add(&r, 7, 1, "db", &gens[0]);
	entry_of(&gens[0])->until = 1;
	redirect_add(&r, 7, 1, "db", &gens[0]);
	assert_ptr_equal(find(7, 1, "db"), &gens[0]);
	entry_of(&gens[0])->until = 1;
	assert_null(find(7, 1, "db"));
	redirect_add(&r, 7, 1, "db", &gens[1]);
	assert_ptr_equal(find(7, 1, "db"), &gens[1]);
}

/* ---- a full table ----------------------------------------------------------------------------------- */

static void fill(int from, int n)
{
	for (int i = from; i < from + n; i++) {
		redirect_add(&r, 100 + i, 1, "db", &gens[i]);
		/* Apart in time, whatever the clock's steps. */
		entry_of(&gens[i])->until += i;
	}
}

/* As many as may wait in an open, and those that come while these are on their way. */
static void test_crowd(void **state)
{
	const int crowd = SNAP_DEFER_MAX + SNAP_DEFER_MAX / 2;

	(void)state;
	for (int i = 0; i < crowd; i++)
		redirect_add(&r, 100 + i, 1, "db", &gens[0]);
	for (int i = 0; i < crowd; i++)
		assert_ptr_equal(find(100 + i, 1, "db"), &gens[0]);
}

/* The ones that would end first make room. */
static void test_overflow(void **state)
{
	const int extra = REDIRECT_MAX / 2;

	(void)state;
	fill(0, REDIRECT_MAX);
	for (int i = 0; i < REDIRECT_MAX; i++)
		assert_ptr_equal(find(100 + i, 1, "db"), &gens[i]);
	fill(REDIRECT_MAX, extra);
	for (int i = 0; i < REDIRECT_MAX + extra; i++) {
		assert_ptr_equal(find(100 + i, 1, "db"), i < extra ? NULL : &gens[i]);
		assert_int_equal(gens[i].refs, i < extra ? 1 : 2);
	}
}

/* In a full table one's own entry is replaced, and a free one is taken first. */
static void test_full_but_not_over(void **state)
{
	(void)state;
	fill(0, REDIRECT_MAX);
	assert_ptr_equal(find(100 + 5, 1, "db"), &gens[5]);
	redirect_add(&r, 100 + 5, 1, "db", &gens[REDIRECT_MAX]);
	redirect_drop(&r, 100 + 40, &gens[40]);
	redirect_add(&r, 1, 1, "db", &gens[REDIRECT_MAX + 1]);
	for (int i = 0; i < REDIRECT_MAX; i++) {
		struct snap_gen *expected = i == 5 ? &gens[REDIRECT_MAX] : i == 40 ? NULL : &gens[i];

		assert_ptr_equal(find(100 + i, 1, "db"), expected);
	}
	assert_ptr_equal(find(1, 1, "db"), &gens[REDIRECT_MAX + 1]);
}

/* ---- threads ---------------------------------------------------------------------------------------- */

#define THREADS 4
#define ROUNDS 20000

static atomic_int failures;

/* What an OPEN that is led and its retry do. */
static void *be_led(void *arg)
{
	pid_t tid = *(pid_t *)arg;
	char name[16];

	for (int i = 0; i < ROUNDS; i++) {
		struct snap_gen *gen = &gens[i % GENS], *found;

		snprintf(name, sizeof(name), "db%d", i % 3);
		redirect_add(&r, tid, 1, name, gen);
		found = redirect_find(&r, tid, 1, name);
		if (found != gen)
			atomic_fetch_add(&failures, 1);
		snap_gen_unref(found);
		redirect_drop(&r, tid, gen);
		found = redirect_find(&r, tid, 1, name);
		if (found)
			atomic_fetch_add(&failures, 1);
		snap_gen_unref(found);
	}
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t threads[THREADS];
	pid_t tids[THREADS];

	(void)state;
	for (int i = 0; i < THREADS; i++) {
		tids[i] = i + 1;
		assert_int_equal(pthread_create(&threads[i], NULL, be_led, &tids[i]), 0);
	}
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(atomic_load(&failures), 0);
	for (int i = 0; i < GENS; i++)
		assert_int_equal(gens[i].refs, 1);
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(test_leads),
		test(test_later_one_counts),
		test(test_each_thread_its_own),
		test(test_unknown_threads_share),
		test(test_not_followed),
		test(test_durations),
		test(test_ends),
		test(test_added_again_lasts_again),
		test(test_crowd),
		test(test_overflow),
		test(test_full_but_not_over),
		test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
