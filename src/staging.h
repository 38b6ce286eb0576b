/* SPDX-License-Identifier: MIT */
/*
 * staging.h - a file that somebody writes, until it is known what becomes of it: its bytes in a private
 * folder of the store, which of them were written, and whether they are complete.
 *
 * It begins empty, or with a base: what stood there before, which is never copied. Reads merge the two. It is
 * complete when it can show nothing of a base and nothing that was announced or attempted is missing. Whether
 * its bytes make sense is decided in validate.h.
 *
 * Threads: any function may be called from any thread at any time, except staging_set_base() and
 * staging_destroy(). A write and a read at the same time may see each other in part, as on any file.
 * Questions (size, changes, state, fd) never wait for a disk.
 */
#ifndef SQLSNAP_STAGING_H
#define SQLSNAP_STAGING_H

#include <sys/types.h>

#include "store.h"

#define STAGING_MAX (1ull << 48) /* bytes: more than any database has (2^32 - 2 pages of 64 KiB) */

struct staging;

/* What stood there before. */
struct staging_base {
	uint64_t size; /* bytes */
	/* As pread(2): fewer than SIZE bytes only at its end; -errno. From any thread, several at once, under
	 * no lock. */
	ssize_t (*read)(void *arg, void *buf, size_t size, uint64_t offset, struct snap_err *err);
	/* Whether READ would wait for nothing but a disk; NULL: always true. Never waits itself, and may be
	 * called under any lock. */
	bool (*ready)(void *arg);
	/* Called once, when nothing of it can be read any more, under no lock; may be NULL. */
	void (*drop)(void *arg);
	void *arg;
};

/* Empty. STORE is borrowed and not accessed until something is to be stored. -ENOMEM. */
int staging_create(struct staging **out, struct store *store, struct snap_err *err);
/* Removes the file; accepts NULL. Nobody may be in another call. */
void staging_destroy(struct staging *st);

/* Takes over BASE->ARG. To be called before anything else is done with ST. */
void staging_set_base(struct staging *st, const struct staging_base *base);

/*
 * As pwrite(2): the number of bytes, which may be less than SIZE if the space ends there; or -errno. -ENOSPC
 * (ERR says what is needed and where): less than STORE_RESERVE would stay free. -EFBIG: past STAGING_MAX, or
 * the file is written in more than RANGES_MAX separate pieces. After a failure the file remains usable, but
 * is not complete until the same bytes are written or cut off.
 */
ssize_t staging_write(struct staging *st, const void *buf, size_t size, uint64_t offset,
		      struct snap_err *err);

/*
 * As ftruncate(2). 0 makes it a file that began empty, without a base. Setting the present size changes
 * nothing, unless it is 0. Growing it from 0 announces its length. On failure nothing has changed.
 */
int staging_truncate(struct staging *st, uint64_t size, struct snap_err *err);

/*
 * As fallocate(2) without a mode, or with FALLOC_FL_KEEP_SIZE: -EINVAL for SIZE 0; -ENOSPC as above. If the
 * store's file system cannot do it, the size grows but no space is reserved. Growing it from 0 announces its
 * length. On failure nothing has changed.
 */
int staging_allocate(struct staging *st, uint64_t offset, uint64_t size, bool keep_size,
		     struct snap_err *err);

/* As pread(2): fewer than SIZE bytes only at the end. Bytes that are neither written nor the base's are
 * zeros. */
ssize_t staging_read(struct staging *st, void *buf, size_t size, uint64_t offset, struct snap_err *err);

/* Whether staging_read() may wait for more than a disk. */
bool staging_read_waits(struct staging *st);

/* As fdatasync(2). */
int staging_sync(struct staging *st, struct snap_err *err);

uint64_t staging_size(struct staging *st); /* bytes */
/* Grows with each write and each change of size, after it is done: identifies the content that a verdict is
 * about. */
uint64_t staging_changes(struct staging *st);
enum snap_upload_state staging_state(struct staging *st); /* see snap_upload_state() */

/* The file, O_RDWR, borrowed and valid as long as ST. -1: nothing has been stored yet. A complete file holds
 * exactly its bytes; otherwise it has holes in place of the base's. */
int staging_fd(const struct staging *st);
/* The folder of that file (O_DIRECTORY, borrowed) and its name in it (a constant), under which it can be
 * opened as long as ST exists. -1: nothing has been stored yet. */
int staging_folder(const struct staging *st, const char **name);

#endif
