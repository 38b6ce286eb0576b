/* SPDX-License-Identifier: MIT */
/*
 * refusals.h - refusals that an errno says too little about, and the log the rest, once for each of their
 * kinds and process, or a minute: a tool that tries a thousand names has one line. No FUSE calls.
 */
#ifndef SQLSNAPFS_REFUSALS_H
#define SQLSNAPFS_REFUSALS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum refusal {
	REFUSAL_READ_ONLY, /* nothing is restored here */
	REFUSAL_PLAIN,	   /* what is no database is not written */
	REFUSAL_FOLDER,	   /* no folder is made here */
	REFUSAL_RENAME,	   /* a live database keeps its name */
	REFUSAL_KINDS,
};

#define REFUSALS_NS 60000000000ll
#define REFUSALS_MAX 20 /* of one kind in that time, whoever they are told */

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

/* Whether process TGID (0: unknown) is to be told of KIND. NOW: CLOCK_MONOTONIC nanoseconds. */
bool refusals_due(struct refusals *all, enum refusal kind, pid_t tgid, int64_t now);

#endif
