/* SPDX-License-Identifier: MIT */
/* test_ranges.c - the set against one bit for each byte, and where it ends. */
#include "../../src/ranges.h"

#include "unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BYTES 64u

static bool no_memory;

void *__real_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size);

void *__wrap_realloc(void *p, size_t size)
{
	if (!no_memory)
		return __real_realloc(p, size);
	errno = ENOMEM;
	return NULL;
}

/* ---- the model ----------------------------------------------------------------------------------------- */

static unsigned count_bits(const bool *bits, unsigned from, unsigned to)
{
	unsigned n = 0;

	for (unsigned i = from; i < to; i++)
		n += bits[i];
	return n;
}

/* The ranges are the runs of the bits, no more and no fewer, in order. */
static void assert_runs(const struct ranges *set, const bool *bits)
{
	size_t n = 0;

	for (unsigned i = 0; i < BYTES; i++) {
		if (bits[i] && (i == 0 || !bits[i - 1])) {
			assert_true(n < set->count);
			assert_int_equal(set->list[n].from, i);
		}
		if (bits[i] && (i + 1 == BYTES || !bits[i + 1]))
			assert_int_equal(set->list[n++].to, i + 1);
	}
	assert_int_equal(set->count, n);
}

static void assert_answers(const struct ranges *set, const bool *bits)
{
	for (unsigned from = 0; from < BYTES; from++) {
		uint64_t end, expected = from;

		while (expected < BYTES && bits[expected] == bits[from])
			expected++;
		if (expected == BYTES && !bits[from])
			expected = UINT64_MAX;
		assert_int_equal(ranges_find(set, from, &end), bits[from]);
		assert_true(end == expected);
		for (unsigned to = from; to <= BYTES; to++) {
			unsigned n = count_bits(bits, from, to);

			assert_int_equal(ranges_bytes(set, from, to), n);
			assert_int_equal(ranges_cover(set, from, to), n == to - from);
		}
	}
}

static void test_against_bits(void **state)
{
	struct ranges set;
	bool bits[BYTES];

	(void)state;
	for (unsigned seed = 1; seed <= 60; seed++) {
		unsigned random = seed;

		ranges_init(&set);
		memset(bits, 0, sizeof(bits));
		for (int i = 0; i < 40; i++) {
			unsigned from = (unsigned)rand_r(&random) % BYTES;
			unsigned to = from + (unsigned)rand_r(&random) % (BYTES - from + 1) / 4;
			bool add = rand_r(&random) % 3 != 0;

			assert_int_equal(add ? ranges_add(&set, from, to) : ranges_remove(&set, from, to), 0);
			memset(bits + from, add, to - from);
			assert_runs(&set, bits);
		}
		assert_answers(&set, bits);
		ranges_finish(&set);
	}
}

static void test_nothing(void **state)
{
	struct ranges set;
	uint64_t end;

	(void)state;
	ranges_init(&set);
	assert_false(ranges_find(&set, 0, &end));
	assert_true(end == UINT64_MAX);
	assert_int_equal(ranges_add(&set, 5, 5), 0);
	assert_int_equal(ranges_add(&set, 6, 5), 0);
	assert_int_equal(set.count, 0);
	assert_int_equal(ranges_add(&set, 0, 10), 0);
	assert_int_equal(ranges_remove(&set, 6, 5), 0);
	assert_int_equal(ranges_remove(&set, 5, 5), 0);
	assert_int_equal(set.count, 1);
	assert_int_equal(ranges_bytes(&set, 6, 5), 0);
	assert_true(ranges_cover(&set, 6, 5));
	ranges_finish(&set);
	ranges_finish(&set);
}

/* The last byte that a uint64_t can have an end for. */
static void test_far_away(void **state)
{
	struct ranges set;
	uint64_t end;

	(void)state;
	ranges_init(&set);
	assert_int_equal(ranges_add(&set, 10, 20), 0);
	assert_int_equal(ranges_add(&set, UINT64_MAX - 1, UINT64_MAX), 0);
	assert_true(ranges_find(&set, UINT64_MAX - 1, &end));
	assert_true(end == UINT64_MAX);
	assert_int_equal(ranges_bytes(&set, 0, UINT64_MAX), 11);
	assert_int_equal(ranges_remove(&set, 15, UINT64_MAX), 0);
	assert_int_equal(ranges_bytes(&set, 0, UINT64_MAX), 5);
	ranges_finish(&set);
}

/* ---- where it ends ------------------------------------------------------------------------------------- */

static void test_limit(void **state)
{
	struct ranges set;

	(void)state;
	ranges_init(&set);
	for (uint64_t i = 0; i < RANGES_MAX; i++)
		assert_int_equal(ranges_add(&set, 4 * i, 4 * i + 3), 0);
	assert_int_equal(set.count, RANGES_MAX);
	assert_int_equal(ranges_add(&set, 4ull * RANGES_MAX, 4ull * RANGES_MAX + 3), -EFBIG);
	assert_int_equal(ranges_remove(&set, 1, 2), -EFBIG);
	assert_int_equal(ranges_bytes(&set, 0, UINT64_MAX), 3ull * RANGES_MAX);
	/* What makes no new one goes on; where two have become one there is room for another. */
	assert_int_equal(ranges_remove(&set, 0, 1), 0);
	assert_int_equal(ranges_add(&set, 0, 1), 0);
	assert_int_equal(ranges_add(&set, 3, 4), 0);
	assert_int_equal(set.count, RANGES_MAX - 1);
	assert_int_equal(ranges_remove(&set, 1, 2), 0);
	assert_int_equal(set.count, RANGES_MAX);
	assert_int_equal(ranges_remove(&set, 6, UINT64_MAX), 0);
	assert_int_equal(set.count, 2);
	ranges_finish(&set);
}

static void test_no_memory(void **state)
{
	struct ranges set;
	uint64_t filled = 0;

	(void)state;
	ranges_init(&set);
	no_memory = true;
	assert_int_equal(ranges_add(&set, 0, 3), -ENOMEM);
	assert_int_equal(set.count, 0);
	no_memory = false;
	assert_int_equal(ranges_add(&set, 0, 3), 0);
	no_memory = true;
	while (ranges_add(&set, filled + 4, filled + 7) == 0)
		filled += 4;
	assert_int_equal(set.count, set.room);
	assert_int_equal(set.count, filled / 4 + 1);
	assert_int_equal(ranges_remove(&set, 1, 2), -ENOMEM);
	assert_int_equal(ranges_bytes(&set, 0, UINT64_MAX), 3 * set.count);
	assert_int_equal(ranges_add(&set, 0, 6), 0); /* needs none */
	no_memory = false;
	ranges_finish(&set);
}

/* From front to back, from back to front: one range at any time, and little memory. */
static void test_in_order(void **state)
{
	struct ranges set;

	(void)state;
	ranges_init(&set);
	for (uint64_t i = 0; i < 100000; i++) {
		assert_int_equal(ranges_add(&set, 1000000 + i * 10, 1000000 + i * 10 + 10), 0);
		assert_int_equal(ranges_add(&set, 1000000 - i * 10 - 10, 1000000 - i * 10), 0);
		assert_int_equal(set.count, 1);
	}
	assert_true(set.room <= 16);
	assert_true(ranges_cover(&set, 0, 2000000));
	ranges_finish(&set);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_bits), cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_far_away),     cmocka_unit_test(test_limit),
		cmocka_unit_test(test_no_memory),    cmocka_unit_test(test_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
