/* SPDX-License-Identifier: MIT */
/*
 * redirect.h - which thread is led to which generation. An OPEN whose generation is not available answers
 * ESTALE. The kernel then repeats the whole open once, from the same thread, and looks up the name again.
 * That LOOKUP must lead to the generation that was bound meanwhile, even if the database has moved on,
 * because the kernel retries only once. A later open must not be led there, because it must see what was
 * committed before it. So an entry is removed after the open that it was made for, and also when it turns out
 * that the kernel has not looked up the name again, as for /proc/PID/fd/N, which has no name.
 *
 * A thread is known by its id as FUSE gives it. Callers in another pid namespace all have id 0 and share
 * their entries, which stay until as many opens have arrived as were led there, but for a shorter time.
 */
#ifndef SQLSNAPFS_REDIRECT_H
#define SQLSNAPFS_REDIRECT_H

#include <pthread.h>

#include "../src/sqlsnap.h"

#define REDIRECT_MAX 256 /* twice as many as may wait in an open (SNAP_DEFER_MAX) */

struct redirect_entry {
	struct snap_gen *gen; /* a reference; NULL: free */
	pid_t tid;
	uint64_t parent;
	char *name;	  /* owned */
	bool followed;	  /* the name has been looked up since */
	unsigned waiting; /* opens that are led here, 1 unless TID is 0 */
	int64_t until;	  /* CLOCK_MONOTONIC, nanoseconds */
};

struct redirects {
	pthread_mutex_t lock;
	struct redirect_entry entries[REDIRECT_MAX];
};

void redirects_init(struct redirects *r);
void redirects_finish(struct redirects *r);

/* Leads TID's next lookup of NAME in PARENT to GEN. If an earlier entry of the same thread was not followed,
 * only removes that one. Does nothing without memory: the caller then gets ESTALE. */
void redirect_add(struct redirects *r, pid_t tid, uint64_t parent, const char *name, struct snap_gen *gen);
/* A reference to the generation, NULL when there is none. */
struct snap_gen *redirect_find(struct redirects *r, pid_t tid, uint64_t parent, const char *name);
/* To be called when TID has opened GEN, or tried to. Returns whether it had been led there. */
bool redirect_drop(struct redirects *r, pid_t tid, const struct snap_gen *gen);

#endif
