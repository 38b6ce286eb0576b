/* SPDX-License-Identifier: MIT */
/* rawfd_private.h - between rawfd.c and rawfd_shm.c; nobody else includes it. */
#ifndef SQLSNAP_RAWFD_PRIVATE_H
#define SQLSNAP_RAWFD_PRIVATE_H

#include "rawfd.h"

#define RAWFD_BUCKETS 256u

/* A descriptor whose close is put off; or the memory reserved for that. */
struct put_off {
	struct put_off *next;
	int fd;
};

static inline void put_off_push(struct put_off **list, struct put_off *one)
{
	one->next = *list;
	*list = one;
}

static inline struct put_off *put_off_pop(struct put_off **list)
{
	struct put_off *one = *list;

	if (one)
		*list = one->next;
	return one;
}

/* Closes ONE, a descriptor of the inode, or if SQLite has the inode open as a -shm, puts that off. Takes over
 * ONE. */
void put_off_close(struct put_off *one, uint64_t dev, uint64_t ino);
/* A descriptor put off for a -shm of that inode, now the caller's. NULL: there is none. */
struct put_off *put_off_take_shm(uint64_t dev, uint64_t ino);

#endif
