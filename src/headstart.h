/* SPDX-License-Identifier: MIT */
/*
 * headstart.h - copies the database that an upload is about to replace while the upload is still arriving.
 *
 * Nothing depends on it. It reads the database file as it stands, without a lock and without the WAL, so
 * neither applications nor checkpoints wait, however slow the upload is. The copy need not be consistent:
 * restore_copy.c corrects it, and need not write what is already right.
 *
 * No headstart is made where it would not help or could do harm: if no snapshot is to be kept; if the file is
 * small or can be cloned; if the store lacks space for the copy, for the upload and for as much again. If
 * space runs out meanwhile, the headstart is abandoned and its copy removed: the transaction and
 * STORE_RESERVE take precedence. The number of headstarts is limited, whoever uploads, because each occupies
 * a thread that opens and restores may be waiting for.
 */
#ifndef SQLSNAP_HEADSTART_H
#define SQLSNAP_HEADSTART_H

#include "keep.h"
#include "snap_private.h"

#define HEADSTART_MIN (4u << 20) /* bytes of database and of upload from which it is worthwhile */
#define HEADSTARTS_MAX 4	 /* in one mount, until they are ended */

struct headstart;

/* Begins a headstart for the database at PATH, on its own thread. The caller owns *OUT and must end it.
 * -ENOMEM; -EAGAIN: no thread is available, or there are HEADSTARTS_MAX. */
int headstart_begin(struct headstart **out, struct snap *snap, const char *path);
/*
 * Stops it and returns the snapshot that it began, owned by the caller; its name is a placeholder
 * (keep_retitle()), and its first *BYTES bytes hold data. NULL: there is none for SOURCE, or it was already
 * taken. Waits for a read or write in progress. H may be NULL.
 */
struct keep *headstart_take(struct headstart *h, const struct source *source, uint64_t *bytes);
/* Stops it and removes what was not taken. Waits in the same way. Accepts NULL. */
void headstart_end(struct headstart *h);

#endif
