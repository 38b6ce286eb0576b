/* SPDX-License-Identifier: MIT */
/*
 * restore_copy.c - copying the content that a restore replaces.
 *
 * WAL mode: the bulk is copied under a pin, or several in succession, while applications go on, and the pages
 * of frames committed since then under the write lock; if the pin had to be released while waiting for that
 * lock, everything is copied under it. Rollback-journal mode: everything is copied under the write lock,
 * through the handle that holds it.
 *
 * What must stay true: the finished copy is the content under the write lock, up to the last commit, in a
 * file of that size.
 */
#include "restore_private.h"

#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cleanup.h"
#include "memory.h"
#include "progress.h"
#include "spool_private.h"

#define SYNC_EVERY (64u << 20) /* bytes: what the view holds back is checked in between */
#define BLOCK 8192u	       /* bytes compared at a time: a changed page causes few to be written */

/* Within the headstart's copy: bytes that are already correct need not be written. */
static int write_changes(struct restore *r, const uint8_t *buf, size_t size, uint64_t offset)
{
	uint8_t there[BLOCK];
	int rc = 0;

	for (size_t done = 0, part; done < size && !rc; done += part) {
		part = size - done < BLOCK ? size - done : BLOCK;
		if (pread(keep_fd(r->undo.keep), there, part, (off_t)(offset + done)) != (ssize_t)part ||
		    memcmp(there, buf + done, part) != 0)
			rc = spool_write(keep_fd(r->undo.keep), buf + done, part, offset + done, r->err);
	}
	return rc;
}

static int write_keep(struct restore *r, const uint8_t *buf, size_t size, uint64_t offset)
{
	size_t begun = 0;
	int rc;

	if (offset < r->undo.begun)
		begun = r->undo.begun - offset < size ? (size_t)(r->undo.begun - offset) : size;
	rc = write_changes(r, buf, begun, offset);
	return rc ? rc
		  : spool_write(keep_fd(r->undo.keep), buf + begun, size - begun, offset + begun, r->err);
}

/* ---- under a pin --------------------------------------------------------------------------------------- */

/* Shares the live file's blocks; false where that is not possible. */
static bool clone_file(struct restore *r)
{
	r->undo.cloned = spool_clone_into(r->live, keep_fd(r->undo.keep));
	return r->undo.cloned;
}

/* SIZE bytes at AT are kept. Bytes from a released view are compared again under the write lock, but not
 * counted again. */
static void count(struct restore *r, uint64_t at, size_t size)
{
	uint64_t before = r->undo.counted > at ? r->undo.counted - at : 0;

	if (before < size)
		progress_add(r->order->progress, size - before);
}

static int copy_range(struct restore *r, uint8_t *buf, uint64_t from, uint64_t to)
{
	for (uint64_t at = from; at < to;) {
		size_t part = to - at < COPY_CHUNK ? (size_t)(to - at) : COPY_CHUNK;
		int rc = view_read(r, buf, part, at);

		rc = rc ? rc : write_keep(r, buf, part, at);
		if (rc)
			return rc;
		if (restore_is_cancelled(r))
			return err_set(r->err, -ECANCELED, "cancelled");
		count(r, at, part);
		at += part;
	}
	return 0;
}

static int compare_pages(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* Copies the current content of the pages that frames FROM + 1..TO hold. */
static int copy_frames(struct restore *r, struct vfs *vfs, uint32_t from, uint32_t to)
{
	uint32_t page_size = r->view.header.page_size, n = to - from;
	autofree uint32_t *pages = n ? malloc(n * sizeof(*pages)) : NULL;
	autofree uint8_t *buf = malloc(page_size);
	int rc = 0;

	if (n == 0)
		return 0;
	if (!pages || !buf)
		return err_set(r->err, -ENOMEM, "out of memory");
	rc = vfs_wal_pgnos(vfs, from + 1, to, pages);
	if (rc)
		return err_set(r->err, rc, "its wal-index cannot be read: %s", strerror(-rc));
	qsort(pages, n, sizeof(*pages), compare_pages);
	for (uint32_t i = 0; i < n && !rc; i++) {
		uint64_t at = (uint64_t)(pages[i] - 1) * page_size;

		if ((i > 0 && pages[i] == pages[i - 1]) || pages[i] == 0 || at >= r->view.size)
			continue;
		rc = copy_range(r, buf, at, at + page_size);
	}
	return rc;
}

static int resize(struct restore *r)
{
	return ftruncate(keep_fd(r->undo.keep), (off_t)r->view.size)
		       ? err_errno(r->err, "cannot write the store")
		       : 0;
}

/* -ENOSPC, before a copy that cannot be completed fills the disk for others. */
static int check_store(struct restore *r, uint64_t size)
{
	struct statvfs vfs;

	size -= r->undo.begun < size ? r->undo.begun : size;
	if (fstatvfs(keep_fd(r->undo.keep), &vfs) == 0 && (uint64_t)vfs.f_bavail * vfs.f_frsize < size)
		return err_set(r->err, -ENOSPC, "%s", strerror(ENOSPC));
	return 0;
}

static int sync_keep(struct restore *r)
{
	return fdatasync(keep_fd(r->undo.keep)) ? err_errno(r->err, "cannot write the store") : 0;
}

/* The first BYTES of the copy are written, and may be correct. */
static void count_begun(struct restore *r, uint64_t bytes)
{
	r->undo.begun = bytes > r->undo.begun ? bytes : r->undo.begun;
	r->undo.counted = bytes > r->undo.counted ? bytes : r->undo.counted;
}

/*
 * Copies all of the view. If another view replaces it, the copy is a mix of states: copying goes on from the
 * current position, wrapping around the end, until one view has been read completely; what is there already
 * is only compared. After twice the view's size in pieces, the view stays.
 */
static int copy_around(struct restore *r, uint8_t *buf)
{
	uint64_t at = 0, top = 0, seen = 0, total = 0;

	while (seen < r->view.size) {
		uint64_t left = r->view.size - seen, to = r->view.size - at < left ? r->view.size : at + left;
		int rc;

		to = to - at < COPY_CHUNK ? to : at + COPY_CHUNK;
		rc = copy_range(r, buf, at, to);
		if (!rc && to / SYNC_EVERY > at / SYNC_EVERY)
			rc = sync_keep(r);
		seen += to - at;
		total += to - at;
		at = to;
		r->yield.stays |= total >= 2 * r->view.size;
		top = at > top ? at : top;
		rc = rc || seen == r->view.size ? rc : view_give_way(r);
		if (rc < 0)
			return rc;
		if (rc == VIEW_MOVED) {
			count_begun(r, top);
			seen = 0;
		}
		at = at < r->view.size ? at : 0;
	}
	return 0;
}

/* Writes the frames over a clone of the file. Pages that the file lacks must be among the frames: if the file
 * was truncated, the clone is as well, and reading the view reports that. At least the last page is read,
 * because that reveals a lost lock. */
static int complete_clone(struct restore *r, uint8_t *buf)
{
	struct vfs *vfs = r->live->hub->db.vfs;
	uint64_t last = r->view.size - r->view.header.page_size, size;
	int rc = vfs_db_size(vfs, &size);

	if (rc)
		return err_set(r->err, rc, "cannot examine the live database: %s", strerror(-rc));
	rc = resize(r);
	if (!rc)
		rc = copy_frames(r, vfs, 0, r->view.max_frame);
	size -= size % r->view.header.page_size;
	return rc ? rc : copy_range(r, buf, size < last ? size : last, r->view.size);
}

int restore_copy_view(struct restore *r)
{
	autofree uint8_t *buf = malloc(COPY_CHUNK);
	int rc;

	if (!buf)
		return err_set(r->err, -ENOMEM, "out of memory");
	if (clone_file(r)) {
		rc = complete_clone(r, buf);
	} else {
		rc = check_store(r, r->view.size);
		rc = rc ? rc : copy_around(r, buf);
		rc = rc ? rc : resize(r); /* an earlier, larger view may have been copied */
	}
	if (!rc)
		rc = sync_keep(r); /* the rest will be synced under the write lock */
	if (!rc)
		r->undo.counted = r->view.size;
	return rc;
}

int restore_copy_since(struct restore *r)
{
	uint64_t copied = r->view.size;
	autofree uint8_t *buf = NULL;
	uint32_t from;
	int rc;

	if (!r->watch.base.known)
		return err_set(r->err, -EIO, "the live database cannot be examined");
	rc = view_advance(r, &r->watch.base.version, &from);
	if (rc)
		return rc;
	rc = copy_frames(r, r->live->hub->db.vfs, from, r->view.max_frame);
	if (!rc && r->view.size > copied) {
		/* Pages that were added without a frame: the one of the lock bytes. */
		buf = malloc(COPY_CHUNK);
		rc = buf ? copy_range(r, buf, copied, r->view.size)
			 : err_set(r->err, -ENOMEM, "out of memory");
	}
	return rc ? rc : resize(r);
}

/* ---- under the write lock ------------------------------------------------------------------------------ */

/* Whether the file, and thus the copy, has become shorter than FILE_SIZE. */
static bool is_cut(struct restore *r, uint64_t file_size)
{
	uint64_t now;
	bool is = vfs_db_size(r->dest.vfs, &now) == 0 && now < file_size;

	r->unreadable |= is;
	return is;
}

int restore_copy_rollback(struct restore *r)
{
	autofree uint8_t *buf = malloc(COPY_CHUNK);
	struct header *header = &r->view.header;
	uint64_t file_size, size;

	if (!buf)
		return err_set(r->err, -ENOMEM, "out of memory");
	if (!r->watch.base.is_database || header_decode(header, r->watch.base.bytes, HEADER_SIZE) ||
	    vfs_db_size(r->dest.vfs, &file_size))
		return err_set(r->err, -EIO, "the live database cannot be examined");
	size = spool_image_size(header, file_size);
	progress_begin(r->order->progress, SNAP_PHASE_KEEPING, 1, size);
	if (!clone_file(r)) {
		int room = check_store(r, size);

		if (room)
			return room;
		for (uint64_t at = 0; at < size;) {
			size_t part = size - at < COPY_CHUNK ? (size_t)(size - at) : COPY_CHUNK;
			ssize_t got = vfs_read_db(r->dest.vfs, buf, part, at);
			int rc = got < 0 ? restore_unread(r, (int)got) : write_keep(r, buf, (size_t)got, at);

			if (rc)
				return rc;
			if (restore_is_cancelled(r))
				return err_set(r->err, -ECANCELED, "cancelled");
			at += part;
			progress_add(r->order->progress, part);
		}
	}
	r->view.size = size;
	return is_cut(r, file_size) ? err_set(r->err, -EIO, "the live database was cut meanwhile")
				    : resize(r);
}
