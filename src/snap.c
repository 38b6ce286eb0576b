/* SPDX-License-Identifier: MIT */
/* snap.c - the context of sqlsnap.h: tree, sources and threads put together. */
#include "sqlsnap.h"

#include <errno.h>
#include <sqlite3.h>
#include <string.h>

#include "cleanup.h"
#include "clock.h"
#include "memory.h"
#include "shmguard.h"
#include "snap_private.h"

struct snap_list {
	struct tree_list list;
};

/* ---- life ---------------------------------------------------------------------------------------------- */

int snap_create(struct snap **out, const struct snap_config *config, struct snap_err *err)
{
	struct snap *snap = calloc(1, sizeof(*snap));
	int rc;

	if (!snap)
		return err_set(err, -ENOMEM, "out of memory");
	memory_init();
	pthread_mutex_init(&snap->core.lock, NULL);
	cond_init_monotonic(&snap->core.changed);
	snap->core.config = *config;
	snap->core.config.store = NULL;
	rc = rawfd_table_create(&snap->core.raw);
	if (!rc)
		rc = proclocks_create(&snap->core.locks);
	if (!rc)
		rc = work_create(&snap->core.work);
	if (!rc)
		rc = foldertimes_create(&snap->core.folders);
	if (!rc)
		rc = sources_create(&snap->core.sources, &snap->core);
	if (!rc)
		rc = tree_create(&snap->tree, snap->core.raw, config->databases_only);
	if (!rc && config->unlisted)
		tree_set_unlisted(snap->tree);
	if (rc)
		err_set(err, rc, "out of memory");
	else
		rc = store_create(&snap->core.store, config->store, err);
	if (!rc && kept_tree_create(&snap->kept, snap->core.store, snap->core.raw))
		rc = err_set(err, -ENOMEM, "out of memory");
	if (!rc && snapshots_create(&snap->snapshots, &snap->core, snap->tree, snap->kept))
		rc = err_set(err, -ENOMEM, "out of memory");
	if (rc)
		snap_destroy(snap);
	else
		*out = snap;
	return rc;
}

int snap_add_folder(struct snap *snap, const char *path, struct snap_err *err)
{
	int rc = snap->core.config.shared_locks ? 0 : place_locks_shared(path, err);

	if (!rc)
		rc = tree_set_folder(snap->tree, path, err);
	if (rc)
		return rc;
	rc = kept_tree_set_folder(snap->kept, path);
	return rc ? err_set(err, rc, "cannot open the directory \"%s\": %s", path, strerror(-rc)) : 0;
}

int snap_add_file(struct snap *snap, const char *name, const char *path, struct snap_err *err)
{
	struct tree_found found = TREE_FOUND_INIT;
	int rc = tree_add_file(snap->tree, name, path, err);

	if (!rc && !snap->core.config.shared_locks)
		rc = place_locks_shared(path, err);
	if (!rc) {
		rc = kept_tree_add_file(snap->kept, name, path);
		if (rc)
			err_set(err, rc, "\"%s\": %s", path, strerror(-rc));
	}
	if (!rc && tree_look(snap->tree, name, &found, NULL) == 0 && !found.has_header)
		core_event(&snap->core, SNAP_WARNING, "\"%s\" is %s; it is mounted to be restored", path,
			   found.attr.size ? "not an SQLite database" : "empty");
	tree_found_finish(&found);
	return rc;
}

int snap_known_as(struct snap *snap, const char *path, struct snap_err *err)
{
	return tree_known_as(snap->tree, path, err);
}

int snap_check_known(struct snap *snap, struct snap_err *err)
{
	return tree_check_known(snap->tree, err);
}

int snap_set_mountpoint(struct snap *snap, const char *path, struct snap_err *err)
{
	int rc = tree_set_mountpoint(snap->tree, path, err);

	snap->has_mountpoint = rc == 0;
	return rc;
}

int snap_start(struct snap *snap, struct snap_err *err)
{
	struct snap_err unwritable = {""};
	int rc = shmguard_install();

	if (rc)
		return err_set(err, rc, "cannot install a signal handler: %s", strerror(-rc));
	rc = snap->has_mountpoint ? tree_note_mounted(snap->tree) : 0;
	if (rc)
		return err_set(err, rc, "cannot examine the mount: %s", strerror(-rc));
	rc = janitor_start(&snap->janitor, snap);
	if (!rc)
		rc = snap_tidy_store(snap, monotonic_ns());
	if (!rc && store_check(snap->core.store, &unwritable))
		core_event(&snap->core, SNAP_WARNING,
			   "%s; slow readers, snapshots and restores need it: mount with -o store=DIR",
			   unwritable.text);
	if (!rc && snap->core.config.frozen)
		return frozen_create(&snap->frozen, &snap->core, snap->tree, err);
	return rc ? err_set(err, rc, "cannot start a thread: %s", strerror(-rc)) : 0;
}

void snap_stop(struct snap *snap, int64_t patience_ms)
{
	snapshots_stop(snap->snapshots,
		       patience_ms); /* while the janitor still watches what they hold back */
	janitor_stop(&snap->janitor, snap);
	work_stop(snap->core.work);
}

void snap_destroy(struct snap *snap)
{
	if (!snap)
		return;
	snap_stop(snap, SNAP_PATIENCE_MS);
	snapshots_destroy(snap->snapshots);
	frozen_destroy(snap->frozen);
	sources_destroy(snap->core.sources);
	work_destroy(snap->core.work);
	tree_destroy(snap->tree);
	kept_tree_destroy(snap->kept);
	store_destroy(snap->core.store);
	rawfd_table_destroy(snap->core.raw);
	proclocks_destroy(snap->core.locks);
	foldertimes_destroy(snap->core.folders);
	pthread_cond_destroy(&snap->core.changed);
	pthread_mutex_destroy(&snap->core.lock);
	free(snap);
}

_Static_assert(SNAP_DEFER_MAX == WORK_THREADS, "the same threads");

int snap_defer(struct snap *snap, void (*fn)(void *arg), void *arg)
{
	return work_submit(snap->core.work, fn, arg);
}

void snap_freed(struct snap *snap)
{
	core_wake(&snap->core);
}

const char *snap_sqlite_version(void)
{
	return sqlite3_libversion();
}

int snap_count_databases(struct snap *snap, size_t *databases, size_t limit)
{
	int rc = tree_count(snap->tree, TREE_WALK_ENTRIES, limit, databases);

	return rc == TREE_WALK_CUT ? SNAP_COUNT_MORE : rc;
}

/* ---- the tree ------------------------------------------------------------------------------------------ */

static int look_at_kept(struct snap *snap, const char *path, struct snap_attr *attr, struct snap_err *err)
{
	int rc = kept_tree_look(snap->kept, path, attr);

	if (rc == -EMFILE || rc == -ENFILE) {
		core_shed(&snap->core);
		rc = kept_tree_look(snap->kept, path, attr);
	}
	return rc ? err_set(err, rc, "%s", strerror(-rc)) : 0;
}

static int look_at_tree(struct snap *snap, const struct snap_inode *folder, const char *path,
			struct tree_found *found, struct snap_err *err)
{
	int rc = tree_look_in(snap->tree, folder, path, found, err);

	if (rc != -EMFILE && rc != -ENFILE)
		return rc;
	core_shed(&snap->core);
	rc = tree_look_in(snap->tree, folder, path, found, err);
	if (rc != -EMFILE && rc != -ENFILE)
		return rc;
	return err_set(err, rc, "%s", strerror(-rc));
}

/* FOUND, a database, was looked up after SEEN_NS (CLOCK_REALTIME). */
static int look_at_database(struct snap *snap, const struct tree_found *found, int64_t seen_ns,
			    struct snap_attr *attr, struct snap_gen **gen)
{
	struct source *source;
	struct snap_gen *got;
	int rc;

	if (found->missing)
		return -ENOENT;
	if (snap->frozen)
		return frozen_look_found(snap->frozen, found, attr, gen);
	rc = sources_get(snap->core.sources, &found->place, &source);
	if (rc)
		return rc;
	rc = source_look(source, found, seen_ns, &got, attr);
	source_unref(source);
	if (rc)
		return rc;
	if (gen)
		*gen = got;
	else
		snap_gen_unref(got);
	return 0;
}

int snap_lookup(struct snap *snap, const char *path, struct snap_attr *attr, struct snap_gen **gen,
		struct snap_err *err)
{
	return snap_lookup_in(snap, NULL, path, attr, gen, err);
}

int snap_lookup_in(struct snap *snap, const struct snap_inode *folder, const char *path,
		   struct snap_attr *attr, struct snap_gen **gen, struct snap_err *err)
{
	struct tree_found found = TREE_FOUND_INIT;
	int64_t seen_ns = realtime_ns();
	struct snap_err notice;
	int rc;

	if (kept_tree_has(path))
		return look_at_kept(snap, path, attr, err);
	if (gen)
		*gen = NULL;
	if (snap->frozen && frozen_look(snap->frozen, path, attr, gen) == 0)
		return 0;
	rc = look_at_tree(snap, folder, path, &found, err);
	if (tree_take_notice(snap->tree, &notice))
		core_event(&snap->core, SNAP_INFO, "%s", notice.text);
	if (!rc && found.attr.kind == SNAP_DATABASE) {
		rc = look_at_database(snap, &found, seen_ns, attr, gen);
	} else if (!rc) {
		*attr = found.attr;
		if (attr->kind == SNAP_FOLDER)
			foldertimes_show(snap->core.folders, attr);
	}
	tree_found_finish(&found);
	return rc;
}

int snap_gen_stat_at(struct snap *snap, const struct snap_inode *folder, const char *path,
		     struct snap_gen *gen, bool known, struct snap_attr *attr)
{
	struct tree_found found = TREE_FOUND_INIT;
	bool there;
	int rc;

	if (snap->frozen && frozen_look(snap->frozen, path, attr, NULL) == 0)
		return 0;
	/* Owner and mode go with the name: a link out of the tree may show less than the file itself. */
	there = tree_look_in(snap->tree, folder, path, &found, NULL) == 0 &&
		found.attr.kind == SNAP_DATABASE && !found.missing;
	rc = source_gen_stat(gen, there ? &found.attr : NULL, known, attr);
	tree_found_finish(&found);
	return rc;
}

/* Removes the source's entry that our folder hides. */
static void hide_kept(struct tree_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		if (!kept_tree_has(list->names[i].name))
			continue;
		free(list->names[i].name);
		memmove(&list->names[i], &list->names[i + 1], (list->count - i - 1) * sizeof(list->names[0]));
		list->count--;
		return;
	}
}

int snap_list_create(struct snap *snap, const struct snap_inode *folder, const char *path,
		     struct snap_list **out, struct snap_err *err)
{
	autofree struct snap_list *l = calloc(1, sizeof(*l));
	int rc;

	if (!l)
		return err_set(err, -ENOMEM, "out of memory");
	if (kept_tree_has(path)) {
		rc = kept_tree_list(snap->kept, path, &l->list);
		if (rc)
			err_set(err, rc, "%s", strerror(-rc));
	} else {
		rc = tree_list_of(snap->tree, folder, path, &l->list, err);
		if (!rc && snap->frozen)
			rc = frozen_list(snap->frozen, path, &l->list);
		if (rc)
			tree_list_finish(&l->list);
	}
	if (!rc && !path[0])
		hide_kept(&l->list);
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
	return kept_tree_has(path) ? -EINVAL : tree_readlink(snap->tree, path, target, size);
}

int snap_statvfs(struct snap *snap, struct statvfs *out)
{
	return tree_statvfs(snap->tree, out);
}
