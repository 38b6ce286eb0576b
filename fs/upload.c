/* SPDX-License-Identifier: MIT */
/*
 * upload.c - see upload.h: the table of uploads, their names and attributes. When they restore is in
 * upload_flush.c.
 *
 * What must stay true: uploads->lock is held for table work only; what an upload holds is let go outside it.
 */
#include "upload.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOG_MODULE "upload"
#include "log.h"

#define UPLOAD_INO                                                                              \
	0x75706c6f61640000ull /* "upload": far from what a hash of a live inode gives by chance \
			       */

static int64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (int64_t)ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

void uploads_init(struct uploads *all, struct snap *snap)
{
	pthread_mutex_init(&all->lock, NULL);
	all->first = NULL;
	all->last_id = 0;
	all->snap = snap;
	tasks_init(&all->tasks);
}

void uploads_abandon(struct uploads *all)
{
	pthread_mutex_lock(&all->lock);
	for (struct upload *u = all->first; u; u = u->next) {
		pthread_mutex_lock(&u->state_lock);
		u->writer_killed = true;
		pthread_mutex_unlock(&u->state_lock);
	}
	pthread_mutex_unlock(&all->lock);
}

static void upload_free(struct upload *u)
{
	snap_upload_destroy(u->data);
	pthread_mutex_destroy(&u->lock);
	pthread_mutex_destroy(&u->state_lock);
	free(u->name);
	free(u->path);
	free(u);
}

void uploads_finish(struct uploads *all)
{
	while (all->first) {
		struct upload *u = all->first;

		all->first = u->next;
		upload_free(u);
	}
	tasks_finish(&all->tasks);
	pthread_mutex_destroy(&all->lock);
}

/* ---- life ---------------------------------------------------------------------------------------------- */

int upload_create(struct upload **out, struct uploads *all, const struct upload_order *order,
		  struct snap_err *err)
{
	struct upload *u = calloc(1, sizeof(*u));
	int rc = -ENOMEM;

	if (!u)
		return rc;
	u->name = strdup(order->name);
	u->path = strdup(order->path);
	if (u->name && u->path)
		rc = snap_upload_create(all->snap, &u->data, err);
	if (rc) {
		free(u->name);
		free(u->path);
		free(u);
		return rc;
	}
	pthread_mutex_init(&u->lock, NULL);
	pthread_mutex_init(&u->state_lock, NULL);
	u->all = all;
	u->kind = order->kind;
	u->parent = order->parent;
	u->named = order->kind == UPLOAD_SCRATCH;
	u->mode = order->mode;
	u->uid = order->uid;
	u->gid = order->gid;
	u->creator = order->creator;
	u->by = order->by;
	u->written_ns = clock_ns(CLOCK_REALTIME);
	u->judged = snap_upload_changes(u->data);
	pthread_mutex_lock(&all->lock);
	u->id = ++all->last_id;
	u->refs = 1;
	u->touched = clock_ns(CLOCK_MONOTONIC);
	if (u->named)
		u->refs++; /* the name's */
	u->next = all->first;
	if (u->next)
		u->next->prev = u;
	all->first = u;
	pthread_mutex_unlock(&all->lock);
	*out = u;
	return 0;
}

struct upload *upload_ref(struct upload *u)
{
	pthread_mutex_lock(&u->all->lock);
	u->refs++;
	pthread_mutex_unlock(&u->all->lock);
	return u;
}

void upload_unref(struct upload *u)
{
	struct uploads *all;
	bool last;

	if (!u)
		return;
	all = u->all;
	pthread_mutex_lock(&all->lock);
	last = --u->refs == 0;
	if (last) {
		if (u->next)
			u->next->prev = u->prev;
		if (u->prev)
			u->prev->next = u->next;
		else
			all->first = u->next;
	}
	pthread_mutex_unlock(&all->lock);
	if (last)
		upload_free(u);
}

/* ---- names --------------------------------------------------------------------------------------------- */

static bool is_at(const struct upload *u, uint64_t parent, const char *name)
{
	return u->parent == parent && strcmp(u->name, name) == 0;
}

void upload_lead(struct upload *u, pid_t tid)
{
	pthread_mutex_lock(&u->all->lock);
	if (u->intent == 0)
		u->refs++; /* the intent's */
	u->intent = tid;
	u->intent_until = clock_ns(CLOCK_MONOTONIC) + UPLOAD_INTENT_NS;
	pthread_mutex_unlock(&u->all->lock);
}

struct upload *upload_led(struct uploads *all, pid_t tid, uint64_t parent, const char *name)
{
	struct upload *u;

	pthread_mutex_lock(&all->lock);
	for (u = all->first; u; u = u->next) {
		if (tid != 0 && u->intent == tid && is_at(u, parent, name) &&
		    u->intent_until >= clock_ns(CLOCK_MONOTONIC))
			break;
	}
	if (u)
		u->refs++;
	pthread_mutex_unlock(&all->lock);
	return u;
}

struct upload *upload_pending(struct uploads *all, pid_t tgid, uint64_t parent, const char *name)
{
	struct upload *u;

	pthread_mutex_lock(&all->lock);
	for (u = all->first; u; u = u->next) {
		if (tgid != 0 && u->kind == UPLOAD_DATABASE && u->creator == tgid && u->named &&
		    is_at(u, parent, name))
			break;
	}
	if (u)
		u->refs++;
	pthread_mutex_unlock(&all->lock);
	return u;
}

bool upload_any_pending(struct uploads *all)
{
	const struct upload *u;

	pthread_mutex_lock(&all->lock);
	u = all->first;
	while (u && !(u->kind == UPLOAD_DATABASE && u->named))
		u = u->next;
	pthread_mutex_unlock(&all->lock);
	return u != NULL;
}

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
	struct upload *u;

	pthread_mutex_lock(&all->lock);
	u = find_scratch(all, parent, name);
	if (u)
		u->refs++;
	pthread_mutex_unlock(&all->lock);
	return u;
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

int upload_rename(struct upload *u, uint64_t parent, const char *name, const char *path)
{
	char *new_name = strdup(name), *new_path = strdup(path);
	struct upload *there;

	if (!new_name || !new_path) {
		free(new_name);
		free(new_path);
		return -ENOMEM;
	}
	pthread_mutex_lock(&u->all->lock);
	there = find_scratch(u->all, parent, name);
	if (there == u)
		there = NULL;
	if (there)
		there->named = false;
	free(u->name);
	free(u->path);
	u->name = new_name;
	u->path = new_path;
	u->parent = parent;
	pthread_mutex_unlock(&u->all->lock);
	upload_unref(there);
	return 0;
}

void upload_opened(struct upload *u)
{
	bool intended;

	pthread_mutex_lock(&u->all->lock);
	u->refs++; /* the handle's */
	u->opens++;
	u->touched = clock_ns(CLOCK_MONOTONIC);
	intended = u->intent != 0;
	u->intent = 0;
	pthread_mutex_unlock(&u->all->lock);
	if (intended)
		upload_unref(u);
}

void uploads_tend(struct uploads *all, int64_t now)
{
	struct upload *u;

	do {
		bool intent = false, silent = false;

		pthread_mutex_lock(&all->lock);
		for (u = all->first; u; u = u->next) {
			int64_t patience = u->kind == UPLOAD_SCRATCH ? UPLOAD_SCRATCH_NS : UPLOAD_SILENCE_NS;

			intent = u->intent != 0 && u->intent_until < now;
			/* One process's announced length is nobody else's business. */
			bool orphaned = u->kind == UPLOAD_DATABASE && u->creator > 0 && kill(u->creator, 0) &&
					errno == ESRCH;

			silent = u->named && u->opens == 0 && (orphaned || u->touched + patience < now);
			if (intent || silent)
				break;
		}
		if (u && intent)
			u->intent = 0;
		if (u && silent)
			u->named = false;
		pthread_mutex_unlock(&all->lock);
		if (silent)
			log_info("\"%s\" was never finished: thrown away, nothing was restored", u->path);
		if (intent)
			upload_unref(u);
		if (silent)
			upload_unref(u);
	} while (u);
}

/* ---- content ------------------------------------------------------------------------------------------- */

void upload_stat(struct upload *u, struct snap_attr *attr)
{
	int64_t mtime;

	memset(attr, 0, sizeof(*attr));
	attr->kind = SNAP_PLAIN;
	attr->ino = UPLOAD_INO + u->id;
	attr->key_dev = UPLOAD_INO; /* no live inode has this device */
	attr->key_ino = u->id;
	attr->size = snap_upload_size(u->data);
	attr->blocks = (attr->size + 511) / 512;
	attr->nlink = 1;
	pthread_mutex_lock(&u->state_lock);
	attr->mode = S_IFREG | (u->mode & 0777);
	attr->uid = u->uid;
	attr->gid = u->gid;
	mtime = u->mtime_ns ? u->mtime_ns : u->written_ns;
	pthread_mutex_unlock(&u->state_lock);
	attr->mtime = (struct timespec){.tv_sec = mtime / 1000000000, .tv_nsec = mtime % 1000000000};
	attr->ctime = attr->atime = attr->mtime;
}

void upload_set(struct upload *u, const mode_t *mode, const uid_t *uid, const gid_t *gid, int64_t mtime_ns)
{
	pthread_mutex_lock(&u->state_lock);
	if (u->kind == UPLOAD_SCRATCH) {
		u->mode = mode ? *mode & 0777 : u->mode;
		u->uid = uid ? *uid : u->uid;
		u->gid = gid ? *gid : u->gid;
	}
	if (mtime_ns)
		u->mtime_ns = mtime_ns;
	pthread_mutex_unlock(&u->state_lock);
}

/* Notes that the content moves on, by a WRITE of OWNER (0: by a change of size). */
static void note_change(struct upload *u, const uint64_t *owner)
{
	pthread_mutex_lock(&u->state_lock);
	u->written_ns = clock_ns(CLOCK_REALTIME);
	u->mtime_ns = 0; /* a write moves it, whatever it was set to */
	u->writer_killed = false;
	if (owner) {
		u->last_owner = *owner;
		u->has_owner = true;
	}
	pthread_mutex_unlock(&u->state_lock);
	pthread_mutex_lock(&u->all->lock);
	u->touched = clock_ns(CLOCK_MONOTONIC);
	pthread_mutex_unlock(&u->all->lock);
}

void upload_in_place(struct upload *u)
{
	pthread_mutex_lock(&u->state_lock);
	u->in_place = true;
	pthread_mutex_unlock(&u->state_lock);
}

/* Whether a change is taken now: 0 or -EIO. CUT: it makes the file empty, which begins it anew. */
static int take_change(struct upload *u, bool cut, struct snap_err *err)
{
	bool spent, in_place;

	pthread_mutex_lock(&u->state_lock);
	spent = u->spent;
	if (cut)
		u->in_place = false;
	in_place = u->in_place;
	pthread_mutex_unlock(&u->state_lock);
	if (in_place && err)
		snprintf(err->text, sizeof(err->text),
			 "a database is not changed through the mount; to restore it, write the whole file");
	return spent || in_place ? -EIO : 0;
}

ssize_t upload_read(struct upload *u, void *buf, size_t size, uint64_t offset, struct snap_err *err)
{
	return snap_upload_read(u->data, buf, size, offset, err);
}

ssize_t upload_write(struct upload *u, const void *buf, size_t size, uint64_t offset, uint64_t owner,
		     struct snap_err *err)
{
	ssize_t n = take_change(u, false, err);

	if (n)
		return n;
	n = snap_upload_write(u->data, buf, size, offset, err);
	note_change(u, &owner);
	return n;
}

int upload_truncate(struct upload *u, uint64_t size, struct snap_err *err)
{
	int rc = take_change(u, size == 0, err);

	if (rc)
		return rc;
	rc = snap_upload_truncate(u->data, size, err);

	note_change(u, NULL);
	return rc;
}

int upload_allocate(struct upload *u, uint64_t offset, uint64_t size, bool keep_size, struct snap_err *err)
{
	int rc = take_change(u, false, err);

	if (rc)
		return rc;
	rc = snap_upload_allocate(u->data, offset, size, keep_size, err);

	note_change(u, NULL);
	return rc;
}
