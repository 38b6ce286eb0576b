/* SPDX-License-Identifier: MIT */
/*
 * pin.h - a read transaction held open on a connection that does nothing else.
 *
 * What a pin gives in WAL mode: read slot k >= 1 is locked with mark R, and as long as it is, every header
 * sampled after pin_begin() describes a whole image: page p is the latest of the frames 1..max_frame that
 * holds p, else the database file's (sqlite3WalFindFrame() in wal.c). No further SQL runs on the connection:
 * an I/O error in a statement would roll the transaction back silently and drop the lock.
 */
#ifndef SQLSNAP_PIN_H
#define SQLSNAP_PIN_H

#include "db.h"
#include "wal.h"

enum pin_answer {
	/* 0: WAL mode, a slot from 1 to 4 is held and watched */
	PIN_ROLLBACK = 1, /* rollback-journal mode: SHARED is held, writers cannot commit: copy and end */
	PIN_UNRELIABLE,	  /* WAL mode without a usable shared wal-index: only SQLite itself can read it */
	PIN_HOT_JOURNAL,  /* a journal must be rolled back first, which a reader must not do; nothing is held
			   */
	PIN_EMPTY,	  /* a database of 0 bytes (or 1, which SQLite treats as 0); SHARED may be held */
};

/*
 * Begins the transaction and retries SQLITE_BUSY until DEADLINE (CLOCK_MONOTONIC nanoseconds). With answer 0,
 * *START is a header that was sampled after the transaction began. After an answer >= 0 other than
 * PIN_HOT_JOURNAL, pin_end() must be called. -EBUSY: locked past the deadline, or a writer has stood still in
 * the middle of a commit; -EIO: damaged, with SQLite's message in ERR; -EACCES, -EROFS: sidecars are needed
 * and cannot be made; others by db_errno().
 */
int pin_begin(struct db *db, int64_t deadline, struct wal_header *start, struct snap_err *err);
void pin_end(struct db *db);

#endif
