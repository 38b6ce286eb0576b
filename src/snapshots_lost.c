/* SPDX-License-Identifier: MIT */
/*
 * snapshots_lost.c - see snapshots.h: snapshots for which mkdir(2) succeeded, but which were lost. The log
 * has a line for each; they are remembered so that status.json can warn of them, too.
 */
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "clock.h"
#include "snapshots_private.h"

/* Lock held. */
static struct snapshot_lost *find(struct snapshots *s, const char *name)
{
	for (size_t i = 0; i < SNAPSHOTS_LOST_MAX; i++)
		if (s->lost[i].time_ns && strcmp(s->lost[i].name, name) == 0)
			return &s->lost[i];
	return NULL;
}

void snapshots_note_lost(struct snapshots *s, const char *name, const char *why)
{
	lock_scope(&s->lock);
	struct snapshot_lost *to = find(s, name);

	for (size_t i = 0; i < SNAPSHOTS_LOST_MAX && (!to || strcmp(to->name, name) != 0); i++)
		if (!to || s->lost[i].time_ns < to->time_ns)
			to = &s->lost[i]; /* the oldest is replaced */
	to->time_ns = realtime_ns();
	snprintf(to->name, sizeof(to->name), "%s", name);
	snprintf(to->why, sizeof(to->why), "%s", why);
}

void snapshots_forget_lost(struct snapshots *s, const char *name)
{
	lock_scope(&s->lock);
	struct snapshot_lost *lost = find(s, name);

	if (lost)
		lost->time_ns = 0;
}

static void tell(struct snapshots *s, const char *name, const struct snap_err *why)
{
	bool known;

	pthread_mutex_lock(&s->lock);
	known = find(s, name) != NULL;
	pthread_mutex_unlock(&s->lock);
	if (known)
		return; /* from another of its databases */
	snapshots_note_lost(s, name, why->text);
	core_event(s->core, SNAP_ERROR, "snapshot \"%s\" was lost: %s", name, why->text);
}

void snapshots_tell_killed(struct snapshots *s, const char *name, const char *source)
{
	struct snap_err why;

	err_set(&why, 0, "whoever wrote it was killed, or had no time left (of %.200s)",
		source ? source : "an unknown database");
	tell(s, name, &why);
}

void snapshots_tell_damaged(struct snapshots *s, const char *name, const char *folder)
{
	struct snap_err why;

	err_set(&why, 0, "what the store has of it is damaged, and stays until you remove it: %.200s",
		folder);
	tell(s, name, &why);
}

void snapshots_each_lost(struct snapshots *s, void (*fn)(void *arg, const struct snap_lost_facts *facts),
			 void *arg)
{
	lock_scope(&s->lock);
	for (size_t i = 0; i < SNAPSHOTS_LOST_MAX; i++) {
		const struct snapshot_lost *lost = &s->lost[i];
		const struct snap_lost_facts facts = {
			.name = lost->name, .why = lost->why, .time_ns = lost->time_ns};

		if (lost->time_ns)
			fn(arg, &facts);
	}
}
