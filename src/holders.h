/* SPDX-License-Identifier: MIT */
/*
 * holders.h - who else has a database open, or the -shm beside it, as fcntl(2) tells it (F_GETLK): a hint,
 * for nothing is held still by it. It waits for nobody, and sees what /proc/locks hides (proclocks.h):
 * processes of other pid namespaces.
 *
 * Of each lock it names one holder, the one that has it for longest as a rule. What this process itself
 * holds does not count, but for open file descriptions (F_OFD_SETLK), which are nobody's.
 */
#ifndef SQLSNAP_HOLDERS_H
#define SQLSNAP_HOLDERS_H

#include "core.h"
#include "place.h"

/*
 * Whether another process has the -shm beside PLACE open in WAL mode. Beside a database that is missing or
 * empty that is one that goes on with a file which was removed, or emptied, under it: to SQLite the -shm is
 * known by the database's inode, to the file system by its name, so that both would use it.
 */
bool holders_have_shm(struct core *core, const struct place *place);

/* Whether another process reads or writes the database at PLACE or, in WAL mode, has it open. */
bool holders_have_db(struct core *core, const struct place *place);

#endif
