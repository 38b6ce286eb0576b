/* SPDX-License-Identifier: MIT */
/*
 * tombs.h - databases that a process has removed. Nothing is removed: many tools unlink a file before they
 * write it anew (tar, borg, install, mv), so the name is hidden from that one process until it does, or ten
 * seconds; everybody else, above all a backup that runs meanwhile, goes on seeing the database.
 */
#ifndef SQLSNAPFS_TOMBS_H
#define SQLSNAPFS_TOMBS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define TOMBS_MAX 256
#define TOMB_NS 10000000000ll

struct tomb {
	pid_t tgid; /* 0: free */
	uint64_t parent;
	char *name;    /* owned */
	int64_t until; /* CLOCK_MONOTONIC */
};

struct tombs {
	pthread_mutex_t lock;
	struct tomb entries[TOMBS_MAX];
};

void tombs_init(struct tombs *t);
void tombs_finish(struct tombs *t);

/* Hides NAME in PARENT from TGID. -ENOMEM; what is hidden longest gives way when all are taken. */
int tomb_add(struct tombs *t, pid_t tgid, uint64_t parent, const char *name);
/* Shows it again; whether it was hidden. */
bool tomb_remove(struct tombs *t, pid_t tgid, uint64_t parent, const char *name);
/* Whether it is hidden from the process of thread TID, which is looked up only when it is from somebody. */
bool tomb_hides(struct tombs *t, pid_t tid, uint64_t parent, const char *name);

#endif
