/* SPDX-License-Identifier: MIT */
/*
 * snapshots.h - snapshots by mkdir: all databases of the mount as of one instant (instant.h), shown at once
 * (kept_tree.h) and written to the store behind, one snapshot after the other.
 *
 * The way of one:
 *  1. For each database a partial one is begun in the store and the name is reserved (keep.h): from here on
 *     it is nobody else's, in no daemon.
 *  2. The instant: each has a generation that is open.
 *  3. Room: cloned where the file system can, else the blocks are set aside. So ENOSPC is mkdir's answer, and
 *     not what becomes of a snapshot that somebody counts on.
 *  4. It is shown, and mkdir returns. Its files are read as generations are.
 *  5. The bytes are written, sealed, and published as a group: whole, or not there. The generations go on
 *     with what was written, which lets go of their pins.
 *  6. The store shows it. It is no longer known here.
 * A daemon that dies before 5 is done, or has no time left for it, leaves what the next start removes, and
 * tells: snapshots_tell_killed().
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
/* Reports likewise that what the store has of NAME, in FOLDER, is damaged, and not shown. */
void snapshots_tell_damaged(struct snapshots *snapshots, const char *name, const char *folder);
/* A snapshot of that name was written since, or what was left of it was dropped: nobody need hear of it any
 * more. */
void snapshots_forget_lost(struct snapshots *snapshots, const char *name);
/* See snap_each_lost(). */
void snapshots_each_lost(struct snapshots *snapshots,
			 void (*fn)(void *arg, const struct snap_lost_facts *facts), void *arg);

#endif
