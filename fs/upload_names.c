/* SPDX-License-Identifier: MIT */
/*
 * upload_names.c - see upload.h: who is led to which upload, by a name that others see, or by what he has
 * begun himself.
 */
#include "upload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../src/cleanup.h"
#include "../src/clock.h"

static bool is_at(const struct upload *u, uint64_t parent, const char *name)
{
	return u->parent == parent && strcmp(u->name, name) == 0;
}

/* With a reference for the caller. Lock held. */
static struct upload *hand_out(struct upload *u)
{
	if (u)
		u->refs++;
	return u;
}

/* ---- led by a thread's open(2) ------------------------------------------------------------------------- */

/* Takes one upload's intent of TID away, whose reference is the caller's then; NULL: there is none. Lock
 * held. */
static struct upload *take_intent(struct uploads *all, pid_t tid)
{
	struct upload *u = all->first;

	while (u && u->intent != tid)
		u = u->next;
	if (u)
		u->intent = 0;
	return u;
}

void upload_lead(struct upload *u, pid_t tid)
{
	struct uploads *all = u->all;
	struct upload *old;

	/* A thread is in one open(2) at a time: what an earlier one has left was not come for. */
	do {
		pthread_mutex_lock(&all->lock);
		old = take_intent(all, tid);
		if (!old) {
			if (u->intent == 0)
				u->refs++; /* the intent's */
			u->intent = tid;
			u->intent_until = monotonic_ns() + UPLOAD_INTENT_NS;
		}
		pthread_mutex_unlock(&all->lock);
		upload_unref(old);
	} while (old);
	uploads_watch(all);
}

struct upload *upload_led(struct uploads *all, pid_t tid, uint64_t parent, const char *name)
{
	struct upload *u;

	if (tid == 0)
		return NULL;
	lock_scope(&all->lock);
	u = all->first;
	while (u && !(u->intent == tid && is_at(u, parent, name) && u->intent_until >= monotonic_ns()))
		u = u->next;
	return hand_out(u);
}

void upload_opened(struct upload *u)
{
	bool intended;

	pthread_mutex_lock(&u->all->lock);
	u->refs++; /* the handle's */
	u->opens++;
	u->touched = monotonic_ns();
	intended = u->intent != 0;
	u->intent = 0;
	pthread_mutex_unlock(&u->all->lock);
	if (intended)
		upload_unref(u);
}

/* ---- known to its process ------------------------------------------------------------------------------ */

struct upload *upload_pending(struct uploads *all, pid_t tgid, uint64_t parent, const char *name)
{
	struct upload *u;

	if (tgid == 0)
		return NULL;
	lock_scope(&all->lock);
	u = all->first;
	while (u && !(u->kind == UPLOAD_DATABASE && u->named && u->creator == tgid && is_at(u, parent, name)))
		u = u->next;
	return hand_out(u);
}

bool upload_any_pending(struct uploads *all)
{
	const struct upload *u;

	lock_scope(&all->lock);
	u = all->first;
	while (u && !(u->kind == UPLOAD_DATABASE && u->named))
		u = u->next;
	return u != NULL;
}

bool uploads_drop(struct uploads *all, pid_t tgid, uint64_t parent, const char *name)
{
	struct upload *pending;
	bool any = false;

	pthread_mutex_lock(&all->lock);
	for (struct upload *u = all->first; u && tgid != 0; u = u->next) {
		if (u->kind != UPLOAD_DATABASE || u->creator != tgid || !is_at(u, parent, name) ||
		    !upload_lives(u))
			continue;
		upload_drop(u);
		any = true;
	}
	pthread_mutex_unlock(&all->lock);
	while ((pending = upload_pending(all, tgid, parent, name)) != NULL) {
		upload_unname(pending);
		upload_unref(pending);
	}
	return any;
}

/* ---- known to everybody -------------------------------------------------------------------------------- */

/* Lock held. */
static struct upload *find_scratch(struct uploads *all, uint64_t parent, const char *name)
{
	struct upload *u = all->first;

	while (u && !(u->kind == UPLOAD_SCRATCH && u->named && is_at(u, parent, name)))
		u = u->next;
	return u;
}

struct upload *upload_scratch(struct uploads *all, uint64_t parent, const char *name)
{
	lock_scope(&all->lock);
	return hand_out(find_scratch(all, parent, name));
}

int upload_rename(struct upload *u, uint64_t parent, const char *name, const char *path)
{
	autofree char *new_name = strdup(name), *new_path = strdup(path);
	autofree char *old_name = NULL, *old_path = NULL;
	struct upload *there;

	if (!new_name || !new_path)
		return -ENOMEM;
	pthread_mutex_lock(&u->all->lock);
	there = find_scratch(u->all, parent, name);
	if (there == u)
		there = NULL;
	if (there)
		there->named = false;
	old_name = u->name;
	old_path = u->path;
	u->name = steal_ptr(&new_name);
	u->path = steal_ptr(&new_path);
	u->parent = parent;
	pthread_mutex_unlock(&u->all->lock);
	upload_unref(there);
	return 0;
}

/* ---- both ---------------------------------------------------------------------------------------------- */

void upload_name(struct upload *u)
{
	pthread_mutex_lock(&u->all->lock);
	if (!u->named)
		u->refs++; /* the name's */
	u->named = true;
	pthread_mutex_unlock(&u->all->lock);
	uploads_watch(u->all);
}

void upload_unname(struct upload *u)
{
	bool was;

	pthread_mutex_lock(&u->all->lock);
	was = u->named;
	u->named = false;
	pthread_mutex_unlock(&u->all->lock);
	if (was)
		upload_unref(u);
}
