/* SPDX-License-Identifier: MIT */
/*
 * tree_link.c - follows a symlink to the regular file at its end, without opening anything on the way.
 *
 * What must stay true: every component is reached by its own O_PATH descriptor without following links, and
 * is checked before the next one: a lookup in our own mount would send a request to ourselves, and one in
 * another FUSE file system would ask a server that may be waiting for us, so that two mounts whose links lead
 * into each other would hang permanently. Automounts are not triggered either. /proc is left alone as well,
 * because a look into other processes can wait for a lock that the caller holds. A walk takes at most
 * STEPS_MAX components, so that a user who can make links cannot keep us busy. The place of the file at the
 * end is the kernel's path of its folder, checked by walking there again.
 */
#include "tree_private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "cleanup.h"
#include "mountinfo.h"
#include "opath.h"

#define LINKS_MAX 40
#define STEPS_MAX 400

enum { ENDS_IN_FOLDER = LINK_ELSEWHERE + 1 };

struct walker {
	struct tree *tree;
	int dir;	     /* owned: where we are */
	uint64_t home;	     /* the mount that the link is in */
	char *mounts;	     /* owned: mountinfo(5), once it was needed */
	int links;	     /* that may still be followed */
	int steps;	     /* that may still be taken */
	char todo[PATH_MAX]; /* what is left of the path */
	const char *at;	     /* in TODO */
};

void tree_end_finish(struct tree_end *end)
{
	if (end->file >= 0)
		close(end->file);
	if (end->dir >= 0)
		close(end->dir);
	*end = TREE_END_INIT;
}

static int soften(int code)
{
	return opath_transient(code) ? code : LINK_ELSEWHERE;
}

/* LINK_ELSEWHERE if the file system of MOUNT asks a server on this machine, or mounts what is looked up. */
static int check_mount(struct walker *w, uint64_t mount)
{
	char type[16];

	if (!w->mounts)
		w->mounts = mountinfo_read();
	if (!w->mounts)
		return errno == ENOMEM || errno == EMFILE || errno == ENFILE ? -errno : LINK_ELSEWHERE;
	if (mountinfo_type(w->mounts, mount, type, sizeof(type)))
		return LINK_ELSEWHERE;
	return strcmp(type, "fuse") == 0 || strncmp(type, "fuse.", 5) == 0 || strcmp(type, "autofs") == 0
		       ? LINK_ELSEWHERE
		       : 0;
}

/* Stats FD; an answer when the walk may not go there. */
static int check_step(struct walker *w, int fd, struct stat *st)
{
	const struct tree *tree = w->tree;
	uint64_t mount;
	uint64_t own = atomic_load(&tree->cover.mount);
	uint64_t own_dev = atomic_load(&tree->cover.dev);
	int rc = opath_stat(fd, "", st, &mount);

	if (rc)
		return soften(rc);
	if ((own != 0 && mount == own) || (own_dev != 0 && st->st_dev == own_dev) ||
	    st->st_dev == tree->proc_dev)
		return LINK_ELSEWHERE;
	/* Those file systems have no block device, but neither have btrfs, overlay and others. */
	return mount == w->home || major(st->st_dev) != 0 ? 0 : check_mount(w, mount);
}

static int start_at_root(struct walker *w)
{
	int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return soften(-errno);
	close(w->dir);
	w->dir = fd;
	return check_step(w, fd, &st);
}

/* Puts the target of the symlink FD before the rest of the path. */
static int take_link(struct walker *w, int fd)
{
	char target[PATH_MAX];
	ssize_t n;
	size_t rest = strlen(w->at);

	if (w->links-- == 0)
		return LINK_ELSEWHERE;
	n = readlinkat(fd, "", target, sizeof(target));
	if (n < 0)
		return soften(-errno);
	if ((size_t)n + rest >= sizeof(w->todo))
		return LINK_ELSEWHERE;
	memmove(w->todo + n, w->at, rest + 1);
	memcpy(w->todo, target, (size_t)n);
	w->at = w->todo;
	return w->todo[0] == '/' ? start_at_root(w) : 0;
}

/* Skips slashes, and "." where something follows it. */
static void skip_nothing(struct walker *w)
{
	for (;;) {
		w->at += strspn(w->at, "/");
		if (w->at[0] != '.' || w->at[1] != '/')
			return;
		w->at += 2;
	}
}

/* Takes the next component off the path; false at its end. */
static bool next_name(struct walker *w, char name[NAME_MAX + 1])
{
	size_t len;

	skip_nothing(w);
	len = strcspn(w->at, "/");
	if (len == 0 || len > NAME_MAX)
		return false;
	memcpy(name, w->at, len);
	name[len] = '\0';
	w->at += len;
	return true;
}

/* Walks to the file END; ENDS_IN_FOLDER: W is in that folder. */
static int walk(struct walker *w, struct tree_end *end)
{
	char name[NAME_MAX + 1];

	while (next_name(w, name)) {
		bool up = strcmp(name, "..") == 0;
		autoclose int fd = openat(w->dir, name, O_PATH | O_CLOEXEC | (up ? 0 : O_NOFOLLOW));
		struct stat st;
		int rc;

		if (fd < 0)
			return soften(-errno);
		if (w->steps-- == 0)
			return LINK_ELSEWHERE;
		rc = check_step(w, fd, &st);
		if (rc == 0 && S_ISLNK(st.st_mode))
			rc = take_link(w, fd);
		if (rc)
			return rc;
		if (S_ISDIR(st.st_mode)) {
			close(w->dir);
			w->dir = steal_fd(&fd);
		} else if (!S_ISLNK(st.st_mode)) {
			if (!S_ISREG(st.st_mode) || *w->at)
				return LINK_ELSEWHERE;
			if (fstat(fd, &end->st) < 0)
				return soften(-errno);
			end->file = steal_fd(&fd);
			end->dir = steal_fd(&w->dir);
			memcpy(end->name, name, sizeof(name));
			return 0;
		}
	}
	return ENDS_IN_FOLDER;
}

static int walker_init(struct walker *w, struct tree *tree, int dir, int links)
{
	struct stat st;
	int rc;

	*w = (struct walker){.tree = tree, .links = links, .steps = STEPS_MAX};
	w->at = w->todo;
	w->dir = -1;
	rc = opath_stat(dir, "", &st, &w->home);
	if (rc)
		return rc;
	w->dir = fcntl(dir, F_DUPFD_CLOEXEC, 0);
	return w->dir < 0 ? -errno : 0;
}

static void walker_finish(struct walker *w)
{
	if (w->dir >= 0)
		close(w->dir);
	free(w->mounts);
}

int tree_link_follow(struct tree *tree, int dir, int link, struct tree_end *end)
{
	struct walker w;
	int rc = walker_init(&w, tree, dir, LINKS_MAX);

	if (rc)
		return rc;
	rc = take_link(&w, link);
	if (rc == 0)
		rc = walk(&w, end);
	walker_finish(&w);
	return rc == ENDS_IN_FOLDER ? LINK_ELSEWHERE : rc;
}

/* Whether the absolute path FOLDER/NAME leads to END, without passing a link or our own mount. */
static int verify_absolute(struct tree *tree, const char *folder, const struct tree_end *end)
{
	struct tree_end again = TREE_END_INIT;
	struct walker w;
	int rc = walker_init(&w, tree, end->dir, 0);
	int n;

	if (rc)
		return rc;
	n = snprintf(w.todo, sizeof(w.todo), "%s/%s", folder, end->name);
	rc = n < 0 || (size_t)n >= sizeof(w.todo) ? LINK_ELSEWHERE : start_at_root(&w);
	if (rc == 0)
		rc = walk(&w, &again);
	if (rc == ENDS_IN_FOLDER)
		rc = LINK_ELSEWHERE;
	if (rc == 0 && !opath_same(&again.st, &end->st))
		rc = LINK_ELSEWHERE;
	tree_end_finish(&again);
	walker_finish(&w);
	return rc;
}

int tree_link_folder(struct tree *tree, const char *path, struct stat *st)
{
	struct tree_end file = TREE_END_INIT;
	struct walker w;
	int base = tree->root >= 0 ? tree->root : tree->files[0].dir;
	int rc = walker_init(&w, tree, base, LINKS_MAX);

	if (rc)
		return rc;
	if ((size_t)snprintf(w.todo, sizeof(w.todo), "%s", path) >= sizeof(w.todo))
		rc = LINK_ELSEWHERE;
	else
		rc = start_at_root(&w);
	if (rc == 0)
		rc = walk(&w, &file);
	if (rc == ENDS_IN_FOLDER)
		rc = opath_stat(w.dir, "", st, NULL);
	else if (rc == 0)
		rc = LINK_ELSEWHERE;
	tree_end_finish(&file);
	walker_finish(&w);
	return rc;
}

/* FOLDER's path relative to BASE; NULL when it is not below BASE. */
static const char *below(const char *folder, const char *base)
{
	size_t len = strlen(base);

	if (strcmp(base, "/") == 0)
		return folder + 1;
	if (strncmp(folder, base, len) != 0)
		return NULL;
	if (folder[len] == '\0')
		return "";
	return folder[len] == '/' ? folder + len + 1 : NULL;
}

static bool verify_below(int base, const char *folder, const struct tree_end *end)
{
	autoclose int fd = opath_open(base, folder[0] ? folder : ".", O_PATH | O_DIRECTORY, OPATH_BELOW);
	struct stat there, here;

	return fd >= 0 && fstat(fd, &there) == 0 && fstat(end->dir, &here) == 0 && opath_same(&there, &here);
}

int tree_link_place(struct tree *tree, int base, const struct tree_end *end, struct place *out, bool *outside)
{
	char folder[PATH_MAX], base_path[PATH_MAX];
	const char *dir = NULL;
	int rc = opath_path(end->dir, folder, sizeof(folder));
	struct place place;

	if (rc)
		return soften(rc);
	if (opath_path(base, base_path, sizeof(base_path)) == 0)
		dir = below(folder, base_path);
	*outside = !dir || !verify_below(base, dir, end);
	if (*outside) {
		rc = verify_absolute(tree, folder, end);
		if (rc)
			return rc;
	}
	place = (struct place){.root = *outside ? AT_FDCWD : base, .name = strdup(end->name)};
	place.dir = strdup(*outside ? folder : dir);
	if (!place.name || !place.dir) {
		place_finish(&place);
		return -ENOMEM;
	}
	*out = place;
	return 0;
}
