/* SPDX-License-Identifier: MIT */
/*
 * snapshots.h - snapshots by mkdir: all databases of the mount as of one instant (instant.h), shown at once
 * (kept_tree.h) and written to the store afterwards, one snapshot after the other.
 *
 * The steps of a snapshot:
 *  1. For each database, a partial snapshot is begun in the store and the name is reserved (keep.h): from
 *     here on nobody else, in any daemon, can use it.
 *  2. The instant: a generation of each database is open.
 *  3. Space: the database is cloned where the file system can, else blocks are reserved. So ENOSPC is
 *     mkdir's error, and not the loss of a snapshot that somebody counts on.
 *  4. It is shown, and mkdir returns. Its files are read as generations are.
 *  5. The bytes are written, sealed, and published as a group: all or nothing. The generations then read what
 *     was written, and release their pins.
 *  6. The store shows it. It is no longer known here.
 * A daemon that dies before 5 is done, or has no time left for it, leaves files that the next start removes
 * and reports: snapshots_tell_killed().
 */
#ifndef SQLSNAP_SNAPSHOTS_H
#define SQLSNAP_SNAPSHOTS_H

#include "core.h"
#include "kept_tree.h"
#include "tree.h"

struct snapshots;

/* All are borrowed. -ENOMEM */
int snapshots_create(struct snapshots **out, struct core *core, struct tree *tree, struct kept_tree *kept);
/* Waits until everything is written, for PATIENCE_MS at most; then gives up what is not published. Accepts
 * NULL. */
void snapshots_stop(struct snapshots *snapshots, int64_t patience_ms);
void snapshots_destroy(struct snapshots *snapshots); /* accepts NULL; gives up what is being written */

/* See snap_kept_make(). */
int snapshots_take(struct snapshots *snapshots, const char *name, struct snap_err *err);

/* Gives up the snapshot NAME while it is being written. 0: it is gone, and the name is free; -ENOENT: there
 * is none, or it was published before. */
int snapshots_drop(struct snapshots *snapshots, const char *name);

/* See snap_each_pending(). */
void snapshots_each(struct snapshots *snapshots,
		    void (*fn)(void *arg, const struct snap_pending_facts *facts), void *arg);

/* Reports that a killed daemon left the snapshot NAME of SOURCE (NULL: unknown) unfinished: one event for
 * each name, whatever the number of its sources. */
void snapshots_tell_killed(struct snapshots *snapshots, const char *name, const char *source);
/* Reports likewise that what the store has of NAME, in FOLDER, is damaged and not shown. */
void snapshots_tell_damaged(struct snapshots *snapshots, const char *name, const char *folder);
/* A snapshot of that name was written since, or the rest of it was dropped: its loss is no longer
 * reported. */
void snapshots_forget_lost(struct snapshots *snapshots, const char *name);
/* See snap_each_lost(). */
void snapshots_each_lost(struct snapshots *snapshots,
			 void (*fn)(void *arg, const struct snap_lost_facts *facts), void *arg);

#endif
