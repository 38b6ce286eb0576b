/* SPDX-License-Identifier: MIT */
/* snap_private.h - the context, for the files that implement sqlsnap.h; nobody else includes it. */
#ifndef SQLSNAP_SNAP_PRIVATE_H
#define SQLSNAP_SNAP_PRIVATE_H

#include "kept_tree.h"
#include "sources.h"
#include "tree.h"

struct snap {
	struct core core;
	struct tree *tree;	/* owned, as the next */
	struct kept_tree *kept; /* .sqlsnapfs/snapshots */
	bool has_mountpoint;
};

#endif
