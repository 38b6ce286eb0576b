/* SPDX-License-Identifier: MIT */
/*
 * frozen.h - -o frozen: as long as the mount lasts, it shows every database as of one instant during the
 * start (instant.h). Databases created later are not shown; removed ones stay. A generation of each is held
 * open, and only what the bounds on the WAL require is copied. Other files are shown as they are.
 */
#ifndef SQLSNAP_FROZEN_H
#define SQLSNAP_FROZEN_H

#include "instant.h"

struct frozen;

/* Takes the instant. CORE and TREE are borrowed. The errors of instant_open(). */
int frozen_create(struct frozen **out, struct core *core, struct tree *tree, struct snap_err *err);
void frozen_destroy(struct frozen *frozen); /* accepts NULL */

/* The database at PATH: 0 with its attributes and (GEN not NULL) a reference to its generation. -ENOENT */
int frozen_look(struct frozen *frozen, const char *path, struct snap_attr *attr, struct snap_gen **gen);
/* The same for FOUND, a database that a link leads to. */
int frozen_look_found(struct frozen *frozen, const struct tree_found *found, struct snap_attr *attr,
		      struct snap_gen **gen);
/* Changes LIST, the live entries of the folder PATH, into those of the frozen mount. -ENOMEM */
int frozen_list(struct frozen *frozen, const char *path, struct tree_list *list);

#endif
