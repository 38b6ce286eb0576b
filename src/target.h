/* SPDX-License-Identifier: MIT */
/*
 * target.h - what a write to a name of the tree means: the restore of a database, a scratch file, or
 * something that is not possible here.
 *
 * A name is a database's if a database is there, if the name was given as one's, or if one was there before:
 * the store remembers every database that a mount has opened, so that deleted, empty and garbage live files
 * can be restored.
 */
#ifndef SQLSNAP_TARGET_H
#define SQLSNAP_TARGET_H

#include "store.h"
#include "tree.h"

/* Where a name's database is, or was. */
struct target {
	enum snap_name kind;
	struct place place; /* SNAP_NAME_DATABASE: owned */
};

#define TARGET_INIT ((struct target){.place = PLACE_INIT})
void target_finish(struct target *target);

/* For SNAP_NAME_OTHER and SNAP_NAME_SIDECAR ERR says why the name cannot be written, and names the databases
 * that exist. -errno: this could not be determined. */
int target_find(struct tree *tree, struct store *store, const char *path, struct target *out,
		struct snap_err *err);

/* Whether NAME looks like a temporary name as tools make them. Pure. A database's name with a suffix is
 * temporary, too, but only target_find() checks that. */
bool target_is_temporary(const char *name);

#endif
