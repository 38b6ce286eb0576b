/* SPDX-License-Identifier: MIT */
/*
 * frozen.h - -o frozen: every database of the mount is, as long as it is mounted, what it was at one instant
 * of its start (instant.h). Databases that come later are not there; those that go, stay. Nothing is copied
 * but what bounds on WAL make necessary: a generation of each is held open. Other files are as they are.
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
/* The same of what PATH leads to by a link: FOUND is a database. */
int frozen_look_found(struct frozen *frozen, const struct tree_found *found, struct snap_attr *attr,
		      struct snap_gen **gen);
/* Makes LIST, the entries of the folder PATH, what they are here. -ENOMEM */
int frozen_list(struct frozen *frozen, const char *path, struct tree_list *list);

#endif
