/* SPDX-License-Identifier: MIT */
/*
 * upload_names.c - see upload.h: who is led to which upload, by a name that others see, or by what a process
 * has begun itself.
 */
#include "upload_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../src/cleanup.h"
#include "../src/clock.h"

static bool is_at(const struct upload *u, uint64_t parent, const char *name)
{
	return u->parent == parent && strcmp(u->name, name) == 0;
}

/* Returns U with a reference for the caller. Lock held. */
static struct upload *hand_out(struct upload *u)
{
	if (u)
		u->refs++;
	return u;
}

/* ---- led by a thread's open(2) ------------------------------------------------------------------------- */

struct upload *upload_take_intent(struct intent **at)
{
	struct intent *intent = *at;
	struct upload *u = intent->upload;

	*at = intent->next;
	u->intents--;
	free(intent);
	return u;
}

/* The place of TID's intent in the list. It has one at most, because it is in one open(2) at a time. Lock
 * held. */
static struct intent **find_intent(struct uploads *all, pid_t tid)
{
	struct intent **at = &all->intents;

	while (*at && (*at)->tid != tid)
		at = &(*at)->next;
	return at;
}

/* Ends TID's intent if it leads to U, and returns its reference, or NULL. Lock held. */
static struct upload *end_intent(struct upload *u, pid_t tid)
{
	struct intent **at = find_intent(u->all, tid);

	return *at && (*at)->upload == u ? upload_take_intent(at) : NULL;
}

int upload_lead(struct upload *u, pid_t tid)
{
	struct uploads *all = u->all;
	struct intent *intent = malloc(sizeof(*intent)), **at;
	struct upload *old = NULL;
	int64_t now = monotonic_ns();
	bool lost = false;

	if (!intent)
		return -ENOMEM;
	pthread_mutex_lock(&all->lock);
	if (u->gone) {
		pthread_mutex_unlock(&all->lock);
		free(intent);
		return -ESTALE;
	}
	at = find_intent(all, tid);
	if (*at) {
		lost = !(*at)->followed && (*at)->until >= now && is_at((*at)->upload, u->parent, u->name);
		old = upload_take_intent(at); /* nobody has come for it */
	}
	*intent = (struct intent){
		.next = all->intents, .upload = hand_out(u), .tid = tid, .until = now + UPLOAD_INTENT_NS};
	all->intents = intent;
	u->intents++;
	pthread_mutex_unlock(&all->lock);
	upload_unref(old);
	uploads_watch(all);
	return lost ? UPLOAD_NOT_FOLLOWED : 0;
}

struct upload *upload_led(struct uploads *all, pid_t tid, uint64_t parent, const char *name)
{
	struct intent *intent;

	if (tid == 0)
		return NULL;
	lock_scope(&all->lock);
	intent = *find_intent(all, tid);
	if (!intent || intent->until < monotonic_ns() || !is_at(intent->upload, parent, name))
		return NULL;
	intent->followed = true;
	return hand_out(intent->upload);
}

int upload_opened(struct upload *u, pid_t tid)
{
	struct upload *led;

	pthread_mutex_lock(&u->all->lock);
	if (u->gone) {
		pthread_mutex_unlock(&u->all->lock);
		return -ESTALE;
	}
	hand_out(u)->opens++; /* the reference is the handle's */
	u->touched = monotonic_ns();
	led = end_intent(u, tid);
	pthread_mutex_unlock(&u->all->lock);
	upload_unref(led);
	return 0;
}

bool upload_forgo(struct upload *u, pid_t tid)
{
	struct upload *led;

	pthread_mutex_lock(&u->all->lock);
	led = end_intent(u, tid);
	pthread_mutex_unlock(&u->all->lock);
	upload_unref(led);
	return led != NULL;
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
	uint64_t old_parent;

	if (!new_name || !new_path)
		return -ENOMEM;
	node_holder_set(&u->all->holder, parent, true);
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
	old_parent = u->parent;
	u->parent = parent;
	pthread_mutex_unlock(&u->all->lock);
	node_holder_set(&u->all->holder, old_parent, false);
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
