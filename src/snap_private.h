/* SPDX-License-Identifier: MIT */
/* snap_private.h - the context, for the files that implement sqlsnap.h, and for headstart.c; nobody else
 * includes it. */
#ifndef SQLSNAP_SNAP_PRIVATE_H
#define SQLSNAP_SNAP_PRIVATE_H

#include "frozen.h"
#include "kept_tree.h"
#include "snapshots.h"
#include "sources.h"
#include "tree.h"

struct snap {
	struct core core;
	struct tree *tree;	     /* owned, as the next */
	struct kept_tree *kept;	     /* .sqlsnapfs/snapshots */
	struct snapshots *snapshots; /* snapshots that are being made */
	struct frozen *frozen;	     /* -o frozen: constant once the first request is served; else NULL */
	bool has_mountpoint;
};

#endif
