/* SPDX-License-Identifier: MIT */
/*
 * tombs.h - databases that a process has removed. Nothing is removed: many tools unlink a file before they
 * write it anew (tar, borg, install, mv), so the name is hidden from that one process until it does, or ten
 * seconds; everybody else, above all a backup that runs meanwhile, goes on seeing the database.
 *
 * With -o hide_databases the same the other way round: names are hidden from everybody, as if all had removed
 * them, and the table holds whom each is shown to: a process that has written it, from then on.
 */
#ifndef SQLSNAPFS_TOMBS_H
#define SQLSNAPFS_TOMBS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "node.h"

#define TOMBS_MAX 256
#define TOMBS_SHOWN_MAX 16384 /* with hide_databases */
#define TOMB_NS 10000000000ll

struct tomb {
	pid_t tgid;	 /* 0: free */
	uint64_t parent; /* a folder's nodeid, which is held */
	char *name;	 /* owned */
	int64_t until;	 /* CLOCK_MONOTONIC */
};

struct tombs {
	pthread_mutex_t lock;
	bool all;		   /* constant: an entry shows a name, which is hidden without one */
	struct node_holder holder; /* set before the first entry is made; called under the lock */
	struct tomb *entries;	   /* owned */
	size_t count;		   /* of ENTRIES, free ones too */
};

/* ALL: every name is hidden from the start, from everybody. */
void tombs_init(struct tombs *t, bool all);
void tombs_finish(struct tombs *t);

/* Hides NAME in PARENT from TGID. -ENOMEM; the oldest entry gives way when there are TOMBS_MAX. */
int tomb_add(struct tombs *t, pid_t tgid, uint64_t parent, const char *name);
/* Shows it again, to TGID; whether it was hidden. With ALL that needs an entry: those of processes that have
 * ended give way to it, and the oldest when there are TOMBS_SHOWN_MAX. */
bool tomb_remove(struct tombs *t, pid_t tgid, uint64_t parent, const char *name);
/* Whether it is hidden from the process of thread TID, which is looked up only when that decides. Whoever
 * cannot be looked at is taken for somebody whom no entry is about. */
bool tomb_hides(struct tombs *t, pid_t tid, uint64_t parent, const char *name);

#endif
