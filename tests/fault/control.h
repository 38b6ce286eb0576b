/* SPDX-License-Identifier: MIT */
/*
 * control.h - what the preloaded libraries of tests/fault and the tests that arm them share: a file of one
 * page, named by $SQLSNAPFS_FAULT, that every process maps. tests/fault/control.py knows the same offsets.
 *
 * A class of calls is counted from the moment in which it is armed; the call number AT fails, or that one and
 * all that follow. Without the variable, or with nothing armed, every call is what it always is.
 */
#ifndef SQLSNAP_FAULT_CONTROL_H
#define SQLSNAP_FAULT_CONTROL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Bits of classes. */
enum fault_class {
	FAULT_OPEN = 1 << 0, /* open, openat, openat2, opendir, fopen */
	FAULT_READ = 1 << 1, /* of regular files, as the next three */
	FAULT_WRITE = 1 << 2,
	FAULT_SYNC = 1 << 3,	 /* of folders, too */
	FAULT_SIZE = 1 << 4,	 /* ftruncate, fallocate */
	FAULT_NAME = 1 << 5,	 /* rename, link, unlink, mkdir, rmdir */
	FAULT_STAT = 1 << 6,	 /* stat in all its forms, access, readlink, statfs */
	FAULT_MAP = 1 << 7,	 /* mmap */
	FAULT_LOCK = 1 << 8,	 /* fcntl locks, flock */
	FAULT_CLONE = 1 << 9,	 /* ioctl(FICLONE) */
	FAULT_PROCESS = 1 << 10, /* fork, spawn, threads, pipes, sockets, copies of descriptors */
	FAULT_MEMORY = 1 << 11,	 /* malloc and the like of the program's own code */
	FAULT_SQLITE = 1 << 12,	 /* SQLite's */
};

struct fault_control {
	uint32_t armed; /* 0: nothing is counted */
	uint32_t classes;
	int32_t error;
	uint32_t for_good;
	uint64_t at;	 /* 1: the first */
	uint64_t seen;	 /* calls of these classes so far; FAULT_OVER and more: they count no longer */
	char what[104];	 /* the first that has failed, in words */
	uint32_t ready;	 /* the mutex is */
	uint32_t record; /* $SQLSNAPFS_RECORD is written */
	pthread_mutex_t
		order; /* process-shared, robust: what is recorded happens in the order of the record */
};

#define FAULT_OVER (UINT64_C(1) << 62)

/*
 * Nothing fails any more; how many calls were seen. Exact: a thread that is between its look at ARMED and the
 * counting is counted and may have failed, or is not and does not fail.
 */
uint64_t fault_end(struct fault_control *c);

/* NULL: there is none. */
struct fault_control *fault_control(void);

/* Whether this call of CLASS is to fail: then errno is set. NAME and DETAIL say which it is. */
bool fault_hit(enum fault_class class, const char *name, const char *detail);

#endif
