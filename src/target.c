/* SPDX-License-Identifier: MIT */
/* target.c - see target.h. */
#include "target.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cleanup.h"
#include "tree_private.h"

#define NAMED_MAX 5    /* databases that a refusal names */
#define LOOKED_MAX 500 /* files that are looked at to find them */

void target_finish(struct target *t)
{
	place_finish(&t->place);
}

/* ---- names --------------------------------------------------------------------------------------------- */

static bool ends_with(const char *name, const char *end)
{
	size_t n = strlen(name), m = strlen(end);

	return n > m && strcmp(name + n - m, end) == 0;
}

bool target_is_temporary(const char *name)
{
	if (name[0] == '.' && strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
		return true; /* rsync's .NAME.XXXXXX */
	if (strncmp(name, "sed", 3) == 0 && strlen(name) == 9)
		return true; /* sed -i's sedXXXXXX */
	return strncmp(name, "tmp", 3) == 0 || ends_with(name, ".tmp") || ends_with(name, ".partial");
}

/* Whether END is lighttpd's .PID.FD~ of an upload. */
static bool is_lighttpds(const char *end)
{
	for (int i = 0; i < 2; i++) {
		size_t digits = end[0] == '.' ? strspn(end + 1, "0123456789") : 0;

		if (digits == 0)
			return false;
		end += 1 + digits;
	}
	return strcmp(end, "~") == 0;
}

/* Whether END, which follows a database's name, marks a copy that somebody wants to keep: ~, .bak, .1, .gz,
 * -2026-11-29. Such a copy would be discarded, so it is refused. Programs that rename later use other
 * suffixes. */
static bool is_for_keeps(const char *end)
{
	static const char *const words[] = {"bak",  "backup", "copy", "old", "orig", "save",
					    "dump", "sql",    "gz",   "tgz", "bz2",  "xz",
					    "zst",  "zip",    "7z",   "age", "gpg"};
	size_t last = strlen(end), first, digits = 0;

	if (last > 0 && end[last - 1] == '~')
		return !is_lighttpds(end);
	while (last > 0 && !isalnum((unsigned char)end[last - 1]))
		last--;
	for (first = last; first > 0 && isalnum((unsigned char)end[first - 1]);)
		first--;
	while (first + digits < last && isdigit((unsigned char)end[first + digits]))
		digits++;
	if ((digits > 0 && digits <= 2 && first + digits == last) ||
	    (digits >= 8 && strncmp(end + first, "20", 2) == 0))
		return true;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strlen(words[i]) == last - first && strncasecmp(words[i], end + first, last - first) == 0)
			return true;
	}
	return false;
}

/* ---- what is there ------------------------------------------------------------------------------------- */

/* The place of NAME in the folder PARENT of the tree. */
static int place_below(struct tree *tree, const char *parent, const char *name, struct place *out)
{
	out->root = tree->root;
	out->dir = strdup(parent);
	out->name = strdup(name);
	if (out->dir && out->name)
		return 0;
	place_finish(out);
	return -ENOMEM;
}

/* Whether the store knows a database at PLACE. */
static bool stood_there(struct store *store, const struct place *place)
{
	autofree char *path = place_path(place);

	return path && store_knows(store, path);
}

enum { NO_DATABASE = 1, SOMETHING_ELSE };

/* 0: PATH is a database's name, and *PLACE where it is. */
static int find_database(struct tree *tree, struct store *store, const char *path, struct place *place,
			 struct snap_err *err)
{
	struct tree_found found = TREE_FOUND_INIT;
	char parent[PATH_MAX];
	const char *name;
	enum snap_kind kind;
	int rc = tree_look(tree, path, &found, err);

	if (rc == 0 && found.attr.kind == SNAP_DATABASE) {
		*place = found.place;
		return 0;
	}
	kind = found.attr.kind;
	tree_found_finish(&found);
	if (rc && rc != -ENOENT)
		return rc;
	if (rc == 0 && kind != SNAP_PLAIN)
		return SOMETHING_ELSE;
	if (tree->root < 0)
		return NO_DATABASE; /* named databases are always found */
	if (tree_split(path, parent, &name) || place_below(tree, parent, name, place))
		return -ENOMEM;
	if (stood_there(store, place))
		return 0;
	place_finish(place);
	*place = PLACE_INIT;
	return rc == 0 ? SOMETHING_ELSE : NO_DATABASE;
}

static bool is_database(struct tree *tree, struct store *store, const char *path, size_t len)
{
	struct place place = PLACE_INIT;
	char copy[PATH_MAX];
	bool is;

	if (len == 0 || len >= sizeof(copy) || path[len - 1] == '/')
		return false;
	memcpy(copy, path, len);
	copy[len] = '\0';
	is = find_database(tree, store, copy, &place, NULL) == 0;
	place_finish(&place);
	return is;
}

/* Whether the last part of PATH is a database's name with a suffix, and not that of a copy to keep. */
static bool extends_database(struct tree *tree, struct store *store, const char *path)
{
	const char *slash = strrchr(path, '/');
	size_t first = slash ? (size_t)(slash + 1 - path) : 0;

	for (size_t n = strlen(path) - 1; n > first; n--) {
		if (!isalnum((unsigned char)path[n]) && is_database(tree, store, path, n))
			return !is_for_keeps(path + n);
	}
	return false;
}

/* The suffix in PATH that makes it a sidecar of a database ("-wal"); NULL: PATH is none. */
static const char *sidecar_end(struct tree *tree, struct store *store, const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	bool journal;
	size_t len = tree_sidecar_base(name, &journal);

	return len > 0 && is_database(tree, store, path, (size_t)(name - path) + len) ? name + len : NULL;
}

/* ---- refusals ------------------------------------------------------------------------------------------ */

/* The names of the databases in PATH's folder, as text for a message. */
static void name_databases(struct tree *tree, const char *path, char *out, size_t size)
{
	struct tree_list list = {.names = NULL};
	char parent[PATH_MAX], child[PATH_MAX + NAME_MAX + 2];
	const char *name;
	size_t used = 0, shown = 0;

	out[0] = '\0';
	if (tree_split(path, parent, &name) || tree_list(tree, parent, &list, NULL))
		return;
	for (size_t i = 0; i < list.count && i < LOOKED_MAX && shown < NAMED_MAX; i++) {
		struct tree_found found = TREE_FOUND_INIT;

		snprintf(child, sizeof(child), "%s%s%s", parent, parent[0] ? "/" : "", list.names[i].name);
		if (S_ISREG(list.names[i].type) && strlen(child) < PATH_MAX &&
		    tree_look(tree, child, &found, NULL) == 0 && found.attr.kind == SNAP_DATABASE &&
		    used + strlen(list.names[i].name) + 3 < size) {
			used += (size_t)snprintf(out + used, size - used, "%s%s", shown ? ", " : "",
						 list.names[i].name);
			shown++;
		}
		tree_found_finish(&found);
	}
	tree_list_finish(&list);
}

static void refuse_other(struct tree *tree, const char *path, struct snap_err *err)
{
	char names[160];

	name_databases(tree, path, names, sizeof(names));
	if (names[0])
		err_set(err, 0, "\"%s\" is no database here; to restore one, write to its own name: %s", path,
			names);
	else
		err_set(err, 0, "\"%s\" is no database here: copy other files into the source", path);
}

static void refuse_sidecar(const char *path, const char *end, struct snap_err *err)
{
	const char *lost =
		"what a backup has in such a file is missing in its database until it is folded in "
		"(sqlite3 BACKUP 'PRAGMA wal_checkpoint(TRUNCATE)')";

	if (strcmp(end, "-shm") == 0)
		lost = "it holds nothing that a backup needs, leave it out";
	else if (strcmp(end, "-wal") != 0)
		lost = "without such a file a backup may be half a transaction until it is opened beside it "
		       "(sqlite3 BACKUP .schema)";
	err_set(err, 0, "\"%s\" belongs to a live database and is never written: %s", path, lost);
}

int target_find(struct tree *tree, struct store *store, const char *path, struct target *out,
		struct snap_err *err)
{
	const char *slash = strrchr(path, '/'), *end;
	int rc;

	*out = TARGET_INIT;
	end = sidecar_end(tree, store, path);
	if (end) {
		out->kind = SNAP_NAME_SIDECAR;
		refuse_sidecar(path, end, err);
		return 0;
	}
	rc = find_database(tree, store, path, &out->place, err);
	if (rc < 0)
		return rc;
	if (rc == 0)
		out->kind = SNAP_NAME_DATABASE;
	else if (rc == SOMETHING_ELSE)
		out->kind = SNAP_NAME_TAKEN;
	else if (target_is_temporary(slash ? slash + 1 : path) || extends_database(tree, store, path))
		out->kind = SNAP_NAME_SCRATCH;
	else
		out->kind = SNAP_NAME_OTHER;
	if (out->kind == SNAP_NAME_OTHER)
		refuse_other(tree, path, err);
	return 0;
}
