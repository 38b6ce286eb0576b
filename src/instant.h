/* SPDX-License-Identifier: MIT */
/*
 * instant.h - all databases of a mount as of one instant: an opened generation of each.
 *
 * First every database is held (source_hold.h). Then the headers of those in WAL mode are read twice. If no
 * header has changed between the two rounds, every database was in the version that its header names at the
 * moment between them: that moment is the instant. Rollback-journal databases are under SHARED at that
 * moment, and are copied under it as long as that takes no more than a quarter of a second in all. One that
 * takes longer is exact if nobody has committed to it meanwhile, which its counters tell. For the others
 * APART_NS says how far from the instant they can be.
 */
#ifndef SQLSNAP_INSTANT_H
#define SQLSNAP_INSTANT_H

#include "sources.h"
#include "tree.h"

struct instant_db {
	char *path;	       /* owned: in the mount */
	struct source *source; /* a reference */
	struct snap_attr attr; /* of the live file, as it was looked up */
	struct snap_gen *gen;  /* opened, a reference */
};

struct instant {
	struct instant_db *dbs; /* owned; in the order of their paths */
	size_t count;
	int64_t at_ns;	  /* CLOCK_REALTIME */
	int64_t apart_ns; /* 0: all are exact */
};

#define INSTANT_FINDS 5
#define INSTANT_INIT ((struct instant){.dbs = NULL})

/*
 * Finds the existing databases of TREE, each once, except those below the folder WITHOUT (absolute; NULL:
 * none). Opens none. The caller must call instant_finish() on *OUT, also after a failure. Anything that would
 * be missing silently is a failure, and ERR names it: -EXDEV for another mount, -EACCES and the like for what
 * cannot be read and may be a database, -ENOENT for a named one that is not there, -EIO for one that the
 * store remembers as a database but that is now another file, or empty (for a second: an application may be
 * about to recreate it).
 */
int instant_find(struct instant *out, struct core *core, struct tree *tree, const char *without,
		 struct snap_err *err);

/* Opens all of them as of one instant. -EBUSY: writers left no such moment. Else the error of snap_gen_open()
 * for one of them, which ERR names. -ENOENT: it is gone since it was found, and the caller must find all of
 * them again, INSTANT_FINDS times at most. Waits as long as snap_gen_open() may for each. */
int instant_open(struct instant *instant, struct snap_err *err);

/* RC, with a message that names DB and has the text of WHY, or that of RC. */
int instant_failed(const struct instant_db *db, int rc, const struct snap_err *why, struct snap_err *err);

void instant_finish(struct instant *instant);

#endif
