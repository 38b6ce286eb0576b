/* SPDX-License-Identifier: MIT */
/*
 * jobs.h - limits the jobs of each user on the library's threads. A job may wait for a database, so no user
 * may take so many threads that others can neither open nor restore. No FUSE calls.
 */
#ifndef SQLSNAPFS_JOBS_H
#define SQLSNAPFS_JOBS_H

#include <pthread.h>
#include <stddef.h>
#include <sys/types.h>

#include "../src/sqlsnap.h"

#define JOBS_EACH ((size_t)SNAP_DEFER_MAX / 4) /* running for one user, except root and whoever mounted */
#define JOBS_OTHERS (3 * JOBS_EACH)	       /* and for all such users together */

/* The message for -EAGAIN. */
#define JOBS_TOO_MANY                                                                   \
	"too many opens and restores, of this user or of all, are waiting already, or " \
	"no thread can be started (pids.max)"

struct jobs {
	struct snap *snap;    /* borrowed */
	pthread_mutex_t lock; /* guards all below */
	size_t others;	      /* the sum of the counts */
	struct {
		uid_t uid;
		size_t count; /* 0: a free place */
	} users[JOBS_OTHERS];
};

void jobs_init(struct jobs *jobs, struct snap *snap);
void jobs_finish(struct jobs *jobs); /* once no job is running */

/* Runs FN for UID on a thread as snap_defer() does, with a copy of the SIZE bytes of ARG, which is freed when
 * FN returns. -EAGAIN: too many jobs are running: in total, for UID, or for all users other than root and the
 * user who mounted; -ENOMEM. */
int jobs_run(struct jobs *jobs, uid_t uid, void (*fn)(void *arg), const void *arg, size_t size);

#endif
