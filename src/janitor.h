/* SPDX-License-Identifier: MIT */
/*
 * janitor.h - the thread that does the periodic work of one mount: it tends its sources, forgets those that
 * nobody refers to any more, has the store cleaned, and gives unused memory back.
 *
 * What must stay true: it sleeps while no source needs tending.
 */
#ifndef SQLSNAP_JANITOR_H
#define SQLSNAP_JANITOR_H

#include <pthread.h>
#include <stdbool.h>

struct snap;

struct janitor {
	bool runs;
	pthread_t thread;
};

/* Starts the thread of SNAP: 0 or -errno. */
int janitor_start(struct janitor *janitor, struct snap *snap);
/* Ends it permanently; returns when it has ended. Also for one that was never started. */
void janitor_stop(struct janitor *janitor, struct snap *snap);

#endif
