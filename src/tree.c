/* SPDX-License-Identifier: MIT */
/*
 * tree.c - what is mirrored, and where our own mount is in it: everything that is set before the tree is
 * served, and the queries that need no look into files.
 *
 * What must stay true: after start, everything is reached from the descriptors that are opened here. Lookups
 * are in tree_look.c, lists in tree_list.c, symlinks in tree_link.c.
 */
#include "tree_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cleanup.h"
#include "opath.h"

int tree_create(struct tree **out, struct rawfd_table *table, bool databases_only)
{
	struct tree *tree = calloc(1, sizeof(*tree));
	struct stat st;
	int rc;

	if (!tree)
		return -ENOMEM;
	rc = sniff_create(&tree->sniff, table);
	if (rc) {
		free(tree);
		return rc;
	}
	tree->table = table;
	tree->databases_only = databases_only;
	tree->root = -1;
	tree->cover.parent = -1;
	if (stat("/proc", &st) == 0)
		tree->proc_dev = st.st_dev;
	pthread_mutex_init(&tree->lock, NULL);
	*out = tree;
	return 0;
}

void tree_set_unlisted(struct tree *tree)
{
	tree->unlisted = true;
}

static void file_finish(struct tree_file *file)
{
	free(file->name);
	free(file->base);
	if (file->dir >= 0)
		close(file->dir);
}

void tree_destroy(struct tree *tree)
{
	if (!tree)
		return;
	for (size_t i = 0; i < tree->file_count; i++)
		file_finish(&tree->files[i]);
	free(tree->files);
	if (tree->root >= 0)
		close(tree->root);
	if (tree->cover.parent >= 0)
		close(tree->cover.parent);
	tree_known_finish(tree);
	sniff_destroy(tree->sniff);
	pthread_mutex_destroy(&tree->lock);
	free(tree);
}

/* ---- what is mirrored ---------------------------------------------------------------------------------- */

int tree_set_folder(struct tree *tree, const char *path, struct snap_err *err)
{
	autoclose int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	if (tree->root >= 0 || tree->file_count > 0)
		return err_set(err, -EINVAL, "\"%s\": a directory is mirrored alone", path);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_errno(err, "cannot open the directory \"%s\"", path);
	if (faccessat(fd, ".", X_OK, AT_EACCESS) && errno == EACCES)
		return err_set(err, -EACCES, "\"%s\" may not be entered: mount as its owner, or as root",
			       path);
	tree->dev = st.st_dev;
	tree->root = steal_fd(&fd);
	return 0;
}

struct tree_file *tree_find_file(struct tree *tree, const char *name, size_t len)
{
	for (size_t i = 0; i < tree->file_count; i++)
		if (strlen(tree->files[i].name) == len && memcmp(tree->files[i].name, name, len) == 0)
			return &tree->files[i];
	return NULL;
}

/* Whether NAME would be a sidecar of OTHER. */
static bool is_sidecar_name(const char *name, const char *other)
{
	bool journal;
	size_t len = tree_sidecar_base(name, &journal);

	return len > 0 && strlen(other) == len && memcmp(name, other, len) == 0;
}

static int check_name(struct tree *tree, const char *name, struct snap_err *err)
{
	if (!tree_path_valid(name) || strchr(name, '/') || strlen(name) > NAME_MAX)
		return err_set(err, -EINVAL, "\"%s\" cannot be the name of a database", name);
	if (tree_find_file(tree, name, strlen(name)))
		return err_set(err, -EEXIST, "there are two databases of the name \"%s\"", name);
	for (size_t i = 0; i < tree->file_count; i++) {
		const char *other = tree->files[i].name;

		if (is_sidecar_name(name, other) || is_sidecar_name(other, name))
			return err_set(err, -EEXIST,
				       "\"%s\" and \"%s\" are names of one database and its log", name,
				       other);
	}
	return 0;
}

/* Whether PATH, which exists, is a file that SQLite keeps beside another one. */
static int check_sidecar(int dir, const char *base, const char *path, struct snap_err *err)
{
	bool journal;
	size_t len = tree_sidecar_base(base, &journal);
	autofree char *database = strndup(base, len);
	struct stat st;

	if (!database)
		return err_set(err, -ENOMEM, "out of memory");
	if (len == 0 || opath_stat(dir, database, &st, NULL))
		return 0;
	return err_set(err, -EINVAL, "\"%s\" is a log of the database \"%s\" beside it: name that", path,
		       database);
}

static int missing(struct snap_err *err, const char *path)
{
	return err_set(err, -ENOENT, "%s: no such file (to bring back a database that is gone: cp BACKUP %s)",
		       path, path);
}

/* Opens the folder of PATH, which may be relative; symlinks are followed. *BASE is the last component. */
static int open_parent(const char *path, const char **base)
{
	const char *slash = strrchr(path, '/');
	autofree char *dir = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
	int fd;

	if (!dir)
		return -ENOMEM;
	*base = slash ? slash + 1 : path;
	fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int append_file(struct tree *tree, const struct tree_file *file)
{
	struct tree_file *more = realloc(tree->files, (tree->file_count + 1) * sizeof(*more));

	if (!more)
		return -ENOMEM;
	tree->files = more;
	tree->files[tree->file_count++] = *file;
	return 0;
}

int tree_add_file(struct tree *tree, const char *name, const char *path, struct snap_err *err)
{
	struct tree_file file = {.dir = -1};
	autoclose int fd = -1;
	const char *base;
	struct stat st, dir_st;
	int rc = check_name(tree, name, err);

	if (rc)
		return rc;
	if (tree->root >= 0)
		return err_set(err, -EINVAL, "\"%s\": a directory is mirrored alone", path);
	if (stat(path, &st) < 0)
		return errno == ENOENT ? missing(err, path) : err_errno(err, "\"%s\"", path);
	if (!S_ISREG(st.st_mode))
		return err_set(err, -EINVAL, "\"%s\" is not a regular file", path);
	file.dir = open_parent(path, &base);
	if (file.dir < 0)
		return err_set(err, file.dir, "cannot open the directory of \"%s\": %s", path,
			       strerror(-file.dir));
	fd = opath_open(file.dir, base, O_PATH | O_NOFOLLOW, OPATH_BELOW);
	if (fd == -EXDEV) {
		file_finish(&file);
		return err_set(err, -EXDEV,
			       "\"%s\" is a mount of its own: name the file where it really stands", path);
	}
	rc = check_sidecar(file.dir, base, path, err);
	if (!rc && faccessat(AT_FDCWD, path, R_OK, AT_EACCESS) && errno == EACCES)
		rc = err_set(err, -EACCES, "\"%s\" may not be read: mount as its owner, or as root", path);
	if (rc) {
		file_finish(&file);
		return rc;
	}
	file.name = strdup(name);
	file.base = strdup(base);
	file.last_mode = st.st_mode & (S_IFMT | 0777);
	file.last_dev = st.st_dev;
	file.last_ino = st.st_ino;
	rc = !file.name || !file.base || fstat(file.dir, &dir_st) ? -ENOMEM : append_file(tree, &file);
	if (rc) {
		file_finish(&file);
		return err_set(err, rc, "\"%s\": %s", path, strerror(-rc));
	}
	if (tree->file_count == 1)
		tree->dev = dir_st.st_dev;
	return 0;
}

/* ---- our own mount ------------------------------------------------------------------------------------- */

int tree_set_mountpoint(struct tree *tree, const char *path, struct snap_err *err)
{
	struct tree_cover *cover = &tree->cover;
	autofree char *real = realpath(path, NULL);
	autoclose int parent = -1;
	const char *name;
	int rc;

	if (!real)
		return err_errno(err, "mountpoint \"%s\"", path);
	if (strcmp(real, "/") == 0)
		return err_set(err, -EINVAL, "the mountpoint cannot be /");
	parent = open_parent(real, &name);
	if (parent < 0)
		return err_set(err, parent, "mountpoint \"%s\": %s", path, strerror(-parent));
	rc = fstat(parent, &cover->parent_st) < 0 ? -errno : opath_stat(parent, name, &cover->covered, NULL);
	if (rc)
		return err_set(err, rc, "mountpoint \"%s\": %s", path, strerror(-rc));
	snprintf(cover->name, sizeof(cover->name), "%s", name);
	if (cover->parent >= 0)
		close(cover->parent);
	cover->parent = steal_fd(&parent);
	return 0;
}

int tree_note_mounted(struct tree *tree)
{
	struct tree_cover *cover = &tree->cover;
	uint64_t mount, below;
	struct stat st, parent_st;
	int rc;

	if (cover->parent < 0)
		return -EINVAL;
	rc = opath_stat(cover->parent, cover->name, &st, &mount);
	if (rc == 0)
		rc = opath_stat(cover->parent, "", &parent_st, &below);
	if (rc)
		return rc;
	if (mount == below)
		return -ENOENT; /* nothing is mounted there */
	atomic_store(&cover->mount, mount);
	/* A bind mount of ours elsewhere has another id, but the same device. */
	if (st.st_dev != cover->covered.st_dev)
		atomic_store(&cover->dev, st.st_dev);
	return 0;
}

bool tree_is_covered(const struct tree *tree, const struct stat *st)
{
	return tree->cover.parent >= 0 && opath_same(st, &tree->cover.covered);
}

bool tree_is_cover(const struct tree *tree, int dir, const char *name)
{
	struct stat st;

	return tree->cover.parent >= 0 && strcmp(name, tree->cover.name) == 0 && fstat(dir, &st) == 0 &&
	       opath_same(&st, &tree->cover.parent_st);
}

/* ---- paths --------------------------------------------------------------------------------------------- */

bool tree_path_valid(const char *path)
{
	for (const char *at = path;; at++) {
		size_t len = strcspn(at, "/");

		if (len == 0 || (len == 1 && at[0] == '.') || (len == 2 && at[0] == '.' && at[1] == '.'))
			return false;
		at += len;
		if (*at == '\0')
			return true;
	}
}

int tree_split(const char *path, char *parent, const char **name)
{
	const char *slash = strrchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) : 0;

	if (len >= PATH_MAX)
		return -ENAMETOOLONG;
	memcpy(parent, path, len);
	parent[len] = '\0';
	*name = slash ? slash + 1 : path;
	return 0;
}

int tree_open_folder(struct tree *tree, const char *path)
{
	return opath_open(tree->root, path[0] ? path : ".", O_PATH | O_DIRECTORY, OPATH_BELOW);
}

/* ---- small questions ----------------------------------------------------------------------------------- */

int tree_is_gone(struct tree *tree, const char *path, uint64_t dev)
{
	autoclose int fd = -1;
	char parent[PATH_MAX];
	const char *name;
	struct stat st;
	int rc;

	if (tree->root < 0 || !path[0] || !tree_path_valid(path) || tree_split(path, parent, &name) ||
	    tree_check_known(tree, NULL))
		return -EAGAIN;
	fd = tree_open_folder(tree, parent);
	if (fd < 0 || opath_stat(fd, "", &st, NULL) || st.st_dev != dev)
		return -EAGAIN;
	rc = opath_stat(fd, name, &st, NULL);
	return rc == -ENOENT ? 1 : rc ? -EAGAIN : 0;
}

uint64_t tree_ino(const struct tree *tree, uint64_t dev, uint64_t ino)
{
	return dev == tree->dev ? ino : opath_mix(dev, ino);
}

int tree_statvfs(struct tree *tree, struct statvfs *out)
{
	int fd = tree->root >= 0 ? tree->root : tree->file_count > 0 ? tree->files[0].dir : -1;

	return fstatvfs(fd, out) < 0 ? -errno : 0;
}

int tree_readlink(struct tree *tree, const char *path, char *target, size_t size)
{
	autoclose int fd = -1;
	struct stat st;
	ssize_t n;

	if (!tree_path_valid(path))
		return -EINVAL;
	if (tree->root < 0)
		return tree_find_file(tree, path, strlen(path)) ? -EINVAL : -ENOENT;
	fd = opath_open(tree->root, path, O_PATH | O_NOFOLLOW, OPATH_BELOW);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISLNK(st.st_mode))
		return -EINVAL;
	n = readlinkat(fd, "", target, size);
	if (n < 0)
		return -errno;
	if ((size_t)n >= size)
		return -ENAMETOOLONG;
	target[n] = '\0';
	return 0;
}

/* A plain file may have become a database since its lookup; then its raw bytes are no longer served. */
static int check_plain(struct tree *tree, int fd, uint64_t dev, uint64_t ino)
{
	struct sniffed sniffed;
	struct stat st;
	int rc;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_dev != dev || st.st_ino != ino || !S_ISREG(st.st_mode))
		return -ESTALE;
	rc = sniff_look(tree->sniff, fd, &st, &sniffed);
	if (rc)
		return rc;
	return sniffed.database ? -ESTALE : 0;
}

int tree_open_plain(struct tree *tree, const char *path, uint64_t dev, uint64_t ino, struct rawfd *out)
{
	autoclose int fd = -1;
	int rc;

	if (!tree_path_valid(path))
		return -EINVAL;
	if (tree->root < 0)
		return -ENOENT;
	fd = opath_open(tree->root, path, O_PATH | O_NOFOLLOW, OPATH_BELOW);
	if (fd < 0)
		return fd;
	rc = check_plain(tree, fd, dev, ino);
	return rc ? rc : rawfd_reopen(tree->table, fd, out, NULL);
}

int tree_stat_plain(struct tree *tree, const struct rawfd *raw, struct snap_attr *attr)
{
	int rc = check_plain(tree, raw->fd, raw->dev, raw->ino);
	struct stat st;

	if (rc)
		return rc;
	if (fstat(raw->fd, &st) < 0)
		return -errno;
	tree_fill_attr(tree, attr, SNAP_PLAIN, &st, tree_shown_bits(raw->fd, &st));
	return 0;
}
