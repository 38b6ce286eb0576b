/* SPDX-License-Identifier: MIT */
/* refusals.c - see refusals.h. */
#include "refusals.h"

#include <string.h>

#include "../src/cleanup.h"

void refusals_init(struct refusals *all)
{
	memset(all, 0, sizeof(*all));
	pthread_mutex_init(&all->lock, NULL);
}

void refusals_finish(struct refusals *all)
{
	pthread_mutex_destroy(&all->lock);
}

bool refusals_due(struct refusals *all, enum refusal kind, pid_t tgid, int64_t now)
{
	lock_scope(&all->lock);
	if (all->told[kind].count == 0 || now - all->told[kind].since >= REFUSALS_NS) {
		all->told[kind].since = now;
		all->told[kind].count = 0;
	} else if (all->told[kind].tgid == tgid || all->told[kind].count >= REFUSALS_MAX) {
		return false;
	}
	all->told[kind].tgid = tgid;
	all->told[kind].count++;
	return true;
}
