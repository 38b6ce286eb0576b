/* SPDX-License-Identifier: MIT */
/*
 * memory.h - what keeps the process small: a size for buffers, and malloc's settings, which are the whole
 * process's. Connections come and go on many threads; left to itself, glibc gives each thread an arena of its
 * own, and what outlives its neighbours keeps all of them large: of 29 MiB in a soak, 24 were free. Source:
 * mallopt(3), malloc_trim(3), malloc_info(3). With another libc than glibc the settings do nothing.
 */
#ifndef SQLSNAP_MEMORY_H
#define SQLSNAP_MEMORY_H

/* Bytes: the largest piece of a file that is in memory when it is copied or compared. Larger ones are no
 * faster: what exceeds a processor's cache is fetched twice. */
#define COPY_CHUNK (256u << 10)

/* Few arenas, and large blocks for the system. To be called before there are threads; again does no harm. */
void memory_init(void);

/* Gives back to the system what is free within the arenas. Milliseconds, with each arena locked in turn. */
void memory_trim(void);

#endif
