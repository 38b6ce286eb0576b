/* SPDX-License-Identifier: MIT */
/*
 * target.h - what writing to a name of the tree means: restoring a database, a scratch file, or nothing that
 * is possible here.
 *
 * A name is a database's if one stands there, if it was given as one, or if one stood there: the store
 * remembers every database that a mount has opened, so that deleted, empty and garbage live files can be
 * restored.
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

/* For SNAP_NAME_OTHER and SNAP_NAME_SIDECAR ERR says why the name cannot be written, and names the databases
 * that there are. -errno: it cannot be told. */
int target_find(struct tree *tree, struct store *store, const char *path, struct target *out,
		struct snap_err *err);

/* Whether NAME looks like a temporary one that tools make. Pure. A database's name with a suffix is
 * temporary, too, but only target_find() looks for that. */
bool target_is_temporary(const char *name);

#endif
