/* SPDX-License-Identifier: MIT */
/*
 * tree_look.c - what a path is: the roots, named databases, and the sidecars of databases.
 *
 * What must stay true: NAME-wal, NAME-shm and NAME-journal of a database are never shown with their content,
 * by whatever name the database is reached. Names without such a suffix are left to tree_entry.c.
 */
#include "tree_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "opath.h"

void tree_found_finish(struct tree_found *found)
{
	place_finish(&found->place);
}

/* ---- sidecars ------------------------------------------------------------------------------------------ */

size_t tree_sidecar_base(const char *name, bool *journal)
{
	static const char *const suffixes[] = {"-wal", "-shm", "-journal"};
	size_t len = strlen(name);

	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		size_t n = strlen(suffixes[i]);

		if (len > n && strcmp(name + len - n, suffixes[i]) == 0) {
			*journal = i == 2;
			return len - n;
		}
	}
	return 0;
}

enum { NO_SIDECAR = 1 };

/* 0: SPOT's name is a sidecar of the database in *OUT. A sidecar has no sidecars, whatever it holds. -EIO: it
 * is unknown whether it is a sidecar, and a -wal that is shown as it is would be backed up. */
static int sidecar_of(struct tree *tree, const struct tree_spot *spot, struct tree_found *out)
{
	char base[NAME_MAX + 1];
	struct tree_spot at = *spot;
	bool journal;
	size_t len = tree_sidecar_base(spot->name, &journal);
	autoclose int folder = -1;
	int rc;

	if (len == 0 || len > NAME_MAX)
		return NO_SIDECAR;
	memcpy(base, spot->name, len);
	base[len] = '\0';
	at.name = base;
	rc = sidecar_of(tree, &at, out);
	if (rc == 0)
		tree_found_finish(out);
	if (rc != NO_SIDECAR)
		return rc == 0 ? NO_SIDECAR : rc;
	rc = tree_look_entry(tree, &at, out, NULL, NULL);
	if (rc)
		return rc == -EIO || opath_transient(rc) ? rc : NO_SIDECAR;
	if (out->attr.kind != SNAP_DATABASE)
		return NO_SIDECAR;
	folder = opath_open(spot->dir, spot->name, O_PATH | O_DIRECTORY | O_NOFOLLOW, OPATH_BELOW);
	if (folder < 0 && folder != -EXDEV)
		return 0;
	tree_found_finish(out);
	return NO_SIDECAR;
}

/* Turns the database in *OUT into its sidecar NAME: empty, and nobody may write it. */
static int become_sidecar(struct tree_found *out, const char *name, struct snap_err *err)
{
	struct snap_attr *a = &out->attr;
	bool journal;
	uint64_t seed = name[tree_sidecar_base(name, &journal) + 1] == 'w' ? 1 : 2;
	uint64_t ino = opath_mix(opath_mix(a->key_dev, a->key_ino), seed);

	tree_found_finish(out);
	/* NOLINTNEXTLINE(clang-analyzer-core.uninitialized.Branch): a sidecar has a base */
	if (journal)
		return err_set(err, -ENOENT,
			       "\"%s\" belongs to a database, of which the mount shows the whole", name);
	a->kind = SNAP_SIDECAR;
	a->key_dev = 0; /* no live inode has this device */
	a->key_ino = ino;
	a->ino = ino;
	a->size = a->blocks = 0;
	a->mode = S_IFREG | (a->mode & 0555);
	out->missing = out->has_header = false;
	return 0;
}

/* ---- named databases ----------------------------------------------------------------------------------- */

static int check_links(const char *path, nlink_t links, struct tree_found *out, struct snap_err *err)
{
	if (links <= 1)
		return 0;
	tree_found_finish(out);
	return err_set(err, -EMLINK,
		       "\"%s\" is a database with %ju hard links, and another name has another WAL: make "
		       "symlinks of all"
		       " but one",
		       path, (uintmax_t)links);
}

static int look_missing(struct tree *tree, const struct tree_file *file, struct tree_found *out)
{
	*out = TREE_FOUND_INIT;
	out->missing = true;
	out->place = (struct place){.root = file->dir, .dir = strdup(""), .name = strdup(file->base)};
	if (!out->place.dir || !out->place.name) {
		tree_found_finish(out);
		return -ENOMEM;
	}
	lock_scope(&tree->lock);
	out->attr.kind = SNAP_DATABASE;
	out->attr.mode = S_IFREG | (file->last_mode & 0777);
	out->attr.ino = tree_ino(tree, file->last_dev, file->last_ino);
	out->attr.nlink = 1;
	return 0;
}

static int look_file(struct tree *tree, struct tree_file *file, struct tree_found *out, struct snap_err *err)
{
	struct tree_aside aside;
	struct tree_spot spot = {
		.base = file->dir, .dir = file->dir, .path = "", .name = file->base, .named = true};
	int rc = tree_look_entry(tree, &spot, out, &aside, err);

	if (rc == -ENOENT || (rc == 0 && out->attr.kind == SNAP_SYMLINK))
		return look_missing(tree, file, out);
	if (rc)
		return rc;
	if (out->attr.kind != SNAP_DATABASE)
		return err_set(err, -EINVAL, "\"%s\" is no longer a regular file", file->name);
	rc = check_links(file->name, aside.links, out, err);
	if (rc)
		return rc;
	lock_scope(&tree->lock);
	file->last_mode = out->attr.mode;
	file->last_dev = out->attr.key_dev;
	file->last_ino = out->attr.key_ino;
	return 0;
}

/* ---- the roots ----------------------------------------------------------------------------------------- */

static int look_root_folder(struct tree *tree, struct tree_found *out)
{
	autoclose int above = openat(tree->root, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
	uint64_t mount, above_mount;
	struct stat st, same, above_st;
	mode_t bits;

	if (fstat(tree->root, &st) < 0)
		return -errno;
	bits = tree_shown_bits(tree->root, &st);
	if (above < 0 || opath_stat(above, "", &above_st, &above_mount) ||
	    opath_stat(tree->root, "", &same, &mount))
		bits = 0;
	else if (!opath_same(&above_st, &same) || mount != above_mount)
		bits &= place_mask_at(above, NULL, atomic_load(&tree->cover.dev), st.st_uid, st.st_gid);
	tree_fill_attr(tree, &out->attr, SNAP_FOLDER, &st, bits);
	return 0;
}

/*
 * The write bits common to all folders that the root stands for, of which FIRST is one: none where the
 * folders differ in owner or group, or where only its owner may remove a file (S_ISVTX).
 */
static mode_t common_write_bits(const struct tree *tree, const struct stat *first)
{
	mode_t bits = 0222;

	for (size_t i = 0; i < tree->file_count; i++) {
		struct stat st;

		if (fstat(tree->files[i].dir, &st) < 0 || st.st_uid != first->st_uid ||
		    st.st_gid != first->st_gid || (st.st_mode & S_ISVTX))
			return 0;
		bits &= tree_shown_bits(tree->files[i].dir, &st);
	}
	return bits;
}

static int look_root_files(struct tree *tree, struct tree_found *out)
{
	mode_t bits = 0555;
	struct stat st;

	if (tree->file_count == 0)
		return -ENOENT;
	if (fstat(tree->files[0].dir, &st) < 0)
		return -errno;
	bits |= common_write_bits(tree, &st);
	for (size_t i = 0; i < tree->file_count; i++)
		bits &= place_mask_at(tree->files[i].dir, NULL, atomic_load(&tree->cover.dev), st.st_uid,
				      st.st_gid);
	tree_fill_attr(tree, &out->attr, SNAP_FOLDER, &st, bits);
	out->attr.mode &= S_IFMT | 0777;
	out->attr.nlink = 2;
	return 0;
}

/* A disk that fails must not take the root with it: a folder of ours below it says what is wrong. */
static int look_root(struct tree *tree, struct tree_found *out)
{
	int rc = tree->root >= 0 ? look_root_folder(tree, out) : look_root_files(tree, out);
	lock_scope(&tree->lock);

	if (rc && !tree->root_looked)
		return rc;
	if (rc)
		out->attr = tree->root_attr;
	tree->root_attr = out->attr;
	tree->root_looked = true;
	return 0;
}

/* ---- looking ------------------------------------------------------------------------------------------- */

static int look_in_folder(struct tree *tree, const struct snap_inode *folder, const char *path,
			  struct tree_found *out, struct snap_err *err)
{
	char parent[PATH_MAX];
	struct tree_spot spot = {.base = tree->root, .path = parent};
	struct tree_aside aside;
	autoclose int dir = -1;
	int rc = tree_split(path, parent, &spot.name);

	if (rc)
		return rc;
	dir = tree_open_folder(tree, parent);
	if (dir < 0)
		return dir;
	rc = tree_check_inode(dir, folder);
	if (rc)
		return rc;
	spot.dir = dir;
	rc = sidecar_of(tree, &spot, out);
	if (rc == 0)
		return become_sidecar(out, spot.name, err);
	if (rc != NO_SIDECAR)
		return rc;
	rc = tree_look_entry(tree, &spot, out, &aside, err);
	if (rc)
		return rc;
	if (tree->databases_only && out->attr.kind != SNAP_DATABASE && !S_ISDIR(out->attr.mode))
		return -ENOENT;
	return check_links(path, aside.links, out, err);
}

static int look_in_files(struct tree *tree, const char *path, struct tree_found *out, struct snap_err *err)
{
	struct tree_file *file = tree_find_file(tree, path, strlen(path));
	bool journal;
	size_t len;
	int rc;

	if (file)
		return look_file(tree, file, out, err);
	len = tree_sidecar_base(path, &journal);
	file = len > 0 ? tree_find_file(tree, path, len) : NULL;
	if (!file)
		return -ENOENT;
	rc = look_file(tree, file, out, err);
	return rc ? rc : become_sidecar(out, path, err);
}

int tree_check_inode(int fd, const struct snap_inode *inode)
{
	struct stat st;

	if (!inode || (!inode->dev && !inode->ino))
		return 0;
	if (fstat(fd, &st) < 0)
		return -errno;
	return st.st_dev == inode->dev && st.st_ino == inode->ino ? 0 : -ESTALE;
}

int tree_look(struct tree *tree, const char *path, struct tree_found *out, struct snap_err *err)
{
	return tree_look_in(tree, NULL, path, out, err);
}

int tree_look_in(struct tree *tree, const struct snap_inode *folder, const char *path, struct tree_found *out,
		 struct snap_err *err)
{
	int rc;

	*out = TREE_FOUND_INIT;
	if (path[0] == '\0')
		return look_root(tree, out);
	if (!tree_path_valid(path))
		return -EINVAL;
	rc = tree_check_known(tree, err);
	if (rc)
		return rc;
	rc = tree->root >= 0 ? look_in_folder(tree, folder, path, out, err)
			     : look_in_files(tree, path, out, err);
	return rc == -EIO ? err_set(err, rc, TREE_UNREAD, path, strerror(EIO)) : rc;
}
