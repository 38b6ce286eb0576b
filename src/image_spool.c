/* SPDX-License-Identifier: MIT */
/*
 * image_spool.c - see image.h: moving images from their pins to a spool.
 *
 * What must stay true: an image is moved only after conn_intact() has vouched for what was copied; a reader
 * that began under its pin finishes under it; an image of which more was promised than was copied keeps its
 * pin.
 */
#include "image_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"

/* An image on its way from pin to spool. */
struct move {
	struct backing *from; /* a reference; NULL: nothing to do */
	struct backing *to;   /* owned; without its spool yet */
	bool mapped;	      /* the page map covers what the image's generations need */
};

/* Gets IM ready to be moved. */
static int prepare(struct image *im, uint32_t max_frame, struct move *m)
{
	int rc = 0;

	m->from = backing_get(im);
	if (!m->from || !m->from->conn)
		return 0;
	m->to = backing_create(NULL, NULL);
	if (!m->to)
		return -ENOMEM;
	pthread_mutex_lock(&im->lock);
	if (im->map.upto < max_frame)
		rc = image_extend_map(im, m->from, max_frame);
	pthread_mutex_unlock(&im->lock);
	m->mapped = rc == 0;
	return rc;
}

/* Makes IM read from NEXT, a spool with the frames up to MAX_FRAME, unless more has been promised
 * meanwhile. */
static bool swap(struct image *im, uint32_t max_frame, struct backing *next)
{
	struct backing *old;

	pthread_mutex_lock(&im->lock);
	old = im->promised > max_frame ? NULL : im->backing;
	if (old) {
		im->backing = next;
		im->spooled = max_frame;
	}
	pthread_mutex_unlock(&im->lock);
	backing_put(im, old);
	return old != NULL;
}

/* Moves IM to SHARED (NULL: copying failed) if its pin held to the end. */
static int finish(struct image *im, uint32_t max_frame, struct move *m, struct shared_spool *shared,
		  struct snap_err *err)
{
	int rc = 0;

	if (m->mapped && !conn_intact(m->from->conn, max_frame, im->salt)) {
		image_kill(im);
		rc = err_set(err, -EIO, "the read lock on the database was lost");
	} else if (m->mapped && shared) {
		atomic_fetch_add(&shared->refs, 1);
		m->to->shared = shared;
		if (swap(im, max_frame, m->to))
			m->to = NULL;
	}
	backing_destroy(m->to);
	backing_put(im, m->from);
	return rc;
}

struct images {
	struct image *const *image;
	size_t count;
};

/* Whether anybody but the caller of image_spool() holds one of the images. */
static bool somebody_reads(void *arg)
{
	const struct images *images = arg;

	for (size_t i = 0; i < images->count; i++) {
		lock_scope(&images->image[i]->lock);
		if (images->image[i]->refs > 1)
			return true;
	}
	return false;
}

int image_spool(struct image *const *images, const uint32_t *max_frames, size_t n, uint64_t size,
		bool clone_only, struct snap_err *err)
{
	autofree struct move *moves = calloc(n, sizeof(*moves));
	struct shared_spool *shared = calloc(1, sizeof(*shared));
	struct images all = {images, n};
	struct spool_order order = {
		.size = size, .clone_only = clone_only, .wanted = somebody_reads, .arg = &all};
	struct conn *conn = NULL;
	int rc = 0;

	if (!moves || !shared) {
		free(shared);
		return err_set(err, -ENOMEM, "out of memory");
	}
	atomic_init(&shared->refs, 1);
	shared->spool = SPOOL_INIT;
	for (size_t i = 0; i < n; i++) {
		int one = prepare(images[i], max_frames[i], &moves[i]);

		if (one)
			rc = err_set(err, one, "its wal-index cannot be read: %s", strerror(-one));
		if (!moves[i].mapped)
			continue;
		conn = moves[i].from->conn;
		order.page_size = images[i]->page_size;
		order.max_frame = max_frames[i] > order.max_frame ? max_frames[i] : order.max_frame;
	}
	int copied = conn ? spool_pinned(&shared->spool, conn, &order, err) : 0;
	if (copied && copied != -ECANCELED)
		rc = copied;
	for (size_t i = 0; i < n; i++) {
		int one = finish(images[i], max_frames[i], &moves[i], copied ? NULL : shared, err);

		rc = one ? one : rc;
	}
	shared_spool_put(shared);
	return rc;
}
