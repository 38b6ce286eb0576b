/* SPDX-License-Identifier: MIT */
/*
 * tombstones.h - databases that a process has removed. Nothing is really removed: many tools unlink a file
 * before they rewrite it (tar, borg, install, mv). So the name is hidden from that process until it writes
 * the file, for ten seconds at most. Everybody else, above all a backup that runs meanwhile, still sees the
 * database.
 *
 * With -o hide_databases it is the other way round: names are hidden from everybody, and the table holds the
 * processes to which each is shown: those that have written it, from then on.
 */
#ifndef SQLSNAPFS_TOMBSTONES_H
#define SQLSNAPFS_TOMBSTONES_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "node.h"

#define TOMBSTONES_MAX 256
#define TOMBSTONES_SHOWN_MAX 16384 /* with hide_databases */
#define TOMBSTONE_NS 10000000000ll

struct tombstone {
	pid_t tgid;	 /* 0: free */
	uint64_t parent; /* a folder's nodeid, which is held */
	char *name;	 /* owned */
	int64_t until;	 /* CLOCK_MONOTONIC */
};

struct tombstones {
	pthread_mutex_t lock;
	bool all;		   /* constant: names are hidden, and an entry shows one */
	struct node_holder holder; /* set before the first entry is made; called under the lock */
	struct tombstone *entries; /* owned */
	size_t count;		   /* of ENTRIES, free ones too */
};

/* ALL: every name is hidden from the start, from everybody. */
void tombstones_init(struct tombstones *t, bool all);
void tombstones_finish(struct tombstones *t);

/* Hides NAME in PARENT from TGID. With TOMBSTONES_MAX entries the oldest is replaced. -ENOMEM */
int tombstone_add(struct tombstones *t, pid_t tgid, uint64_t parent, const char *name);
/* Shows it to TGID again; returns whether it was hidden. With ALL this makes an entry, which replaces those
 * of processes that have ended, and the oldest if there are TOMBSTONES_SHOWN_MAX. */
bool tombstone_remove(struct tombstones *t, pid_t tgid, uint64_t parent, const char *name);
/* Whether it is hidden from the process of thread TID, which is looked up only if that decides. A thread
 * that cannot be looked at counts as one without an entry. */
bool tombstone_hides(struct tombstones *t, pid_t tid, uint64_t parent, const char *name);

#endif
