/* SPDX-License-Identifier: MIT */
/*
 * source_restore.h - what restores need of a source; included by restore*.c and by source*.c.
 *
 * Looking at the live database, connecting to it, losing it; then what only restores use: taking turns, the
 * commit under way, and the generation that shows the uploaded bytes (source_restore.c).
 */
#ifndef SQLSNAP_SOURCE_RESTORE_H
#define SQLSNAP_SOURCE_RESTORE_H

#include "source.h"

/* ---- looking at the live database: source_look.c ---- */

/* stat(2) of database and -wal, and the live header by LIVE (NULL: not connected). 0, WAL_TORN, -errno. */
int source_sample_now(struct source *s, struct live *live, struct sample *sample);
/* Fills SAMPLE from the live header that LIVE has mapped, or from the file's header in rollback mode; the
 * stat(2) fields are set already. 0, WAL_TORN, -errno. */
int source_sample_live(struct source *s, struct live *live, struct sample *sample);
/* Reads the database's own header and file size through the hub's handle: 0; -EUCLEAN: it is no database;
 * -EIO: it cannot be read. */
int source_read_header(struct live *live, struct header *out, uint64_t *file_size);
/* Bytes and page size of the image of a pin on LIVE as of the header AT. From the database's own header if
 * the WAL is empty and says neither. 0; else as source_read_header(). */
int source_image_shape(struct live *live, const struct wal_header *at, uint64_t *size, uint32_t *page_size);
/* Whether the -wal or the -shm is missing, which a connection would make: 1, 0; -errno: it cannot be told. */
int source_lacks_sidecars(struct source *s);

/* ---- connecting and disconnecting: source_connect.c, source_tend.c ---- */

/* A reference to the incarnation on the inode ST; connects first if need be, until DEADLINE. HERE: on this
 * thread, which may wait longer, for SQLite; otherwise a job connects. 0 with *OUT (NULL: time ran out),
 * PIN_HOT_JOURNAL, -ESTALE (another inode stands there), -errno. */
int source_connect(struct source *s, const struct stat *st, int64_t deadline, bool here, struct live **out,
		   struct snap_err *err);

/* Disconnects from a lost incarnation, and ends every image pinned on its inode, because they hold the
 * connections that must be closed. */
void source_lose(struct source *s, struct live *live);
/* Ends every pinned image: they are on a file that was replaced, and whose -shm is in the way. */
void source_kill_pinned(struct source *s);

/* ---- one restore at a time ---- */

/* Begins a restore: waits for the one that is under way, and calls CANCELLED (may be NULL) now and then.
 * -ECANCELED. Keeps the source connected. */
int source_restore_begin(struct source *s, bool (*cancelled)(void *arg), void *arg);
void source_restore_end(struct source *s);

/* ---- the commit and its generation ---- */

/* From here to source_commit_over(), lookups and opens that see another version than BASE wait a moment. */
void source_commit_expected(struct source *s, const struct version *base);
/* The same after source_upload_publish(), because until the source has connected, other threads see another
 * version. */
void source_connect_expected(struct source *s);
void source_commit_over(struct source *s);

/* Makes a generation of the SIZE bytes of FD, which it takes over, also on failure. Nobody can see it yet.
 * MTIME_NS 0: now. *OUT is a reference. -ENOMEM */
int source_upload_create(struct source *s, int fd, uint64_t size, uint32_t page_size, int64_t mtime_ns,
			 struct snap_gen **out);
/* Makes GEN the current generation, which shows VERSION. */
void source_upload_publish(struct source *s, struct snap_gen *gen, const struct version *version);
/* If the current generation is an uploaded one that shows FROM (compared by wal-index header), it shows TO
 * from now on: the caller knows that nothing was committed in between, not even by another incarnation. */
void source_upload_moved(struct source *s, const struct version *from, const struct version *to);
/* Whether the current generation is an uploaded one that shows VERSION. */
bool source_upload_is(struct source *s, const struct version *version);
/* Samples the version of an uploaded current generation again, so that with its later times it is still
 * recognised when the connection is gone. */
void source_upload_refresh(struct source *s, struct live *live);

/* For the next half minute FN is called every half second, on a thread of the library, with S, a reference
 * that it drops, as long as S is connected and nobody restores it; NULL: no more. */
void source_tidy_later(struct source *s, void (*fn)(void *s));

#endif
