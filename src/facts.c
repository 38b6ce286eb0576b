/* SPDX-License-Identifier: MIT */
/*
 * facts.c - facts about a whole mount, for sqlsnap.h: its databases, found by walking the tree, and their
 * kept snapshots.
 *
 * What must stay true: no live database is opened for this; a walk reads as much of the tree as an `ls -R`
 * would, and no more than TREE_WALK_ENTRIES of it.
 */
#include "facts.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "clock.h"
#include "snap_private.h"

bool facts_wal_reset_bug(int number)
{
	return number >= 3007000 && number <= 3051002 && number != 3044006 && number != 3050007;
}

bool snap_sqlite_has_wal_reset_bug(void)
{
	return facts_wal_reset_bug(sqlite3_libversion_number());
}

/* ---- databases ----------------------------------------------------------------------------------------- */

struct walk {
	struct snap *snap;
	int (*fn)(void *arg, const struct snap_source_facts *facts);
	void *arg;
	int refused; /* the answer of FN, or -ENOMEM, that ended it */
	bool complete;
	struct source **shown; /* owned; references; sorted once the walk is over */
	size_t count, room;
};

static int remember(struct walk *walk, struct source *source)
{
	if (walk->count == walk->room) {
		size_t room = walk->room ? walk->room * 2 : 64;
		struct source **more = reallocarray(walk->shown, room, sizeof(struct source *));

		if (!more)
			return -ENOMEM;
		walk->shown = more;
		walk->room = room;
	}
	walk->shown[walk->count++] = source_ref(source);
	return 0;
}

static int by_address(const void *a, const void *b)
{
	const struct source *const *x = a, *const *y = b;

	return (*x > *y) - (*x < *y);
}

static int show(struct walk *walk, struct source *source, const char *path, const struct tree_found *found)
{
	struct snap_source_facts facts;

	source_facts(source, found, &facts);
	facts.path = path;
	walk->refused = walk->fn(walk->arg, &facts);
	return walk->refused;
}

/* Reports a database that cannot be opened through the mount, for the reason ERR. */
static int show_refused(struct walk *walk, const char *path, const struct snap_err *err)
{
	const struct snap_source_facts facts = {
		.path = path, .error_ns = realtime_ns(), .error = *err, .failing = true};

	walk->refused = walk->fn(walk->arg, &facts);
	return walk->refused;
}

/* Reports the file at PATH if it is a database. */
static int show_path(void *arg, const char *path)
{
	struct walk *walk = arg;
	struct tree_found found = TREE_FOUND_INIT;
	struct source *source = NULL;
	struct snap_err err = {""};
	int rc = tree_look(walk->snap->tree, path, &found, &err);

	if (rc == -EMLINK || rc == -EIO)
		return show_refused(walk, path, &err);
	if (rc == 0 && found.attr.kind == SNAP_DATABASE)
		rc = sources_get(walk->snap->core.sources, &found.place, &source);
	if (!source) {
		tree_found_finish(&found);
		return 0; /* it is gone, or cannot be looked at, by a reader either */
	}
	rc = walk->refused = remember(walk, source);
	if (!rc)
		rc = show(walk, source, path, &found);
	source_unref(source);
	tree_found_finish(&found);
	return rc;
}

/* PATH, which cannot be read, may be or hold a database. If rights are lacking, the mount is not meant to
 * show it. */
static int show_unread(void *arg, const char *path, int why)
{
	struct walk *walk = arg;
	struct snap_err err;

	if (why != -EIO)
		return 0;
	err_set(&err, why, TREE_UNREAD, path, strerror(-why));
	return show_refused(walk, path, &err);
}

/* Reports a source that was looked up earlier but not found by the walk: it is gone from the tree and still
 * being read, or the walk ended early. */
static int show_other(void *arg, struct source *source)
{
	struct walk *walk = arg;
	const char *path = source->path ? kept_shown_path(walk->snap->kept, source->path) : NULL;
	struct snap_source_facts facts;
	struct stat st;

	if (walk->count && bsearch(&source, walk->shown, walk->count, sizeof(struct source *), by_address))
		return 0;
	source_facts(source, NULL, &facts);
	if (place_stat(&source->place, "", &st) != 0)
		path = NULL;
	if (!facts.readers && !facts.pin_count && !facts.spool_bytes && (walk->complete || !path))
		return 0;
	facts.path = walk->complete ? NULL : path;
	walk->refused = walk->fn(walk->arg, &facts);
	return walk->refused;
}

int snap_each_source(struct snap *snap, int (*fn)(void *arg, const struct snap_source_facts *facts),
		     void *arg, bool *complete)
{
	struct walk walk = {.snap = snap, .fn = fn, .arg = arg, .complete = true};

	walk.complete = tree_walk_all(snap->tree, TREE_WALK_ENTRIES, show_path, show_unread, &walk) == 0;
	if (walk.count)
		qsort(walk.shown, walk.count, sizeof(struct source *), by_address);
	if (!walk.refused)
		sources_each(snap->core.sources, show_other, &walk);
	for (size_t i = 0; i < walk.count; i++)
		source_unref(walk.shown[i]);
	free(walk.shown);
	*complete = walk.complete;
	return walk.refused;
}

static int end_walk(void *arg, const char *path)
{
	(void)arg;
	(void)path;
	return 1;
}

bool snap_is_without_databases(struct snap *snap)
{
	return tree_walk(snap->tree, TREE_WALK_ENTRIES, end_walk, NULL) == 0;
}

/* ---- kept snapshots ------------------------------------------------------------------------------------ */

struct kept_walk_arg {
	int (*fn)(void *arg, const struct snap_kept_facts *facts);
	void *arg;
};

static int show_kept(void *arg, const char *path, const struct keep_entry *entry)
{
	const struct kept_walk_arg *walk = arg;
	struct snap_kept_facts facts = {.name = entry->name,
					.path = path,
					.why = entry->meta.why,
					.size = entry->meta.size,
					.made_ns = entry->meta.made_ns};

	return walk->fn(walk->arg, &facts);
}

int snap_each_kept(struct snap *snap, int (*fn)(void *arg, const struct snap_kept_facts *facts), void *arg)
{
	struct kept_walk_arg walk = {.fn = fn, .arg = arg};

	return kept_tree_each(snap->kept, show_kept, &walk);
}

void snap_each_pending(struct snap *snap, void (*fn)(void *arg, const struct snap_pending_facts *facts),
		       void *arg)
{
	snapshots_each(snap->snapshots, fn, arg);
}

void snap_each_lost(struct snap *snap, void (*fn)(void *arg, const struct snap_lost_facts *facts), void *arg)
{
	snapshots_each_lost(snap->snapshots, fn, arg);
}

struct kept_opened {
	const char *file;
	struct snap_opened opened;
};

static int note_if_it_is(void *arg, struct source *source)
{
	const struct kept_opened *kept = arg;

	if (!source->path || strcmp(source->path, kept->file) != 0)
		return 0;
	source_note_opened(source, &kept->opened);
	return 1;
}

void snap_kept_opened(struct snap *snap, const char *path, const struct snap_actor *who)
{
	struct kept_opened kept = {.opened = {.who = *who}};
	struct snap_opened before;
	autofree char *file = NULL;

	if (!kept_tree_has(path) ||
	    kept_tree_origin(snap->kept, path, &file, kept.opened.snapshot, &kept.opened.time_ns))
		return;
	kept.file = file;
	if (sources_each(snap->core.sources, note_if_it_is, &kept))
		return;
	if (store_load_opened(snap->core.store, file, &before) || before.time_ns <= kept.opened.time_ns)
		store_save_opened(snap->core.store, file, &kept.opened);
}
