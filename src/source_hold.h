/* SPDX-License-Identifier: MIT */
/*
 * source_hold.h - holds a live database still for a moment, until it is known which of their versions
 * several databases had at one instant (instant.h). Then the hold becomes an opened generation.
 *
 * In WAL mode a hold is a pin: commits go on, and any version committed since can still be chosen. In
 * rollback-journal mode it is SHARED: nobody commits, so there is one version. What cannot be held (a hot
 * journal, an unreliable wal-index, a file that nobody may connect to, 0 bytes) is opened at once, as any
 * reader would open it.
 */
#ifndef SQLSNAP_SOURCE_HOLD_H
#define SQLSNAP_SOURCE_HOLD_H

#include "source.h"

enum hold_kind {
	HOLD_NONE,
	HOLD_WAL,
	HOLD_ROLLBACK,
	HOLD_OPENED,
};

struct hold {
	enum hold_kind kind;
	struct source *source; /* borrowed */
	struct live *live;     /* a reference; HOLD_WAL and HOLD_ROLLBACK, as the next two */
	struct conn *conn;     /* owned */
	struct sample sample;  /* stat(2) before it began */
	int64_t since;	       /* CLOCK_MONOTONIC before that */
	struct header header;  /* HOLD_ROLLBACK: the database's */
	struct snap_gen *gen;  /* opened, a reference; HOLD_OPENED, which every hold becomes in the end */
};

/* Begins a hold. May take as long as snap_gen_open(), with the same errors. */
int hold_begin(struct hold *hold, struct source *source, struct snap_err *err);

/* HOLD_WAL: the live header: 0, a wal_answer, -ENXIO. Nanoseconds. */
int hold_sample(struct hold *hold, struct wal_header *out);

/* Lets writers in (HOLD_ROLLBACK): what is opened later may be another version. */
void hold_yield(struct hold *hold);
bool hold_is_yielded(const struct hold *hold);
/* Holds it again, in its current version, unless somebody else has it locked until DEADLINE
 * (CLOCK_MONOTONIC). */
void hold_resume(struct hold *hold, int64_t deadline);

/*
 * Turns a hold into an opened generation; in WAL mode, of the version with header AT. *MISSED: it may be
 * another version than the one that was held. After a failure hold_finish() is still due; -EAGAIN: its bytes
 * were lost meanwhile, and a new hold may succeed.
 */
int hold_open(struct hold *hold, const struct wal_header *at, bool *missed, struct snap_err *err);

/* Releases everything, the generation included. */
void hold_finish(struct hold *hold);

#endif
