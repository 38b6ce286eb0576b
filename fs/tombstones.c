/* SPDX-License-Identifier: MIT */
/* tombstones.c - see tombstones.h. */
#include "tombstones.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "../src/clock.h"
#include "caller.h"

#define SHOWN_NS (NS_PER_S * 86400 * 366) /* permanent */

void tombstones_init(struct tombstones *t, bool all)
{
	memset(t, 0, sizeof(*t));
	t->all = all;
	pthread_mutex_init(&t->lock, NULL);
}

static void empty(struct tombstones *t, struct tombstone *e)
{
	if (e->tgid != 0)
		node_holder_set(&t->holder, e->parent, false);
	free(e->name);
	*e = (struct tombstone){.tgid = 0};
}

void tombstones_finish(struct tombstones *t)
{
	for (size_t i = 0; i < t->count; i++)
		empty(t, &t->entries[i]);
	free(t->entries);
	pthread_mutex_destroy(&t->lock);
}

static bool is_at(const struct tombstone *e, uint64_t parent, const char *name, int64_t now)
{
	return e->tgid != 0 && e->until >= now && e->parent == parent && strcmp(e->name, name) == 0;
}

static struct tombstone *find(struct tombstones *t, pid_t tgid, uint64_t parent, const char *name)
{
	int64_t now = monotonic_ns();

	for (size_t i = 0; i < t->count; i++) {
		if (t->entries[i].tgid == tgid && is_at(&t->entries[i], parent, name, now))
			return &t->entries[i];
	}
	return NULL;
}

static struct tombstone *find_free(struct tombstones *t)
{
	int64_t now = monotonic_ns();

	for (size_t i = 0; i < t->count; i++) {
		if (t->entries[i].tgid == 0 || t->entries[i].until < now)
			return &t->entries[i];
	}
	return NULL;
}

static void drop_ended(struct tombstones *t)
{
	for (size_t i = 0; i < t->count; i++) {
		if (kill(t->entries[i].tgid, 0) != 0 && errno == ESRCH)
			empty(t, &t->entries[i]);
	}
}

/* Enlarges the table and returns its first new entry. NULL: the table has its maximum size, or there is no
 * memory. */
static struct tombstone *grow(struct tombstones *t)
{
	size_t old = t->count, count = old ? 2 * old : TOMBSTONES_MAX;
	struct tombstone *entries;

	if (count > (t->all ? TOMBSTONES_SHOWN_MAX : TOMBSTONES_MAX))
		return NULL;
	entries = realloc(t->entries, count * sizeof(*entries));
	if (!entries)
		return NULL;
	memset(entries + old, 0, (count - old) * sizeof(*entries));
	t->entries = entries;
	t->count = count;
	return entries + old;
}

/* The entry that ends first; NULL: there is none. */
static struct tombstone *find_oldest(struct tombstones *t)
{
	struct tombstone *e = t->entries;

	for (size_t i = 1; i < t->count; i++)
		e = t->entries[i].until < e->until ? &t->entries[i] : e;
	return e;
}

/* Makes an entry of NAME for TGID, or prolongs it. Takes ownership of NAME. Lock held. -ENOMEM */
static int enter(struct tombstones *t, pid_t tgid, uint64_t parent, char *name, int64_t until)
{
	struct tombstone *e = find(t, tgid, parent, name);

	if (!e)
		e = find_free(t);
	if (!e && t->all) {
		drop_ended(t); /* entries of live processes are permanent */
		e = find_free(t);
	}
	if (!e)
		e = grow(t);
	if (!e)
		e = find_oldest(t);
	if (!e) {
		free(name);
		return -ENOMEM;
	}
	node_holder_set(&t->holder, parent, true);
	empty(t, e);
	*e = (struct tombstone){.tgid = tgid, .parent = parent, .name = name, .until = until};
	return 0;
}

/* Removes an entry; returns whether there was one. */
static bool drop(struct tombstones *t, pid_t tgid, uint64_t parent, const char *name)
{
	struct tombstone *e = find(t, tgid, parent, name);

	if (e)
		empty(t, e);
	return e != NULL;
}

int tombstone_add(struct tombstones *t, pid_t tgid, uint64_t parent, const char *name)
{
	char *copy = t->all ? NULL : strdup(name);
	int rc = 0;

	if (!copy && !t->all)
		return -ENOMEM;
	pthread_mutex_lock(&t->lock);
	if (t->all)
		drop(t, tgid, parent, name);
	else
		rc = enter(t, tgid, parent, copy, monotonic_ns() + TOMBSTONE_NS);
	pthread_mutex_unlock(&t->lock);
	return rc;
}

bool tombstone_remove(struct tombstones *t, pid_t tgid, uint64_t parent, const char *name)
{
	/* A process that cannot be identified is shown nothing. */
	char *copy = t->all && tgid != 0 ? strdup(name) : NULL;
	bool was_hidden;

	pthread_mutex_lock(&t->lock);
	was_hidden = t->all ? !find(t, tgid, parent, name) : drop(t, tgid, parent, name);
	if (copy)
		enter(t, tgid, parent, copy, monotonic_ns() + SHOWN_NS);
	pthread_mutex_unlock(&t->lock);
	return was_hidden;
}

bool tombstone_hides(struct tombstones *t, pid_t tid, uint64_t parent, const char *name)
{
	struct caller caller;
	bool any = false, has;
	int64_t now = monotonic_ns();

	pthread_mutex_lock(&t->lock);
	for (size_t i = 0; i < t->count && !any; i++)
		any = is_at(&t->entries[i], parent, name, now);
	pthread_mutex_unlock(&t->lock);
	if (!any || !caller_look(&caller, tid))
		return t->all;
	pthread_mutex_lock(&t->lock);
	has = find(t, caller.tgid, parent, name) != NULL;
	pthread_mutex_unlock(&t->lock);
	return has != t->all;
}
