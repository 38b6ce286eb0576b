/* SPDX-License-Identifier: MIT */
/*
 * buffers.h - memory for READ, kept between requests: fresh memory from malloc(3) for each would cost as much
 * in page faults as the copying itself.
 */
#ifndef SQLSNAPFS_BUFFERS_H
#define SQLSNAPFS_BUFFERS_H

#include <pthread.h>
#include <stddef.h>

/* Bytes: the largest READ or WRITE that the kernel sends, as agreed in INIT. libfuse would allow 1 MiB, but
 * then each of its threads and each reader holds that much memory, and copying is no faster: what exceeds
 * the processor's cache is fetched twice. */
#define BUFFER_SIZE (256u << 10)
#define BUFFERS_KEPT 4

struct buffers {
	pthread_mutex_t lock;
	void *kept[BUFFERS_KEPT];
	size_t count;
};

void buffers_init(struct buffers *b);
void buffers_finish(struct buffers *b);

/* BUFFER_SIZE bytes, to be returned by buffer_put(); NULL: no memory. */
void *buffer_get(struct buffers *b);
void buffer_put(struct buffers *b, void *buffer);

#endif
