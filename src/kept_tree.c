/* SPDX-License-Identifier: MIT */
/*
 * kept_tree.c - see kept_tree.h: paths, lookup, opening. kept_list.c lists and drops.
 *
 * What must stay true: only what is complete as keep.h defines it is shown, and only of this mount's sources;
 * only kept_tree_drop() changes the store.
 *
 * A snapshot's folder exists because some source below it has that snapshot, so a lookup ends at the first
 * such source; only a listing scans the whole store.
 */
#include "kept_tree_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "hash.h"
#include "opath.h"
#include "store_private.h"
#include "tree_private.h"

/* ---- life ---------------------------------------------------------------------------------------------- */

int kept_tree_create(struct kept_tree **out, struct store *store, struct rawfd_table *table)
{
	struct kept_tree *k = calloc(1, sizeof(*k));

	if (!k)
		return -ENOMEM;
	k->store = store;
	k->table = table;
	k->since_ns = realtime_ns();
	pthread_mutex_init(&k->lock, NULL);
	list_init(&k->pending);
	*out = k;
	return 0;
}

void kept_tree_destroy(struct kept_tree *k)
{
	if (!k)
		return;
	for (size_t i = 0; i < k->file_count; i++) {
		free(k->files[i].name);
		free(k->files[i].source);
	}
	free(k->files);
	free(k->folder);
	pthread_mutex_destroy(&k->lock);
	free(k);
}

int kept_tree_set_folder(struct kept_tree *k, const char *path)
{
	char *real = realpath(path, NULL);

	if (!real)
		return -errno;
	if (strcmp(real, "/") == 0)
		real[0] = '\0';
	free(k->folder);
	k->folder = real;
	return 0;
}

int kept_tree_add_file(struct kept_tree *k, const char *name, const char *path)
{
	struct kept_file file = {.name = strdup(name), .source = realpath(path, NULL)};
	int rc = file.name ? file.source ? 0 : -errno : -ENOMEM;
	struct kept_file *more = rc ? NULL : realloc(k->files, (k->file_count + 1) * sizeof(*more));

	if (more) {
		k->files = more;
		k->files[k->file_count++] = file;
		return 0;
	}
	free(file.name);
	free(file.source);
	return rc ? rc : -ENOMEM;
}

/* ---- paths --------------------------------------------------------------------------------------------- */

const char *kept_below(const char *path, const char *folder)
{
	size_t len = strlen(folder);

	if (strncmp(path, folder, len) != 0)
		return NULL;
	return path[len] == '/' ? path + len + 1 : path[len] == '\0' ? path + len : NULL;
}

bool kept_tree_has(const char *path)
{
	return kept_below(path, KEPT_FOLDER) != NULL;
}

int kept_parse(const char *path, struct kept_spot *out)
{
	const char *rest = kept_below(path, KEPT_FOLDER);
	size_t len;

	*out = (struct kept_spot){.path = ""};
	if (!rest)
		return -ENOENT;
	if (!rest[0])
		return tree_path_valid(path) ? 0 : -ENOENT;
	rest = tree_path_valid(path) ? kept_below(rest, KEPT_SNAPSHOTS) : NULL;
	if (!rest)
		return -ENOENT;
	out->level = rest[0] ? KEPT_INSIDE : KEPT_NAMES;
	len = strcspn(rest, "/");
	if (len >= sizeof(out->name))
		return -ENOENT;
	memcpy(out->name, rest, len);
	out->path = rest[len] ? rest + len + 1 : rest + len;
	return 0;
}

const char *kept_shown_path(const struct kept_tree *k, const char *source)
{
	const char *path;

	if (k->folder) {
		path = kept_below(source, k->folder);
		return path && tree_path_valid(path) ? path : NULL;
	}
	for (size_t i = 0; i < k->file_count; i++)
		if (strcmp(k->files[i].source, source) == 0)
			return k->files[i].name;
	return NULL;
}

/* The source that is shown at the first LEN bytes of PATH, owned by the caller. NULL with errno: ENOENT,
 * ENOMEM. */
static char *source_at(const struct kept_tree *k, const char *path, size_t len)
{
	char *source = NULL;

	if (k->folder) {
		if (asprintf(&source, "%s/%.*s", k->folder, (int)len, path) >= 0)
			return source;
		errno = ENOMEM;
		return NULL;
	}
	for (size_t i = 0; i < k->file_count; i++)
		if (strlen(k->files[i].name) == len && memcmp(k->files[i].name, path, len) == 0)
			return strdup(k->files[i].source);
	errno = ENOENT;
	return NULL;
}

char *kept_tree_source(const struct kept_tree *k, const char *path)
{
	return source_at(k, path, strlen(path));
}

/* ---- all sources --------------------------------------------------------------------------------------- */

static int walk_name(void *arg, int kept, const char *name)
{
	struct kept_walk *walk = arg;
	struct keep_entry entry;
	int rc;

	if (!keep_name_valid(name))
		return 0;
	rc = keep_load(kept, name, -1, &entry);
	if (rc)
		return opath_transient(rc) ? rc : 0;
	entry.name = (char *)(uintptr_t)name;
	return walk->fn(walk, &entry);
}

static int walk_source(void *arg, int folder, const char *source)
{
	struct kept_walk *walk = arg;
	autoclose int kept = -1;
	const char *rest;

	walk->here = source ? kept_shown_path(walk->kept, source) : NULL;
	if (!walk->here)
		return 0;
	rest = walk->path[0] ? kept_below(walk->here, walk->path) : walk->here;
	if (!rest || !rest[0])
		return 0;
	walk->rest = rest;
	kept = keep_open_kept(folder, false);
	if (kept < 0)
		return opath_transient(kept) ? kept : 0;
	return walk->name ? walk_name(walk, kept, walk->name) : store_each_name(kept, walk_name, walk);
}

int kept_walk(struct kept_walk *walk)
{
	int rc = kept_walk_pending(walk);

	return rc ? rc : store_each(walk->kept->store, walk_source, walk);
}

static int take_first(struct kept_walk *walk, const struct keep_entry *entry)
{
	walk->found = *entry;
	return 1;
}

/* ---- attributes ---------------------------------------------------------------------------------------- */

uint64_t kept_folder_ino(const char *path)
{
	return opath_mix(hash_text(HASH_START, KEPT_FOLDER), hash_text(HASH_START, path));
}

uint64_t kept_file_ino(const struct keep_entry *entry, const char *name, const char *path)
{
	/* NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): filled for each SIDECAR */
	return opath_mix(opath_mix(entry->dev, entry->ino),
			 opath_mix(hash_text(HASH_START, name), hash_text(HASH_START, path)));
}

static void set_times(struct snap_attr *attr, int64_t ns)
{
	attr->atime = attr->mtime = attr->ctime = ns_timespec(ns);
}

static void fill_folder(struct snap_attr *attr, const char *path, int64_t time_ns)
{
	*attr = (struct snap_attr){.kind = SNAP_FOLDER,
				   .key_ino = kept_folder_ino(path), /* and no live inode has the device 0 */
				   .ino = kept_folder_ino(path),
				   .mode = S_IFDIR | 0700,
				   .uid = geteuid(),
				   .gid = getegid(),
				   .nlink = 2};
	set_times(attr, time_ns);
}

void kept_fill_file(struct snap_attr *attr, const struct keep_entry *entry, uint64_t dev, uint64_t key_ino,
		    uint64_t size, uint64_t ino)
{
	*attr = (struct snap_attr){.kind = SNAP_PLAIN,
				   .key_dev = dev,
				   .key_ino = key_ino,
				   .ino = ino,
				   .size = size,
				   .blocks = size / 512 + (size % 512 != 0),
				   .mode = S_IFREG | (entry->meta.mode & 0777),
				   .uid = entry->meta.uid,
				   .gid = entry->meta.gid,
				   .nlink = 1};
	set_times(attr, entry->meta.mtime_ns);
}

void kept_fill_sidecar(struct snap_attr *attr, const struct keep_entry *entry, uint64_t ino)
{
	kept_fill_file(attr, entry, 0, ino, 0, ino);
	attr->kind = SNAP_SIDECAR;
	attr->mode &= S_IFMT | 0555;
}

/* ---- looking ------------------------------------------------------------------------------------------- */

/* Reaches the file at SPOT: an O_PATH descriptor of it or -ENOENT; for a SNAP_SIDECAR it returns SIDECAR. */
enum { SIDECAR = INT_MAX };

static int reach_part(const struct kept_tree *k, const struct kept_spot *spot, size_t base,
		      const char *suffix, struct keep_entry *entry)
{
	autofree char *source = source_at(k, spot->path, base);
	int fd;

	if (!source)
		return -errno;
	if (strcmp(suffix, "-shm") != 0) {
		fd = keep_reach(k->store, source, spot->name, suffix, entry);
		if (fd != -ENOENT || strcmp(suffix, "-wal") != 0)
			return fd;
	}
	fd = keep_find(k->store, source, spot->name, entry);
	if (fd == 0)
		fd = entry->has_wal || entry->has_journal ? -ENOENT : SIDECAR;
	return fd;
}

static int reach(const struct kept_tree *k, const struct kept_spot *spot, struct keep_entry *entry)
{
	int fd = reach_part(k, spot, strlen(spot->path), "", entry);
	bool journal;
	size_t base;

	if (fd != -ENOENT)
		return fd;
	base = tree_sidecar_base(spot->path, &journal);
	return base > 0 && spot->path[base - 1] != '/' ? reach_part(k, spot, base, spot->path + base, entry)
						       : -ENOENT;
}

/* Looks up the folder of a snapshot, or one in it. */
static int look_folder(const struct kept_tree *k, const struct kept_spot *spot, const char *path,
		       struct snap_attr *attr)
{
	struct kept_walk walk = {.kept = k, .name = spot->name, .fn = take_first, .path = spot->path};
	int rc;

	if (!keep_name_valid(spot->name))
		return -ENOENT;
	rc = kept_walk(&walk);
	if (rc == 1)
		fill_folder(attr, path, walk.found.meta.made_ns);
	return rc == 1 ? 0 : rc ? rc : -ENOENT;
}

int kept_tree_look(struct kept_tree *k, const char *path, struct snap_attr *attr)
{
	struct keep_entry entry;
	struct kept_spot spot;
	struct stat st;
	int rc = kept_parse(path, &spot);

	if (rc)
		return rc;
	if (spot.level != KEPT_INSIDE) {
		fill_folder(attr, path, k->since_ns);
		return 0;
	}
	if (kept_look_pending(k, &spot, attr))
		return 0;
	autoclose int fd = spot.path[0] ? reach(k, &spot, &entry) : -ENOENT;
	if (fd == SIDECAR) {
		fd = -1;
		kept_fill_sidecar(attr, &entry, kept_file_ino(&entry, spot.name, spot.path));
		return 0;
	}
	if (fd == -ENOENT)
		return look_folder(k, &spot, path, attr);
	if (fd < 0 || fstat(fd, &st))
		return fd < 0 ? fd : -errno;
	kept_fill_file(attr, &entry, st.st_dev, st.st_ino, (uint64_t)st.st_size,
		       kept_file_ino(&entry, spot.name, spot.path));
	return 0;
}

int kept_tree_open(struct kept_tree *k, const char *path, uint64_t dev, uint64_t ino, struct rawfd *out)
{
	struct keep_entry entry;
	struct kept_spot spot;
	struct stat st;
	int rc = kept_parse(path, &spot);

	if (rc)
		return rc;
	autoclose int fd = spot.level == KEPT_INSIDE && spot.path[0] ? reach(k, &spot, &entry) : -ENOENT;
	if (fd == SIDECAR)
		fd = -ENOENT;
	if (fd < 0)
		return fd == -ENOENT ? -ESTALE : fd;
	if (fstat(fd, &st))
		return -errno;
	return st.st_dev == dev && st.st_ino == ino ? rawfd_reopen(k->table, fd, out, NULL) : -ESTALE;
}

static int take_here(struct kept_walk *walk, const struct keep_entry *entry)
{
	return strcmp(walk->here, walk->at) == 0 ? take_first(walk, entry) : 0;
}

int kept_tree_origin(struct kept_tree *k, const char *path, char **file, char *snapshot, int64_t *made_ns)
{
	autofree char *source = NULL;
	struct kept_spot spot;
	struct kept_walk walk = {.kept = k, .name = spot.name, .path = "", .fn = take_here};
	int rc = kept_parse(path, &spot);

	if (rc || spot.level != KEPT_INSIDE || strlen(spot.name) > KEEP_NAME_MAX)
		return rc ? rc : -ENOENT;
	walk.at = spot.path;
	source = source_at(k, spot.path, strlen(spot.path));
	if (!source)
		return -errno;
	/* Pending ones first: a snapshot is in the store before it stops being pending. */
	if (kept_walk_pending(&walk) != 1)
		rc = keep_find(k->store, source, spot.name, &walk.found);
	if (rc)
		return rc;
	memcpy(snapshot, spot.name, strlen(spot.name) + 1);
	*made_ns = walk.found.meta.made_ns;
	*file = steal_ptr(&source);
	return 0;
}
