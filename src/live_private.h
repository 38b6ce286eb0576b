/* SPDX-License-Identifier: MIT */
/* live_private.h - between live.c and live_shm.c; nobody else includes it. */
#ifndef SQLSNAP_LIVE_PRIVATE_H
#define SQLSNAP_LIVE_PRIVATE_H

#include "live.h"

/* Whether another process has the wal-index open. Costs a read of /proc/locks. */
bool live_shm_has_others(struct live *live);

#endif
