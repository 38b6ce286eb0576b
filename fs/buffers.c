/* SPDX-License-Identifier: MIT */
/* buffers.c - see buffers.h. */
#include "buffers.h"

#include <string.h>
#include <sys/mman.h>

void buffers_init(struct buffers *b)
{
	memset(b, 0, sizeof(*b));
	pthread_mutex_init(&b->lock, NULL);
}

void buffers_finish(struct buffers *b)
{
	while (b->count > 0)
		munmap(b->kept[--b->count], BUFFER_SIZE);
	pthread_mutex_destroy(&b->lock);
}

void *buffer_get(struct buffers *b)
{
	void *buffer = NULL;

	pthread_mutex_lock(&b->lock);
	if (b->count > 0)
		buffer = b->kept[--b->count];
	pthread_mutex_unlock(&b->lock);
	if (buffer)
		return buffer;
	/* malloc(3) would not do: once it has freed a block that it had mapped, it takes the next one from a
	 * heap; each thread has its own heap, and heaps hardly shrink. */
	buffer = mmap(NULL, BUFFER_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return buffer == MAP_FAILED ? NULL : buffer;
}

void buffer_put(struct buffers *b, void *buffer)
{
	pthread_mutex_lock(&b->lock);
	if (b->count < BUFFERS_KEPT) {
		b->kept[b->count++] = buffer;
		buffer = NULL;
	}
	pthread_mutex_unlock(&b->lock);
	if (buffer)
		munmap(buffer, BUFFER_SIZE);
}
