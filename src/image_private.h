/* SPDX-License-Identifier: MIT */
/* image_private.h - what the files image*.c share; nobody else includes it. */
#ifndef SQLSNAP_IMAGE_PRIVATE_H
#define SQLSNAP_IMAGE_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "image.h"
#include "spool.h"

/* A spool that several images read: pins on one incarnation at one moment protect one file and one WAL. */
struct shared_spool {
	atomic_int refs;
	struct spool spool; /* owned */
	uint64_t counted;   /* the last count that it was part of; guarded by its source's lock */
};

/* Where bytes are: under a pin, or in a spool. Reference-counted, because readers outlive a swap. */
struct backing {
	int refs;		     /* guarded by image->lock */
	struct conn *conn;	     /* owned; NULL: the spool */
	struct shared_spool *shared; /* a reference; NULL: the pin */
};

struct image {
	pthread_mutex_t lock;
	int refs;		 /* guarded by lock, as all below */
	struct backing *backing; /* a reference; NULL: the image was killed */
	struct pagemap map;
	uint32_t promised;	/* the newest frame that image_accepts() accepted: a generation may need it */
	uint64_t promised_size; /* bytes of the largest of these images: a later one may be smaller */
	uint32_t spooled;	/* when no longer pinned: the frames in its spool */
	bool damaged;
	uint64_t counted; /* the last count that its pin was part of */
	bool has_salt;	  /* false: the WAL was empty; its salt comes with its first frame, and stays while
			     pinned */
	uint8_t salt[8];
	uint32_t page_size; /* constant */
};

/* Drops a reference; the last one closes the spool. Accepts NULL. */
void shared_spool_put(struct shared_spool *shared);

/* A backing with one reference; takes ownership of CONN and SHARED, but not on failure. NULL: no memory. */
struct backing *backing_create(struct conn *conn, struct shared_spool *shared);
void backing_destroy(struct backing *b); /* for one that no image has; ends its pin. Accepts NULL. */
/* A reference to what IM's bytes are read from; NULL: it is dead. */
struct backing *backing_get(struct image *im);
void backing_put(struct image *im, struct backing *b); /* may end a pin: hold no lock. Accepts NULL. */

/* Adds the frames up to MAX_FRAME to the page map: 0 or -errno. B is pinned. Image lock held: this copies
 * memory, it does no I/O. */
int image_extend_map(struct image *im, struct backing *b, uint32_t max_frame);

/* FRAMES[i], of N: the frame of B, IM's backing, that holds page FIRST + i as of MAX_FRAME; 0: the database
 * file. 0 or -errno. */
int image_find_frames(struct image *im, struct backing *b, uint32_t max_frame, uint32_t first, size_t n,
		      uint32_t *frames);

#endif
