/* SPDX-License-Identifier: MIT */
/*
 * headstart.h - a copy of what an upload is about to replace, made while the upload arrives.
 *
 * Nothing depends on it. The database file is read as it stands, under no lock and without its WAL, so that
 * no application and no checkpoint waits however slowly an upload comes; what is copied need not be any state
 * of the database. restore_copy.c brings it to what it has to be, and need not write what is there already.
 *
 * There is none where it would not help or could do harm: no snapshot is to be kept, the file is small, or
 * can be cloned, or the store has not room for it and the upload and as much again. It is given up, with all
 * that was copied, when the room runs out meanwhile: the transaction and STORE_RESERVE come first. And there
 * are few at a time, whoever uploads: each takes a thread that opens and restores may wait for.
 */
#ifndef SQLSNAP_HEADSTART_H
#define SQLSNAP_HEADSTART_H

#include "keep.h"
#include "snap_private.h"

#define HEADSTART_MIN (4u << 20) /* bytes of database and upload, from which on it is worth it */
#define HEADSTARTS_MAX 4	 /* in one mount, until they are ended */

struct headstart;

/* Begins one for the database at PATH, on a thread of its own. *OUT is the caller's, who ends it. -ENOMEM,
 * -EAGAIN: there is no thread, or there are HEADSTARTS_MAX */
int headstart_begin(struct headstart **out, struct snap *snap, const char *path);
/*
 * Stops it. The snapshot that was begun, without a name that means anything (keep_retitle()), whose first
 * *BYTES bytes hold something; the caller's. NULL: there is none of SOURCE's, or it was taken. Waits for a
 * read or write that is under way. H may be NULL.
 */
struct keep *headstart_take(struct headstart *h, const struct source *source, uint64_t *bytes);
/* Stops it and removes what was not taken. Waits likewise. Accepts NULL. */
void headstart_end(struct headstart *h);

#endif
