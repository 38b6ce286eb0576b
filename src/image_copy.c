/* SPDX-License-Identifier: MIT */
/*
 * image_copy.c - see image.h: writing an image to one file, for keeping, and lending its file if it already
 * is one.
 *
 * Where the file system can clone, the whole database file is cloned as it is, and then the pages held by
 * frames are written over it, among them all that a checkpoint may have been writing at that moment.
 */
#include "image_private.h"

#include <errno.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "memory.h"
#include "spool_private.h"

#define PAGES_AT_ONCE 4096u

bool image_clone(struct image *im, int fd)
{
	struct backing *b = backing_get(im);
	bool cloned = false;

	if (b && b->conn)
		cloned = spool_clone_into(b->conn->live, fd) && conn_intact(b->conn, 0, b->conn->start.salt);
	else if (b && b->shared->spool.db_fd >= 0)
		cloned = ioctl(fd, FICLONE, b->shared->spool.db_fd) == 0;
	backing_put(im, b);
	return cloned;
}

int image_lend(struct image *im, uint32_t max_frame, uint64_t size, int (*use)(void *arg, int fd), void *arg)
{
	struct backing *b = backing_get(im);
	uint64_t there;
	int rc = -ENOENT;

	if (b && b->shared && max_frame == 0 && b->shared->spool.db_fd >= 0 &&
	    spool_db_size(&b->shared->spool, &there) == 0 && there == size)
		rc = use(arg, b->shared->spool.db_fd);
	backing_put(im, b);
	return rc;
}

static bool is_wanted(const struct image_copy *copy)
{
	return !copy->wanted || copy->wanted(copy->arg);
}

static int copy_range(struct image *im, const struct image_copy *copy, uint8_t *buf, uint64_t from,
		      uint64_t to, struct snap_err *err)
{
	while (from < to) {
		size_t part = to - from < COPY_CHUNK ? (size_t)(to - from) : COPY_CHUNK;
		int rc = is_wanted(copy) ? image_read(im, copy->max_frame, buf, part, from, err) : -ECANCELED;

		rc = rc ? rc : spool_write(copy->fd, buf, part, from, err);
		if (rc)
			return rc;
		from += part;
		if (copy->done)
			atomic_fetch_add(copy->done, part);
	}
	return 0;
}

/* Which of the pages FIRST .. FIRST + N - 1 are held by frames. */
static int find(struct image *im, uint32_t max_frame, uint32_t first, size_t n, uint32_t *frames)
{
	struct backing *b = backing_get(im);
	int rc = b ? image_find_frames(im, b, max_frame, first, n, frames) : -EIO;

	backing_put(im, b);
	return rc;
}

/* Writes the pages held by frames over the clone, and the pages beyond its end: image_read() knows which
 * pages may be missing, and whether somebody has truncated the file. */
static int copy_frames(struct image *im, const struct image_copy *copy, uint8_t *buf, struct snap_err *err)
{
	uint32_t pages = (uint32_t)(copy->size / im->page_size);
	autofree uint32_t *frames = malloc(PAGES_AT_ONCE * sizeof(*frames));
	struct stat st;
	uint64_t cloned;

	if (!frames)
		return err_set(err, -ENOMEM, "out of memory");
	if (fstat(copy->fd, &st))
		return err_errno(err, "cannot examine a file of the store");
	cloned = ((uint64_t)st.st_size + im->page_size - 1) / im->page_size;
	for (uint32_t first = 0; first < pages; first += PAGES_AT_ONCE) {
		size_t n = pages - first < PAGES_AT_ONCE ? pages - first : PAGES_AT_ONCE;
		int rc = find(im, copy->max_frame, first + 1, n, frames);

		if (rc)
			return err_set(err, rc, "its wal-index cannot be read: %s", strerror(-rc));
		for (size_t i = 0; i < n; i++)
			frames[i] |= first + i >= cloned;
		for (size_t i = 0, end; i < n && !rc; i = end) {
			uint64_t at = (first + i) * (uint64_t)im->page_size;

			for (end = i + 1; end < n && !frames[end] == !frames[i]; end++)
				;
			if (frames[i])
				rc = copy_range(im, copy, buf, at, at + (end - i) * im->page_size, err);
			else if (copy->done)
				atomic_fetch_add(copy->done, (end - i) * im->page_size);
		}
		if (rc)
			return rc;
	}
	return 0;
}

int image_copy(struct image *im, const struct image_copy *copy, struct snap_err *err)
{
	autofree uint8_t *buf = malloc(COPY_CHUNK);
	int rc;

	if (!buf)
		return err_set(err, -ENOMEM, "out of memory");
	rc = copy->cloned ? copy_frames(im, copy, buf, err) : copy_range(im, copy, buf, 0, copy->size, err);
	if (!rc && ftruncate(copy->fd, (off_t)copy->size))
		rc = err_errno(err, "cannot write the store");
	return rc;
}
