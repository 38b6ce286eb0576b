/* SPDX-License-Identifier: MIT */
/*
 * place.c - an open folder and a name in it, and how the folders above limit a file's permissions.
 *
 * What must stay true: nothing here follows a symlink, opens a file for reading, or climbs into our own
 * mount. place_locks.c decides whether a file system's locks are shared.
 */
#include "place.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "acl.h"
#include "cleanup.h"
#include "hash.h"
#include "opath.h"

#define DEPTH_MAX (PATH_MAX / 2) /* folders on a path; a tree that is being moved around may have more */

int place_copy(struct place *out, const struct place *from)
{
	autofree char *dir = strdup(from->dir);
	autofree char *name = strdup(from->name);

	if (!dir || !name)
		return -ENOMEM;
	*out = (struct place){.root = from->root, .dir = steal_ptr(&dir), .name = steal_ptr(&name)};
	return 0;
}

void place_finish(struct place *place)
{
	free(place->dir);
	free(place->name);
	*place = PLACE_INIT;
}

bool place_same(const struct place *a, const struct place *b)
{
	return a->root == b->root && strcmp(a->dir, b->dir) == 0 && strcmp(a->name, b->name) == 0;
}

uint64_t place_hash(const struct place *place)
{
	uint64_t hash = HASH_START ^ (unsigned)place->root;

	return hash_text(hash_text(hash_text(hash, place->dir), "/"), place->name);
}

/* An absolute place was reached by following a symlink across mounts, so mounts on its path are intended. */
static uint64_t resolve_flags(const struct place *place)
{
	return place->root == AT_FDCWD ? OPATH_RESOLVED : OPATH_BELOW;
}

int place_open_dir(const struct place *place)
{
	const char *dir = place->dir[0] ? place->dir : ".";

	return opath_open(place->root, dir, O_PATH | O_DIRECTORY, resolve_flags(place));
}

char *place_path(const struct place *place)
{
	char dir[PATH_MAX], *path = NULL;
	autoclose int fd = place_open_dir(place);

	if (fd < 0 || opath_path(fd, dir, sizeof(dir)))
		return NULL;
	return asprintf(&path, "%s/%s", dir, place->name) < 0 ? NULL : path;
}

int place_stat(const struct place *place, const char *suffix, struct stat *st)
{
	size_t size = strlen(place->dir) + 1 + strlen(place->name) + strlen(suffix) + 1;
	autofree char *path = malloc(size);
	autoclose int fd = -1;

	if (!path)
		return -ENOMEM;
	if (strlen(place->name) + strlen(suffix) > NAME_MAX)
		return -ENOENT;
	snprintf(path, size, "%s%s%s%s", place->dir, place->dir[0] ? "/" : "", place->name, suffix);
	fd = opath_open(place->root, path, O_PATH | O_NOFOLLOW, resolve_flags(place));
	if (fd < 0)
		return fd;
	return fstat(fd, st) < 0 ? -errno : 0;
}

/* For each class of users all bits if it may search the folder, else none. Root may search every folder. */
static mode_t folder_passes(int fd, const struct stat *st, uint64_t own_dev, uid_t uid, gid_t gid)
{
	char acl[ACL_BYTES];
	ssize_t size = st->st_dev == own_dev ? 0 : acl_read(fd, acl, sizeof(acl));
	mode_t bits = acl_bits(st, acl, size, uid, gid);
	mode_t pass = 0;

	if ((bits & S_IXUSR) || uid == 0)
		pass |= S_IRWXU;
	if (bits & S_IXGRP)
		pass |= S_IRWXG;
	if (bits & S_IXOTH)
		pass |= S_IRWXO;
	return pass;
}

mode_t place_mask_at(int dirfd, const struct stat *stop, uint64_t own_dev, uid_t uid, gid_t gid)
{
	mode_t mask = S_IRWXU | S_IRWXG | S_IRWXO;
	autoclose int fd = fcntl(dirfd, F_DUPFD_CLOEXEC, 0);
	uint64_t mount;
	struct stat st;

	if (fd < 0 || opath_stat(fd, "", &st, &mount))
		return 0;
	for (int depth = 0; depth < DEPTH_MAX; depth++) {
		uint64_t above_mount;
		struct stat above_st;
		int above;

		if (stop && opath_same(&st, stop))
			return mask;
		mask &= folder_passes(fd, &st, own_dev, uid, gid);
		above = openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (above < 0)
			return 0;
		close(fd);
		fd = above;
		if (opath_stat(fd, "", &above_st, &above_mount))
			return 0;
		if (opath_same(&above_st, &st) && above_mount == mount)
			return mask; /* the root is its own parent */
		st = above_st;
		mount = above_mount;
	}
	return 0;
}
