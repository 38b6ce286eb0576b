/* SPDX-License-Identifier: MIT */
/*
 * vfs_stream.c - moves in larger pieces what a restore moves page by page: the frames of its one transaction
 * to the -wal, and the pages of the staged file.
 *
 * What must stay true: frames wait here only as long as nobody can look for them. A frame that commits is
 * written at once, after all before it, and its own xWrite returns the result; waiting frames are also
 * written before the -wal is read, measured, truncated, synced or closed. Only a file that does not change is
 * read ahead.
 */
#include <stdlib.h>
#include <string.h>

#include "vfs_private.h"

#define STREAM_SIZE 65536u /* unixWrite() and unixRead() take less than 128 KiB at a time */
#define COMMIT_OFFSET 4	   /* in a frame's header: the database's size in pages after a commit, else 0 */

static uint8_t *stream_buffer(struct vfs_stream *s)
{
	if (!s->bytes)
		s->bytes = malloc(STREAM_SIZE);
	return s->bytes;
}

void vfs_stream_finish(struct vfs_stream *s)
{
	free(s->bytes);
	*s = (struct vfs_stream){.bytes = NULL};
}

int vfs_stream_flush(struct vfs_stream *s, sqlite3_file *real)
{
	int n = (int)s->used;

	s->used = 0; /* also when it fails: the transaction fails with it */
	return n ? real->pMethods->xWrite(real, s->bytes, n, s->at) : SQLITE_OK;
}

/* Whether these bytes are the header of a frame that does not commit. */
static bool is_plain(const uint8_t *bytes, int n)
{
	static const uint8_t none[4];

	return n == WAL_FRAME_HEADER && memcmp(bytes + COMMIT_OFFSET, none, sizeof(none)) == 0;
}

/*
 * Only frames that do not commit wait: a header that says so, and the page that follows it. All else is
 * written at once, after what waits: a header that commits, its page, in however many parts, the header of a
 * WAL, and what is written again.
 */
int vfs_stream_write(struct vfs_stream *s, sqlite3_file *real, const void *bytes, int n, sqlite3_int64 offset)
{
	bool follows = s->used > 0 && offset == s->at + (sqlite3_int64)s->used;
	bool plain = is_plain(bytes, n);
	bool waits = (size_t)n <= STREAM_SIZE && (plain || (s->plain && follows)) && stream_buffer(s);
	int rc = SQLITE_OK;

	s->plain = plain;
	if (!waits || !follows || s->used + (size_t)n > STREAM_SIZE)
		rc = vfs_stream_flush(s, real);
	if (rc != SQLITE_OK)
		return rc;
	if (!waits)
		return real->pMethods->xWrite(real, bytes, n, offset);
	if (s->used == 0)
		s->at = offset;
	memcpy(s->bytes + s->used, bytes, (size_t)n);
	s->used += (size_t)n;
	return SQLITE_OK;
}

int vfs_stream_read(struct vfs_stream *s, sqlite3_file *real, void *bytes, int n, sqlite3_int64 offset)
{
	sqlite3_int64 size;

	if (s->used > 0 && offset >= s->at && offset + n <= s->at + (sqlite3_int64)s->used) {
		memcpy(bytes, s->bytes + (offset - s->at), (size_t)n);
		return SQLITE_OK;
	}
	/* Reads ahead only from where the last piece ended; and not past the end, where xRead makes up
	 * zeros. */
	if (s->used > 0 && offset == s->at + (sqlite3_int64)s->used && stream_buffer(s) &&
	    real->pMethods->xFileSize(real, &size) == SQLITE_OK &&
	    offset + (sqlite3_int64)STREAM_SIZE <= size && (size_t)n <= STREAM_SIZE) {
		int rc = real->pMethods->xRead(real, s->bytes, (int)STREAM_SIZE, offset);

		s->at = offset;
		s->used = rc == SQLITE_OK ? STREAM_SIZE : 0;
		if (rc == SQLITE_OK)
			memcpy(bytes, s->bytes, (size_t)n);
		return rc;
	}
	s->used = 0;
	int rc = real->pMethods->xRead(real, bytes, n, offset);

	/* Keeps this read as the last piece, to remember where it ended. */
	if (rc == SQLITE_OK && (size_t)n <= STREAM_SIZE && stream_buffer(s)) {
		memcpy(s->bytes, bytes, (size_t)n);
		s->at = offset;
		s->used = (size_t)n;
	}
	return rc;
}
