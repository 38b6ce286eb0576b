/* SPDX-License-Identifier: MIT */
/*
 * redirect.h - who is to be led where. An OPEN whose generation cannot be had answers ESTALE; the kernel then
 * retries the whole open once, from the same thread, and looks the name up again. That LOOKUP must lead to
 * the generation that was bound meanwhile, even if the database has moved on: the kernel retries only once.
 * A later open must not: it is to see what was committed before it. So an entry goes with the open that it
 * was made for, and also when it turns out that the kernel has not looked the name up again: what is opened
 * by /proc/PID/fd has no name.
 *
 * A thread is known by its id as FUSE tells it; callers in another pid namespace all have 0 and share what
 * they are led to, until as many have arrived as were led, and for a shorter time.
 */
#ifndef SQLSNAPFS_REDIRECT_H
#define SQLSNAPFS_REDIRECT_H

#include <pthread.h>

#include "../src/sqlsnap.h"

#define REDIRECT_MAX 64

struct redirect_entry {
	struct snap_gen *gen; /* a reference; NULL: free */
	pid_t tid;
	uint64_t parent;
	char *name;	  /* owned */
	bool followed;	  /* the name was looked up since */
	unsigned waiting; /* opens that are led here, 1 unless TID is 0 */
	int64_t until;	  /* CLOCK_MONOTONIC, nanoseconds */
};

struct redirects {
	pthread_mutex_t lock;
	struct redirect_entry entries[REDIRECT_MAX];
};

void redirects_init(struct redirects *r);
void redirects_finish(struct redirects *r);

/* From now on TID's look at NAME in PARENT leads to GEN, unless an earlier one of the same thread was not
 * followed, which goes. A failure (no memory) only costs the caller an ESTALE. */
void redirect_add(struct redirects *r, pid_t tid, uint64_t parent, const char *name, struct snap_gen *gen);
/* A reference to the generation, NULL when there is none. */
struct snap_gen *redirect_find(struct redirects *r, pid_t tid, uint64_t parent, const char *name);
/* TID has opened GEN, or has tried to: whether it had been led there. */
bool redirect_drop(struct redirects *r, pid_t tid, const struct snap_gen *gen);

#endif
