/* SPDX-License-Identifier: MIT */
/*
 * memory.h - malloc's settings, which are the whole process's. Connections come and go on many threads; left
 * to itself, glibc gives each thread an arena of its own, and what outlives its neighbours keeps all of them
 * large: of 29 MiB in a soak, 24 were free. Source: mallopt(3), malloc_trim(3), malloc_info(3).
 * With another libc than glibc both do nothing.
 */
#ifndef SQLSNAP_MEMORY_H
#define SQLSNAP_MEMORY_H

/* Few arenas, and large blocks for the system. To be called before there are threads; again does no harm. */
void memory_init(void);

/* Gives back to the system what is free within the arenas. Milliseconds, with each arena locked in turn. */
void memory_trim(void);

#endif
