/* SPDX-License-Identifier: MIT */
/* ranges.c - see ranges.h. */
#include "ranges.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void ranges_init(struct ranges *set)
{
	*set = (struct ranges){.list = NULL};
}

void ranges_finish(struct ranges *set)
{
	free(set->list);
	ranges_init(set);
}

/* The first range that ends after AT. */
static size_t find(const struct ranges *set, uint64_t at)
{
	size_t low = 0, high = set->count;

	/* Most files are written from front to back. */
	if (high > 0 && set->list[high - 1].to <= at)
		return high;
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (set->list[middle].to > at)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

/* Ensures memory for one more range. */
static int grow(struct ranges *set)
{
	size_t room = set->room ? 2 * set->room : 16;
	struct range *list;

	if (set->count == RANGES_MAX)
		return -EFBIG;
	if (set->count < set->room)
		return 0;
	list = realloc(set->list, room * sizeof(*list));
	if (!list)
		return -ENOMEM;
	set->list = list;
	set->room = room;
	return 0;
}

/* Replaces the ranges FIRST .. LAST-1 by RANGE; LIST is large enough. */
static void replace(struct ranges *set, size_t first, size_t last, struct range range)
{
	if (last != first + 1)
		memmove(&set->list[first + 1], &set->list[last], (set->count - last) * sizeof(*set->list));
	set->list[first] = range;
	set->count = set->count - (last - first) + 1;
}

int ranges_add(struct ranges *set, uint64_t from, uint64_t to)
{
	struct range range = {from, to};
	size_t first, last;

	if (from >= to)
		return 0;
	/* It is merged with a range that ends where it begins, and with all that it touches. */
	first = last = find(set, from ? from - 1 : 0);
	while (last < set->count && set->list[last].from <= to)
		last++;
	if (first == last) {
		int rc = grow(set);

		if (rc)
			return rc;
	} else {
		if (set->list[first].from < from)
			range.from = set->list[first].from;
		if (set->list[last - 1].to > to)
			range.to = set->list[last - 1].to;
	}
	replace(set, first, last, range);
	return 0;
}

int ranges_remove(struct ranges *set, uint64_t from, uint64_t to)
{
	size_t first = find(set, from), last;

	if (from >= to)
		return 0;
	if (first < set->count && set->list[first].from < from) {
		struct range *r = &set->list[first++];

		if (r->to > to) {
			struct range rest = {to, r->to};
			int rc = grow(set);

			if (rc)
				return rc;
			set->list[first - 1].to = from;
			replace(set, first, first, rest);
			return 0;
		}
		r->to = from;
	}
	for (last = first; last < set->count && set->list[last].to <= to;)
		last++;
	if (last < set->count && set->list[last].from < to)
		set->list[last].from = to;
	if (first < last)
		memmove(&set->list[first], &set->list[last], (set->count - last) * sizeof(*set->list));
	set->count -= last - first;
	return 0;
}

bool ranges_find(const struct ranges *set, uint64_t at, uint64_t *end)
{
	size_t i = find(set, at);
	bool in = i < set->count && set->list[i].from <= at;

	*end = i == set->count ? UINT64_MAX : in ? set->list[i].to : set->list[i].from;
	return in;
}

uint64_t ranges_bytes(const struct ranges *set, uint64_t from, uint64_t to)
{
	uint64_t bytes = 0;

	if (from >= to)
		return 0;
	for (size_t i = find(set, from); i < set->count && set->list[i].from < to; i++) {
		const struct range *r = &set->list[i];

		bytes += (r->to < to ? r->to : to) - (r->from > from ? r->from : from);
	}
	return bytes;
}

bool ranges_cover(const struct ranges *set, uint64_t from, uint64_t to)
{
	uint64_t end;

	return from >= to || (ranges_find(set, from, &end) && end >= to);
}
