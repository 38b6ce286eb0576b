/* SPDX-License-Identifier: MIT */
/* frozen.c - see frozen.h. */
#include "frozen.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "clock.h"
#include "opath.h"
#include "tree_private.h"

struct frozen {
	struct tree *tree; /* borrowed */
	struct instant instant;
};

int frozen_create(struct frozen **out, struct core *core, struct tree *tree, struct snap_err *err)
{
	struct frozen *f = calloc(1, sizeof(*f));
	int rc;

	if (!f)
		return err_set(err, -ENOMEM, "out of memory");
	f->tree = tree;
	rc = instant_find(&f->instant, core, tree, NULL, err);
	if (!rc)
		rc = instant_open(&f->instant, err);
	for (int i = 1; i < INSTANT_FINDS && rc == -ENOENT; i++) {
		instant_finish(&f->instant);
		rc = instant_find(&f->instant, core, tree, NULL, err);
		rc = rc ? rc : instant_open(&f->instant, err);
	}
	if (rc) {
		frozen_destroy(f);
		return rc;
	}
	for (size_t i = 0; i < f->instant.count; i++)
		source_gen_freeze(f->instant.dbs[i].gen);
	if (f->instant.apart_ns)
		core_event(
			core, SNAP_WARNING,
			"the databases may not be of one instant, but up to %lld ms apart: some could not be "
			"held, and were or may have been written meanwhile",
			(long long)(f->instant.apart_ns / NS_PER_MS + 1));
	*out = f;
	return 0;
}

void frozen_destroy(struct frozen *f)
{
	if (!f)
		return;
	instant_finish(&f->instant);
	free(f);
}

/* ---- looking ------------------------------------------------------------------------------------------- */

static int show(const struct instant_db *db, struct snap_attr *attr, struct snap_gen **gen)
{
	struct snap_attr shown;

	*attr = db->attr;
	snap_gen_stat(db->gen, &shown);
	attr->size = shown.size;
	attr->blocks = shown.blocks;
	attr->nlink = 1;
	attr->atime = attr->mtime = attr->ctime = shown.mtime;
	if (gen)
		*gen = snap_gen_ref(db->gen);
	return 0;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct instant_db *)a)->path, ((const struct instant_db *)b)->path);
}

static const struct instant_db *find(const struct frozen *f, const char *path)
{
	struct instant_db key = {.path = (char *)(uintptr_t)path};

	return f->instant.count ? bsearch(&key, f->instant.dbs, f->instant.count, sizeof(key), by_path)
				: NULL;
}

/* The database that PATH is a sidecar of; NULL: it is none. */
static const struct instant_db *find_owner(const struct frozen *f, const char *path, bool *journal)
{
	size_t len = tree_sidecar_base(path, journal);
	autofree char *base = len ? strndup(path, len) : NULL;

	return base ? find(f, base) : NULL;
}

/* Shows the sidecar of DB as empty and read-only: the file itself, if there is one, may be left over from a
 * database that is gone. WHICH is the last letter of its name. */
static int show_sidecar(const struct instant_db *db, char which, struct snap_attr *attr,
			struct snap_gen **gen)
{
	show(db, attr, NULL);
	attr->kind = SNAP_SIDECAR;
	attr->ino = opath_mix(attr->ino, (uint64_t)which);
	attr->key_dev = 0; /* no live inode has this device */
	attr->key_ino = attr->ino;
	attr->size = attr->blocks = 0;
	attr->mode &= ~(mode_t)0222;
	if (gen)
		*gen = NULL;
	return 0;
}

int frozen_look(struct frozen *f, const char *path, struct snap_attr *attr, struct snap_gen **gen)
{
	const struct instant_db *db = find(f, path);
	bool journal;

	if (db)
		return show(db, attr, gen);
	db = find_owner(f, path, &journal);
	return db && !journal ? show_sidecar(db, path[strlen(path) - 1], attr, gen) : -ENOENT;
}

int frozen_look_found(struct frozen *f, const struct tree_found *found, struct snap_attr *attr,
		      struct snap_gen **gen)
{
	for (size_t i = 0; i < f->instant.count; i++) {
		const struct instant_db *db = &f->instant.dbs[i];

		/* Matched by place, and only as long as the same file is there. */
		if (place_same(&db->source->place, &found->place) &&
		    db->attr.key_dev == found->attr.key_dev && db->attr.key_ino == found->attr.key_ino)
			return show(db, attr, gen);
	}
	return -ENOENT;
}

/* ---- listing ------------------------------------------------------------------------------------------- */

/* Whether the entry NAME of the folder PATH is a database that was created later, or a sidecar. */
static bool is_hidden(struct frozen *f, const char *path, const struct tree_name *name)
{
	struct tree_found found = TREE_FOUND_INIT;
	struct snap_attr attr;
	char full[PATH_MAX];
	bool hidden = false, journal;

	if (S_ISDIR(name->type) ||
	    snprintf(full, sizeof(full), "%s%s%s", path, path[0] ? "/" : "", name->name) >=
		    (int)sizeof(full) ||
	    find(f, full))
		return false;
	if (find_owner(f, full, &journal))
		return true;
	if (tree_look(f->tree, full, &found, NULL) == 0)
		hidden = found.attr.kind == SNAP_DATABASE && frozen_look_found(f, &found, &attr, NULL) != 0;
	tree_found_finish(&found);
	return hidden;
}

static bool has(const struct tree_list *list, const char *name)
{
	for (size_t i = 0; i < list->count; i++)
		if (strcmp(list->names[i].name, name) == 0)
			return true;
	return false;
}

/* The name of DB in the folder PATH; NULL when it stands elsewhere. */
static const char *name_in(const struct instant_db *db, const char *path)
{
	size_t len = strlen(path);
	const char *rest = db->path;

	if (len > 0) {
		if (strncmp(rest, path, len) != 0 || rest[len] != '/')
			return NULL;
		rest += len + 1;
	}
	return strchr(rest, '/') ? NULL : rest;
}

int frozen_list(struct frozen *f, const char *path, struct tree_list *list)
{
	size_t n = 0;

	for (size_t i = 0; i < list->count; i++) {
		if (is_hidden(f, path, &list->names[i]))
			free(list->names[i].name);
		else
			list->names[n++] = list->names[i];
	}
	list->count = n;
	for (size_t i = 0; i < f->instant.count; i++) {
		const struct instant_db *db = &f->instant.dbs[i];
		const char *name = name_in(db, path);
		struct tree_name *more;

		if (!name || has(list, name))
			continue;
		more = reallocarray(list->names, list->count + 1, sizeof(*more));
		if (!more)
			return -ENOMEM;
		list->names = more;
		more[list->count] =
			(struct tree_name){.name = strdup(name), .ino = db->attr.ino, .type = S_IFREG};
		if (!more[list->count].name)
			return -ENOMEM;
		list->count++;
	}
	return 0;
}
