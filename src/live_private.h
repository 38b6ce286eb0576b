/* SPDX-License-Identifier: MIT */
/* live_private.h - between live.c and live_shm.c; nobody else includes it. */
#ifndef SQLSNAP_LIVE_PRIVATE_H
#define SQLSNAP_LIVE_PRIVATE_H

#include "live.h"

/* pin_begin() for C. As long as C has no WAL open the -shm is announced to rawfd before, and after it too:
 * what SQLite opens may have been made meanwhile. -errno of that, too; C is then not pinned. */
int live_begin(struct conn *c, int64_t deadline, struct snap_err *err);

/* Announces the -shm that stands there now (none is no error) until live_shm_finish(). -errno */
int live_shm_announce(struct live *live);
/* After the last connection has closed. */
void live_shm_finish(struct live *live);

/* Whether another process has the wal-index open. Costs a read of /proc/locks. */
bool live_shm_has_others(struct live *live);

#endif
