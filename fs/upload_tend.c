/* SPDX-License-Identifier: MIT */
/*
 * upload_tend.c - see upload.h: uploads that nobody comes back for. They occupy space on a disk that may be
 * the application's, and hold bytes of a live database, so a thread tends them independently of requests.
 */
#include "upload_private.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define LOG_MODULE "upload"
#include "log.h"

#include "../src/bytes.h"
#include "../src/cleanup.h"
#include "../src/clock.h"
#include "../src/thread.h"

#define TEND_NS NS_PER_S

/* ---- what is due --------------------------------------------------------------------------------------- */

/* Whether the process that would continue U has ended. */
static bool is_orphan(const struct upload *u)
{
	return u->creator > 0 && kill(u->creator, 0) && errno == ESRCH;
}

/* Whether U's name has been unused for too long. Lock held. */
static bool is_silent(const struct upload *u, int64_t now)
{
	if (!u->named || u->opens > 0)
		return false;
	if (u->kind == UPLOAD_SCRATCH)
		return u->touched + UPLOAD_SCRATCH_NS < now;
	/* A pending upload can be continued by its own process only. */
	return u->touched + UPLOAD_SILENCE_NS < now || is_orphan(u);
}

/* What one round discards. */
struct due {
	struct upload *upload; /* a reference; NULL: nothing is due */
	char *path;	       /* owned; of what was silent; NULL: no memory */
	bool silent;	       /* else a thread was led there and has not come */
	bool lost;	       /* nobody can reach it any more */
};

/* Lock held. */
static struct upload *take_late_intent(struct uploads *all, int64_t now)
{
	struct intent **at = &all->intents;

	while (*at && (*at)->until >= now)
		at = &(*at)->next;
	return *at ? upload_take_intent(at) : NULL;
}

/* Lock held. */
static struct upload *take_silent_name(struct uploads *all, int64_t now)
{
	struct upload *u = all->first;

	while (u && !is_silent(u, now))
		u = u->next;
	if (u)
		u->named = false;
	return u; /* with the name's reference */
}

/* Lock held. */
static struct due take_due(struct uploads *all, int64_t now)
{
	struct due due = {.upload = take_late_intent(all, now)};

	if (!due.upload) {
		due.upload = take_silent_name(all, now);
		due.silent = due.upload != NULL;
	}
	if (due.silent)
		due.path = strdup(due.upload->path);
	due.lost = due.upload && !upload_lives(due.upload);
	if (due.lost)
		due.upload->gone = true;
	return due;
}

void upload_note_left(struct upload *u, const char *path)
{
	uint64_t size = snap_upload_size(u->data);
	char text[BYTES_TEXT_SIZE];
	bool said;

	pthread_mutex_lock(&u->state_lock);
	said = u->writer_killed;
	pthread_mutex_unlock(&u->state_lock);
	if (size > 0 && !said)
		log_warn("\"%s\", %s, was never renamed to a database's name: thrown away, for nothing "
			 "else is kept here; nothing was restored",
			 path ? path : "?", bytes_text(text, size));
}

static void note_silent(const struct due *due)
{
	if (due->upload->kind == UPLOAD_SCRATCH)
		upload_note_left(due->upload, due->path);
	else
		log_warn("\"%s\" was never finished: thrown away, nothing was restored",
			 due->path ? due->path : "?");
}

void uploads_tend(struct uploads *all, int64_t now)
{
	for (;;) {
		struct due due;

		pthread_mutex_lock(&all->lock);
		due = take_due(all, now);
		pthread_mutex_unlock(&all->lock);
		if (!due.upload)
			return;
		if (due.silent)
			note_silent(&due);
		free(due.path);
		/* A thread that is deciding about it right now discards it itself. */
		if (due.lost && pthread_mutex_trylock(&due.upload->lock) == 0) {
			snap_upload_discard(due.upload->data);
			pthread_mutex_unlock(&due.upload->lock);
		}
		upload_unref(due.upload);
	}
}

/* ---- who does it --------------------------------------------------------------------------------------- */

/* Lock held. */
static bool has_anything(const struct uploads *all)
{
	const struct upload *u = all->first;

	while (u && !u->named)
		u = u->next;
	return u || all->intents;
}

static void *run_tender(void *arg)
{
	struct uploads *all = arg;
	int64_t next = monotonic_ns() + TEND_NS;

	pthread_mutex_lock(&all->lock);
	while (!all->ending) {
		struct timespec until = ns_timespec(next);

		if (!has_anything(all)) {
			pthread_cond_wait(&all->changed, &all->lock);
			continue;
		}
		if (pthread_cond_timedwait(&all->changed, &all->lock, &until) != ETIMEDOUT)
			continue;
		pthread_mutex_unlock(&all->lock);
		next = monotonic_ns() + TEND_NS;
		uploads_tend(all, next - TEND_NS);
		pthread_mutex_lock(&all->lock);
	}
	pthread_mutex_unlock(&all->lock);
	return NULL;
}

void uploads_watch(struct uploads *all)
{
	lock_scope(&all->lock);
	if (all->ending)
		return;
	if (!all->has_tender) /* if that fails, the next call tries again */
		all->has_tender = thread_start(&all->tender, NULL, run_tender, all) == 0;
	pthread_cond_signal(&all->changed);
}
