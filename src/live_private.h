/* SPDX-License-Identifier: MIT */
/* live_private.h - between live.c, live_account.c and live_shm.c; nobody else includes it. */
#ifndef SQLSNAP_LIVE_PRIVATE_H
#define SQLSNAP_LIVE_PRIVATE_H

#include "live.h"

/* Opens the account of a pin that began at NOW (CLOCK_MONOTONIC) with header START, and is not in live->pins
 * yet. Lock held. */
void live_account_pin(struct live *live, const struct wal_header *start, int64_t now);

/* Whether another process has the wal-index open. Costs a read of /proc/locks. */
bool live_shm_has_others(struct live *live);

#endif
