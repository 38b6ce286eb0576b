/* SPDX-License-Identifier: MIT */
/* pagemap.c - see pagemap.h. */
#include "pagemap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b)
{
	const struct pagemap_entry *x = a, *y = b;

	if (x->pgno != y->pgno)
		return x->pgno < y->pgno ? -1 : 1;
	return (x->frame > y->frame) - (x->frame < y->frame);
}

void pagemap_init(struct pagemap *map)
{
	memset(map, 0, sizeof(*map));
}

void pagemap_finish(struct pagemap *map)
{
	free(map->entries);
	pagemap_init(map);
}

/* Merges the sorted NEW into the sorted entries, from the end, where realloc() made room. */
static void merge(struct pagemap_entry *entries, size_t count, const struct pagemap_entry *new, size_t n)
{
	size_t to = count + n;

	while (n > 0) {
		if (count > 0 && compare(&entries[count - 1], &new[n - 1]) > 0)
			entries[--to] = entries[--count];
		else
			entries[--to] = new[--n];
	}
}

int pagemap_extend(struct pagemap *map, const uint32_t *pgnos, size_t n)
{
	struct pagemap_entry *new, *entries;

	if (n == 0)
		return 0;
	for (size_t i = 0; i < n; i++) {
		if (pgnos[i] == 0)
			return -EIO;
	}
	new = malloc(n * sizeof(*new));
	if (!new)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		new[i] = (struct pagemap_entry){.pgno = pgnos[i], .frame = map->upto + 1 + (uint32_t)i};
	qsort(new, n, sizeof(*new), compare);
	entries = realloc(map->entries, (map->count + n) * sizeof(*entries));
	if (!entries) {
		free(new);
		return -ENOMEM;
	}
	merge(entries, map->count, new, n);
	free(new);
	map->entries = entries;
	map->count += n;
	map->upto += (uint32_t)n;
	return 0;
}

/* Index of the first entry of a page >= PGNO. */
static size_t lower_bound(const struct pagemap *map, uint32_t pgno)
{
	size_t low = 0, high = map->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (map->entries[mid].pgno < pgno)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

void pagemap_find(const struct pagemap *map, uint32_t first, size_t n, uint32_t max_frame, uint32_t *frames)
{
	memset(frames, 0, n * sizeof(*frames));
	for (size_t i = lower_bound(map, first); i < map->count; i++) {
		const struct pagemap_entry *e = &map->entries[i];

		if (e->pgno - first >= n)
			break;
		if (e->frame <= max_frame)
			frames[e->pgno - first] = e->frame;
	}
}
