/* SPDX-License-Identifier: MIT */
/* vfs_wal.c - which -wal and -shm a connection of an incarnation may have: those of the first one, and no
 * other files that have their names by now. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "rawfd.h"
#include "vfs_private.h"

bool vfs_wal_is_expected(struct vfs *vfs)
{
	if (!vfs->wal_expected || vfs_sidecars_have_their_names(vfs))
		return true;
	atomic_store(&vfs->wal_refused, true);
	return false;
}

void vfs_note_wal(struct vfs *vfs, uint64_t dev, uint64_t ino)
{
	atomic_store(&vfs->wal_dev, dev);
	atomic_store(&vfs->wal_ino, ino);
}

void vfs_note_shm(struct vfs *vfs)
{
	uint64_t dev, ino;

	if (!rawfd_shm_of(vfs->db_dev, vfs->db_ino, &dev, &ino))
		return;
	atomic_store(&vfs->shm_dev, dev);
	atomic_store(&vfs->shm_ino, ino);
}

void vfs_expect_wal(struct vfs *vfs, const struct vfs *other)
{
	uint64_t ino = vfs_wal_is_open(other) ? atomic_load(&other->wal_ino) : 0;

	atomic_store(&vfs->wal_dev, atomic_load(&other->wal_dev));
	atomic_store(&vfs->wal_ino, ino);
	vfs->wal_expected = ino != 0;
	atomic_store(&vfs->shm_dev, atomic_load(&other->shm_dev));
	atomic_store(&vfs->shm_ino, atomic_load(&other->shm_ino));
}

bool vfs_met_another_wal(const struct vfs *vfs)
{
	return atomic_load(&vfs->wal_refused);
}

static bool has_its_name(const struct vfs *vfs, const char *suffix, uint64_t dev, uint64_t ino)
{
	char path[PATH_MAX + 8];
	struct stat st;

	if (!ino || snprintf(path, sizeof(path), "%s%s", vfs->path, suffix) >= (int)sizeof(path))
		return true;
	if (lstat(path, &st) < 0)
		return errno != ENOENT; /* any other error says nothing about the file */
	return st.st_dev == dev && st.st_ino == ino;
}

bool vfs_sidecars_have_their_names(const struct vfs *vfs)
{
	return has_its_name(vfs, "-wal", atomic_load(&vfs->wal_dev), atomic_load(&vfs->wal_ino)) &&
	       has_its_name(vfs, "-shm", atomic_load(&vfs->shm_dev), atomic_load(&vfs->shm_ino));
}
