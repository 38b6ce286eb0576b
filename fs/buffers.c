/* SPDX-License-Identifier: MIT */
/* buffers.c - see buffers.h. */
#include "buffers.h"

#include <stdlib.h>
#include <string.h>

void buffers_init(struct buffers *b)
{
	memset(b, 0, sizeof(*b));
	pthread_mutex_init(&b->lock, NULL);
}

void buffers_finish(struct buffers *b)
{
	while (b->count > 0)
		free(b->kept[--b->count]);
	pthread_mutex_destroy(&b->lock);
}

void *buffer_get(struct buffers *b)
{
	void *buffer = NULL;

	pthread_mutex_lock(&b->lock);
	if (b->count > 0)
		buffer = b->kept[--b->count];
	pthread_mutex_unlock(&b->lock);
	return buffer ? buffer : malloc(BUFFER_SIZE);
}

void buffer_put(struct buffers *b, void *buffer)
{
	pthread_mutex_lock(&b->lock);
	if (b->count < BUFFERS_KEPT) {
		b->kept[b->count++] = buffer;
		buffer = NULL;
	}
	pthread_mutex_unlock(&b->lock);
	free(buffer);
}
