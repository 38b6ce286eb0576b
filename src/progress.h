/* SPDX-License-Identifier: MIT */
/* progress.h - updating a struct snap_progress, which may be NULL: then nobody looks. */
#ifndef SQLSNAP_PROGRESS_H
#define SQLSNAP_PROGRESS_H

#include <stdatomic.h>
#include <stddef.h>

#include "sqlsnap.h"

/* A phase of TOTAL bytes (0: not known) begins; STEPS long phases are over. */
static inline void progress_begin(struct snap_progress *p, enum snap_phase phase, int steps, uint64_t total)
{
	if (!p)
		return;
	atomic_store(&p->total, 0);
	atomic_store(&p->steps, steps);
	atomic_store(&p->done, 0);
	atomic_store(&p->total, total);
	atomic_store(&p->phase, (int)phase);
}

/* STEPS long phases are over, and the next has not begun. */
static inline void progress_over(struct snap_progress *p, int steps)
{
	if (!p)
		return;
	atomic_store(&p->total, 0);
	atomic_store(&p->done, 0);
	atomic_store(&p->steps, steps);
}

/* A phase begins that has no bytes or steps of its own. */
static inline void progress_wait(struct snap_progress *p, enum snap_phase phase)
{
	if (p)
		atomic_store(&p->phase, (int)phase);
}

static inline void progress_add(struct snap_progress *p, uint64_t bytes)
{
	if (p)
		atomic_fetch_add(&p->done, bytes);
}

/* Sets the bytes done to DONE, if that is more than before. For one thread. */
static inline void progress_reach(struct snap_progress *p, uint64_t done)
{
	if (p && done > atomic_load(&p->done))
		atomic_store(&p->done, done);
}

#endif
