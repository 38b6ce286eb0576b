/* SPDX-License-Identifier: MIT */
/*
 * looks.h - looks that came too soon. A look at a database in WAL mode connects to it on another thread, for
 * which it waits 50 ms at most. On a busy machine it does without, and sees the size of the database file
 * instead of that of the WAL's last commit; an open then finds another generation, or has to wait. Where a
 * test goes on from what a look has seen, it has to look again then.
 */
#ifndef SQLSNAP_TEST_LOOKS_H
#define SQLSNAP_TEST_LOOKS_H

#include <stdbool.h>

#include "../../src/cleanup.h"
#include "../../src/source.h"

/* Whether the last look that returned GEN saw that there is a WAL, but not what is in it. */
static inline bool looked_too_soon(struct snap_gen *gen)
{
	lock_scope(&gen->source->lock);
	return gen->version.wal.size > 0 && !gen->version.has_header;
}

#endif
