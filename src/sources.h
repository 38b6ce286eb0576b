/* SPDX-License-Identifier: MIT */
/*
 * sources.h - the sources of one mount, by their places.
 *
 * What must stay true: a source stays in the table as long as anything refers to it, so that all readers of a
 * database share its pins.
 */
#ifndef SQLSNAP_SOURCES_H
#define SQLSNAP_SOURCES_H

#include "source.h"

#define SOURCES_BUCKETS 1024u /* of the table, which place_hash() picks */

struct sources;

/* An empty table for the sources of CORE, which must outlive it. 0 or -ENOMEM. */
int sources_create(struct sources **out, struct core *core);
/* Shuts down every source with source_shutdown(). The janitor has ended. Accepts NULL. */
void sources_destroy(struct sources *sources);

/* The source at PLACE, created if there is none: a reference. 0 or -errno. */
int sources_get(struct sources *sources, const struct place *place, struct source **out);

/* Calls FN, under no lock, with every source, until it answers something other than 0, which is returned. */
int sources_each(struct sources *sources, int (*fn)(void *arg, struct source *source), void *arg);

/* Shuts down and removes the sources that nobody refers to any more. */
void sources_forget_unused(struct sources *sources);

#endif
