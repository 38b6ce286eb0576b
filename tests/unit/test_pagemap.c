/* SPDX-License-Identifier: MIT */
/* test_pagemap.c - the page map against a plain list of frames. */
#include "unit.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/pagemap.h"

#define FRAMES_MAX 3000

/* PGNOS[i] is the page of frame i + 1. */
struct model {
	uint32_t pgnos[FRAMES_MAX];
	size_t count;
};

static uint32_t model_find(const struct model *model, uint32_t pgno, uint32_t max_frame)
{
	for (size_t frame = model->count < max_frame ? model->count : max_frame; frame > 0; frame--)
		if (model->pgnos[frame - 1] == pgno)
			return (uint32_t)frame;
	return 0;
}

static void check_order(const struct pagemap *map, const struct model *model)
{
	assert_int_equal(map->count, model->count);
	assert_int_equal(map->upto, model->count);
	for (size_t i = 0; i < map->count; i++) {
		const struct pagemap_entry *e = &map->entries[i];

		assert_between(e->frame, 1, model->count);
		assert_int_equal(model->pgnos[e->frame - 1], e->pgno);
		if (i > 0)
			assert_true(e[-1].pgno < e->pgno ||
				    (e[-1].pgno == e->pgno && e[-1].frame < e->frame));
	}
}

static void check_find(const struct pagemap *map, const struct model *model, uint32_t first, size_t n,
		       uint32_t max_frame)
{
	uint32_t *frames = malloc((n + 1) * sizeof(*frames));

	assert_non_null(frames);
	memset(frames, 0xee, (n + 1) * sizeof(*frames));
	pagemap_find(map, first, n, max_frame, frames);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(frames[i], first + i > UINT32_MAX
						    ? 0
						    : model_find(model, (uint32_t)(first + i), max_frame));
	assert_int_equal(frames[n], 0xeeeeeeee);
	free(frames);
}

static void test_empty(void **state)
{
	static const struct model model;
	struct pagemap map;

	(void)state;
	pagemap_init(&map);
	check_find(&map, &model, 0, 3, 5);
	check_find(&map, &model, 1, 64, UINT32_MAX);
	check_find(&map, &model, UINT32_MAX, 3, 0);
	assert_int_equal(pagemap_extend(&map, NULL, 0), 0);
	assert_null(map.entries);
	pagemap_finish(&map);
	pagemap_finish(&map);
}

static void test_small(void **state)
{
	static const uint32_t pgnos[] = {2, 1, 2, 7, 2};
	uint32_t frames[8];
	struct pagemap map;

	(void)state;
	pagemap_init(&map);
	assert_int_equal(pagemap_extend(&map, pgnos, 3), 0);
	assert_int_equal(pagemap_extend(&map, pgnos + 3, 2), 0);
	pagemap_find(&map, 1, 8, 5, frames);
	assert_memory_equal(frames, ((uint32_t[]){2, 5, 0, 0, 0, 0, 4, 0}), sizeof(frames));
	pagemap_find(&map, 1, 8, 4, frames);
	assert_memory_equal(frames, ((uint32_t[]){2, 3, 0, 0, 0, 0, 4, 0}), sizeof(frames));
	pagemap_find(&map, 1, 8, 2, frames);
	assert_memory_equal(frames, ((uint32_t[]){2, 1, 0, 0, 0, 0, 0, 0}), sizeof(frames));
	pagemap_find(&map, 1, 8, 0, frames);
	assert_memory_equal(frames, ((uint32_t[8]){0}), sizeof(frames));
	pagemap_finish(&map);
}

/* A page number of the kind that round KIND is made of. */
static uint32_t random_pgno(unsigned *seed, int kind)
{
	uint32_t r = (uint32_t)rand_r(seed);

	switch (kind) {
	case 0:
		return 1 + r % 10; /* few pages, many frames */
	case 1:
		return 1 + r % 5000;
	case 2:
		return UINT32_MAX - r % 40;
	case 3:
		return (r % 3 + 1) << (r % 30); /* all three digits of the sort */
	default:
		return (r << 16 ^ (uint32_t)rand_r(seed)) | 1;
	}
}

/* A range to ask for: often around pages that are there. */
static void check_random_find(const struct pagemap *map, const struct model *model, unsigned *seed, int kind)
{
	uint32_t first = random_pgno(seed, kind);
	uint32_t before = (uint32_t)rand_r(seed) % 20;
	uint32_t max_frame = (uint32_t)rand_r(seed) % (uint32_t)(model->count + 2);

	if (rand_r(seed) % 8 == 0)
		max_frame = UINT32_MAX;
	check_find(map, model, first > before ? first - before : 0, (size_t)rand_r(seed) % 70, max_frame);
}

static void test_random(void **state)
{
	static struct model model;
	unsigned seed = 3;

	(void)state;
	for (int round = 0; round < 60; round++) {
		struct pagemap map;

		pagemap_init(&map);
		model.count = 0;
		while (model.count < FRAMES_MAX) {
			size_t n = 1 + (size_t)rand_r(&seed) % (round % 2 ? 20 : 1500);

			if (n > FRAMES_MAX - model.count)
				n = FRAMES_MAX - model.count;
			for (size_t i = 0; i < n; i++)
				model.pgnos[model.count + i] = random_pgno(&seed, round % 5);
			assert_int_equal(pagemap_extend(&map, model.pgnos + model.count, n), 0);
			model.count += n;
			check_random_find(&map, &model, &seed, round % 5);
			if (round % 2 == 0)
				check_order(&map, &model);
		}
		check_order(&map, &model);
		for (int i = 0; i < 100; i++)
			check_random_find(&map, &model, &seed, round % 5);
		pagemap_finish(&map);
	}
}

static void test_refused(void **state)
{
	static const uint32_t good[] = {5, 3, 5};
	static const uint32_t bad[3][3] = {{0, 1, 2}, {1, 0, 2}, {1, 2, 0}};
	static const struct model model = {.pgnos = {5, 3, 5}, .count = 3};
	struct pagemap map;

	(void)state;
	pagemap_init(&map);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(pagemap_extend(&map, bad[i], 3), -EIO);
	assert_int_equal(map.count, 0);
	assert_int_equal(pagemap_extend(&map, good, 3), 0);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(pagemap_extend(&map, bad[i], 3), -EIO);
		check_order(&map, &model);
	}
	/* Frame numbers have 32 bits. */
	map.upto = UINT32_MAX - 2;
	assert_int_equal(pagemap_extend(&map, good, 3), -EIO);
	assert_int_equal(map.upto, UINT32_MAX - 2);
	assert_int_equal(map.count, 3);
	pagemap_finish(&map);
}

static void test_memory(void **state)
{
	enum { FRAMES = 1 << 20 };
	uint32_t *pgnos = malloc(FRAMES * sizeof(*pgnos));
	unsigned seed = 4;
	struct pagemap map;
	size_t before;

	(void)state;
	assert_non_null(pgnos);
	for (size_t i = 0; i < FRAMES; i++)
		pgnos[i] = 1 + (uint32_t)rand_r(&seed) % 200000;
	pagemap_init(&map);
	before = mallinfo2().uordblks + mallinfo2().hblkhd;
	for (size_t done = 0; done < FRAMES; done += FRAMES / 4)
		assert_int_equal(pagemap_extend(&map, pgnos + done, FRAMES / 4), 0);
	/* Below a sanitizer mallinfo2() tells nothing, and both sides are 0. */
	assert_true(mallinfo2().uordblks + mallinfo2().hblkhd - before <= FRAMES * 8 + 65536);
	assert_true(malloc_usable_size(map.entries) >= FRAMES * 8);
	assert_true(malloc_usable_size(map.entries) <= FRAMES * 8 + 65536);
	pagemap_finish(&map);
	free(pgnos);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),	cmocka_unit_test(test_small),  cmocka_unit_test(test_random),
		cmocka_unit_test(test_refused), cmocka_unit_test(test_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
