/* SPDX-License-Identifier: MIT */
/*
 * version.h - when two looks at a database are sure to have seen the same content. Pure: no I/O.
 *
 * A version is equal to another only if no commit can have come between:
 *  - of another inode (st_dev, st_ino): never.
 *  - both sampled with a wal-index header, within one incarnation (the time between our first connection to a source
 *    and the close of our last): exactly when the 48 bytes are equal. An empty WAL always rebuilds the same header, so
 *    across incarnations the header says nothing.
 *  - otherwise by stat(2) of database and -wal (absent counts as size 0 and times 0), plus bytes 24..39 of the
 *    database's header for rollback-journal databases; and only if those times were already older than VERSION_RACY_NS
 *    when the older sample was taken, for a later change must be visible in them.
 */
#ifndef SQLSNAP_VERSION_H
#define SQLSNAP_VERSION_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

#include "wal.h"

#define VERSION_RACY_NS 20000000ll /* the kernel's clock for file times steps by 4 ms; five steps of margin */

/* What of stat(2) changes with content. All zero for a file that is not there. */
struct version_stat {
	uint64_t size;
	int64_t mtime_ns; /* since the epoch */
	int64_t ctime_ns;
};

struct version {
	uint64_t dev, ino;
	uint64_t incarnation; /* 0: not connected when sampled */
	bool has_header;      /* HEADER is set (WAL mode, connected) */
	bool has_counters;    /* COUNTERS is set (rollback-journal mode) */
	uint8_t header[WAL_INDEX_HEADER];
	uint8_t counters[16]; /* bytes 24..39 of the database */
	struct version_stat db, wal;
	int64_t seen_ns; /* CLOCK_REALTIME before the stat(2) calls */
};

void version_stat_set(struct version_stat *out, const struct stat *st); /* ST NULL: absent */

/* OLDER was sampled before NEWER. */
bool version_equal(const struct version *older, const struct version *newer);

/*
 * The mtime that a new generation shows, in nanoseconds since the epoch. CHANGED is the newest mtime of database and
 * (not empty) -wal, LAST the one shown by the generation opened before (0: none), NOW the clock. Generations differ in
 * their whole second (rsync compares seconds) but run at most one second ahead of the clock; past that they differ by a
 * nanosecond.
 */
int64_t version_mtime(int64_t changed, int64_t last, int64_t now);

#endif
