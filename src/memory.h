/* SPDX-License-Identifier: MIT */
/*
 * memory.h - keeping the process small: a buffer size, and malloc's settings, which apply to the whole
 * process. Connections come and go on many threads; left to itself, glibc gives each thread its own arena,
 * and allocations that outlive their neighbours keep all arenas large: of 29 MiB in a soak test, 24 were
 * free. Source: mallopt(3), malloc_trim(3), malloc_info(3). With another libc than glibc the settings do
 * nothing.
 */
#ifndef SQLSNAP_MEMORY_H
#define SQLSNAP_MEMORY_H

/* Bytes: the largest piece of a file that is in memory when it is copied or compared. Larger ones are no
 * faster: what exceeds a processor's cache is fetched twice. */
#define COPY_CHUNK (256u << 10)

/* Few arenas, and large blocks directly from the system. Call it before there are threads; repeating it does
 * no harm. */
void memory_init(void);

/* Returns free memory within the arenas to the system. Takes milliseconds, locking each arena in turn. */
void memory_trim(void);

#endif
