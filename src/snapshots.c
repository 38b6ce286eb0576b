/* SPDX-License-Identifier: MIT */
/* snapshots.c - see snapshots.h: taking and dropping. snapshots_write.c writes. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "snapshots_private.h"

/* ---- life ---------------------------------------------------------------------------------------------- */

int snapshots_create(struct snapshots **out, struct core *core, struct tree *tree, struct kept_tree *kept)
{
	struct snapshots *s = calloc(1, sizeof(*s));

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

/* Gives up every snapshot that is neither published nor being published. Lock held. */
static void give_up(struct snapshots *s)
{
	list_each (e, &s->queue) {
		struct snapshot *snapshot = list_entry(e, struct snapshot, link);

		if (!snapshot->publishing && !snapshot->over &&
		    atomic_load(&snapshot->given_up) == SNAPSHOT_WANTED)
			atomic_store(&snapshot->given_up, SNAPSHOT_LATE);
	}
}

void snapshots_stop(struct snapshots *s, int64_t patience_ms)
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

void snapshots_destroy(struct snapshots *s)
{
	if (!s)
		return;
	snapshots_stop(s, 0);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->changed);
	free(s);
}

void snapshot_finish(struct snapshot *snapshot)
{
	for (size_t i = 0; snapshot->dbs && i < snapshot->instant.count; i++)
		keep_destroy(snapshot->dbs[i].keep);
	instant_finish(&snapshot->instant);
	free(snapshot->pendings);
	free(snapshot->dbs);
	snapshot->pendings = NULL;
	snapshot->dbs = NULL;
}

static void destroy(struct snapshot *snapshot)
{
	snapshot_finish(snapshot);
	free(snapshot);
}

/* ---- taking -------------------------------------------------------------------------------------------- */

/* Begins what is kept of each database, and reserves the name for it. */
static int reserve(struct snapshots *s, struct snapshot *snapshot, struct snap_err *err)
{
	size_t n = snapshot->instant.count;

	snapshot->dbs = calloc(n, sizeof(*snapshot->dbs));
	snapshot->pendings = calloc(n, sizeof(*snapshot->pendings));
	if (!snapshot->dbs || !snapshot->pendings)
		return err_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < n; i++) {
		autofree char *source = kept_tree_source(s->kept, snapshot->instant.dbs[i].path);
		struct keep **keep = &snapshot->dbs[i].keep;
		int rc = source ? keep_begin(keep, s->core->store, source, snapshot->name, err)
				: err_errno(err, "\"%s\"", snapshot->instant.dbs[i].path);

		rc = rc ? rc : keep_reserve(*keep, err);
		if (rc)
			return rc;
	}
	return 0;
}

static int no_room(struct snapshots *s, uint64_t size, int error, struct snap_err *err)
{
	char room[STORE_ROOM_SIZE];

	return err_set(err, error,
		       "a database of %llu MiB is to be kept in %s, %s, and some must stay; rmdir an old "
		       "snapshot, or mount with -o store=DIR",
		       (unsigned long long)(size >> 20) + 1, store_dir(s->core->store),
		       store_room(s->core->store, error, room));
}

/* Reserves SIZE bytes for FD, if at least *ASKED remain: the disk may be an application's, and the snapshot
 * needs more that is not reserved yet. On a tmpfs that would first fill memory with zeros: there it only
 * checks the free space, including what was asked for before. */
static int make_room(int fd, uint64_t size, uint64_t *asked)
{
	struct statfs fs;

	if (size == 0)
		return 0;
	if (fstatfs(fd, &fs))
		return -errno;
	if ((uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize < *asked + size)
		return -ENOSPC;
	if (fs.f_type != TMPFS_MAGIC) {
		if (fallocate(fd, 0, 0, (off_t)size) == 0)
			return 0;
		if (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL)
			return -errno;
	}
	*asked += size;
	return 0;
}

static int prepare_all(struct snapshots *s, struct snapshot *snapshot, struct snap_err *err)
{
	uint64_t asked = STORE_RESERVE;

	for (size_t i = 0; i < snapshot->instant.count; i++) {
		struct snap_gen *gen = snapshot->instant.dbs[i].gen;
		int fd = keep_fd(snapshot->dbs[i].keep), rc = 0;

		if (!source_gen_clone(gen, fd, &snapshot->dbs[i].cloned))
			rc = make_room(fd, gen->size, &asked);
		if (store_is_full(rc))
			return no_room(s, gen->size, rc, err);
		if (rc)
			return err_set(err, rc, "cannot write to the store: %s", strerror(-rc));
		snapshot->total += gen->size;
	}
	return 0;
}

/* Fills in what is shown, which is what will be kept. */
static int fill_pendings(struct snapshot *snapshot, struct snap_err *err)
{
	for (size_t i = 0; i < snapshot->instant.count; i++) {
		const struct instant_db *db = &snapshot->instant.dbs[i];
		struct kept_pending *p = &snapshot->pendings[i];
		struct keep_meta *meta = &p->entry.meta;
		struct snap_attr attr;
		struct stat st;

		if (fstat(keep_fd(snapshot->dbs[i].keep), &st))
			return err_errno(err, "cannot examine the store");
		snap_gen_stat(db->gen, &attr);
		*p = (struct kept_pending){.name = snapshot->name, .path = db->path, .gen = db->gen};
		list_init(&p->link);
		p->entry.dev = st.st_dev;
		p->entry.ino = st.st_ino;
		*meta = (struct keep_meta){.mtime_ns = timespec_ns(attr.mtime),
					   .made_ns = snapshot->instant.at_ns,
					   .mode = db->attr.mode & 0777,
					   .uid = db->attr.uid,
					   .gid = db->attr.gid,
					   .size = db->gen->size};
		if (snapshot->instant.apart_ns)
			snprintf(meta->why, sizeof(meta->why), "mkdir; at most %lld ms apart from others",
				 (long long)(snapshot->instant.apart_ns / NS_PER_MS + 1));
	}
	return 0;
}

/* Whether the mount already shows a snapshot of that name, of any source. */
static bool is_taken(struct snapshots *s, const char *name)
{
	char path[64 + NAME_MAX];
	struct snap_attr attr;

	snprintf(path, sizeof(path), KEPT_FOLDER "/snapshots/%s", name);
	return kept_tree_look(s->kept, path, &attr) == 0;
}

static int take(struct snapshots *s, struct snapshot *snapshot, struct snap_err *err)
{
	int rc = instant_find(&snapshot->instant, s->core, s->tree, store_dir(s->core->store), err);

	snapshot->total = 0;
	if (!rc && snapshot->instant.count == 0)
		rc = err_set(err, -ENODATA, "there is no database to keep");
	if (!rc)
		rc = reserve(s, snapshot, err);
	if (!rc)
		rc = instant_open(&snapshot->instant, err);
	if (!rc)
		rc = prepare_all(s, snapshot, err);
	if (!rc)
		rc = fill_pendings(snapshot, err);
	return rc;
}

/* Shows SNAPSHOT and has it written; takes it over, except on failure. */
static int start(struct snapshots *s, struct snapshot *snapshot)
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
	list_append(&s->queue, &snapshot->link);
	kept_tree_show(s->kept, snapshot->pendings, snapshot->instant.count);
	pthread_mutex_unlock(&s->lock);
	if (first)
		rc = work_submit_urgent(s->core->work, snapshots_write, s);
	if (first && rc) {
		/* There is no thread for it: use this one. */
		snapshots_write(s);
	}
	return 0;
}

int snapshots_take(struct snapshots *s, const char *name, struct snap_err *err)
{
	struct snapshot *snapshot;
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
	snapshot = calloc(1, sizeof(*snapshot));
	if (!snapshot)
		return err_set(err, -ENOMEM, "out of memory");
	list_init(&snapshot->link);
	snapshot->snapshots = s;
	snprintf(snapshot->name, sizeof(snapshot->name), "%s", name);
	rc = take(s, snapshot, err);
	for (int i = 1; i < INSTANT_FINDS && rc == -ENOENT; i++) {
		snapshot_finish(snapshot);
		rc = take(s, snapshot, err);
	}
	if (!rc)
		rc = start(s, snapshot);
	if (rc)
		destroy(snapshot);
	return rc;
}

/* ---- dropping ------------------------------------------------------------------------------------------ */

/* Lock held. */
static struct snapshot *find(struct snapshots *s, const char *name)
{
	list_each (e, &s->queue) {
		struct snapshot *snapshot = list_entry(e, struct snapshot, link);

		if (strcmp(snapshot->name, name) == 0)
			return snapshot;
	}
	return NULL;
}

int snapshots_drop(struct snapshots *s, const char *name)
{
	struct snapshot *snapshot;
	bool ours;

	pthread_mutex_lock(&s->lock);
	snapshot = find(s, name);
	if (!snapshot || snapshot->publishing || snapshot->over) {
		while (find(s, name))
			pthread_cond_wait(&s->changed, &s->lock);
		pthread_mutex_unlock(&s->lock);
		return -ENOENT;
	}
	atomic_store(&snapshot->given_up, SNAPSHOT_DROPPED);
	kept_tree_hide(s->kept, snapshot->pendings, snapshot->instant.count);
	ours = s->current != snapshot;
	if (ours)
		list_remove(&snapshot->link);
	while (!ours && find(s, name))
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
	if (ours)
		destroy(snapshot);
	return 0;
}

void snapshots_each(struct snapshots *s, void (*fn)(void *arg, const struct snap_pending_facts *facts),
		    void *arg)
{
	lock_scope(&s->lock);
	list_each (e, &s->queue) {
		struct snapshot *snapshot = list_entry(e, struct snapshot, link);

		if (snapshot->over)
			continue;
		const struct snap_pending_facts facts = {.name = snapshot->name,
							 .apart_ns = snapshot->instant.apart_ns,
							 .done = atomic_load(&snapshot->done),
							 .total = snapshot->total};

		fn(arg, &facts);
	}
}
