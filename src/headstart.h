/* SPDX-License-Identifier: MIT */
/*
 * headstart.h - copies what an upload is about to replace while the upload still arrives.
 *
 * Nothing depends on it. It reads the database file as it stands, without a lock and without the WAL, so no
 * application and no checkpoint waits, however slow the upload is. The copy need not be a consistent state:
 * restore_copy.c corrects it, and need not write what is right already.
 *
 * There is none where it would not help or could do harm: if no snapshot is to be kept; if the file is small
 * or can be cloned; if the store lacks room for it, for the upload and as much again. If the room runs out
 * meanwhile, it is given up and its copy removed: the transaction and STORE_RESERVE come first. Their number
 * is limited, whoever uploads, because each takes a thread that opens and restores may wait for.
 */
#ifndef SQLSNAP_HEADSTART_H
#define SQLSNAP_HEADSTART_H

#include "keep.h"
#include "snap_private.h"

#define HEADSTART_MIN (4u << 20) /* bytes of database and upload, from which on it is worth it */
#define HEADSTARTS_MAX 4	 /* in one mount, until they are ended */

struct headstart;

/* Begins one for the database at PATH, on a thread of its own. *OUT is the caller's, who must end it.
 * -ENOMEM; -EAGAIN: there is no thread, or there are HEADSTARTS_MAX. */
int headstart_begin(struct headstart **out, struct snap *snap, const char *path);
/*
 * Stops it and returns the snapshot that was begun, which is the caller's; its name is a placeholder
 * (keep_retitle()), and its first *BYTES bytes hold data. NULL: there is none of SOURCE, or it was taken
 * already. Waits for a read or write under way. H may be NULL.
 */
struct keep *headstart_take(struct headstart *h, const struct source *source, uint64_t *bytes);
/* Stops it and removes what was not taken. Waits in the same way. Accepts NULL. */
void headstart_end(struct headstart *h);

#endif
