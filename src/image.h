/* SPDX-License-Identifier: MIT */
/*
 * image.h - where a generation's bytes come from. Reference-counted.
 *
 * An image is a database file plus the frames of a WAL, both as they are held still by a pin, or as they were
 * copied to a spool; which frame holds a page is answered for any commit (max_frame) from the pin's on, so
 * one image serves every generation that was bound under its pin. A flat image has no frames. Swapping pin
 * for spool never makes a reader wait: readers that began on the pin end on it, and it is let go when the
 * last of them is done.
 */
#ifndef SQLSNAP_IMAGE_H
#define SQLSNAP_IMAGE_H

#include <stdatomic.h>

#include "live.h"
#include "pagemap.h"

struct image;

/* An image over CONN's pin; takes CONN over (live_unpin() is the image's business), also on failure.
 * PAGE_SIZE: the database's, for an empty WAL does not know it. */
int image_create_pinned(struct image **out, struct conn *conn, uint32_t page_size);
/* An image of the file FD, which it takes over, also on failure; FD -1: of nothing, 0 bytes. */
int image_create_flat(struct image **out, int fd, uint32_t page_size);

struct image *image_ref(struct image *image);
void image_unref(struct image *image); /* may end a pin: under no lock. Accepts NULL. */

/*
 * Reads SIZE bytes at OFFSET, all of them inside the image as of MAX_FRAME. The page of the lock bytes and
 * the end of a last page that is cut are zeros where they stand nowhere. 0, or -EIO (the image was lost: ERR
 * says how; the disk failed; any other page stands nowhere), -ENOMEM.
 */
int image_read(struct image *image, uint32_t max_frame, void *buf, size_t size, uint64_t offset,
	       struct snap_err *err);

/* Still read under its pin, and since when (CLOCK_MONOTONIC). */
bool image_is_pinned(struct image *image, int64_t *since);
bool image_is_dead(struct image *image);
/* A read found that bytes of it stand nowhere any more, or others in their place: somebody cut or overwrote
 * the files. Not that the disk failed, which may have passed a moment later. */
bool image_is_damaged(struct image *image);
/* Whether bytes as of MAX_FRAME can be had: under the pin, or in what was spooled. */
bool image_covers(struct image *image, uint32_t max_frame);
/* The newest frame that image_accepts() has said yes to, and in *SIZE the bytes of the largest image: of whom
 * that was there may not be a generation yet. A spool without that frame takes no pin's place; one that is to
 * take it has as many bytes of the database file. 0, 0: none. */
uint32_t image_promised(struct image *image, uint64_t *size);

/*
 * Whether a generation of the live header NOW may be bound to this image: its pin holds, and fewer than LIMIT
 * bytes of WAL were added since it began.
 */
bool image_accepts(struct image *image, const struct wal_header *now, uint64_t limit);

/*
 * Copies what N images pinned on one incarnation need, image I up to MAX_FRAMES[I] and all of them SIZE bytes
 * at most, to one spool and swaps it in: their pins hold still one database file and one WAL. A reader waits
 * for nothing. 0 also when there is nothing to do; on failure the images are as they were, but for those that
 * turned out to be lost. CLONE_ONLY: -EOPNOTSUPP unless the file system can clone the database file. The
 * caller holds one reference to each image; once nobody else does, the copying ends early, with 0 too.
 */
int image_spool(struct image *const *images, const uint32_t *max_frames, size_t n, uint64_t size,
		bool clone_only, struct snap_err *err);

/*
 * Makes the empty file FD share the blocks of the database file below the image; false where that cannot be
 * had. What FD then holds is the image only after image_copy() with CLONED.
 */
bool image_clone(struct image *image, int fd);

/* What is to be written where. */
struct image_copy {
	int fd;
	bool cloned; /* image_clone() came before */
	uint32_t max_frame;
	uint64_t size;		/* bytes of the image */
	_Atomic uint64_t *done; /* grows by as many; NULL: nobody asks */
	bool (*wanted)(
		void *arg); /* asked now and then: false ends the copying with -ECANCELED; NULL: always */
	void *arg;
};

/* Writes the image to a file, whether it is read under its pin or from a spool, or moves from the one to the
 * other meanwhile. -errno of image_read(), -ENOSPC and others of the file. */
int image_copy(struct image *image, const struct image_copy *copy, struct snap_err *err);

/*
 * Calls USE(ARG, FD) with the file that holds the image as of MAX_FRAME and nothing else, SIZE bytes;
 * borrowed for the call. What USE returns; -ENOENT: there is none, for it is read under a pin, or frames lie
 * over it.
 */
int image_lend(struct image *image, uint32_t max_frame, uint64_t size, int (*use)(void *arg, int fd),
	       void *arg);

/* The incarnation that the image is pinned on, NULL when it is not; borrowed as long as the image stays
 * pinned, so only for comparing. */
const void *image_live(struct image *image);

/* Whether it is pinned on the inode of LIVE, by this incarnation or another one. */
bool image_is_on(struct image *image, const struct live *live);

/* Bytes of the spool that IMAGE is read from; 0 under a pin, and when the count number PASS (from 1) of its
 * source, whose lock is held, has them already. */
uint64_t image_count_spool(struct image *image, uint64_t pass);
/* Whether it is pinned, since when (CLOCK_MONOTONIC), and not in the count number PASS yet. */
bool image_count_pin(struct image *image, uint64_t pass, int64_t *since);

/* Ends the image: from now on every read is -EIO, and its pin is let go. */
void image_kill(struct image *image);

#endif
