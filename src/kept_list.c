/* SPDX-License-Identifier: MIT */
/* kept_list.c - see kept_tree.h: the entries of its folders, and dropping. */
#include "kept_tree_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"

#define LIST_MAX 1000000u /* entries of a folder before duplicate names are merged */

/* Adds an entry; NAME need not be terminated. */
static int append(struct kept_walk *walk, const char *name, size_t len, uint64_t ino, mode_t type)
{
	struct tree_list *list = walk->list;
	struct tree_name one = {.ino = ino, .type = type};

	if (list->count == LIST_MAX)
		return -EOVERFLOW;
	if (list->count == walk->room) {
		size_t room = walk->room ? walk->room * 2 : 16;
		struct tree_name *more = realloc(list->names, room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		list->names = more;
		walk->room = room;
	}
	one.name = strndup(name, len);
	if (!one.name)
		return -ENOMEM;
	list->names[list->count++] = one;
	return 0;
}

/* Adds the folder NAME of the folder that is listed. */
static int append_folder(struct kept_walk *walk, const char *name, size_t len)
{
	autofree char *path = NULL;

	if (asprintf(&path, "%s/%.*s", walk->at, (int)len, name) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	return append(walk, name, len, kept_folder_ino(path), S_IFDIR);
}

/* Adds the file with SUFFIX of the database that the walk is at. */
static int append_file(struct kept_walk *walk, const struct keep_entry *entry, const char *suffix)
{
	autofree char *path = NULL;
	size_t len = strlen(walk->rest) + strlen(suffix);

	if (asprintf(&path, "%s%s", walk->here, suffix) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	return append(walk, path + strlen(path) - len, len, kept_file_ino(entry, entry->name, path), S_IFREG);
}

static int add_snapshot(struct kept_walk *walk, const struct keep_entry *entry)
{
	return append_folder(walk, entry->name, strlen(entry->name));
}

/* Adds the first component of the rest of the source's path. */
static int add_below(struct kept_walk *walk, const struct keep_entry *entry)
{
	size_t len = strcspn(walk->rest, "/");
	int rc;

	if (walk->rest[len])
		return append_folder(walk, walk->rest, len);
	rc = append_file(walk, entry, "");
	if (!rc && entry->has_wal)
		rc = append_file(walk, entry, "-wal");
	if (!rc && entry->has_journal)
		rc = append_file(walk, entry, "-journal");
	return rc;
}

/* By name, files before folders: of two with one path, lookups find the file. */
static int compare(const void *a, const void *b)
{
	const struct tree_name *x = a, *y = b;
	int order = strcmp(x->name, y->name);

	return order ? order : (x->type == S_IFDIR) - (y->type == S_IFDIR);
}

static void sort(struct tree_list *list)
{
	size_t n = 0;

	if (list->count > 0)
		qsort(list->names, list->count, sizeof(list->names[0]), compare);
	for (size_t i = 0; i < list->count; i++) {
		if (n > 0 && strcmp(list->names[n - 1].name, list->names[i].name) == 0)
			free(list->names[i].name);
		else
			list->names[n++] = list->names[i];
	}
	list->count = n;
}

/* Whether PATH is a folder: for an empty list it might be a file, or nothing. */
static int check_there(struct kept_tree *k, const char *path)
{
	struct snap_attr attr;
	int rc = kept_tree_look(k, path, &attr);

	return rc ? rc : attr.kind == SNAP_FOLDER ? 0 : -ENOTDIR;
}

int kept_tree_list(struct kept_tree *k, const char *path, struct tree_list *out)
{
	struct tree_list list = {.names = NULL};
	struct kept_spot spot;
	struct kept_walk walk = {.kept = k, .path = "", .at = path, .list = &list};
	int rc = kept_parse(path, &spot);

	if (rc)
		return rc;
	switch (spot.level) {
	case KEPT_TOP:
		rc = append_folder(&walk, KEPT_SNAPSHOTS, strlen(KEPT_SNAPSHOTS));
		break;
	case KEPT_NAMES:
		walk.fn = add_snapshot;
		rc = kept_walk(&walk);
		break;
	case KEPT_INSIDE:
		walk.fn = add_below;
		walk.name = spot.name;
		walk.path = spot.path;
		rc = check_there(k, path);
		if (!rc)
			rc = kept_walk(&walk);
		break;
	}
	sort(&list);
	if (rc)
		tree_list_finish(&list);
	else
		*out = list;
	return rc;
}

/* ---- facts --------------------------------------------------------------------------------------------- */

struct each {
	struct kept_walk walk;
	int (*fn)(void *arg, const char *path, const struct keep_entry *entry);
	void *arg;
};

static int visit(struct kept_walk *walk, const struct keep_entry *entry)
{
	struct each *each = (struct each *)walk; /* its first member */

	return each->fn(each->arg, walk->here, entry);
}

int kept_tree_each(struct kept_tree *k,
		   int (*fn)(void *arg, const char *path, const struct keep_entry *entry), void *arg)
{
	struct each each = {.walk = {.kept = k, .path = "", .fn = visit}, .fn = fn, .arg = arg};

	return kept_walk(&each.walk);
}

/* ---- dropping ------------------------------------------------------------------------------------------ */

struct drop {
	struct kept_tree *kept;
	const char *name;
	char ended[KEEP_GROUP_SIZE]; /* a group that this has ended; "": none */
	bool dropped;
	int failed;	      /* the first failure, */
	struct snap_err *err; /* its message */
};

/* A damaged one, which is not shown, is dropped with the others of its name. */
static int drop_one(void *arg, const char *source)
{
	struct drop *drop = arg;
	int rc;

	if (!kept_shown_path(drop->kept, source))
		return 0;
	rc = keep_drop(drop->kept->store, source, drop->name, drop->failed ? NULL : drop->err);
	if (rc == 0)
		drop->dropped = true;
	else if (rc != -ENOENT && !drop->failed)
		drop->failed = rc;
	return 0;
}

static bool is_ours(void *arg, const char *source)
{
	return kept_shown_path(arg, source) != NULL;
}

/* From here on none of the databases that were kept together counts as kept. */
static int end_group(void *arg, const char *source)
{
	struct drop *drop = arg;
	char ended[KEEP_GROUP_SIZE] = "";

	if (kept_shown_path(drop->kept, source))
		drop->failed = keep_group_end(drop->kept->store, source, drop->name, is_ours, drop->kept,
					      ended, drop->err);
	if (ended[0])
		memcpy(drop->ended, ended, sizeof(ended));
	return drop->failed != 0;
}

int kept_tree_drop(struct kept_tree *k, const char *name, struct snap_err *err)
{
	struct drop drop = {.kept = k, .name = name, .err = err};
	int rc;

	if (!keep_name_valid(name))
		return err_set(err, -EINVAL, "\"%s\" cannot be the name of a kept snapshot", name);
	rc = keep_sources(k->store, end_group, &drop);
	if (rc >= 0 && !drop.failed)
		rc = keep_sources(k->store, drop_one, &drop);
	if (rc < 0)
		return err_set(err, rc, "cannot look through the store %s: %s", store_dir(k->store),
			       strerror(-rc));
	if (drop.ended[0])
		keep_group_over(k->store, drop.ended);
	if (drop.failed)
		return drop.failed;
	return drop.dropped ? 0 : err_set(err, -ENOENT, "there is no kept snapshot \"%s\"", name);
}
