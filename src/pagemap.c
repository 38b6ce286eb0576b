/* SPDX-License-Identifier: MIT */
/*
 * pagemap.c - the pairs (page, frame) in one sorted array.
 *
 * What must stay true: the array is ordered by page, then frame, and holds each of the frames 1..upto once,
 * so that count is upto; the array has no spare room. A failed call changes nothing.
 */
#include "pagemap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"

/* Page numbers are sorted in rounds of 11 bits, as many as the largest of them needs. */
#define DIGIT_BITS 11u
#define DIGITS (1u << DIGIT_BITS)

_Static_assert(sizeof(struct pagemap_entry) == 8, "8 bytes a frame");

void pagemap_init(struct pagemap *map)
{
	*map = (struct pagemap){.entries = NULL};
}

void pagemap_finish(struct pagemap *map)
{
	free(map->entries);
	pagemap_init(map);
}

/* Moves N entries from FROM to TO, ordered by the bits of pgno from SHIFT on; equal ones stay in their order.
 */
static void sort_digit(struct pagemap_entry *to, const struct pagemap_entry *from, size_t n, unsigned shift)
{
	uint32_t starts[DIGITS] = {0};
	uint32_t start = 0;

	for (size_t i = 0; i < n; i++)
		starts[from[i].pgno >> shift & (DIGITS - 1)]++;
	for (size_t digit = 0; digit < DIGITS; digit++) {
		uint32_t here = starts[digit];

		starts[digit] = start;
		start += here;
	}
	for (size_t i = 0; i < n; i++)
		to[starts[from[i].pgno >> shift & (DIGITS - 1)]++] = from[i];
}

/* Merges the N sorted entries NEWER, all of higher frames, into the sorted array of COUNT ENTRIES, which has
 * room for them. Works from the end, so that nothing is overwritten before it has moved. */
static void merge(struct pagemap_entry *entries, size_t count, const struct pagemap_entry *newer, size_t n)
{
	while (n > 0) {
		if (count > 0 && entries[count - 1].pgno > newer[n - 1].pgno) {
			entries[count + n - 1] = entries[count - 1];
			count--;
		} else {
			entries[count + n - 1] = newer[n - 1];
			n--;
		}
	}
}

int pagemap_extend(struct pagemap *map, const uint32_t *pgnos, size_t n)
{
	autofree struct pagemap_entry *sorted = NULL;
	struct pagemap_entry *grown, *from, *to;
	unsigned rounds = 0;
	uint32_t last = 0;

	if (n == 0)
		return 0;
	if (n > UINT32_MAX - map->upto)
		return -EIO;
	for (size_t i = 0; i < n; i++) {
		if (pgnos[i] == 0)
			return -EIO;
		last = pgnos[i] > last ? pgnos[i] : last;
	}
	sorted = reallocarray(NULL, n, sizeof(*sorted));
	if (!sorted)
		return -ENOMEM;
	grown = reallocarray(map->entries, map->count + n, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	map->entries = grown;
	while (rounds * DIGIT_BITS < 32 && last >> rounds * DIGIT_BITS != 0)
		rounds++;
	/* The new part of the array is the sort's second buffer. The sort begins in the buffer that makes it
	 * end in SORTED. */
	from = rounds % 2 ? grown + map->count : sorted;
	to = rounds % 2 ? sorted : grown + map->count;
	for (size_t i = 0; i < n; i++)
		from[i] = (struct pagemap_entry){.pgno = pgnos[i], .frame = map->upto + 1 + (uint32_t)i};
	for (unsigned round = 0; round < rounds; round++) {
		struct pagemap_entry *done = to;

		sort_digit(to, from, n, round * DIGIT_BITS);
		to = from;
		from = done;
	}
	merge(grown, map->count, sorted, n);
	map->count += n;
	map->upto += (uint32_t)n;
	return 0;
}

static uint64_t key_of(uint64_t pgno, uint32_t frame)
{
	return pgno << 32 | frame;
}

/* The first entry from FROM on that is greater than KEY. Strides double, then the range is halved: near
 * entries cost little. */
static size_t seek_past(const struct pagemap *map, size_t from, uint64_t key)
{
	size_t low = from, high = map->count, stride = 1;

	while (stride < map->count - from) {
		const struct pagemap_entry *e = &map->entries[from + stride - 1];

		if (key_of(e->pgno, e->frame) > key) {
			high = from + stride - 1;
			break;
		}
		low = from + stride;
		stride *= 2;
	}
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct pagemap_entry *e = &map->entries[middle];

		if (key_of(e->pgno, e->frame) > key)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

void pagemap_find(const struct pagemap *map, uint32_t first, size_t n, uint32_t max_frame, uint32_t *frames)
{
	/* AT is the first entry of PGNO or of a later page. */
	size_t at = seek_past(map, 0, key_of(first, 0));

	for (size_t i = 0; i < n; i++) {
		uint64_t pgno = (uint64_t)first + i;
		size_t end;

		frames[i] = 0;
		if (at >= map->count || map->entries[at].pgno > pgno)
			continue;
		end = seek_past(map, at, key_of(pgno, max_frame));
		if (end > at)
			frames[i] = map->entries[end - 1].frame;
		at = seek_past(map, end, key_of(pgno, UINT32_MAX));
	}
}
