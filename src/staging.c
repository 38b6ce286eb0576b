/* SPDX-License-Identifier: MIT */
/*
 * staging.c - see staging.h: the file itself, its base, reading, and its state. Writing is in
 * staging_write.c.
 *
 * What must stay true: the base is read and dropped under no lock, because either may have to wait for a live
 * database.
 */
#include "staging_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"

#define FILE_NAME "upload.sqlite3"

/* ---- life ---------------------------------------------------------------------------------------------- */

int staging_create(struct staging **out, struct store *store, struct snap_err *err)
{
	struct staging *st = calloc(1, sizeof(*st));

	if (!st)
		return err_set(err, -ENOMEM, "out of memory");
	st->store = store;
	st->folder = -1;
	st->fd = -1;
	st->was_empty = true;
	ranges_init(&st->written);
	ranges_init(&st->failed);
	pthread_rwlock_init(&st->gate, NULL);
	pthread_mutex_init(&st->lock, NULL);
	*out = st;
	return 0;
}

static void unref_base(struct staging *st)
{
	bool last;

	pthread_mutex_lock(&st->lock);
	last = --st->base_refs == 0;
	pthread_mutex_unlock(&st->lock);
	if (last && st->base.drop)
		st->base.drop(st->base.arg);
}

void staging_settle_base(struct staging *st)
{
	bool gone;

	pthread_mutex_lock(&st->lock);
	gone = st->base_shows && ranges_cover(&st->written, 0, st->base_size);
	if (gone)
		st->base_shows = false;
	pthread_mutex_unlock(&st->lock);
	if (gone)
		unref_base(st);
}

void staging_destroy(struct staging *st)
{
	if (!st)
		return;
	if (st->base_shows)
		unref_base(st);
	if (st->fd >= 0) {
		store_drop_folder(st->store, st->folder_name);
		close(st->fd);
		close(st->folder);
	}
	ranges_finish(&st->written);
	ranges_finish(&st->failed);
	pthread_mutex_destroy(&st->lock);
	pthread_rwlock_destroy(&st->gate);
	free(st);
}

void staging_set_base(struct staging *st, const struct staging_base *base)
{
	pthread_mutex_lock(&st->lock);
	st->base = *base;
	st->base_refs = 1;
	st->base_shows = true;
	st->base_size = st->size = base->size;
	st->was_empty = base->size == 0;
	pthread_mutex_unlock(&st->lock);
	staging_settle_base(st);
}

/* ---- the file ------------------------------------------------------------------------------------------ */

/* Gate held exclusively. */
static int make_file(struct staging *st, struct snap_err *err)
{
	autoclose int folder = store_make_folder(st->store, st->folder_name, err);
	autoclose int fd = -1;

	if (folder < 0)
		return folder;
	fd = openat(folder, FILE_NAME, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)staging_size(st))) {
		int rc = store_failed(st->store, -errno, err, "cannot make a file in");

		store_drop_folder(st->store, st->folder_name);
		return rc;
	}
	st->folder = steal_fd(&folder);
	st->fd = steal_fd(&fd);
	return 0;
}

int staging_close_gate(struct staging *st, struct snap_err *err)
{
	int rc;

	pthread_rwlock_wrlock(&st->gate);
	rc = st->fd < 0 ? make_file(st, err) : 0;
	if (rc)
		pthread_rwlock_unlock(&st->gate);
	return rc;
}

int staging_enter_gate(struct staging *st, struct snap_err *err)
{
	int rc;

	if (st->fd < 0) {
		rc = staging_close_gate(st, err);
		if (rc)
			return rc;
		pthread_rwlock_unlock(&st->gate);
	}
	pthread_rwlock_rdlock(&st->gate);
	return 0;
}

int staging_sync(struct staging *st, struct snap_err *err)
{
	int fd = staging_fd(st);

	if (fd >= 0 && fdatasync(fd))
		return store_failed(st->store, -errno, err, "cannot write to");
	return 0;
}

/* ---- reading ------------------------------------------------------------------------------------------- */

enum kind { ZEROS, WRITTEN, BASE };

/* Bytes that come from one place. */
struct piece {
	enum kind kind;
	size_t size; /* 0: there are none */
};

/* Where the first of the SIZE bytes at OFFSET come from, and how many. A piece of the base comes with a
 * reference to it. */
static struct piece look(struct staging *st, size_t size, uint64_t offset)
{
	struct piece piece = {.kind = ZEROS};
	uint64_t end;

	lock_scope(&st->lock);
	if (offset >= st->size)
		return piece;
	if (ranges_find(&st->written, offset, &end))
		piece.kind = WRITTEN;
	else if (st->base_shows && offset < st->base_size)
		piece.kind = BASE;
	if (piece.kind == BASE && end > st->base_size)
		end = st->base_size;
	if (end > st->size)
		end = st->size;
	if (piece.kind == BASE)
		st->base_refs++;
	piece.size = size < end - offset ? size : (size_t)(end - offset);
	return piece;
}

static ssize_t read_file(struct staging *st, void *buf, size_t size, uint64_t offset, struct snap_err *err)
{
	ssize_t n;

	do {
		n = pread(st->fd, buf, size, (off_t)offset);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? err_errno(err, "cannot read the store %s", store_dir(st->store)) : n;
}

static ssize_t read_base(struct staging *st, void *buf, size_t size, uint64_t offset, struct snap_err *err)
{
	ssize_t n = st->base.read(st->base.arg, buf, size, offset, err);

	unref_base(st);
	return n;
}

/* 0 only at the end. */
static ssize_t read_piece(struct staging *st, void *buf, size_t size, uint64_t offset, struct snap_err *err)
{
	struct piece piece;
	ssize_t n = 0;

	pthread_rwlock_rdlock(&st->gate);
	piece = look(st, size, offset);
	if (piece.kind == WRITTEN)
		n = read_file(st, buf, piece.size, offset, err);
	pthread_rwlock_unlock(&st->gate);
	if (piece.kind == BASE)
		n = read_base(st, buf, piece.size, offset, err);
	if (piece.kind == ZEROS) {
		memset(buf, 0, piece.size);
		n = (ssize_t)piece.size;
	}
	if (n == 0 && piece.size > 0)
		return err_set(err, -EIO, "%s is shorter than it was",
			       piece.kind == BASE ? "what stood there" : "the file in the store");
	return n;
}

ssize_t staging_read(struct staging *st, void *buf, size_t size, uint64_t offset, struct snap_err *err)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = read_piece(st, (char *)buf + done, size - done, offset + done, err);

		if (n < 0)
			return n;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

bool staging_read_waits(struct staging *st)
{
	lock_scope(&st->lock);
	return st->base_shows && st->base.ready && !st->base.ready(st->base.arg);
}

/* ---- what it is ---------------------------------------------------------------------------------------- */

uint64_t staging_size(struct staging *st)
{
	lock_scope(&st->lock);
	return st->size;
}

uint64_t staging_changes(struct staging *st)
{
	lock_scope(&st->lock);
	return st->changes;
}

enum snap_upload_state staging_state(struct staging *st)
{
	bool failed;

	lock_scope(&st->lock);
	failed = st->failed.count > 0 || st->lost;
	if (!st->touched)
		return SNAP_UPLOAD_UNTOUCHED;
	if (st->size == 0 && !failed)
		return SNAP_UPLOAD_EMPTY;
	if (!failed && ranges_cover(&st->written, 0, st->size))
		return SNAP_UPLOAD_COMPLETE;
	if (st->announced)
		return SNAP_UPLOAD_PENDING;
	return st->was_empty && !failed ? SNAP_UPLOAD_COMPLETE : SNAP_UPLOAD_INCOMPLETE;
}

int staging_fd(const struct staging *st)
{
	return st->fd;
}

int staging_folder(const struct staging *st, const char **name)
{
	*name = FILE_NAME;
	return st->fd < 0 ? -1 : st->folder;
}
