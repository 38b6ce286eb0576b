/* SPDX-License-Identifier: MIT */
/* shots_private.h - between shots.c and shots_write.c; nobody else includes it. */
#ifndef SQLSNAP_SHOTS_PRIVATE_H
#define SQLSNAP_SHOTS_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "instant.h"
#include "keep.h"
#include "shots.h"

struct shot_db {
	struct keep *keep; /* owned */
	unsigned cloned;   /* the image whose blocks are in it; 0: none, see source_gen_clone() */
};

struct shot {
	struct list link; /* of the queue; guarded by its lock, as PUBLISHING and OVER */
	struct shots *shots;
	struct instant instant;
	struct shot_db *dbs;	       /* owned, as many as the instant has, */
	struct kept_pending *pendings; /* and as these */
	char name[KEEP_NAME_MAX + 1];
	bool publishing;       /* it is too late to give it up */
	bool over;	       /* it is being finished */
	atomic_bool cancelled; /* nobody wants it any more, */
	atomic_bool late;      /* or there is no time left to write it */
	_Atomic uint64_t done; /* bytes */
	uint64_t total;
};

#define SHOTS_LOST_MAX 20 /* names that are remembered */

struct shot_lost {
	int64_t time_ns; /* CLOCK_REALTIME; 0: none */
	char name[KEEP_NAME_MAX + 1];
	char why[sizeof(struct snap_err)];
};

struct shots {
	struct core *core; /* borrowed, as the next two */
	struct tree *tree;
	struct kept_tree *kept;

	pthread_mutex_t lock; /* before kept->lock; guards all below */
	pthread_cond_t changed;
	struct list queue;    /* in the order in which they were taken */
	struct shot *current; /* that is written now; NULL: none */
	bool writing;	      /* a thread is at it */
	bool ending;
	struct shot_lost lost[SHOTS_LOST_MAX]; /* in no order, each name once */
};

/* Writes all that are in the queue. For work.h: ARG is the struct shots. */
void shots_write(void *arg);

/* ---- shots_lost.c ---- */
/* That the snapshot NAME was shown and is lost, and that one of that name was written since. */
void shots_note_lost(struct shots *s, const char *name, const char *why);
void shots_note_written(struct shots *s, const char *name);

/* Gives it up unless it was published. It is not shown. */
void shot_finish(struct shot *shot);

#endif
