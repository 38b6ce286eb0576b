/* SPDX-License-Identifier: MIT */
/*
 * tree_list.c - the entries of a folder, and the walk over all of them that counts databases.
 *
 * What must stay true: a folder is read once, in one go; then only entries for which it matters are looked
 * at: symlinks, the files beside which there are names of sidecars, and all files when it must be known which
 * are databases. No descriptor stays open from one folder to the next. Files that vanish meanwhile are left
 * out.
 */
#include "tree_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "opath.h"

enum what {
	UNKNOWN,
	DATABASE,
	NO_DATABASE,
	UNREADABLE, /* it may be one: the disk failed to tell */
};

struct entry {
	struct tree_name name;
	enum what what;
	int why;     /* -errno: why it is unknown whether it is a database; 0: it is known */
	bool counts; /* a database that is not also found elsewhere in the tree */
	bool hidden;
};

struct scan {
	struct entry *entries; /* owned; sorted by name */
	size_t count, room;
	bool unknown; /* the disk failed to tell what one of them is */
};

static void scan_finish(struct scan *scan)
{
	for (size_t i = 0; i < scan->count; i++)
		free(scan->entries[i].name.name);
	free(scan->entries);
	*scan = (struct scan){0};
}

void tree_list_finish(struct tree_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->names[i].name);
	free(list->names);
	*list = (struct tree_list){0};
}

static int scan_add(struct scan *scan, const char *name, uint64_t ino, mode_t type)
{
	struct entry *e;

	if (scan->count == scan->room) {
		size_t room = scan->room ? scan->room * 2 : 64;
		struct entry *more = reallocarray(scan->entries, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		scan->entries = more;
		scan->room = room;
	}
	e = &scan->entries[scan->count];
	*e = (struct entry){.name = {.name = strdup(name), .ino = ino, .type = type}};
	if (!e->name.name)
		return -ENOMEM;
	scan->count++;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->name.name, ((const struct entry *)b)->name.name);
}

/* ---- reading a folder ---------------------------------------------------------------------------------- */

/* Opens the folder for reading, without changing its access time where permitted. -EXDEV: a mount. */
static int open_to_read(struct tree *tree, const char *path)
{
	int flags = O_RDONLY | O_DIRECTORY;
	int fd = opath_open(tree->root, path[0] ? path : ".", flags | O_NOATIME, OPATH_BELOW);

	return fd == -EPERM ? opath_open(tree->root, path[0] ? path : ".", flags, OPATH_BELOW) : fd;
}

static bool is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static int read_names(struct tree *tree, DIR *dir, uint64_t dev, struct scan *scan)
{
	for (;;) {
		struct dirent *d;
		int rc;

		errno = 0;
		d = readdir(dir);
		if (!d)
			return -errno;
		if (is_dots(d->d_name))
			continue;
		rc = scan_add(scan, d->d_name, tree_ino(tree, dev, d->d_ino), DTTOIF((mode_t)d->d_type));
		if (rc)
			return rc;
	}
}

/* Looks at the entry E and takes over what it is. A vanished one is hidden. */
static int look_at(struct tree *tree, const struct tree_spot *folder, struct scan *scan, struct entry *e)
{
	struct tree_spot spot = *folder;
	struct tree_found found;
	struct tree_aside aside;
	int rc;

	spot.name = e->name.name;
	rc = tree_look_entry(tree, &spot, &found, &aside, NULL);
	if (rc == -ENOENT)
		e->hidden = true;
	e->what = rc == -EIO ? UNREADABLE : NO_DATABASE;
	e->why = rc == -ENOENT ? 0 : rc;
	scan->unknown |= rc == -EIO;
	if (rc)
		return opath_transient(rc) ? rc : 0;
	if (found.attr.kind == SNAP_DATABASE) {
		e->what = DATABASE;
		e->counts = aside.outside || !aside.link;
	}
	e->why = found.attr.kind == SNAP_MOUNTPOINT && S_ISREG(found.attr.mode) ? -EXDEV : found.refused;
	e->name.type = found.attr.mode & S_IFMT;
	e->name.ino = found.attr.ino;
	tree_found_finish(&found);
	return 0;
}

static int classify(struct tree *tree, const struct tree_spot *folder, struct scan *scan, bool all)
{
	for (size_t i = 0; i < scan->count; i++) {
		struct entry *e = &scan->entries[i];
		bool look = e->name.type == 0 || e->name.type == S_IFLNK || (all && e->name.type == S_IFREG);
		int rc = look ? look_at(tree, folder, scan, e) : 0;

		if (rc)
			return rc;
	}
	return 0;
}

/* Hides E, a name with a sidecar's suffix, if it is beside a database. Called in order of names, so that an
 * owner that is itself a sidecar is known to be one. */
static int hide_sidecar(struct tree *tree, const struct tree_spot *folder, struct scan *scan, struct entry *e,
			size_t base_len)
{
	char base[NAME_MAX + 1];
	struct entry key = {.name.name = base};
	struct entry *owner;
	int rc = 0;

	memcpy(base, e->name.name, base_len);
	base[base_len] = '\0';
	owner = bsearch(&key, scan->entries, scan->count, sizeof(*scan->entries), by_name);
	if (!owner || owner->hidden)
		return 0;
	if (owner->what == UNKNOWN && owner->name.type == S_IFREG)
		rc = look_at(tree, folder, scan, owner);
	e->hidden = e->hidden || owner->what == DATABASE || owner->what == UNREADABLE;
	return rc;
}

static int hide_sidecars(struct tree *tree, const struct tree_spot *folder, struct scan *scan)
{
	for (size_t i = 0; i < scan->count; i++) {
		struct entry *e = &scan->entries[i];
		bool journal;
		size_t len = S_ISDIR(e->name.type) ? 0 : tree_sidecar_base(e->name.name, &journal);
		int rc = len > 0 ? hide_sidecar(tree, folder, scan, e, len) : 0;

		if (rc)
			return rc;
	}
	return 0;
}

/* Reads the folder PATH; with ALL, finds out for every entry whether it is a database. */
static int scan_folder(struct tree *tree, const struct snap_inode *inode, const char *path, bool all,
		       struct scan *scan)
{
	autoclose int fd = open_to_read(tree, path);
	struct tree_spot folder = {.base = tree->root, .path = path};
	struct stat st;
	DIR *dir;
	int rc;

	if (fd < 0)
		return fd;
	rc = tree_check_inode(fd, inode);
	if (rc)
		return rc;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (tree_is_covered(tree, &st))
		return 0;
	dir = fdopendir(fd);
	if (!dir)
		return -errno;
	folder.dir = steal_fd(&fd);
	rc = read_names(tree, dir, st.st_dev, scan);
	if (rc == 0)
		rc = classify(tree, &folder, scan, all);
	if (rc == 0 && scan->count > 0) {
		qsort(scan->entries, scan->count, sizeof(*scan->entries), by_name);
		rc = hide_sidecars(tree, &folder, scan);
	}
	closedir(dir);
	return rc;
}

/* Whether PATH, which is a mount, is our own. */
static bool is_own_mount(struct tree *tree, const char *path)
{
	char parent[PATH_MAX];
	const char *name;
	autoclose int dir = -1;

	if (path[0] == '\0' || tree_split(path, parent, &name))
		return false;
	dir = tree_open_folder(tree, parent);
	return dir >= 0 && tree_is_cover(tree, dir, name);
}

/* ---- lists --------------------------------------------------------------------------------------------- */

static int list_add(struct tree_list *list, char *name, uint64_t ino, mode_t type)
{
	if (!name)
		return -ENOMEM;
	list->names[list->count++] = (struct tree_name){.name = name, .ino = ino, .type = type};
	return 0;
}

static int list_files(struct tree *tree, struct tree_list *out)
{
	struct tree_list list = {.names = calloc(tree->file_count + 1, sizeof(*list.names))};
	int rc = list.names ? 0 : -ENOMEM;

	for (size_t i = 0; rc == 0 && i < tree->file_count; i++) {
		struct tree_found found;

		rc = tree_look(tree, tree->files[i].name, &found, NULL);
		if (rc && !opath_transient(rc))
			found.attr.ino = opath_mix(tree->dev, i); /* looking it up tells what is wrong */
		else if (rc)
			break;
		rc = list_add(&list, strdup(tree->files[i].name), found.attr.ino, S_IFREG);
		tree_found_finish(&found);
	}
	if (rc)
		tree_list_finish(&list);
	else
		*out = list;
	return rc;
}

static bool is_shown(const struct tree *tree, const struct entry *e, bool databases)
{
	if (e->hidden)
		return false;
	if (S_ISDIR(e->name.type))
		return true;
	return e->what == DATABASE ? databases : !tree->databases_only;
}

static int list_folder(struct tree *tree, const struct snap_inode *folder, const char *path, bool databases,
		       struct tree_list *out, struct snap_err *err)
{
	struct tree_list list = {0};
	struct scan scan = {0};
	int rc = scan_folder(tree, folder, path, tree->databases_only || !databases, &scan);

	if (rc == -EXDEV && is_own_mount(tree, path))
		rc = 0;
	if (rc == 0) {
		list.names = calloc(scan.count + 1, sizeof(*list.names));
		rc = list.names ? 0 : -ENOMEM;
	}
	for (size_t i = 0; rc == 0 && i < scan.count; i++) {
		struct tree_name *name = &scan.entries[i].name;

		if (is_shown(tree, &scan.entries[i], databases))
			rc = list_add(&list, steal_ptr(&name->name), name->ino, name->type);
	}
	scan_finish(&scan);
	if (rc == 0)
		*out = list;
	return rc == -EXDEV ? err_set(err, rc, "\"%s\" is another mount, which is not mirrored", path) : rc;
}

static int list(struct tree *tree, const struct snap_inode *folder, const char *path, bool databases,
		struct tree_list *out, struct snap_err *err)
{
	*out = (struct tree_list){0};
	if (path[0] && !tree_path_valid(path))
		return -EINVAL;
	if (tree->root >= 0)
		return list_folder(tree, folder, path, databases, out, err);
	if (path[0])
		return -ENOTDIR;
	return databases ? list_files(tree, out) : 0;
}

int tree_list(struct tree *tree, const char *path, struct tree_list *out, struct snap_err *err)
{
	return list(tree, NULL, path, true, out, err);
}

int tree_list_of(struct tree *tree, const struct snap_inode *folder, const char *path, struct tree_list *out,
		 struct snap_err *err)
{
	/* An empty list would be believed: "rsync --delete" would empty the backup. */
	int rc = tree_check_known(tree, err);

	return rc ? rc : list(tree, folder, path, !tree->unlisted, out, err);
}

/* ---- walking ------------------------------------------------------------------------------------------- */

struct todo {
	struct todo *next;
	char path[];
};

static int push(struct todo **list, const char *parent, const char *name)
{
	size_t parent_len = strlen(parent);
	size_t size = parent_len + 1 + strlen(name) + 1;
	struct todo *t;

	t = malloc(sizeof(*t) + size);
	if (!t)
		return -ENOMEM;
	memcpy(t->path, parent, parent_len);
	if (parent_len > 0)
		t->path[parent_len++] = '/';
	memcpy(t->path + parent_len, name, strlen(name) + 1);
	t->next = *list;
	*list = t;
	return 0;
}

static struct todo *pop(struct todo **list)
{
	struct todo *t = *list;

	*list = t->next;
	return t;
}

struct walk {
	int (*fn)(void *arg, const char *path);
	int (*unseen)(void *arg, const char *path, int why); /* NULL: nobody asks */
	void *arg;
	size_t left; /* entries that may still be read */
	struct todo *todo;
	bool unknown; /* the disk failed to tell of some whether they are databases */
	int answer;   /* FN's or UNSEEN's last: other than 0, it ends the walk */
};

/* WHY other than 0: it is not known whether it is a database. */
static int visit(struct walk *walk, const char *folder, const char *name, int why)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s%s%s", folder, folder[0] ? "/" : "", name);
	return walk->answer = why ? walk->unseen(walk->arg, path, why) : walk->fn(walk->arg, path);
}

/* No system call takes a longer path. */
static bool is_too_long(const char *folder, const char *name)
{
	return strlen(folder) + 1 + strlen(name) >= PATH_MAX;
}

static int walk_folder(struct tree *tree, const char *path, struct walk *walk)
{
	struct scan scan = {0};
	int rc = scan_folder(tree, NULL, path, true, &scan);

	for (size_t i = 0; rc == 0 && i < scan.count; i++) {
		const struct entry *e = &scan.entries[i];
		bool found = e->what == DATABASE && e->counts;

		if (e->hidden || !(S_ISDIR(e->name.type) || found || (e->why && walk->unseen)))
			continue;
		if (!is_too_long(path, e->name.name))
			rc = S_ISDIR(e->name.type) ? push(&walk->todo, path, e->name.name)
						   : visit(walk, path, e->name.name, found ? 0 : e->why);
		else if (walk->unseen)
			rc = walk->answer = walk->unseen(walk->arg, path, -ENAMETOOLONG);
	}
	walk->unknown |= scan.unknown;
	walk->left -= scan.count < walk->left ? scan.count : walk->left;
	scan_finish(&scan);
	return rc;
}

/* The folder PATH cannot be read, for the reason RC. */
static int walk_unread(struct tree *tree, const char *path, int rc, struct walk *walk)
{
	walk->unknown |= rc == -EIO;
	if (!walk->unseen || rc == -ENOENT || rc == -ENOTDIR || rc == -ELOOP)
		return 0; /* it has nothing to show, or another file has its name by now */
	if (rc == -EXDEV && is_own_mount(tree, path))
		return 0;
	return walk->answer = walk->unseen(walk->arg, path, rc);
}

int tree_walk(struct tree *tree, size_t limit, int (*fn)(void *arg, const char *path), void *arg)
{
	return tree_walk_all(tree, limit, fn, NULL, arg);
}

int tree_walk_all(struct tree *tree, size_t limit, int (*fn)(void *arg, const char *path),
		  int (*unseen)(void *arg, const char *path, int why), void *arg)
{
	struct walk walk = {.fn = fn, .unseen = unseen, .arg = arg, .left = limit};
	int rc = 0;

	for (size_t i = 0; tree->root < 0 && rc == 0 && i < tree->file_count; i++)
		rc = fn(arg, tree->files[i].name);
	if (tree->root < 0)
		return rc;
	rc = walk_folder(tree, "", &walk);
	while (rc == 0 && walk.todo && walk.left > 0) {
		autofree struct todo *next = pop(&walk.todo);

		rc = walk_folder(tree, next->path, &walk);
		if (!walk.answer && rc != 0 && !opath_transient(rc))
			rc = walk_unread(tree, next->path, rc, &walk);
	}
	if (rc == 0 && walk.todo)
		rc = TREE_WALK_CUT;
	if (rc == 0 && walk.unknown)
		rc = -EIO;
	while (walk.todo)
		free(pop(&walk.todo));
	return rc;
}

struct count {
	size_t found, limit;
};

static int count_one(void *arg, const char *path)
{
	struct count *count = arg;

	(void)path;
	if (count->found < count->limit)
		count->found++;
	return count->found == count->limit;
}

int tree_count(struct tree *tree, size_t entries, size_t limit, size_t *databases)
{
	struct count count = {.limit = limit};
	int rc = tree_walk(tree, entries, count_one, &count);

	*databases = count.found;
	if (rc > 0)
		return TREE_WALK_CUT;
	return rc == -EIO ? 0 : rc;
}
