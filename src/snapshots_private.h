/* SPDX-License-Identifier: MIT */
/* snapshots_private.h - between the snapshots*.c; nobody else includes it. */
#ifndef SQLSNAP_SNAPSHOTS_PRIVATE_H
#define SQLSNAP_SNAPSHOTS_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "instant.h"
#include "keep.h"
#include "snapshots.h"

struct snapshot_db {
	struct keep *keep; /* owned */
	unsigned cloned;   /* the image whose blocks are in it; 0: none, see source_gen_clone() */
};

/* Why a snapshot is not written completely. */
enum snapshot_end {
	SNAPSHOT_WANTED,  /* it is */
	SNAPSHOT_DROPPED, /* by rmdir(2) */
	SNAPSHOT_LATE,	  /* the mount ends, and there is no time left */
};

struct snapshot {
	struct list link; /* in the queue; guarded by its lock, as PUBLISHING and OVER */
	struct snapshots *snapshots;
	struct instant instant;
	struct snapshot_db *dbs;       /* owned, one per database of the instant, */
	struct kept_pending *pendings; /* and so are these */
	char name[KEEP_NAME_MAX + 1];
	bool publishing;       /* it is too late to give it up */
	bool over;	       /* it is being finished */
	atomic_int given_up;   /* enum snapshot_end; set under the queue's lock */
	_Atomic uint64_t done; /* bytes */
	uint64_t total;
};

#define SNAPSHOTS_LOST_MAX 20 /* names that are remembered */

struct snapshot_lost {
	int64_t time_ns; /* CLOCK_REALTIME; 0: none */
	char name[KEEP_NAME_MAX + 1];
	char why[sizeof(struct snap_err)];
};

struct snapshots {
	struct core *core; /* borrowed, as the next two */
	struct tree *tree;
	struct kept_tree *kept;

	pthread_mutex_t lock; /* before kept->lock; guards all below */
	pthread_cond_t changed;
	struct list queue;	  /* in the order in which they were taken */
	struct snapshot *current; /* the one being written; NULL: none */
	bool writing;		  /* a thread is writing */
	bool ending;
	struct snapshot_lost lost[SNAPSHOTS_LOST_MAX]; /* in no order, each name once */
};

/* Writes all that are in the queue. For work.h: ARG is the struct snapshots. */
void snapshots_write(void *arg);

/* ---- snapshots_lost.c ---- */
/* The snapshot NAME was shown and is lost: remembers that until snapshots_forget_lost(). */
void snapshots_note_lost(struct snapshots *s, const char *name, const char *why);

/* Gives the snapshot up unless it was published. It is not shown. */
void snapshot_finish(struct snapshot *snapshot);

#endif
