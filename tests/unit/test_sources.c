/* SPDX-License-Identifier: MIT */
/*
 * test_sources.c - the table of sources: whatever is done with all of them is done with each, once, however
 * many of them stand in one bucket.
 *
 * What a source does then is another test's business: here it is counted.
 */
#include "gens.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>

#include "../../src/clock.h"
#include "../../src/snap_private.h"

#define CROWD 200u /* sources in one bucket: several batches of them */

static struct place places[CROWD];
static atomic_int calls[CROWD], tended[CROWD];

/* Makes the crowd; nothing stands at these places. */
static void crowd_up(struct fixture *f)
{
	size_t n = 0;

	folder_make(&f->folder);
	folder_make(&f->store);
	snap_up_still(f);
	for (unsigned i = 0; n < CROWD; i++) {
		char name[16];
		struct place place = {.root = f->folder.fd, .dir = (char[]){""}, .name = name};
		struct source *source;

		snprintf(name, sizeof(name), "%u", i);
		if (place_hash(&place) % SOURCES_BUCKETS != 0)
			continue;
		assert_int_equal(place_copy(&places[n], &place), 0);
		assert_int_equal(sources_get(f->snap->core.sources, &places[n], &source), 0);
		source_unref(source);
		atomic_store(&calls[n], 0);
		atomic_store(&tended[n++], 0);
	}
}

static void crowd_down(struct fixture *f)
{
	down(f);
	for (size_t i = 0; i < CROWD; i++)
		place_finish(&places[i]);
}

/* SOURCE's number. */
static size_t number(const struct source *source)
{
	size_t i = 0;

	while (!place_same(&places[i], &source->place))
		assert_between(++i, 0, CROWD - 1);
	return i;
}

static void assert_each_once(void)
{
	for (size_t i = 0; i < CROWD; i++)
		assert_int_equal(atomic_exchange(&calls[i], 0), 1);
}

void __wrap_source_shed(struct source *source);
void __wrap_source_upload_forget(struct source *source);
bool __wrap_source_tend(struct source *source, int64_t now);

void __wrap_source_shed(struct source *source)
{
	atomic_fetch_add(&calls[number(source)], 1);
}

void __wrap_source_upload_forget(struct source *source)
{
	atomic_fetch_add(&calls[number(source)], 1);
}

/* There is always more to do. */
bool __wrap_source_tend(struct source *source, int64_t now)
{
	(void)now;
	atomic_fetch_add(&tended[number(source)], 1);
	return true;
}

static int count(void *arg, struct source *source)
{
	(void)arg;
	atomic_fetch_add(&calls[number(source)], 1);
	return 0;
}

static void test_each(void **state)
{
	struct fixture f;

	(void)state;
	crowd_up(&f);
	assert_int_equal(sources_each(f.snap->core.sources, count, NULL), 0);
	assert_each_once();
	core_shed(&f.snap->core);
	assert_each_once();
	core_make_room(&f.snap->core);
	assert_each_once();
	crowd_down(&f);
}

static int stop_at_third(void *arg, struct source *source)
{
	(void)source;
	return ++*(int *)arg == 3 ? -EIO : 0;
}

static void test_stops(void **state)
{
	struct fixture f;
	int n = 0;

	(void)state;
	crowd_up(&f);
	assert_int_equal(sources_each(f.snap->core.sources, stop_at_third, &n), -EIO);
	assert_int_equal(n, 3);
	crowd_down(&f);
}

/* Waits until the janitor has looked at each source once more. */
static void await_round(void)
{
	int64_t until = monotonic_ns() + 30 * NS_PER_S;
	int before[CROWD];

	for (size_t i = 0; i < CROWD; i++)
		before[i] = atomic_load(&tended[i]);
	for (size_t i = 0; i < CROWD; i++) {
		while (atomic_load(&tended[i]) == before[i]) {
			assert_true(monotonic_ns() < until);
			nanosleep(&(struct timespec){.tv_nsec = NS_PER_MS}, NULL);
		}
	}
}

/* In the middle of a batch the janitor goes its rounds. */
static int count_slowly(void *arg, struct source *source)
{
	if (++*(int *)arg == 10)
		await_round();
	return count(NULL, source);
}

static void test_beside_the_janitor(void **state)
{
	struct fixture f;
	int n = 0;

	(void)state;
	crowd_up(&f);
	core_wake(&f.snap->core);
	assert_int_equal(janitor_start(&f.snap->janitor, f.snap), 0);
	assert_int_equal(sources_each(f.snap->core.sources, count_slowly, &n), 0);
	assert_each_once();
	assert_int_equal(n, CROWD);
	crowd_down(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each),
		cmocka_unit_test(test_stops),
		cmocka_unit_test(test_beside_the_janitor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
