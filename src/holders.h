/* SPDX-License-Identifier: MIT */
/*
 * holders.h - who else has a database open, or the -shm beside it, as fcntl(2) tells it (F_GETLK): a hint,
 * for nothing is held still by it. It waits for nobody, and sees what /proc/locks hides (proclocks.h):
 * processes of other pid namespaces.
 *
 * Of each lock it names one holder, the one that has it for longest as a rule. What this process itself
 * holds does not count, but for open file descriptions (F_OFD_SETLK), which are nobody's.
 *
 * Why: to SQLite a -shm is known by the inode of its database, to the file system by its name. When somebody
 * removes or replaces one of the two under an application, whoever comes later has another wal-index than
 * that application, or the same one for another database: both overwrite what the other has committed.
 */
#ifndef SQLSNAP_HOLDERS_H
#define SQLSNAP_HOLDERS_H

#include "core.h"
#include "place.h"

/* Whether another process has the -shm beside PLACE open in WAL mode: 1; 0, also when the file may not be
 * opened; -errno: what this process ran out of, or -EIO. */
int holders_have_shm(struct core *core, const struct place *place);

/* Whether another process reads or writes the database at PLACE or, in WAL mode, has it open. The same. */
int holders_have_db(struct core *core, const struct place *place);

/*
 * Whether who has the database at PLACE open in WAL mode has the -shm beside it, and who has that has this
 * database: 0; -EBUSY with words; -errno as above. Who is about to connect or to close has one of them only,
 * for a moment: it is waited for, a second at most and until DEADLINE (CLOCK_MONOTONIC). Costs microseconds
 * where one process is connected, else a look at the descriptors of one that is. Others of the same database
 * are not seen, nor those whose descriptors we may not see, as long as a -shm is there.
 */
int holders_check(struct core *core, const struct place *place, int64_t deadline, struct snap_err *err);

#endif
