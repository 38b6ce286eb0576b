/* SPDX-License-Identifier: MIT */
/* tombs.c - see tombs.h. */
#include "tombs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "caller.h"

#define SHOWN_NS (INT64_C(366) * 86400 * 1000000000) /* for good */

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

void tombs_init(struct tombs *t, bool all)
{
	memset(t, 0, sizeof(*t));
	t->all = all;
	pthread_mutex_init(&t->lock, NULL);
}

static void empty(struct tombs *t, struct tomb *e)
{
	if (e->tgid != 0)
		node_holder_set(&t->holder, e->parent, false);
	free(e->name);
	*e = (struct tomb){.tgid = 0};
}

void tombs_finish(struct tombs *t)
{
	for (size_t i = 0; i < TOMBS_MAX; i++)
		empty(t, &t->entries[i]);
	pthread_mutex_destroy(&t->lock);
}

static bool is_at(const struct tomb *e, uint64_t parent, const char *name, int64_t now)
{
	return e->tgid != 0 && e->until >= now && e->parent == parent && strcmp(e->name, name) == 0;
}

static struct tomb *find(struct tombs *t, pid_t tgid, uint64_t parent, const char *name)
{
	int64_t now = now_ns();

	for (size_t i = 0; i < TOMBS_MAX; i++) {
		if (t->entries[i].tgid == tgid && is_at(&t->entries[i], parent, name, now))
			return &t->entries[i];
	}
	return NULL;
}

/* Makes the entry of NAME for TGID, or makes it last longer. Lock held; takes over NAME. */
static void enter(struct tombs *t, pid_t tgid, uint64_t parent, char *name, int64_t until)
{
	struct tomb *e = find(t, tgid, parent, name);

	for (size_t i = 0; i < TOMBS_MAX && !e; i++) {
		if (t->entries[i].tgid == 0 || t->entries[i].until < now_ns())
			e = &t->entries[i];
	}
	if (!e) {
		e = &t->entries[0];
		for (size_t i = 1; i < TOMBS_MAX; i++)
			e = t->entries[i].until < e->until ? &t->entries[i] : e;
	}
	node_holder_set(&t->holder, parent, true);
	empty(t, e);
	*e = (struct tomb){.tgid = tgid, .parent = parent, .name = name, .until = until};
}

/* Whether there was one. */
static bool drop(struct tombs *t, pid_t tgid, uint64_t parent, const char *name)
{
	struct tomb *e = find(t, tgid, parent, name);

	if (e)
		empty(t, e);
	return e != NULL;
}

int tomb_add(struct tombs *t, pid_t tgid, uint64_t parent, const char *name)
{
	char *copy = t->all ? NULL : strdup(name);

	if (!copy && !t->all)
		return -ENOMEM;
	pthread_mutex_lock(&t->lock);
	if (t->all)
		drop(t, tgid, parent, name);
	else
		enter(t, tgid, parent, copy, now_ns() + TOMB_NS);
	pthread_mutex_unlock(&t->lock);
	return 0;
}

bool tomb_remove(struct tombs *t, pid_t tgid, uint64_t parent, const char *name)
{
	char *copy = t->all ? strdup(name) : NULL;
	bool was_hidden;

	pthread_mutex_lock(&t->lock);
	was_hidden = t->all ? !find(t, tgid, parent, name) : drop(t, tgid, parent, name);
	if (copy)
		enter(t, tgid, parent, copy, now_ns() + SHOWN_NS);
	pthread_mutex_unlock(&t->lock);
	return was_hidden;
}

bool tomb_hides(struct tombs *t, pid_t tid, uint64_t parent, const char *name)
{
	struct caller caller;
	bool any = false, has;
	int64_t now = now_ns();

	pthread_mutex_lock(&t->lock);
	for (size_t i = 0; i < TOMBS_MAX && !any; i++)
		any = is_at(&t->entries[i], parent, name, now);
	pthread_mutex_unlock(&t->lock);
	if (!any || !caller_look(&caller, tid))
		return t->all;
	pthread_mutex_lock(&t->lock);
	has = find(t, caller.tgid, parent, name) != NULL;
	pthread_mutex_unlock(&t->lock);
	return has != t->all;
}
