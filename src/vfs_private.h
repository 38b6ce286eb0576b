/* SPDX-License-Identifier: MIT */
/*
 * vfs_private.h - what vfs.c (the VFS), vfs_file.c (its files) and vfs_shm.c (the wal-index) share; nobody
 * else includes it.
 */
#ifndef SQLSNAP_VFS_PRIVATE_H
#define SQLSNAP_VFS_PRIVATE_H

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>

#include "vfs.h"

struct vfs {
	sqlite3_vfs base;  /* what is registered; pAppData leads back here */
	char name[32];	   /* base.zName */
	sqlite3_vfs *real; /* borrowed: "unix" */
	enum vfs_policy policy;
	vfs_fault_fn fault; /* set before the connection opens */
	void *fault_arg;

	_Atomic(sqlite3_file *) db;  /* SQLite's, of the real VFS; NULL while closed */
	_Atomic(sqlite3_file *) wal; /* the same */
	atomic_bool exclusive;	     /* EXCLUSIVE on the database is held */
	_Atomic int64_t deadline;    /* CLOCK_MONOTONIC: SQLite's pauses end then */

	atomic_int slot;	 /* read slot held, -1 none */
	atomic_bool read_only;	 /* the last region came as SQLITE_READONLY */
	atomic_bool unreliable;	 /* it came as SQLITE_READONLY_CANTINIT */
	atomic_bool watching;	 /* the slot must not be unlocked */
	atomic_bool slot_lost;	 /* it was */
	atomic_bool region_lost; /* a region was; never taken back */

	pthread_mutex_t lock; /* keeps the regions mapped while another thread reads them */
	volatile uint32_t *
		*regions;    /* guarded by lock; owned array of borrowed mappings, NULL where not seen */
	size_t region_count; /* guarded by lock */
};

/* What SQLite holds: the real file stands behind it. */
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

/* What a file that was opened has for methods. */
extern const sqlite3_io_methods vfs_file_methods;

/* Whether the policy lets a file of KIND be changed or deleted now. */
bool vfs_may_change(const struct vfs *vfs, int kind);

/* xShmMap, xShmLock, xShmBarrier and xShmUnmap of sqlite3_io_methods. */
int vfs_shm_map(sqlite3_file *base, int region, int size, int extend, void volatile **out);
int vfs_shm_lock(sqlite3_file *base, int offset, int n, int flags);
void vfs_shm_barrier(sqlite3_file *base);
int vfs_shm_unmap(sqlite3_file *base, int delete_flag);

/* Forgets every region. Before SQLite unmaps them. */
void vfs_shm_forget(struct vfs *vfs);

#endif
