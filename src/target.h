/* SPDX-License-Identifier: MIT */
/*
 * target.h - what writing to a name of the tree would be: the restore of a database, a scratch file, or
 * nothing that is done here.
 *
 * A name is a database's when one stands there, when it was given as one, and when one stood there: the store
 * remembers which a mount has ever opened, so that deleted, empty and garbage live files can be restored.
 */
#ifndef SQLSNAP_TARGET_H
#define SQLSNAP_TARGET_H

#include "store.h"
#include "tree.h"

/* Where the database of a name stands, or stood. */
struct target {
	enum snap_name kind;
	struct place place; /* SNAP_NAME_DATABASE: owned */
};

#define TARGET_INIT ((struct target){.place = PLACE_INIT})
void target_finish(struct target *target);

/* With SNAP_NAME_OTHER and SNAP_NAME_SIDECAR ERR says why not, and names the databases that there are. -errno
 * when it cannot be told. */
int target_find(struct tree *tree, struct store *store, const char *path, struct target *out,
		struct snap_err *err);

/* Whether tools make names like this one for a moment; pure. A database's name with something behind it is
 * one too, which target_find() looks for. */
bool target_is_temporary(const char *name);

#endif
