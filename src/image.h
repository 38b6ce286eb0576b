/* SPDX-License-Identifier: MIT */
/*
 * image.h - where the bytes of a generation come from. Reference-counted.
 *
 * An image is a database file plus the frames of a WAL, either kept unchanged by a pin or copied to a spool.
 * It can say which frame holds a page as of any commit (max_frame) since the pin began, so one image serves
 * every generation that was bound under its pin. A flat image has no frames. Swapping the pin for a spool
 * never makes a reader wait: readers that began on the pin finish on it, and the last one ends it.
 */
#ifndef SQLSNAP_IMAGE_H
#define SQLSNAP_IMAGE_H

#include <stdatomic.h>

#include "live.h"
#include "pagemap.h"

struct image;

/* Makes an image over CONN's pin. Takes ownership of CONN, also on failure; the image calls live_unpin().
 * PAGE_SIZE is the database's, which an empty WAL does not record. */
int image_create_pinned(struct image **out, struct conn *conn, uint32_t page_size);
/* Makes an image of the file FD and takes ownership of it, also on failure. FD -1: an empty one, of 0
 * bytes. */
int image_create_flat(struct image **out, int fd, uint32_t page_size);

struct image *image_ref(struct image *image);
void image_unref(struct image *image); /* may end a pin: hold no lock. Accepts NULL. */

/*
 * Reads SIZE bytes at OFFSET, which must lie inside the image as of MAX_FRAME. The lock-byte page, and the
 * rest of a truncated last page, read as zeros if they are stored nowhere. 0; -EIO: the image was lost (ERR
 * says how), the disk failed, or another page is stored nowhere; -ENOMEM.
 */
int image_read(struct image *image, uint32_t max_frame, void *buf, size_t size, uint64_t offset,
	       struct snap_err *err);

/* Whether it is still read under its pin; *SINCE (may be NULL): since when (CLOCK_MONOTONIC). */
bool image_is_pinned(struct image *image, int64_t *since);
bool image_is_dead(struct image *image);
/* Whether a read found that bytes were gone or replaced: somebody truncated or overwrote the files. A failure
 * of the disk, which may be temporary, does not count. */
bool image_is_damaged(struct image *image);
/* Whether its bytes as of MAX_FRAME can be read: under the pin, or from the spool. */
bool image_covers(struct image *image, uint32_t max_frame);
/* The newest frame that image_accepts() has accepted, and in *SIZE the bytes of the largest image accepted;
 * 0, 0: none. The generation for it may not exist yet. A spool replaces a pin only if it has that frame, and
 * copies that many bytes of the database file. */
uint32_t image_promised(struct image *image, uint64_t *size);

/*
 * Whether a generation with the live header NOW may be bound to this image: its pin holds, and fewer than
 * LIMIT bytes of WAL were added since it began.
 */
bool image_accepts(struct image *image, const struct wal_header *now, uint64_t limit);

/*
 * Copies what N images pinned on one incarnation need into one spool, and swaps it in for their pins, which
 * all protect the same database file and the same WAL. For image I it copies the frames up to MAX_FRAMES[I],
 * and at most SIZE bytes of the database. No reader waits. 0 also if there is nothing to do. On failure the
 * images stay as they were, except those that turned out to be lost. CLONE_ONLY: -EOPNOTSUPP unless the file
 * system can clone the database file. The caller holds one reference to each image; once nobody else does,
 * the copying ends early, also with 0.
 */
int image_spool(struct image *const *images, const uint32_t *max_frames, size_t n, uint64_t size,
		bool clone_only, struct snap_err *err);

/*
 * Clones the database file underlying the image into the empty file FD; false if that is not possible. FD
 * holds the image only after image_copy() with CLONED.
 */
bool image_clone(struct image *image, int fd);

/* What image_copy() writes, and where. */
struct image_copy {
	int fd;
	bool cloned; /* FD was filled by image_clone() */
	uint32_t max_frame;
	uint64_t size;		/* bytes of the image */
	_Atomic uint64_t *done; /* grows by the bytes done; NULL: not wanted */
	bool (*wanted)(
		void *arg); /* asked now and then: false ends the copying with -ECANCELED; NULL: always */
	void *arg;
};

/* Writes the image to a file, whether it is read under its pin or from a spool, or switches from one to the
 * other meanwhile. The errors of image_read(); -ENOSPC and other errors of the file. */
int image_copy(struct image *image, const struct image_copy *copy, struct snap_err *err);

/*
 * Calls USE(ARG, FD) with the file that holds the image as of MAX_FRAME and nothing else, SIZE bytes; FD is
 * borrowed for the call. Returns what USE returns; -ENOENT: there is no such file, because the image is read
 * under a pin or has frames over the file.
 */
int image_lend(struct image *image, uint32_t max_frame, uint64_t size, int (*use)(void *arg, int fd),
	       void *arg);

/* The incarnation that the image is pinned on; NULL: none. Valid only while the image stays pinned, so it may
 * only be compared. */
const void *image_live(struct image *image);

/* Whether it is pinned on the inode of LIVE, by whatever incarnation. */
bool image_is_on(struct image *image, const struct live *live);

/* Bytes of the spool that IMAGE is read from. 0 under a pin, or if count number PASS (from 1) of its source
 * has counted them already. The source's lock is held. */
uint64_t image_count_spool(struct image *image, uint64_t pass);
/* Whether it is pinned and count number PASS has not counted it yet; *SINCE (CLOCK_MONOTONIC): since when. */
bool image_count_pin(struct image *image, uint64_t pass, int64_t *since);

/* Ends the image: every later read is -EIO, and its pin is released. */
void image_kill(struct image *image);

#endif
