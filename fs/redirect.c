/* SPDX-License-Identifier: MIT */
/* redirect.c - see redirect.h. References to generations are dropped outside the lock. */
#include "redirect.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../src/cleanup.h"
#include "../src/clock.h"

/* A retried open takes microseconds; a stopped process is not waited for. */
#define LEAD_NS (SNAP_HOLD_MS * NS_PER_MS)
#define SHARED_NS (100 * NS_PER_MS) /* for callers that cannot be distinguished */

void redirects_init(struct redirects *r)
{
	memset(r, 0, sizeof(*r));
	pthread_mutex_init(&r->lock, NULL);
}

/* Empties E; the caller drops the generation after unlocking. */
static struct snap_gen *empty(struct redirect_entry *e)
{
	struct snap_gen *gen = e->gen;

	free(e->name);
	e->name = NULL;
	e->gen = NULL;
	return gen;
}

void redirects_finish(struct redirects *r)
{
	for (size_t i = 0; i < REDIRECT_MAX; i++)
		snap_gen_unref(empty(&r->entries[i]));
	pthread_mutex_destroy(&r->lock);
}

static struct redirect_entry *find(struct redirects *r, pid_t tid, uint64_t parent, const char *name)
{
	for (size_t i = 0; i < REDIRECT_MAX; i++) {
		struct redirect_entry *e = &r->entries[i];

		if (e->gen && e->tid == tid && e->parent == parent && strcmp(e->name, name) == 0)
			return e;
	}
	return NULL;
}

/* A free entry, or the one that ends first. */
static struct redirect_entry *choose(struct redirects *r)
{
	struct redirect_entry *oldest = &r->entries[0];

	for (size_t i = 0; i < REDIRECT_MAX; i++) {
		struct redirect_entry *e = &r->entries[i];

		if (!e->gen)
			return e;
		if (e->until < oldest->until)
			oldest = e;
	}
	return oldest;
}

void redirect_add(struct redirects *r, pid_t tid, uint64_t parent, const char *name, struct snap_gen *gen)
{
	char *copy = strdup(name);
	struct redirect_entry *e;
	struct snap_gen *old;
	unsigned waiting;
	bool is_lost;

	if (!copy)
		return;
	pthread_mutex_lock(&r->lock);
	e = find(r, tid, parent, name);
	is_lost = e && tid != 0 && !e->followed && e->until >= monotonic_ns();
	waiting = e && tid == 0 ? e->waiting + 1 : 1;
	if (!e)
		e = choose(r);
	old = empty(e);
	if (!is_lost)
		*e = (struct redirect_entry){.gen = snap_gen_ref(gen),
					     .tid = tid,
					     .parent = parent,
					     .name = steal_ptr(&copy),
					     .waiting = waiting,
					     .until = monotonic_ns() + (tid ? LEAD_NS : SHARED_NS)};
	pthread_mutex_unlock(&r->lock);
	free(copy);
	snap_gen_unref(old);
}

struct snap_gen *redirect_find(struct redirects *r, pid_t tid, uint64_t parent, const char *name)
{
	struct snap_gen *gen = NULL, *old = NULL;
	struct redirect_entry *e;

	pthread_mutex_lock(&r->lock);
	e = find(r, tid, parent, name);
	if (e && e->until < monotonic_ns())
		old = empty(e);
	else if (e)
		gen = snap_gen_ref(e->gen);
	if (gen)
		e->followed = true;
	pthread_mutex_unlock(&r->lock);
	snap_gen_unref(old);
	return gen;
}

bool redirect_drop(struct redirects *r, pid_t tid, const struct snap_gen *gen)
{
	struct snap_gen *old = NULL;
	bool was_led = false;

	pthread_mutex_lock(&r->lock);
	for (size_t i = 0; i < REDIRECT_MAX && !was_led; i++) {
		struct redirect_entry *e = &r->entries[i];

		was_led = e->gen == gen && e->tid == tid;
		if (was_led && --e->waiting == 0)
			old = empty(e);
	}
	pthread_mutex_unlock(&r->lock);
	snap_gen_unref(old);
	return was_led;
}
