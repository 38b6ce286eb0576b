/* SPDX-License-Identifier: MIT */
/* memory.c - malloc's settings. */
#include "memory.h"

#include <malloc.h>

#define ARENAS 2
#define LARGE (128 * 1024) /* bytes, the default; once set, it no longer grows with what is freed */

void memory_init(void)
{
#ifdef __GLIBC__
	mallopt(M_ARENA_MAX, ARENAS);
	mallopt(M_MMAP_THRESHOLD, LARGE);
#endif
}

void memory_trim(void)
{
#ifdef __GLIBC__
	malloc_trim(0);
#endif
}
