/* SPDX-License-Identifier: MIT */
/*
 * holders.h - which other processes have a database open, or the -shm beside it, found by F_GETLK of
 * fcntl(2). A hint, because the answer may be outdated at once. F_GETLK never waits, and sees what
 * /proc/locks hides (proclocks.h): processes in other pid namespaces.
 *
 * Of several holders of a lock it names one, as a rule the one that has held it longest. Locks of this
 * process do not count, except those of open file descriptions (F_OFD_SETLK), which belong to no process.
 *
 * Why: SQLite identifies a -shm by the inode of its database, the file system by its name. If one of the two
 * files is removed or replaced while an application has it open, a process that connects later has another
 * wal-index than that application, or the same one for another database, and each overwrites what the other
 * has committed. The same happens to two processes that reach one database by two paths, such as a mount of
 * the file alone.
 */
#ifndef SQLSNAP_HOLDERS_H
#define SQLSNAP_HOLDERS_H

#include "core.h"
#include "place.h"

/* Whether another process has the -shm beside PLACE open in WAL mode: 1; 0, also when the file may not be
 * opened; -errno: a resource that this process ran out of, or -EIO. */
int holders_have_shm(struct core *core, const struct place *place);

/* Whether another process reads or writes the database at PLACE or, in WAL mode, has it open. Returns the
 * same. */
int holders_have_db(struct core *core, const struct place *place);

/*
 * Whether the processes that have the database at PLACE open in WAL mode have the -shm beside it open, too,
 * and vice versa: 0; -EBUSY with a message; -errno as above. A process that is connecting or closing has only
 * one of the two open for a moment: waits for that, for a second at most and until DEADLINE
 * (CLOCK_MONOTONIC). Costs microseconds if one process is connected; otherwise it reads the descriptors of
 * one of them. As long as there is a -shm, it misses further processes with the same database, and those
 * whose descriptors we may not see.
 */
int holders_check(struct core *core, const struct place *place, int64_t deadline, struct snap_err *err);

#endif
