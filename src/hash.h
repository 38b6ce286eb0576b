/* SPDX-License-Identifier: MIT */
/*
 * hash.h - FNV-1a, 64 bits: a hash of texts, for uses where nobody gains from collisions.
 *
 * It names the store's folders and yields the st_ino of kept snapshots, so the hash of a text must never
 * change.
 */
#ifndef SQLSNAP_HASH_H
#define SQLSNAP_HASH_H

#include <stdint.h>

/* The algorithm's own start value; another one gives different hashes. */
#define HASH_START 0xcbf29ce484222325ull

static inline uint64_t hash_text(uint64_t start, const char *text)
{
	uint64_t h = start;

	for (const unsigned char *p = (const unsigned char *)text; *p; p++)
		h = (h ^ *p) * 0x100000001b3ull;
	return h;
}

#endif
