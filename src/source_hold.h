/* SPDX-License-Identifier: MIT */
/*
 * source_hold.h - a live database held still for a moment, until it is known which of its versions several
 * databases have in common (instant.h). Then the hold becomes an opened generation.
 *
 * In WAL mode a hold is a pin: commits go on, and any of them that came since can still be chosen. In
 * rollback-journal mode it is SHARED: nobody commits, so there is one to choose. What cannot be held (hot
 * journals, a wal-index that is not to be relied on, a file that nobody may connect to, 0 bytes) is opened at
 * once, as any reader does.
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
	struct snap_gen *gen;  /* opened, a reference; HOLD_OPENED, and at the end of all */
};

/* Begins one: as long as snap_gen_open() may take. Its errors. */
int hold_begin(struct hold *hold, struct source *source, struct snap_err *err);

/* HOLD_WAL: the live header: 0, a wal_answer, -ENXIO. Nanoseconds. */
int hold_sample(struct hold *hold, struct wal_header *out);

/* Gives way to writers (HOLD_ROLLBACK): what is opened later may be another version. */
void hold_yield(struct hold *hold);
/* Holds it again, as it is now, unless somebody has it until the DEADLINE (CLOCK_MONOTONIC). */
void hold_resume(struct hold *hold, int64_t deadline);

/*
 * Ends a hold with an opened generation: of the header AT in WAL mode. *MISSED: it may be another version
 * than the one that was held. On failure the hold is still to be finished; -EAGAIN: its bytes went on the
 * way, which another hold may have more luck with.
 */
int hold_open(struct hold *hold, const struct wal_header *at, bool *missed, struct snap_err *err);

/* Lets go of everything, of the generation too. */
void hold_finish(struct hold *hold);

#endif
