/* SPDX-License-Identifier: MIT */
/*
 * refusals.h - which refusals to log, because their errno says too little: one of each kind per process, or
 * per minute, so that a tool that tries a thousand names gets one line. No FUSE calls.
 */
#ifndef SQLSNAPFS_REFUSALS_H
#define SQLSNAPFS_REFUSALS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum refusal {
	REFUSAL_READ_ONLY, /* nothing is restored here */
	REFUSAL_PLAIN,	   /* only databases are written */
	REFUSAL_FOLDER,	   /* no folder is made here */
	REFUSAL_RENAME,	   /* a live database keeps its name */
	REFUSAL_HELD,	   /* nothing is written without its name */
	REFUSAL_KINDS,
};

#define REFUSALS_NS 60000000000ll
#define REFUSALS_MAX 20 /* of one kind in that time, over all processes */

struct refusals {
	pthread_mutex_t lock; /* guards all below */
	struct {
		pid_t tgid; /* who was told last */
		int64_t since;
		unsigned count;
	} told[REFUSAL_KINDS];
};

void refusals_init(struct refusals *all);
void refusals_finish(struct refusals *all);

/* Whether to log a refusal of KIND for process TGID (0: unknown). NOW: CLOCK_MONOTONIC nanoseconds. */
bool refusals_due(struct refusals *all, enum refusal kind, pid_t tgid, int64_t now);

#endif
