/* SPDX-License-Identifier: MIT */
/*
 * live_account.c - see live.h: how much WAL our pins hold back, counted from the first pin after a gap in
 * which the WAL could start over.
 */
#include "live_private.h"

#include <string.h>

#include "cleanup.h"
#include "clock.h"

void live_account_pin(struct live *live, const struct wal_header *start, int64_t now)
{
	bool gap = live->pins == 0 && now - live->gap_since >= LIVE_GAP_NS;

	/* An account begun on an empty WAL, which has no salt to compare, continues while pins overlap: the
	 * WAL cannot start over while one of them is held. */
	if (!live->has_base || gap ||
	    (live->has_base_salt ? memcmp(live->base_salt, start->salt, sizeof(start->salt)) != 0
				 : live->pins == 0)) {
		live->has_base = true;
		live->allowance = 0;
		live->forgiven = live->writing; /* still to be written */
		live->has_base_salt = start->max_frame > 0;
		live->base_frame = start->max_frame;
		memcpy(live->base_salt, start->salt, sizeof(live->base_salt));
	}
}

uint64_t live_held_back(struct live *live)
{
	struct wal_header now;

	if (live_sample(live, &now))
		return 0;
	lock_scope(&live->lock);
	if (live->has_base && !live->has_base_salt && live->pins > 0 && now.max_frame > 0) {
		live->has_base_salt = true;
		memcpy(live->base_salt, now.salt, sizeof(live->base_salt));
	}
	if (!live->has_base || !live->has_base_salt ||
	    memcmp(now.salt, live->base_salt, sizeof(now.salt)) != 0 || now.max_frame <= live->base_frame)
		return 0;
	return (uint64_t)(now.max_frame - live->base_frame) * (now.page_size + WAL_FRAME_HEADER);
}

/* Whether what the WAL holds is still due to our pins. Lock held. */
static bool awaits_gap(const struct live *live)
{
	return live->pins > 0 || monotonic_ns() - live->gap_since < LIVE_GAP_NS;
}

bool live_is_full(struct live *live, uint64_t limit)
{
	uint64_t held = live_held_back(live);

	lock_scope(&live->lock);
	return held >= limit + live->allowance && awaits_gap(live);
}

bool live_must_wait(struct live *live, uint64_t limit, uint64_t max, bool spools)
{
	uint64_t held = live_held_back(live);

	lock_scope(&live->lock);
	if (held == 0 || !awaits_gap(live))
		return false;
	/* Where spooling fails, pins go on, and waiting for their end does not help. */
	return held >= max + live->forgiven ||
	       (held >= limit + live->allowance && (spools || live->pins == 0));
}

void live_allow(struct live *live, uint64_t limit)
{
	uint64_t held = live_held_back(live);

	lock_scope(&live->lock);
	while (live->allowance + limit <= held)
		live->allowance += limit;
}

void live_forgive(struct live *live, uint64_t bytes)
{
	lock_scope(&live->lock);
	live->writing = bytes;
	live->forgiven += bytes;
}

void live_forgive_end(struct live *live, bool written)
{
	lock_scope(&live->lock);
	if (!written)
		live->forgiven -= live->writing < live->forgiven ? live->writing : live->forgiven;
	live->writing = 0;
}

uint64_t live_forgiven(struct live *live)
{
	lock_scope(&live->lock);
	return live->forgiven;
}
