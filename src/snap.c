/* SPDX-License-Identifier: MIT */
/*
 * snap.c - the context of sqlsnap.h: tree, sources and threads put together.
 *
 * What must stay true: a source stays in the table as long as anything refers to it, so that all readers of a
 * database share its pins; the janitor sleeps while no source is connected.
 */
#include "sqlsnap.h"

#include <errno.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "clock.h"
#include "shmguard.h"
#include "source.h"
#include "tree.h"

#define BUCKETS 1024u
#define TEND_MS 100
#define HURRY_MS 20
#define BATCH 64u	   /* sources of a bucket that one round looks at */
#define FORGET_ROUNDS 6000 /* rounds between two looks for sources that nobody refers to any more */

struct snap {
	struct core core;
	struct tree *tree;
	bool has_mountpoint, has_janitor;
	pthread_t janitor;

	pthread_mutex_t lock;
	struct list sources[BUCKETS]; /* references; guarded by lock */
};

struct snap_file {
	struct snap *snap;
	struct rawfd raw;
};

struct snap_list {
	struct tree_list list;
};

void core_event(const struct core *core, enum snap_level level, const char *format, ...)
{
	char text[sizeof(struct snap_err)];
	va_list ap;

	if (!core->config.event)
		return;
	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	core->config.event(core->config.event_arg, level, text);
}

void core_wake(struct core *core)
{
	lock_scope(&core->lock);
	if (!core->awake) {
		core->awake = true;
		pthread_cond_signal(&core->changed);
	}
}

/* ---- sources ------------------------------------------------------------------------------------------- */

static struct list *bucket(struct snap *snap, const struct place *place)
{
	uint32_t h = 2166136261u ^ (uint32_t)place->root;

	for (const char *p = place->dir; *p; p++)
		h = (h ^ (unsigned char)*p) * 16777619u;
	h = (h ^ '/') * 16777619u;
	for (const char *p = place->name; *p; p++)
		h = (h ^ (unsigned char)*p) * 16777619u;
	return &snap->sources[h % BUCKETS];
}

static struct source *find_source(struct list *in, const struct place *place)
{
	list_each (e, in) {
		struct source *s = list_entry(e, struct source, link);

		if (place_same(&s->place, place))
			return source_ref(s);
	}
	return NULL;
}

/* The source at PLACE: a reference. */
static int get_source(struct snap *snap, const struct place *place, struct source **out)
{
	struct list *in = bucket(snap, place);
	struct source *s, *made;
	int rc;

	pthread_mutex_lock(&snap->lock);
	s = find_source(in, place);
	pthread_mutex_unlock(&snap->lock);
	if (s) {
		*out = s;
		return 0;
	}
	rc = source_create(&made, &snap->core, place);
	if (rc)
		return rc;
	pthread_mutex_lock(&snap->lock);
	s = find_source(in, place);
	if (!s) {
		s = source_ref(made);
		list_append(in, &made->link); /* the table's is the reference it was made with */
		made = NULL;
	}
	pthread_mutex_unlock(&snap->lock);
	if (made)
		source_unref(made);
	*out = s;
	return 0;
}

/* Takes the sources out that nobody refers to any more. */
static void forget_unused(struct snap *snap, struct list *in)
{
	struct list unused;

	list_init(&unused);
	pthread_mutex_lock(&snap->lock);
	list_each (e, in) {
		if (source_is_unused(list_entry(e, struct source, link))) {
			list_remove(e);
			list_append(&unused, e);
		}
	}
	pthread_mutex_unlock(&snap->lock);
	while (!list_empty(&unused)) {
		struct source *s = list_entry(unused.next, struct source, link);

		list_remove(&s->link);
		source_shutdown(s);
		source_unref(s);
	}
}

/* One round over a bucket, or over its next BATCH sources; true when another is due. */
static bool tend_bucket(struct snap *snap, struct list *in)
{
	struct source *batch[BATCH];
	size_t n = 0;
	bool more = false;

	pthread_mutex_lock(&snap->lock);
	list_each (e, in) {
		if (n == BATCH)
			break;
		batch[n++] = source_ref(list_entry(e, struct source, link));
	}
	for (size_t i = 0; n == BATCH && i < n; i++) {
		list_remove(&batch[i]->link); /* to the end: the others are next */
		list_append(in, &batch[i]->link);
		more = true;
	}
	pthread_mutex_unlock(&snap->lock);
	for (size_t i = 0; i < n; i++) {
		more |= source_tend(batch[i], monotonic_ns());
		source_unref(batch[i]);
	}
	return more;
}

static void *run_janitor(void *arg)
{
	struct snap *snap = arg;
	struct core *core = &snap->core;
	struct timespec until;

	pthread_mutex_lock(&core->lock);
	for (unsigned round = 1; !core->ending; round++) {
		while (!core->awake && !core->ending)
			pthread_cond_wait(&core->changed, &core->lock);
		until = ns_timespec(monotonic_ns() +
				    (atomic_exchange(&core->hurry, false) ? HURRY_MS : TEND_MS) * NS_PER_MS);
		core->awake = false;
		pthread_mutex_unlock(&core->lock);
		bool more = false;
		for (unsigned i = 0; i < BUCKETS; i++)
			more |= tend_bucket(snap, &snap->sources[i]);
		for (unsigned i = 0; round % FORGET_ROUNDS == 0 && i < BUCKETS; i++)
			forget_unused(snap, &snap->sources[i]);
		pthread_mutex_lock(&core->lock);
		core->awake |= more;
		while (!core->ending &&
		       pthread_cond_timedwait(&core->changed, &core->lock, &until) != ETIMEDOUT)
			;
	}
	pthread_mutex_unlock(&core->lock);
	return NULL;
}

void core_shed(struct core *core)
{
	struct snap *snap = (struct snap *)(void *)((char *)core - offsetof(struct snap, core));

	for (unsigned i = 0; i < BUCKETS; i++) {
		struct source *batch[BATCH];
		size_t n = 0;

		pthread_mutex_lock(&snap->lock);
		list_each (e, &snap->sources[i]) {
			if (n < BATCH)
				batch[n++] = source_ref(list_entry(e, struct source, link));
		}
		pthread_mutex_unlock(&snap->lock);
		for (size_t k = 0; k < n; k++) {
			source_shed(batch[k]);
			source_unref(batch[k]);
		}
	}
}

/* ---- life ---------------------------------------------------------------------------------------------- */

static void init_locks(struct snap *snap)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&snap->lock, NULL);
	pthread_mutex_init(&snap->core.lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&snap->core.changed, &attr);
	pthread_condattr_destroy(&attr);
	for (unsigned i = 0; i < BUCKETS; i++)
		list_init(&snap->sources[i]);
}

int snap_create(struct snap **out, const struct snap_config *config, struct snap_err *err)
{
	struct snap *snap = calloc(1, sizeof(*snap));
	int rc;

	if (!snap)
		return err_set(err, -ENOMEM, "out of memory");
	init_locks(snap);
	snap->core.config = *config;
	snap->core.config.store = NULL;
	rc = rawfd_table_create(&snap->core.raw);
	if (!rc)
		rc = work_create(&snap->core.work);
	if (!rc)
		rc = foldertimes_create(&snap->core.folders);
	if (!rc)
		rc = tree_create(&snap->tree, snap->core.raw, config->databases_only);
	if (rc)
		err_set(err, rc, "out of memory");
	else
		rc = store_create(&snap->core.store, config->store, err);
	if (rc)
		snap_destroy(snap);
	else
		*out = snap;
	return rc;
}

int snap_add_folder(struct snap *snap, const char *path, struct snap_err *err)
{
	int rc = snap->core.config.shared_locks ? 0 : place_locks_shared(path, err);

	return rc ? rc : tree_set_folder(snap->tree, path, err);
}

int snap_add_file(struct snap *snap, const char *name, const char *path, struct snap_err *err)
{
	struct tree_found found = TREE_FOUND_INIT;
	int rc = tree_add_file(snap->tree, name, path, err);

	if (!rc && !snap->core.config.shared_locks)
		rc = place_locks_shared(path, err);
	if (!rc && tree_look(snap->tree, name, &found, NULL) == 0 && !found.has_header)
		core_event(&snap->core, SNAP_WARNING, "\"%s\" is %s; it is mounted to be restored", path,
			   found.attr.size ? "not an SQLite database" : "empty");
	tree_found_finish(&found);
	return rc;
}

int snap_set_mountpoint(struct snap *snap, const char *path, struct snap_err *err)
{
	int rc = tree_set_mountpoint(snap->tree, path, err);

	snap->has_mountpoint = rc == 0;
	return rc;
}

int snap_start(struct snap *snap, struct snap_err *err)
{
	int rc = shmguard_install();

	if (rc)
		return err_set(err, rc, "cannot install a signal handler: %s", strerror(-rc));
	rc = snap->has_mountpoint ? tree_note_mounted(snap->tree) : 0;
	if (rc)
		return err_set(err, rc, "cannot examine the mount: %s", strerror(-rc));
	rc = work_start_thread(&snap->janitor, NULL, run_janitor, snap);
	if (rc)
		return err_set(err, rc, "cannot start a thread: %s", strerror(-rc));
	snap->has_janitor = true;
	return 0;
}

void snap_stop(struct snap *snap)
{
	pthread_mutex_lock(&snap->core.lock);
	snap->core.ending = true;
	pthread_cond_signal(&snap->core.changed);
	pthread_mutex_unlock(&snap->core.lock);
	if (snap->has_janitor)
		pthread_join(snap->janitor, NULL);
	snap->has_janitor = false;
	work_stop(snap->core.work);
}

void snap_destroy(struct snap *snap)
{
	if (!snap)
		return;
	snap_stop(snap);
	for (unsigned i = 0; i < BUCKETS; i++) {
		while (!list_empty(&snap->sources[i])) {
			struct source *s = list_entry(snap->sources[i].next, struct source, link);

			list_remove(&s->link);
			source_shutdown(s);
			source_unref(s);
		}
	}
	work_destroy(snap->core.work);
	tree_destroy(snap->tree);
	store_destroy(snap->core.store);
	rawfd_table_destroy(snap->core.raw);
	foldertimes_destroy(snap->core.folders);
	pthread_cond_destroy(&snap->core.changed);
	pthread_mutex_destroy(&snap->core.lock);
	pthread_mutex_destroy(&snap->lock);
	free(snap);
}

int snap_defer(struct snap *snap, void (*fn)(void *arg), void *arg)
{
	return work_submit(snap->core.work, fn, arg);
}

const char *snap_sqlite_version(void)
{
	return sqlite3_libversion();
}

int snap_count_databases(struct snap *snap, size_t *databases, size_t limit)
{
	return tree_count(snap->tree, limit, databases);
}

/* ---- the tree ------------------------------------------------------------------------------------------ */

int snap_lookup(struct snap *snap, const char *path, struct snap_attr *attr, struct snap_gen **gen,
		struct snap_err *err)
{
	struct tree_found found = TREE_FOUND_INIT;
	struct snap_err notice;
	struct source *source;
	struct snap_gen *got;
	int64_t seen = realtime_ns();
	int rc = tree_look(snap->tree, path, &found, err);

	if (rc == -EMFILE || rc == -ENFILE) {
		core_shed(&snap->core);
		rc = tree_look(snap->tree, path, &found, err);
		if (rc == -EMFILE || rc == -ENFILE)
			err_set(err, rc, "%s (what is open needs them all; raise the limit of open files)",
				strerror(-rc));
	}
	if (tree_take_notice(snap->tree, &notice))
		core_event(&snap->core, SNAP_INFO, "%s", notice.text);
	if (!rc && found.attr.kind != SNAP_DATABASE) {
		*attr = found.attr;
		if (attr->kind == SNAP_FOLDER)
			foldertimes_show(snap->core.folders, attr);
	} else if (!rc && found.missing) {
		rc = -ENOENT;
	} else if (!rc) {
		rc = get_source(snap, &found.place, &source);
		if (!rc) {
			rc = source_look(source, &found, seen, &got, attr);
			source_unref(source);
		}
		if (!rc && gen)
			*gen = got;
		else if (!rc)
			snap_gen_unref(got);
	}
	tree_found_finish(&found);
	return rc;
}

int snap_gen_stat_at(struct snap *snap, const char *path, struct snap_gen *gen, struct snap_attr *attr)
{
	struct tree_found found = TREE_FOUND_INIT;

	snap_gen_stat(gen, attr);
	/* Owner and mode go with the name: a link that leaves the tree may show less than the file itself. */
	if (tree_look(snap->tree, path, &found, NULL) == 0 && found.attr.kind == SNAP_DATABASE &&
	    !found.missing) {
		attr->mode = found.attr.mode;
		attr->uid = found.attr.uid;
		attr->gid = found.attr.gid;
	}
	tree_found_finish(&found);
	return 0;
}

int snap_list_create(struct snap *snap, const char *path, struct snap_list **out, struct snap_err *err)
{
	autofree struct snap_list *l = calloc(1, sizeof(*l));
	int rc;

	if (!l)
		return err_set(err, -ENOMEM, "out of memory");
	rc = tree_list(snap->tree, path, &l->list, err);
	if (!rc)
		*out = steal_ptr(&l);
	return rc;
}

void snap_list_destroy(struct snap_list *l)
{
	if (!l)
		return;
	tree_list_finish(&l->list);
	free(l);
}

bool snap_list_get(const struct snap_list *l, size_t i, const char **name, uint64_t *ino, mode_t *type)
{
	if (i >= l->list.count)
		return false;
	*name = l->list.names[i].name;
	*ino = l->list.names[i].ino;
	*type = l->list.names[i].type;
	return true;
}

int snap_readlink(struct snap *snap, const char *path, char *target, size_t size)
{
	return tree_readlink(snap->tree, path, target, size);
}

int snap_statvfs(struct snap *snap, struct statvfs *out)
{
	return tree_statvfs(snap->tree, out);
}

int snap_file_open(struct snap *snap, const char *path, uint64_t key_dev, uint64_t key_ino,
		   struct snap_file **out, struct snap_err *err)
{
	autofree struct snap_file *f = calloc(1, sizeof(*f));
	int rc;

	if (!f)
		return err_set(err, -ENOMEM, "out of memory");
	f->snap = snap;
	rc = tree_open_plain(snap->tree, path, key_dev, key_ino, &f->raw);
	if (rc)
		return err_set(err, rc, "%s", strerror(-rc));
	*out = steal_ptr(&f);
	return 0;
}

ssize_t snap_file_read(struct snap_file *f, void *buf, size_t size, uint64_t offset)
{
	ssize_t got = pread(f->raw.fd, buf, size, (off_t)offset);

	return got < 0 ? -errno : got;
}

void snap_file_close(struct snap_file *f)
{
	rawfd_close(f->snap->core.raw, &f->raw);
	free(f);
}
