/* SPDX-License-Identifier: MIT */
/*
 * live.h - one incarnation of a source: the time between our first connection to an inode and the close of
 * our last.
 *
 * Owns the connections and the accounts of how much WAL our pins hold back. Reference-counted: the source
 * holds one reference, each pinned connection another, so an inode that was replaced under us stays readable
 * as long as somebody reads it. The last reference closes everything as the application's own last close
 * would have done.
 *
 * live.c          connecting, pins, closing
 * live_account.c  the accounts
 * live_shm.c      for whom the -shm is open, and who has locks on it
 */
#ifndef SQLSNAP_LIVE_H
#define SQLSNAP_LIVE_H

#include <pthread.h>

#include "core.h"
#include "list.h"
#include "pin.h"
#include "place.h"

/* A connection. While pinned it belongs to whoever holds the pin; its bytes may be read from any thread. */
struct conn {
	struct db db;
	struct live *live; /* a reference while pinned; borrowed while idle */
	struct conn *next; /* idle list; guarded by live->lock, as the next two */
	struct list link;  /* live->pinned */
	bool holds_wal;	   /* WAL mode: frames committed since START cannot be dropped */
	struct wal_header
		start; /* sampled when the pin began: frames up to its max_frame were there before */
	int64_t since; /* CLOCK_MONOTONIC when the pin began */
};

struct live {
	struct core *core; /* borrowed */
	atomic_int refs;
	uint64_t dev, ino;
	uint64_t incarnation;
	int dirfd;  /* owned, O_PATH: connections are opened through it */
	char *name; /* owned */

	struct conn *hub; /* owned; the first connection: as long as it is open, the wal-index stays mapped */
	bool sidecars_ours; /* -wal absent or empty when we came, or as soon as we were connected: our close
			       may remove both */
	atomic_bool had_others; /* another process was connected at some time while we were */
	atomic_bool spoilt;	/* a connection has another file's -wal, lost a part of the wal-index, or has
				   sidecars that were removed: none may be used any more */
	atomic_bool was_wal;
	struct wal_header first; /* the header as we came, if the database was in WAL mode then */

	pthread_mutex_t lock;
	struct conn *idle;  /* owned; not pinned */
	struct list pinned; /* in the order in which their pins began */
	int pins;
	int64_t gap_since;  /* CLOCK_MONOTONIC when pins went to 0, or a checkpoint was seen in the gap */
	bool has_base;	    /* a pin was taken since the last gap that let the WAL start over */
	bool has_base_salt; /* false: the WAL was empty then, and gets its salt with its first frame */
	uint8_t base_salt[8];
	uint32_t base_frame; /* max_frame when that pin began */
	uint64_t allowance;  /* bytes beyond the limit, because a gap was waited for in vain */
	uint64_t forgiven;   /* bytes that a restore wrote since then */
	uint64_t writing;    /* those of FORGIVEN that it may still be writing */

	pthread_mutex_t clone_lock;
	struct rawfd clone; /* a descriptor for FICLONE, opened once; guarded by clone_lock */

	/* Called when all is closed, with no lock held; NULL: not wanted. OWED: what the last close of an
	 * application would have done (checkpoint the WAL and remove it) could not be done, for lack of
	 * descriptors or memory, or because another incarnation was connected. Set before others see LIVE. */
	void (*closed)(void *arg, bool owed);
	void *arg;
};

/* After this long without pins, what the WAL still holds is not due to us. */
#define LIVE_GAP_NS NS_PER_S

/*
 * Connects: opens the database at PLACE, which must be the inode of ST, and begins and ends one read
 * transaction, so that a wal-index is mapped and recovered. Waits until DEADLINE (CLOCK_MONOTONIC). -ESTALE:
 * another inode is there now; -EBUSY: the files there are not all of one database (holders.h); this and
 * others, PIN_HOT_JOURNAL too, as pin_begin().
 */
int live_create(struct live **out, struct core *core, const struct place *place, const struct stat *st,
		int64_t deadline, struct snap_err *err);
struct live *live_ref(struct live *live);

/* Opens one more connection to its database and to the -wal that it has, as db_open_inode() does. The
 * connection is the caller's. */
int live_db_open(const struct live *live, struct db *db, enum db_kind kind, struct snap_err *err);
/* Whether the -wal that is open and the -shm that is mapped still have their names. True, too, if the
 * database itself has lost its name. */
bool live_sidecars_are_there(const struct live *live);

/* Call it with no lock held: the last reference closes connections, which may take as long as an
 * application's last close, which copies a whole WAL. Accepts NULL. */
void live_unref(struct live *live);
/* The same for a thread that may not wait: another thread closes the connections, if there is one. */
void live_unref_later(struct live *live);

/* Whether its wal-index was truncated under us. Then nothing can be sampled or pinned here any more, and this
 * process cannot begin another incarnation before the last connection of this one is closed. */
bool live_is_lost(struct live *live);

/* The live wal-index header: 0, a wal_answer, -ENXIO in rollback mode. -ESTALE: the mapping or the sidecars
 * were lost. Costs three lstat(2) at most, and waits while another thread maps a part of the wal-index. */
int live_sample(struct live *live, struct wal_header *out);

/* Whether the first connection has the WAL open, our only source about the WAL. False in WAL mode if the
 * database was not in it when that connection last looked. */
bool live_has_wal(struct live *live);
/* Makes that connection look again, unless it is pinned: one short transaction, which may create a -wal and a
 * -shm, and does not wait for locks. */
void live_learn_wal(struct live *live);

/*
 * Pins a connection; for the answers see pin_begin(). *OUT must be given back by live_unpin(); it is NULL if
 * nothing is held: after a failure, or PIN_HOT_JOURNAL. Its reads form one image as long as conn_intact()
 * says so.
 */
int live_pin(struct live *live, int64_t deadline, struct conn **out, struct snap_err *err);
/* The same with an idle connection, without waiting, and reading nothing but the first page: 0, or -EAGAIN
 * if that is not possible. */
int live_pin_now(struct live *live, struct conn **out);
void live_unpin(struct conn *conn); /* accepts NULL */

/* Whether everything read so far for an image of MAX_FRAME frames under SALT is valid: the lock was never
 * lost, and neither the salt nor the number of frames contradicts. Call it after reading the bytes in
 * question. */
bool conn_intact(struct conn *conn, uint32_t max_frame, const uint8_t salt[8]);

/* Bytes of WAL added since the last gap that our pins may be holding back. 0 without pins. */
uint64_t live_held_back(struct live *live);

/* Whether LIMIT bytes are held back. Then pins should end, and new ones wait for the gap. The gap is over
 * when the WAL starts over, or after a second in which nobody copied it to the database. */
bool live_is_full(struct live *live, uint64_t limit);
/* Whether a pin that is to begin waits for the gap: LIMIT bytes are held back, or MAX beside what restores
 * wrote, for which it would be ended at once. SPOOLS: the pins that there are will end soon. */
bool live_must_wait(struct live *live, uint64_t limit, uint64_t max, bool spools);
/* Stops waiting for the gap: until there is one, LIMIT bytes more may be held back. */
void live_allow(struct live *live, uint64_t limit);

/* A restore is about to write BYTES of WAL. They do not count against the limit at which pins are ended, nor
 * against pins that begin while it writes, until live_forgive_end(). One restore at a time. */
void live_forgive(struct live *live, uint64_t bytes);
void live_forgive_end(struct live *live, bool written);
uint64_t live_forgiven(struct live *live);

/*
 * Whether this process has the -shm beside PLACE open for another database than DEV, INO: 1, 0; -errno:
 * unknown. SQLite identifies a -shm by the inode of its database. If it opened one -shm for two databases,
 * closing it for one would drop the locks held for the other.
 */
int live_shm_is_anothers(struct core *core, const struct place *place, uint64_t dev, uint64_t ino);

/*
 * Whether this process has a -shm open for the database DEV, INO that is not the one beside PLACE, as after
 * the database was renamed, or its -shm removed: 1, 0, -errno as above. A new connection would have that
 * -shm, and whatever -wal is at PLACE.
 */
int live_shm_is_elsewhere(const struct place *place, uint64_t dev, uint64_t ino);

/* Notes whether others are connected, for the later close; true if another process waits for readers to end.
 * Reads /proc/locks, which concurrent callers share (proclocks.h). */
bool live_observe(struct live *live);
/* For the holder of one pin: whether anybody else reads from the WAL, so that it cannot start over; also true
 * if unknown. A hint, like all that /proc/locks says, and at the same cost. */
bool live_others_read(struct live *live);
/* Whether another process runs a checkpoint, which prolongs the gap. At the same cost. */
bool live_observe_gap(struct live *live);

#endif
