/* SPDX-License-Identifier: MIT */
/* test_version_times.c - what times generations show, and that time goes on although a clock is set. */
#include "unit.h"

#include <stdlib.h>

#include "../../src/clock.h"
#include "../../src/version.h"

#define T0 1795219453000000000ll /* a whole second */
#define CHANGED (T0 + 123456789)
#define SEEN (CHANGED + NS_PER_S)

static void test_mtime(void **state)
{
	static const struct {
		int64_t changed, last, now, shown;
	} cases[] = {
		/* The first one shows the file's own time. */
		{CHANGED, 0, SEEN, CHANGED},
		{1, 0, SEEN, 1},
		/* A later second is the file's own. */
		{T0 + NS_PER_S, T0, SEEN, T0 + NS_PER_S},
		{T0 + NS_PER_S + 5, T0 + 999999999, SEEN, T0 + NS_PER_S + 5},
		/* The same second, or an earlier one: the next whole second after the last. */
		{T0 + 5, T0, T0 + 5, T0 + NS_PER_S},
		{T0 + 999999999, T0, T0 + 999999999, T0 + NS_PER_S},
		{T0, T0, T0, T0 + NS_PER_S},
		{T0 - 7 * NS_PER_S, T0 + 5, T0 + 5, T0 + NS_PER_S},
		{T0 + 5, T0 + NS_PER_S, T0 + NS_PER_S, T0 + 2 * NS_PER_S},
		/* One second ahead of the clock, no more. */
		{T0 + 5, T0 + NS_PER_S, T0 + NS_PER_S - 1, T0 + NS_PER_S + 1},
		{T0 + 5, T0 + NS_PER_S + 1, T0 + 6, T0 + NS_PER_S + 2},
		{T0 + 5, T0, T0 - 1, T0 + 5},
		{T0 + 5, T0 + 5, T0 - 1, T0 + 6},
		{T0 + 5, T0 + 6, T0 - 1, T0 + 7},
		/* The clock was set back a minute, and a day. */
		{T0 - 60 * NS_PER_S, T0 + 5, T0 - 60 * NS_PER_S, T0 + 6},
		{T0 - 86400 * NS_PER_S, T0 + 5, T0 - 86400 * NS_PER_S, T0 - 86400 * NS_PER_S},
		/* A file of tomorrow, and one that it was before. */
		{T0 + 86400 * NS_PER_S, 0, T0, T0},
		{T0 + 86400 * NS_PER_S, T0, T0, T0 + NS_PER_S},
		{T0 + 86400 * NS_PER_S, T0 + 86400 * NS_PER_S, T0, T0},
		{T0, T0 + 86400 * NS_PER_S, T0, T0},
		/* Before 1970, where seconds round down. */
		{-5, -10, T0, 0},
		{-NS_PER_S, -NS_PER_S - 1, T0, -NS_PER_S},
		{-2 * NS_PER_S, -NS_PER_S - 1, T0, -NS_PER_S},
		/* The ends of time. */
		{INT64_MAX, T0, T0, T0 + NS_PER_S},
		{T0, INT64_MAX, T0, T0},
		{T0, INT64_MAX - 1, T0, T0},
		{INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX},
		{T0, INT64_MAX - 1, INT64_MAX, INT64_MAX},
		{INT64_MIN, T0, T0, T0 + NS_PER_S},
		{INT64_MIN, 0, T0, INT64_MIN},
		{T0, INT64_MIN, T0, T0},
		{T0, T0 + 5, INT64_MIN, INT64_MIN},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int64_t shown = version_mtime(cases[i].changed, cases[i].last, false, cases[i].now);

		if (shown != cases[i].shown)
			print_error("case %zu: %lld\n", i, (long long)shown);
		assert_true(shown == cases[i].shown);
	}
}

/* Ten commits a second for an hour, each of them opened. */
static void test_mtime_hour(void **state)
{
	int64_t last = 0, seconds = 0;

	(void)state;
	for (int64_t now = CHANGED; now < CHANGED + 3600 * NS_PER_S; now += NS_PER_S / 10) {
		int64_t shown = version_mtime(now - 3000000, last, false, now);

		assert_true(shown > last);
		assert_true(shown >= now - 3000000);
		assert_true(shown <= now + NS_PER_S);
		seconds += shown / NS_PER_S != last / NS_PER_S;
		last = shown;
	}
	/* As many whole seconds as there were. */
	assert_between(seconds, 3600, 3602);
}

/* One commit every two seconds or less often always changes the second; so do two in quick succession. */
static void test_mtime_pairs(void **state)
{
	int64_t last = 0;

	(void)state;
	for (int64_t now = CHANGED; now < CHANGED + 1000 * NS_PER_S; now += 2 * NS_PER_S + 1) {
		for (int i = 0; i < 2; i++) {
			int64_t shown = version_mtime(now + i, last, false, now + i);

			assert_true(shown / NS_PER_S > last / NS_PER_S);
			last = shown;
		}
	}
}

/* The clock is set back by less than a minute, or an upload is of another machine's time. What is committed
 * then, once in a second or less often, has a second of its own each time, also while the file's time stands
 * still (that of a WAL database does), and is not further ahead than it was. */
static void test_mtime_set_back(void **state)
{
	static const int64_t every[] = {NS_PER_S, 3 * NS_PER_S / 2, 2 * NS_PER_S, 7 * NS_PER_S};

	(void)state;
	for (int64_t ahead = -2 * NS_PER_S; ahead < 60 * NS_PER_S; ahead += NS_PER_S / 3) {
		for (size_t i = 0; i < 2 * sizeof(every) / sizeof(every[0]); i++) {
			int64_t start = CHANGED + ahead, last = start, step = every[i / 2];

			for (int64_t now = CHANGED; now < CHANGED + 100 * NS_PER_S; now += step) {
				int64_t changed = i % 2 && start > now ? start : now;
				int64_t shown = version_mtime(changed, last, true, now);

				assert_true(shown / NS_PER_S > last / NS_PER_S);
				assert_true(shown <= now + NS_PER_S || shown <= now + ahead + NS_PER_S);
				last = shown;
			}
		}
	}
	/* Not past the end of time. */
	assert_true(version_mtime(T0, INT64_MAX - 1, true, INT64_MAX - NS_PER_S) == INT64_MAX);
}

/* Whatever the clock and the file's times do, within a minute, time goes on. */
static void test_mtime_monotonic(void **state)
{
	int64_t last = CHANGED, now = CHANGED;
	unsigned seed = 5;

	(void)state;
	for (int i = 0; i < 200000; i++) {
		int64_t changed, shown;

		now += (rand_r(&seed) % 400 - (i / 1000 % 2 ? 200 : 100)) * NS_PER_MS;
		changed = now - (rand_r(&seed) % 3000 - 20) * NS_PER_MS;
		shown = version_mtime(changed, last, false, now);
		assert_true(shown > last);
		assert_true(shown >= changed);
		/* Ahead only as far as the file's own time was, or the last one had to be. */
		assert_true(shown <= now + NS_PER_S || shown == changed || shown == last + 1);
		last = shown;
	}
}

/* What a process showed that was killed before it saved it does not come again. */
static void test_mtime_unsaved(void **state)
{
	/* When it was looked at, and whether the one before was saved. */
	static const int64_t steps[] = {4 * NS_PER_MS, 20 * NS_PER_MS, 600 * NS_PER_MS,
					NS_PER_S - 1,  NS_PER_S,       1200 * NS_PER_MS};

	(void)state;
	for (int64_t start = T0; start < T0 + NS_PER_S; start += 37 * NS_PER_MS) {
		for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
			int64_t saved = version_mtime(start, T0 - 5 * NS_PER_S, false, start), lost = saved;

			/* Some were opened and not saved, each changed just before, as the file system tells
			 * it. */
			for (int n = 1; n < 50; n++)
				lost = version_mtime(start + n * NS_PER_MS - 10 * NS_PER_MS, lost, false,
						     start + n * NS_PER_MS);
			int64_t changed = start + 40 * NS_PER_MS, now = changed + steps[i];
			int64_t last = version_last_saved(changed, saved, 0);
			int64_t shown = version_mtime(changed, last, false, now);

			assert_true(last >= saved && shown > lost);
			assert_true(shown <= now + 2 * NS_PER_S);
			/* Another one that is killed as soon. */
			assert_true(version_last_saved(changed, saved, 1) != last);
		}
	}
	/* In a second of its own it shows its own time, and so it does far from any time. */
	assert_true(version_last_saved(T0 + 2 * NS_PER_S, T0 + 5, 7) == T0 + 5);
	assert_true(version_last_saved(T0 - 5, T0, 7) == T0 + NS_PER_S + NS_PER_MS + 7);
	assert_true(version_last_saved(INT64_MAX, INT64_MAX, 7) == INT64_MAX);
	assert_true(version_last_saved(T0, INT64_MAX, 7) == INT64_MAX);
}

static void test_clock(void **state)
{
	static const struct {
		int64_t sec;
		long nsec;
		int64_t ns;
	} cases[] = {
		{0, 0, 0},	    {1, 5, NS_PER_S + 5},	{-1, 999999999, -1},
		{-1, 0, -NS_PER_S}, {-2, 1, -2 * NS_PER_S + 1}, {9223372036, 854775807, INT64_MAX},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct timespec ts = ns_timespec(cases[i].ns);

		assert_true(timespec_ns((struct timespec){cases[i].sec, cases[i].nsec}) == cases[i].ns);
		assert_true(ts.tv_sec == cases[i].sec && ts.tv_nsec == cases[i].nsec);
	}
	assert_true(timespec_ns((struct timespec){9223372036, 854775808}) == INT64_MAX);
	assert_true(timespec_ns((struct timespec){9223372037, 0}) == INT64_MAX);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mtime),	       cmocka_unit_test(test_mtime_hour),
		cmocka_unit_test(test_mtime_pairs),    cmocka_unit_test(test_mtime_monotonic),
		cmocka_unit_test(test_mtime_set_back), cmocka_unit_test(test_mtime_unsaved),
		cmocka_unit_test(test_clock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
