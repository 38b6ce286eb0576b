/* SPDX-License-Identifier: MIT */
/*
 * pagemap.h - which frame of a WAL holds a page, as of any commit from a mark on: the pairs (page, frame) of
 * frames 1..upto in order, 8 bytes a frame. Pure memory; no locks (image.c guards it).
 */
#ifndef SQLSNAP_PAGEMAP_H
#define SQLSNAP_PAGEMAP_H

#include <stddef.h>
#include <stdint.h>

struct pagemap_entry {
	uint32_t pgno;
	uint32_t frame;
};

struct pagemap {
	struct pagemap_entry *entries; /* owned; ordered by pgno, then frame */
	size_t count;
	uint32_t upto; /* frames 1..upto are in */
};

void pagemap_init(struct pagemap *map);
void pagemap_finish(struct pagemap *map);

/*
 * Adds the frames upto+1 .. upto+n, whose page numbers are PGNOS[0..n-1] (a page number of 0 is -EIO: no
 * SQLite writes that). -ENOMEM; on failure the map is as it was.
 */
int pagemap_extend(struct pagemap *map, const uint32_t *pgnos, size_t n);

/*
 * For the pages FIRST .. FIRST+N-1: FRAMES[i] = the latest frame <= MAX_FRAME that holds the page, 0 where
 * none does. One binary search, then a walk: cheap for ranges.
 */
void pagemap_find(const struct pagemap *map, uint32_t first, size_t n, uint32_t max_frame, uint32_t *frames);

#endif
