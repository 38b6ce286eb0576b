/* SPDX-License-Identifier: MIT */
/*
 * hash.h - FNV-1a, 64 bits: a hash of texts that nobody gains by making equal.
 *
 * Folders of the store are named by it, and the st_ino of kept snapshots come from it, so what it gives for a
 * text never changes.
 */
#ifndef SQLSNAP_HASH_H
#define SQLSNAP_HASH_H

#include <stdint.h>

/* The algorithm's own; another start gives other hashes of the same texts. */
#define HASH_START 0xcbf29ce484222325ull

static inline uint64_t hash_text(uint64_t start, const char *text)
{
	uint64_t h = start;

	for (const unsigned char *p = (const unsigned char *)text; *p; p++)
		h = (h ^ *p) * 0x100000001b3ull;
	return h;
}

#endif
