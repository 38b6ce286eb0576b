/* SPDX-License-Identifier: MIT */
/* vfs_private.h - what the files vfs*.c share; nobody else includes it. */
#ifndef SQLSNAP_VFS_PRIVATE_H
#define SQLSNAP_VFS_PRIVATE_H

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>

#include "vfs.h"

/* A contiguous run of a file's bytes: waiting to be written, or read ahead. */
struct vfs_stream {
	uint8_t *bytes; /* owned */
	size_t used;
	sqlite3_int64 at; /* of the first */
	bool plain;	  /* the header of a frame that does not commit came last */
};

struct vfs {
	sqlite3_vfs base;  /* what is registered; pAppData leads back here */
	char name[32];	   /* base.zName */
	sqlite3_vfs *real; /* borrowed: "unix" */
	enum vfs_policy policy;
	vfs_fault_fn fault; /* set before the connection opens */
	void *fault_arg;

	_Atomic(sqlite3_file *) db;	   /* SQLite's, of the real VFS; NULL while closed */
	_Atomic(sqlite3_file *) wal;	   /* the same */
	const char *path;		   /* SQLite's, as long as it is open */
	uint64_t journal_dev, journal_ino; /* of the one opened last; 0: not known */
	uint64_t db_dev, db_ino; /* constant once DB is open: its inode, whatever its name leads to */
	atomic_bool exclusive;	 /* EXCLUSIVE on the database is held */
	bool was_exclusive;	 /* it was held; for its own thread only */
	_Atomic uint64_t wal_dev, wal_ino; /* of the -wal opened last, or expected; 0: not known */
	bool wal_expected;		   /* set before the first statement: no other -wal is opened */
	_Atomic uint64_t shm_dev, shm_ino; /* of the -shm that this process has mapped; 0: not known */
	atomic_bool wal_refused;	   /* another -wal had its name */
	_Atomic int64_t deadline;	   /* CLOCK_MONOTONIC: SQLite's pauses end then */

	atomic_int slot;	 /* read slot held, -1 none */
	atomic_int met;		 /* see vfs_met_others() */
	atomic_bool read_only;	 /* the last region was mapped with SQLITE_READONLY */
	atomic_bool unreliable;	 /* it was mapped with SQLITE_READONLY_CANTINIT */
	atomic_bool watching;	 /* the slot must not be unlocked */
	atomic_bool slot_lost;	 /* it was */
	atomic_bool region_lost; /* a region was lost; never cleared */

	/* VFS_RESTORER; all but write_held are for its own thread only */
	vfs_write_fn write_fn;
	void *write_arg;
	atomic_bool write_held;
	const struct place *place;   /* borrowed; see vfs_set_place() */
	uint32_t checkpoint_salt[2]; /* of the WAL when its checkpoint began */
	bool recount;		     /* the header is written with the next two */
	uint32_t changes, schema;
	uint32_t emptied;	 /* page size of the empty database that is read, with SCHEMA; 0: as it is */
	uint8_t journal_version; /* VFS_STAGED; set before its first read */
	struct snap_progress *reads; /* borrowed; VFS_STAGED, its own thread's */

	struct vfs_stream stream; /* VFS_RESTORER: of the -wal; VFS_STAGED: of the database */

	pthread_mutex_t lock; /* keeps the regions mapped while another thread reads them */
	volatile uint32_t *
		*regions;    /* guarded by lock; owned array of borrowed mappings, NULL where not seen */
	size_t region_count; /* guarded by lock */
};

/* What SQLite holds: the real file follows it in memory. */
struct vfs_file {
	sqlite3_file base;
	struct vfs *vfs; /* borrowed */
	int kind;	 /* the SQLITE_OPEN_* bit of its type */
};

static inline sqlite3_file *vfs_real_file(struct vfs_file *file)
{
	return (sqlite3_file *)(file + 1);
}

static inline int vfs_ask_fault(struct vfs *vfs, enum vfs_call call)
{
	return vfs->fault ? vfs->fault(vfs->fault_arg, call) : SQLITE_OK;
}

/* ---- vfs_file.c ---- */
/* The methods of an open file. */
extern const sqlite3_io_methods vfs_file_methods;
/* Whether the policy lets a file of KIND be changed or deleted now. */
bool vfs_may_change(const struct vfs *vfs, int kind);

/* ---- vfs_shm.c ---- */
/* xShmMap, xShmLock, xShmBarrier and xShmUnmap of sqlite3_io_methods. */
int vfs_shm_map(sqlite3_file *base, int region, int size, int extend, void volatile **out);
int vfs_shm_lock(sqlite3_file *base, int offset, int n, int flags);
void vfs_shm_barrier(sqlite3_file *base);
int vfs_shm_unmap(sqlite3_file *base, int delete_flag);
/* Forgets every region. Before SQLite unmaps them. */
void vfs_shm_forget(struct vfs *vfs);
/* Whether the header looks like what a dead writer left, so that WRITE may be taken to recover it. */
bool vfs_may_recover(struct vfs *vfs);
/* Copies N words from word FIRST of the wal-index's region 0. -ENXIO: it is not mapped, or lost. */
int vfs_shm_words(struct vfs *vfs, uint32_t *out, uint32_t first, uint32_t n);

/* Lock offsets of the wal-index (wal.c). */
#define VFS_LOCK_WRITE 0
#define VFS_LOCK_CKPT 1
#define VFS_LOCK_READ0 3

/* ---- vfs_wal.c ---- */
bool vfs_wal_is_expected(struct vfs *vfs);
/* DEV, INO was just opened as the -wal. */
void vfs_note_wal(struct vfs *vfs, uint64_t dev, uint64_t ino);
/* Which -shm the unix VFS has mapped: that of the first connection of this process which is still open. */
void vfs_note_shm(struct vfs *vfs);

/* ---- vfs_calls.c ---- */
/* Replaces REAL's system calls with ours, once per process. -ENOSYS: it does not allow this. */
int vfs_set_calls(sqlite3_vfs *real);

/* What the unix VFS is called for. */
enum vfs_doing {
	VFS_NOTHING,
	VFS_OPENING,	  /* a file */
	VFS_MAPPING_SHM,  /* what it opens is the -shm of VFS's database, whatever its name: a database may be
			     called x-shm */
	VFS_RECOVERING,	  /* the lock that it takes is WRITE, which VFS asks for to recover: granted only if
			     nobody holds it, and the header still is torn once that is known */
	VFS_REMOVING_SHM, /* what it removes is the -shm beside VFS's database */
};
/* What its system calls met meanwhile. */
struct vfs_met {
	uint64_t dev, ino; /* of the last fstat(2), and so of what was opened; 0: there was none */
	int make_errno;	   /* why a file could not be made; 0: it could. SQLite then tries to open the missing
			      file */
	int others; /* whether another process had the -shm open when this thread opened it; -1: not asked,
		       because this process had it open already */
};
/* To be called around a call of the unix VFS, on its thread. The second returns what was met since the first.
 */
void vfs_calls_begin(struct vfs *vfs, enum vfs_doing doing);
struct vfs_met vfs_calls_end(void);
/* Whether a file could not be made for lack of room, or of an inode. */
static inline bool vfs_met_no_room(const struct vfs_met *met)
{
	return met->make_errno == ENOSPC || met->make_errno == EDQUOT;
}

/* ---- vfs_restorer.c: VFS_RESTORER ---- */
/* The write lock was granted, or is about to be released. */
void vfs_note_write(struct vfs *vfs, bool held);
/* EXCLUSIVE was granted on N locks of the wal-index from OFFSET on. False: a checkpoint must not go on; the
 * caller releases the lock and answers SQLITE_BUSY. */
bool vfs_note_shm_exclusive(struct vfs *vfs, int offset, int n);

/* ---- vfs_stream.c ---- */
void vfs_stream_finish(struct vfs_stream *s);
/* Writes what waits; SQLite's result code. */
int vfs_stream_flush(struct vfs_stream *s, sqlite3_file *real);
/* xWrite of the -wal, and xRead of a file that does not change, of REAL. */
int vfs_stream_write(struct vfs_stream *s, sqlite3_file *real, const void *bytes, int n,
		     sqlite3_int64 offset);
int vfs_stream_read(struct vfs_stream *s, sqlite3_file *real, void *bytes, int n, sqlite3_int64 offset);

#endif
