/* SPDX-License-Identifier: MIT */
/*
 * vfs.h - the VFS shim over "unix" that every connection to a live database goes through.
 *
 * One struct vfs per connection, registered under a name of its own, so that the database's file, its -wal
 * and every xDelete of that connection meet the same policy and state. What must stay true:
 *  - VFS_READER never writes or truncates the database or the -wal, never deletes a file, never takes read
 *    slot 0 of a reliable wal-index (a pin there would cost every commit of the application a full sort of
 *    the WAL), and never takes an EXCLUSIVE lock on the database.
 *  - VFS_CLOSER may do what the last close of an application does (checkpoint, delete -wal and -shm), and
 *    only once the EXCLUSIVE lock on the database has been granted to it. Neither of these two rolls a
 *    journal back.
 *  - VFS_RESTORER writes as an application does, in a transaction; its checkpoints copy nothing if the WAL
 *    has been restarted since they began (the guard against the WAL-reset bug).
 *  - VFS_STAGED reads a file of the store that nobody else has open and that does not change: without locks
 *    and without sidecars.
 *  - xFullPathname is the identity: databases are opened as /proc/self/fd/DIRFD/NAME and must not be resolved
 *    again.
 *  - A -wal, -shm or journal with several hard links is not opened (EMLINK), nor is the owner of such a file
 *    changed: it may be somebody else's file.
 *  - Nothing here opens a descriptor of its own: closing one would drop SQLite's POSIX locks (fcntl(2);
 *    rawfd.h).
 *
 * The unix VFS maps each -shm once per process; shmguard.h guards the mapping against SIGBUS (somebody
 * truncated the -shm), and vfs_lost() reports this, also to a connection that comes later.
 */
#ifndef SQLSNAP_VFS_H
#define SQLSNAP_VFS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "wal.h"

struct place;
struct vfs;
struct snap_progress;

enum vfs_policy {
	VFS_READER,
	VFS_CLOSER,
	VFS_RESTORER,
	VFS_STAGED,
};

/* The calls that a test can make fail, and counts. */
enum vfs_call {
	VFS_OPEN,
	VFS_READ,
	VFS_WRITE,
	VFS_TRUNCATE,
	VFS_SYNC,
	VFS_LOCK,
	VFS_SHM_MAP,
	VFS_SHM_LOCK,
	VFS_DELETE,
};

/* Called before each call: 0 lets it happen; anything else is returned instead, as SQLite's result code. For
 * tests. */
typedef int (*vfs_fault_fn)(void *arg, enum vfs_call call);

/* -ENOMEM; -ENOSYS: SQLite's unix VFS does not let its system calls be replaced. *out is owned by the caller.
 */
int vfs_create(struct vfs **out, enum vfs_policy policy);
/* After sqlite3_close(). Accepts NULL. */
void vfs_destroy(struct vfs *vfs);
void vfs_set_fault(struct vfs *vfs, vfs_fault_fn fn, void *arg);

/* The name for sqlite3_open_v2(); borrowed. */
const char *vfs_name(const struct vfs *vfs);

/*
 * Ends the pauses that SQLite makes by itself (up to ten seconds in all, in walTryBeginRead()) at DEADLINE
 * (CLOCK_MONOTONIC nanoseconds; INT64_MAX: never): it then gives up with SQLITE_PROTOCOL at once.
 */
void vfs_set_deadline(struct vfs *vfs, int64_t deadline);

/* Whether SQLite works in WAL mode: it has a -wal open. */
bool vfs_wal_is_open(const struct vfs *vfs);

/* Whether the open database is that inode; its name may have led elsewhere when it was opened. */
bool vfs_is_inode(const struct vfs *vfs, uint64_t dev, uint64_t ino);

/* Says where the database is: PLACE, borrowed. If the super-journal that a hot journal names is gone from
 * there when SQLite asks, the transaction was committed; if it is there, the transaction is rolled back; if
 * it is in another folder (SUPER_UNKNOWN), SQLite fails. If this is never called, the transaction is rolled
 * back anyway. To be called before the first statement. */
void vfs_set_place(struct vfs *vfs, const struct place *place);

/*
 * Makes sure that all connections of one incarnation have the same -wal: the one that OTHER, which came
 * first, has open, if any. To be called before the first statement. If somebody has removed the -wal, another
 * file may be found or made under its name, and its frames would be read through the wal-index that the
 * connections share. Opening it then fails with SQLITE_CANTOPEN and ESTALE, and vfs_met_another_wal() is
 * true.
 */
void vfs_expect_wal(struct vfs *vfs, const struct vfs *other);
bool vfs_met_another_wal(const struct vfs *vfs);
/* Whether the -wal that is open or expected, and the -shm that is mapped, if any, still have their names. If
 * not, a new application makes other files, of which this connection sees nothing. */
bool vfs_sidecars_have_their_names(const struct vfs *vfs);

/* Whether the path of the open database still leads to it. */
bool vfs_is_still_there(const struct vfs *vfs);

/* VFS_CLOSER, after sqlite3_close(): whether the EXCLUSIVE lock was granted, because nobody else was
 * connected. */
bool vfs_was_alone(const struct vfs *vfs);

/* ---- what the connection holds; callable from any thread while it is open ---- */

/* The read slot that is locked: 1..4, 0 (a reader only where vfs_shm_unreliable()), or -1. */
int vfs_read_slot(const struct vfs *vfs);

/*
 * Whether another process had the -shm open when this connection, the first one of this process, opened it:
 * 1, 0; -1: it was not the first, or has not opened it. /proc/locks shows this, too, but reading it waits
 * until every processor has passed a quiescent state: ten milliseconds and more on a busy machine, during
 * which nobody gets a file lock (fs/locks.c, percpu_down_write()). Source: unixLockSharedMemory() in
 * os_unix.c.
 */
int vfs_met_others(const struct vfs *vfs);

/*
 * Whether SQLite works with a wal-index in private memory because the -shm is read-only and has no writer, or
 * on slot 0 because a read-only -shm has no mark that would suit another slot. Either way only SQLite can
 * read the image.
 */
bool vfs_shm_unreliable(const struct vfs *vfs);

/* Starts watching the slot that is held now: once it is unlocked, vfs_lost() is true. */
void vfs_watch(struct vfs *vfs);
/* Stops watching and forgets what was seen: the unlock that follows is ours. */
void vfs_unwatch(struct vfs *vfs);
/* Whether the watched slot was unlocked behind our back, or the wal-index was truncated under its mapping
 * (the latter permanently). */
bool vfs_lost(struct vfs *vfs);

/*
 * Samples the live header of the wal-index: 0, a wal_answer, or -ENXIO while no wal-index is mapped, or once
 * it was lost. Costs nanoseconds.
 */
int vfs_wal_header(struct vfs *vfs, struct wal_header *out);

/* Frames that have been copied to the database file (nBackfill); -ENXIO as vfs_wal_header(). */
int vfs_wal_backfill(struct vfs *vfs, uint32_t *frames);

/*
 * Copies the page numbers of frames FIRST..LAST (LAST <= a max_frame seen under the held slot) into PGNOS.
 * -EIO: the wal-index is shorter than that, not mapped, or lost; -ENOMEM; -EINVAL: FIRST is 0.
 */
int vfs_wal_pgnos(struct vfs *vfs, uint32_t first, uint32_t last, uint32_t *pgnos);

/*
 * Reads through SQLite's own handles. Returns the number of bytes, less than SIZE at the end of the file;
 * -EIO; -ENXIO: not open. Needs no lock against other readers of the handle (pread on a private descriptor,
 * no memory mapping); the caller makes sure that the connection is not closed meanwhile.
 */
ssize_t vfs_read_db(struct vfs *vfs, void *buf, size_t size, uint64_t offset);
ssize_t vfs_read_wal(struct vfs *vfs, void *buf, size_t size, uint64_t offset);

/* Bytes. -EIO; -ENXIO: no database is open. */
int vfs_db_size(struct vfs *vfs, uint64_t *size);

/* Syncs the database and its -wal, whoever wrote them. -EIO; -ENXIO: no database is open. */
int vfs_sync(struct vfs *vfs);

/* ---- the connection that writes: VFS_RESTORER, on its own thread --------------------------------------- */

/*
 * Called for the write lock (WAL mode: WRITE of the wal-index; else EXCLUSIVE on the database): right after
 * it was granted, and right before it is released, when the commit is published and nobody else can have
 * made another one. Also for locks that a recovery, a rollback or a checkpoint takes.
 */
typedef void (*vfs_write_fn)(void *arg, bool held);
void vfs_set_write_watch(struct vfs *vfs, vfs_write_fn fn, void *arg);
bool vfs_write_is_held(const struct vfs *vfs);

/* Truncates the -wal after its last committed frame, while the write lock is held: what a failed transaction
 * wrote there belongs to nobody. 0 also in rollback-journal mode; -EIO, -EBUSY: the lock is not held. */
int vfs_cut_wal(struct vfs *vfs);
/* Syncs the -wal. 0 also without one; -EIO. */
int vfs_sync_wal(struct vfs *vfs);

/*
 * From now on a header written to the database file (but not one in a frame of the -wal) gets these numbers:
 * bytes 24..27 and 92..95 count changes, bytes 40..43 changes of the schema. A recreated database would count
 * from 1, and a process that has the file open would mistake it for what it has cached. CHANGES 0 ends this:
 * the rollback of a failed transaction must write the old header as it was.
 */
void vfs_set_counters(struct vfs *vfs, uint32_t changes, uint32_t schema);
/*
 * The same for WAL mode, to be called before anything is written: from now on the first page of the database
 * file reads as that of an empty database with pages of PAGE_SIZE bytes and the schema number SCHEMA. 0:
 * reads as it is. Not for rollback-journal mode, where a rollback restores what was read.
 */
void vfs_set_emptied(struct vfs *vfs, uint32_t page_size, uint32_t schema);

/* VFS_STAGED: the value that is read in bytes 18 and 19 of the database (1 rollback journal, 2 WAL; 0: as
 * they are). */
void vfs_set_journal_version(struct vfs *vfs, uint8_t version);
/* VFS_STAGED: from now on the bytes read of the database advance PROGRESS (may be NULL). */
void vfs_watch_reads(struct vfs *vfs, struct snap_progress *progress);

#endif
