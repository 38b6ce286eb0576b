/* SPDX-License-Identifier: MIT */
/* snap_private.h - the context, for the files that implement sqlsnap.h, and for headstart.c; nobody else
 * includes it. */
#ifndef SQLSNAP_SNAP_PRIVATE_H
#define SQLSNAP_SNAP_PRIVATE_H

#include "frozen.h"
#include "janitor.h"
#include "kept_tree.h"
#include "snapshots.h"
#include "sources.h"
#include "tree.h"

struct snap {
	struct core core;
	struct janitor janitor;
	struct tree *tree;	     /* owned, as the next */
	struct kept_tree *kept;	     /* .sqlsnapfs/snapshots */
	struct snapshots *snapshots; /* snapshots that are being made */
	struct frozen *frozen;	     /* -o frozen: constant once the first request is served; else NULL */
	bool has_mountpoint;
};

/*
 * Cleans the store on its own thread if that is due: at the start, and in a janitor round once a day has
 * passed. Removes what killed daemons left, and the records of databases that are gone (store_forget()). NOW:
 * CLOCK_MONOTONIC. Returns 0 also if it is not due, else an error of work_submit(); the next try is then a
 * day later.
 */
int snap_tidy_store(struct snap *snap, int64_t now);

#endif
