/* SPDX-License-Identifier: MIT */
/* shots.c - see shots.h: taking and dropping. shots_write.c writes. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "shots_private.h"

/* ---- life ---------------------------------------------------------------------------------------------- */

int shots_create(struct shots **out, struct core *core, struct tree *tree, struct kept_tree *kept)
{
	struct shots *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->core = core;
	s->tree = tree;
	s->kept = kept;
	pthread_mutex_init(&s->lock, NULL);
	cond_init_monotonic(&s->changed);
	list_init(&s->queue);
	*out = s;
	return 0;
}

/* No snapshot that is not published yet will be. Lock held. */
static void give_up(struct shots *s)
{
	list_each (e, &s->queue) {
		struct shot *shot = list_entry(e, struct shot, link);

		if (shot->publishing || shot->over || atomic_load(&shot->cancelled))
			continue;
		atomic_store(&shot->late, true);
		atomic_store(&shot->cancelled, true);
	}
}

void shots_stop(struct shots *s, int64_t patience_ms)
{
	struct timespec until = ns_timespec(monotonic_ns() + patience_ms * NS_PER_MS);

	if (!s)
		return;
	lock_scope(&s->lock);
	s->ending = true;
	while (s->writing && pthread_cond_timedwait(&s->changed, &s->lock, &until) == 0)
		;
	give_up(s);
	while (s->writing)
		pthread_cond_wait(&s->changed, &s->lock);
}

void shots_destroy(struct shots *s)
{
	if (!s)
		return;
	shots_stop(s, 0);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->changed);
	free(s);
}

void shot_finish(struct shot *shot)
{
	for (size_t i = 0; shot->dbs && i < shot->instant.count; i++)
		keep_destroy(shot->dbs[i].keep);
	instant_finish(&shot->instant);
	free(shot->pendings);
	free(shot->dbs);
	shot->pendings = NULL;
	shot->dbs = NULL;
}

static void destroy(struct shot *shot)
{
	shot_finish(shot);
	free(shot);
}

/* ---- taking -------------------------------------------------------------------------------------------- */

/* Begins what is to be kept of each database, under the name that is then taken. */
static int reserve(struct shots *s, struct shot *shot, struct snap_err *err)
{
	size_t n = shot->instant.count;

	shot->dbs = calloc(n, sizeof(*shot->dbs));
	shot->pendings = calloc(n, sizeof(*shot->pendings));
	if (!shot->dbs || !shot->pendings)
		return err_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < n; i++) {
		autofree char *source = kept_tree_source(s->kept, shot->instant.dbs[i].path);
		struct keep **keep = &shot->dbs[i].keep;
		int rc = source ? keep_begin(keep, s->core->store, source, shot->name, err)
				: err_errno(err, "\"%s\"", shot->instant.dbs[i].path);

		rc = rc ? rc : keep_reserve(*keep, err);
		if (rc)
			return rc;
	}
	return 0;
}

static int no_room(struct shots *s, uint64_t size, struct snap_err *err)
{
	const char *dir = store_dir(s->core->store);
	struct statvfs vfs = {.f_frsize = 1};

	if (statvfs(dir, &vfs))
		vfs.f_bavail = 0;
	return err_set(err, -ENOSPC,
		       "a database of %llu MiB is to be kept in %s, %llu MiB free; rmdir an old snapshot, or "
		       "mount with -o store=DIR",
		       (unsigned long long)(size >> 20) + 1, dir,
		       (unsigned long long)((uint64_t)vfs.f_bavail * vfs.f_frsize >> 20));
}

/* Reserves SIZE bytes for FD. On a tmpfs that would fill memory with zeros first: there it only checks the
 * room, together with what was asked for before. */
static int make_room(int fd, uint64_t size, uint64_t *asked)
{
	struct statfs fs;

	if (size == 0)
		return 0;
	if (fstatfs(fd, &fs))
		return -errno;
	if (fs.f_type != TMPFS_MAGIC) {
		if (fallocate(fd, 0, 0, (off_t)size) == 0)
			return 0;
		if (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL)
			return -errno;
	}
	*asked += size;
	return (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize < *asked ? -ENOSPC : 0;
}

static int prepare_all(struct shots *s, struct shot *shot, struct snap_err *err)
{
	uint64_t asked = STORE_RESERVE;

	for (size_t i = 0; i < shot->instant.count; i++) {
		struct snap_gen *gen = shot->instant.dbs[i].gen;
		int fd = keep_fd(shot->dbs[i].keep), rc = 0;

		if (!source_gen_clone(gen, fd, &shot->dbs[i].cloned))
			rc = make_room(fd, gen->size, &asked);
		if (rc == -ENOSPC || rc == -EDQUOT)
			return no_room(s, gen->size, err);
		if (rc)
			return err_set(err, rc, "cannot write to the store: %s", strerror(-rc));
		shot->total += gen->size;
	}
	return 0;
}

/* What is shown, which is what will be kept. */
static int fill_pendings(struct shot *shot, struct snap_err *err)
{
	for (size_t i = 0; i < shot->instant.count; i++) {
		const struct instant_db *db = &shot->instant.dbs[i];
		struct kept_pending *p = &shot->pendings[i];
		struct keep_meta *meta = &p->entry.meta;
		struct snap_attr attr;
		struct stat st;

		if (fstat(keep_fd(shot->dbs[i].keep), &st))
			return err_errno(err, "cannot examine the store");
		snap_gen_stat(db->gen, &attr);
		*p = (struct kept_pending){.name = shot->name, .path = db->path, .gen = db->gen};
		list_init(&p->link);
		p->entry.dev = st.st_dev;
		p->entry.ino = st.st_ino;
		*meta = (struct keep_meta){.mtime_ns = timespec_ns(attr.mtime),
					   .made_ns = shot->instant.at_ns,
					   .mode = db->attr.mode & 0777,
					   .uid = db->attr.uid,
					   .gid = db->attr.gid,
					   .size = db->gen->size};
		if (shot->instant.apart_ns)
			snprintf(meta->why, sizeof(meta->why), "mkdir; at most %lld ms apart from others",
				 (long long)(shot->instant.apart_ns / NS_PER_MS + 1));
	}
	return 0;
}

/* Whether the mount shows something of that name already, of whatever sources. */
static bool is_taken(struct shots *s, const char *name)
{
	char path[64 + NAME_MAX];
	struct snap_attr attr;

	snprintf(path, sizeof(path), KEPT_FOLDER "/snapshots/%s", name);
	return kept_tree_look(s->kept, path, &attr) == 0;
}

static int take(struct shots *s, struct shot *shot, struct snap_err *err)
{
	int rc = instant_find(&shot->instant, s->core, s->tree, store_dir(s->core->store), err);

	shot->total = 0;
	if (!rc && shot->instant.count == 0)
		rc = err_set(err, -ENODATA, "there is no database to keep");
	if (!rc)
		rc = reserve(s, shot, err);
	if (!rc)
		rc = instant_open(&shot->instant, err);
	if (!rc)
		rc = prepare_all(s, shot, err);
	if (!rc)
		rc = fill_pendings(shot, err);
	return rc;
}

/* Shows SHOT and has it written; takes it over. */
static int start(struct shots *s, struct shot *shot)
{
	bool first;
	int rc = 0;

	pthread_mutex_lock(&s->lock);
	if (s->ending) {
		pthread_mutex_unlock(&s->lock);
		return -ESHUTDOWN;
	}
	first = !s->writing;
	s->writing = true;
	list_append(&s->queue, &shot->link);
	kept_tree_show(s->kept, shot->pendings, shot->instant.count);
	pthread_mutex_unlock(&s->lock);
	if (first)
		rc = work_submit_urgent(s->core->work, shots_write, s);
	if (first && rc) {
		/* No thread is to be had: then this one. */
		shots_write(s);
	}
	return 0;
}

int shots_take(struct shots *s, const char *name, struct snap_err *err)
{
	struct shot *shot;
	int rc;

	if (!keep_name_valid(name))
		return err_set(err, -EINVAL,
			       "\"%s\" cannot be the name of a snapshot: no leading dot, no more than "
			       "%d bytes",
			       name, KEEP_NAME_MAX);
	if (strncmp(name, KEEP_UNDO, strlen(KEEP_UNDO)) == 0)
		return err_set(err, -EINVAL,
			       "\"%s\": names that begin with " KEEP_UNDO
			       " are the restores', which drop the oldest",
			       name);
	if (is_taken(s, name))
		return err_set(err, -EEXIST, "there is a snapshot \"%s\"", name);
	shot = calloc(1, sizeof(*shot));
	if (!shot)
		return err_set(err, -ENOMEM, "out of memory");
	list_init(&shot->link);
	shot->shots = s;
	snprintf(shot->name, sizeof(shot->name), "%s", name);
	rc = take(s, shot, err);
	for (int i = 1; i < INSTANT_FINDS && rc == -ENOENT; i++) {
		shot_finish(shot);
		rc = take(s, shot, err);
	}
	if (!rc)
		rc = start(s, shot);
	if (rc)
		destroy(shot);
	return rc;
}

/* ---- dropping ------------------------------------------------------------------------------------------ */

/* Lock held. */
static struct shot *find(struct shots *s, const char *name)
{
	list_each (e, &s->queue) {
		struct shot *shot = list_entry(e, struct shot, link);

		if (strcmp(shot->name, name) == 0)
			return shot;
	}
	return NULL;
}

int shots_drop(struct shots *s, const char *name)
{
	struct shot *shot;
	bool ours;

	pthread_mutex_lock(&s->lock);
	shot = find(s, name);
	if (!shot || shot->publishing || shot->over) {
		while (find(s, name))
			pthread_cond_wait(&s->changed, &s->lock);
		pthread_mutex_unlock(&s->lock);
		return -ENOENT;
	}
	atomic_store(&shot->cancelled, true);
	kept_tree_hide(s->kept, shot->pendings, shot->instant.count);
	ours = s->current != shot;
	if (ours)
		list_remove(&shot->link);
	while (!ours && find(s, name))
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
	if (ours)
		destroy(shot);
	return 0;
}

void shots_each(struct shots *s, void (*fn)(void *arg, const struct shot_state *state), void *arg)
{
	lock_scope(&s->lock);
	list_each (e, &s->queue) {
		struct shot *shot = list_entry(e, struct shot, link);

		if (shot->over)
			continue;
		struct shot_state state = {.name = shot->name,
					   .apart_ns = shot->instant.apart_ns,
					   .done = atomic_load(&shot->done),
					   .total = shot->total};

		fn(arg, &state);
	}
}
