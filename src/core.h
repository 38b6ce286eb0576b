/* SPDX-License-Identifier: MIT */
/* core.h - what all sources of one mount share. Made by snap.c, reached through each source. */
#ifndef SQLSNAP_CORE_H
#define SQLSNAP_CORE_H

#include <pthread.h>
#include <stdatomic.h>

#include "foldertimes.h"
#include "proclocks.h"
#include "rawfd.h"
#include "sqlsnap.h"
#include "store.h"
#include "work.h"

struct core {
	struct snap_config config; /* STORE is not used: see the field below */
	struct rawfd_table *raw;   /* owned, as the next five */
	struct proclocks *locks;
	struct foldertimes *folders;
	struct work *work;
	struct store *store;
	struct sources *sources;
	atomic_int connected;  /* incarnations with an open connection */
	atomic_int headstarts; /* that have begun and not ended (headstart.h) */
	_Atomic uint64_t ids;  /* the last generation number given out */
	_Atomic uint64_t incarnations;
	_Atomic int64_t tidy_at; /* CLOCK_MONOTONIC: when the store is next scanned; 0: at once */
	atomic_bool hurry;	 /* some WAL is near its limit: the janitor's next round comes sooner */

	pthread_mutex_t lock; /* guards the two below */
	pthread_cond_t changed;
	bool awake; /* some source is connected or holds an image: the janitor runs its rounds */
	bool ending;
};

/* Closes every connection that nobody reads through; for when file descriptors have run out. */
void core_shed(struct core *core);

/* Discards the uploaded bytes that restores left in the store to be shown; for when the store is full. */
void core_make_room(struct core *core);

/* Wakes the janitor. Cheap if it is awake already. */
void core_wake(struct core *core);

/* Whether the mount is ending, so that long work in the background is to be given up. */
bool core_is_ending(struct core *core);

/* Reports to the configuration's event function. Call it with no lock held. */
void core_event(const struct core *core, enum snap_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
