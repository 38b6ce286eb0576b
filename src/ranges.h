/* SPDX-License-Identifier: MIT */
/*
 * ranges.h - a set of bytes of a file, stored as ranges: sorted, disjoint, neighbours merged. Pure memory; no
 * locks (staging.c guards it).
 *
 * Adding at the end, or next to a range, is cheap; adding a range in the middle moves all later ones (16
 * bytes each), so their number is limited. N blocks that arrive in random order make N/4 ranges at the peak;
 * if no two of them are neighbours, N/2.
 */
#ifndef SQLSNAP_RANGES_H
#define SQLSNAP_RANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RANGES_MAX (1u << 18) /* ranges: 4 MiB of memory; 1 TiB in 1 MiB blocks in random order */

/* The bytes FROM .. TO-1; none when they are equal. */
struct range {
	uint64_t from, to;
};

struct ranges {
	struct range *list; /* owned */
	size_t count;
	size_t room; /* ranges that LIST has memory for */
};

void ranges_init(struct ranges *set);
void ranges_finish(struct ranges *set);

/* Adds FROM .. TO-1. -ENOMEM; -EFBIG: there would be more than RANGES_MAX. On failure the set is
 * unchanged. */
int ranges_add(struct ranges *set, uint64_t from, uint64_t to);

/* Removes FROM .. TO-1. Errors as above; it cannot fail if no byte from TO on is in the set. */
int ranges_remove(struct ranges *set, uint64_t from, uint64_t to);

/* Whether the byte AT is in the set; *END receives the next byte for which that changes (UINT64_MAX:
 * none). */
bool ranges_find(const struct ranges *set, uint64_t at, uint64_t *end);

/* How many of the bytes FROM .. TO-1 are in the set, and whether all of them are. */
uint64_t ranges_bytes(const struct ranges *set, uint64_t from, uint64_t to);
bool ranges_cover(const struct ranges *set, uint64_t from, uint64_t to);

#endif
