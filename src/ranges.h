/* SPDX-License-Identifier: MIT */
/*
 * ranges.h - a set of bytes of a file, kept as the ranges that it consists of: in order, apart, neighbours
 * merged. Pure memory; no locks (staging.c guards it).
 *
 * Adding at the end and next to a range is cheap; adding one in the middle moves what follows it (16 bytes a
 * range), so that their number has a limit. N blocks that arrive in random order are N/4 ranges when they are
 * most; blocks that arrive so that no two are neighbours, N/2.
 */
#ifndef SQLSNAP_RANGES_H
#define SQLSNAP_RANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RANGES_MAX (1u << 18) /* ranges: 4 MiB of them; blocks of 1 MiB in any order are 1 TiB then */

/* The bytes FROM .. TO-1; nothing when they are equal. */
struct range {
	uint64_t from, to;
};

struct ranges {
	struct range *list; /* owned */
	size_t count;
	size_t room; /* LIST has memory for as many */
};

void ranges_init(struct ranges *set);
void ranges_finish(struct ranges *set);

/* Adds FROM .. TO-1. -ENOMEM; -EFBIG: it would be more than RANGES_MAX. On failure the set is as it was. */
int ranges_add(struct ranges *set, uint64_t from, uint64_t to);

/* Takes out FROM .. TO-1. The same; it cannot fail where nothing is left behind TO. */
int ranges_remove(struct ranges *set, uint64_t from, uint64_t to);

/* Whether the byte AT is in; *END receives the first byte from which on that is different (UINT64_MAX:
 * none). */
bool ranges_find(const struct ranges *set, uint64_t at, uint64_t *end);

/* How many of the bytes FROM .. TO-1 are in, and whether all of them are. */
uint64_t ranges_bytes(const struct ranges *set, uint64_t from, uint64_t to);
bool ranges_cover(const struct ranges *set, uint64_t from, uint64_t to);

#endif
