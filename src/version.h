/* SPDX-License-Identifier: MIT */
/*
 * version.h - when two looks at a database are certain to have seen the same content. Pure: no I/O.
 *
 * A version is equal to another only if no commit can have come between them:
 *  - of different inodes (st_dev, st_ino): never.
 *  - both with a wal-index header, within one incarnation (the time between our first connection to a source
 *    and the close of our last): exactly when the 48 bytes are equal.
 *  - otherwise the stat(2) fields of database and -wal (absent counts as size 0 and times 0) must be equal,
 *    and the older sample must be taken so long after the last change, by ctime, that a later change shows in
 *    them: VERSION_RACY_NS, and two seconds more where the file system counts in seconds. And by kinds:
 *  - both with a header: the same frames must be committed. The rest of a header does not outlive an
 *    incarnation, because recovery recreates it; and an empty WAL always gives the same header, which is why
 *    a header alone proves nothing here.
 *  - both with counters: they must be equal too.
 *  - one with a header, one with neither (stat(2) alone): the -wal must end with the last frame that the
 *    header counts. Frames after it may be left over, but may as well be a commit that is being synced before
 *    it is published, or one that recovery will find because its writer was killed. Both change the content,
 *    but nothing that stat(2) shows.
 *  - one with a header, one with counters: never, because the journal mode has changed.
 *
 * For this, a sampler must take stat(2) fields that held both before and after it read what the sample stands
 * for (header, counters, bytes). An older sample needs the one, a newer sample the other, and each newer
 * sample becomes an older one. Within one incarnation the header alone decides, and the order does not
 * matter.
 */
#ifndef SQLSNAP_VERSION_H
#define SQLSNAP_VERSION_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

#include "wal.h"

#define VERSION_RACY_NS 20000000ll /* the kernel's clock for file times steps by 4 ms, 10 ms at most (HZ) */

/* The fields of stat(2) that change with content. All zero for a file that does not exist. */
struct version_stat {
	uint64_t size;
	int64_t mtime_ns; /* since the epoch */
	int64_t ctime_ns;
};

struct version {
	uint64_t dev, ino;
	uint64_t incarnation; /* 0: not connected when sampled, or by another process */
	bool has_header;      /* HEADER is set (WAL mode, connected): struct wal_header's raw */
	bool has_counters;    /* COUNTERS is set (rollback-journal mode) */
	uint8_t header[WAL_INDEX_HEADER];
	uint8_t counters[16]; /* bytes 24..39 of the database */
	struct version_stat db, wal;
	int64_t seen_ns; /* CLOCK_REALTIME before the stat(2) calls */
};

/*
 * Whether a change after SEEN_NS (CLOCK_REALTIME) would show another ctime than CTIME_NS, even where the file
 * system counts in seconds. Anybody can set an mtime, but only a change (or the clock) sets the ctime, so an
 * mtime in the future says nothing.
 */
bool version_is_settled(int64_t ctime_ns, int64_t seen_ns);

void version_stat_set(struct version_stat *out, const struct stat *st); /* ST NULL: absent */
/* Whether A and B are of one inode, with one size, mtime and ctime. */
bool version_same_stat(const struct stat *a, const struct stat *b);

/* OLDER was sampled before NEWER. */
bool version_equal(const struct version *older, const struct version *newer);
/* Bytes of the database as of the wal-index header that V holds. 0: V has none, or it does not say. */
uint64_t version_size(const struct version *v);

/*
 * The mtime that a new generation shows, in nanoseconds since the epoch. CHANGED is the newest mtime of
 * database and (not empty) -wal, LAST the one shown by the generation opened before (0: none), NOW the clock.
 * Generations differ in their whole second (rsync compares seconds), but additions to CHANGED run at most one
 * second ahead of the clock; beyond that, generations differ by a nanosecond. LAST itself may be further
 * ahead: a clock was set back, or an upload or the file has the time of another machine. If nothing new was
 * opened for a second, or LAST is an upload's (APART), a second is added all the same; rsync would otherwise
 * see no change until the clock is there. With a LAST, the answer is greater than LAST. But a CHANGED or LAST
 * that is more than a minute ahead of the clock, because of touch(1) or a wrong clock, does not count: times
 * would stand still until then. In that case time goes back, as an ordinary file's can.
 */
int64_t version_mtime(int64_t changed, int64_t last, bool apart, int64_t now);

/* Whether A and B, nanoseconds since the epoch, are of one whole second. */
bool version_same_second(int64_t a, int64_t b);

/* Whether version_mtime() takes account of TIME. */
bool version_time_counts(int64_t time, int64_t now);

/*
 * The LAST to use for the first generation that is new since LAST was read from the store. The process that
 * saved it may have been killed, or have lost power, before it saved the times that it showed afterwards: of
 * states before CHANGED, and so none later than LAST or the second after CHANGED, and some nanoseconds. The
 * answer is a millisecond and PART later than that; PART, nanoseconds below VERSION_PART_MAX, distinguishes
 * two processes that were both killed. LAST itself if CHANGED is in a second of its own.
 */
int64_t version_last_saved(int64_t changed, int64_t last, int64_t part);
#define VERSION_PART_MAX (10 * NS_PER_MS)

#endif
