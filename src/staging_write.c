/* SPDX-License-Identifier: MIT */
/*
 * staging_write.c - the half of staging.h that changes the file: its bytes, its length, its disk space.
 *
 * What must stay true: bytes are noted as written after they are in the file, and before anybody else can cut
 * it; the file is as long as SIZE says when nobody is writing and no write failed.
 *
 * The outcome of a failed write is unknown. The writer was told, but may have ignored it: so these bytes
 * count as missing, even where a hole would do, until they are written or cut off.
 */
#include "staging_private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cleanup.h"

#define MIB (1ull << 20)

static int too_long(struct snap_err *err)
{
	return err_set(err, -EFBIG, "no SQLite database is that long");
}

/* ---- room ---------------------------------------------------------------------------------------------- */

static int no_room(struct staging *st, uint64_t need, int error, struct snap_err *err)
{
	char room[STORE_ROOM_SIZE];

	return err_set(err, error,
		       "receiving it needs %llu MiB more in %s, %s (make room there, or mount with -o "
		       "store=DIR)",
		       (unsigned long long)((need + STORE_RESERVE + MIB - 1) / MIB), store_dir(st->store),
		       store_room(st->store, error, room));
}

static int find_room(struct staging *st, uint64_t *room, struct snap_err *err)
{
	struct statvfs vfs;

	if (fstatvfs(st->folder, &vfs))
		return err_errno(err, "cannot examine the store %s", store_dir(st->store));
	*room = (uint64_t)vfs.f_bavail * vfs.f_frsize;
	return 0;
}

/* How many of these bytes may not have disk space yet. */
static uint64_t lacking(struct staging *st, uint64_t from, uint64_t to)
{
	lock_scope(&st->lock);
	if (from >= st->put_aside.from && to <= st->put_aside.to)
		return 0;
	return to - from - ranges_bytes(&st->written, from, to);
}

/* The store's file system may be the live database's: it is never filled up. */
static int check_room(struct staging *st, uint64_t from, uint64_t to, struct snap_err *err)
{
	uint64_t need = lacking(st, from, to), room = 0;
	int rc;

	if (need == 0)
		return 0;
	rc = find_room(st, &room, err);
	if (rc == 0 && room < need + STORE_RESERVE)
		rc = no_room(st, need, -ENOSPC, err);
	return rc;
}

/* Reports errno after a failed attempt to store the bytes FROM .. TO-1. */
static int write_failed(struct staging *st, uint64_t from, uint64_t to, struct snap_err *err)
{
	int error = -errno;

	return store_is_full(error) ? no_room(st, to - from, error, err)
				    : store_failed(st->store, error, err, "cannot write to");
}

/* ---- writing ------------------------------------------------------------------------------------------- */

/* Of the SIZE bytes at OFFSET the first DONE are in the file; the others failed. 0 or -errno, for the caller
 * to return. */
static int note_write(struct staging *st, uint64_t offset, size_t size, size_t done, struct snap_err *err)
{
	uint64_t end = size > UINT64_MAX - offset ? UINT64_MAX : offset + size;
	int rc;

	lock_scope(&st->lock);
	st->touched = true;
	st->changes++;
	rc = ranges_add(&st->written, offset, offset + done);
	if (rc)
		done = 0;
	ranges_remove(&st->failed, offset, offset + done); /* what cannot be removed stays failed */
	if (ranges_add(&st->failed, offset + done, end))
		st->lost = true;
	if (done > 0 && offset + done > st->size)
		st->size = offset + done;
	return rc ? err_set(err, rc, "it is written in too many pieces: %s", strerror(-rc)) : 0;
}

/* As pwrite(2), with the gate held. */
static ssize_t write_file(struct staging *st, const char *buf, size_t size, uint64_t offset,
			  struct snap_err *err)
{
	size_t done = 0;
	int rc = check_room(st, offset, offset + size, err);

	if (rc)
		return rc;
	while (done < size) {
		ssize_t n = pwrite(st->fd, buf + done, size - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && done == 0)
			return write_failed(st, offset, offset + size, err);
		if (n <= 0)
			break; /* the write of the rest will report the error */
		done += (size_t)n;
	}
	return (ssize_t)done;
}

ssize_t staging_write(struct staging *st, const void *buf, size_t size, uint64_t offset, struct snap_err *err)
{
	bool fits = offset <= STAGING_MAX && size <= STAGING_MAX - offset;
	ssize_t n;
	int rc;

	if (size == 0)
		return 0;
	n = fits ? staging_enter_gate(st, err) : too_long(err);
	if (n) {
		note_write(st, offset < STAGING_MAX ? offset : STAGING_MAX, size, 0, NULL);
		return n;
	}
	n = write_file(st, buf, size, offset, err);
	rc = note_write(st, offset, size, n > 0 ? (size_t)n : 0, n > 0 ? err : NULL);
	pthread_rwlock_unlock(&st->gate);
	staging_settle_base(st);
	return n > 0 && rc ? rc : n;
}

/* ---- length -------------------------------------------------------------------------------------------- */

/* Notes that the file is SIZE bytes long now. Gate held exclusively. */
static void note_size(struct staging *st, uint64_t size)
{
	lock_scope(&st->lock);
	ranges_remove(&st->failed, size, UINT64_MAX);
	if (st->put_aside.to > size)
		st->put_aside.to = size;
	if (size == st->size && size > 0)
		return;
	ranges_remove(&st->written, size, UINT64_MAX);
	if (size < st->base_size)
		st->base_size = size;
	st->announced = size > 0 && (st->announced || st->size == 0);
	st->was_empty = st->was_empty || size == 0;
	st->lost = st->lost && size > 0;
	st->size = size;
	st->touched = true;
	st->changes++;
}

/* Gate held exclusively. */
static int set_length(struct staging *st, uint64_t size, struct snap_err *err)
{
	if (st->fd >= 0 && ftruncate(st->fd, (off_t)size))
		return err_errno(err, "cannot make it %llu bytes long in the store %s",
				 (unsigned long long)size, store_dir(st->store));
	note_size(st, size);
	return 0;
}

int staging_truncate(struct staging *st, uint64_t size, struct snap_err *err)
{
	int rc;

	if (size > STAGING_MAX)
		return too_long(err);
	pthread_rwlock_wrlock(&st->gate);
	rc = set_length(st, size, err);
	pthread_rwlock_unlock(&st->gate);
	staging_settle_base(st);
	return rc;
}

/* Notes that FROM .. TO-1 have disk space; of two separate ranges only the last is remembered. */
static void note_room(struct staging *st, uint64_t from, uint64_t to)
{
	struct range *r = &st->put_aside;

	lock_scope(&st->lock);
	if (from > r->to || to < r->from) {
		*r = (struct range){from, to};
		return;
	}
	if (from < r->from)
		r->from = from;
	if (to > r->to)
		r->to = to;
}

/* Gate held exclusively. */
static int put_aside(struct staging *st, uint64_t from, uint64_t to, struct snap_err *err)
{
	int rc = check_room(st, from, to, err);

	if (rc)
		return rc;
	do {
		rc = fallocate(st->fd, FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)(to - from));
	} while (rc && errno == EINTR);
	if (rc)
		return errno == EOPNOTSUPP || errno == ENOSYS ? 0 : write_failed(st, from, to, err);
	note_room(st, from, to);
	return 0;
}

int staging_allocate(struct staging *st, uint64_t offset, uint64_t size, bool keep_size, struct snap_err *err)
{
	int rc;

	if (size == 0)
		return err_set(err, -EINVAL, "no bytes to make room for");
	if (offset > STAGING_MAX || size > STAGING_MAX - offset)
		return too_long(err);
	rc = staging_close_gate(st, err);
	if (rc)
		return rc;
	rc = put_aside(st, offset, offset + size, err);
	if (rc == 0 && !keep_size && offset + size > staging_size(st))
		rc = set_length(st, offset + size, err);
	pthread_rwlock_unlock(&st->gate);
	return rc;
}
