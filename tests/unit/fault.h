/* SPDX-License-Identifier: MIT */
/* fault.h - how the tests have a connection fail: functions for vfs_set_fault(). */
#ifndef SQLSNAP_TEST_FAULT_H
#define SQLSNAP_TEST_FAULT_H

#include <errno.h>
#include <sqlite3.h>
#include <stdbool.h>

#include "../../src/vfs.h"

/* Every read, as long as the bool that ARG points to is set. */
static inline int fail_reads(void *arg, enum vfs_call call)
{
	const bool *on = arg;

	return *on && call == VFS_READ ? SQLITE_IOERR_READ : SQLITE_OK;
}

/* One call of a kind. */
struct countdown {
	enum vfs_call call;
	int left; /* calls until the one that fails */
	int code;
	int seen;
};

static inline int count_down(void *arg, enum vfs_call call)
{
	struct countdown *c = arg;

	if (call != c->call)
		return SQLITE_OK;
	c->seen++;
	if (--c->left != 0)
		return SQLITE_OK;
	errno = ENOENT; /* what open(2) says of a -wal on a read-only file system */
	return c->code;
}

#endif
