/* SPDX-License-Identifier: MIT */
/* vfs_wal.c - which -wal a connection of an incarnation may have: that of the first one, and no other which
 * stands at its name by now. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "vfs_private.h"

bool vfs_wal_is_expected(struct vfs *vfs)
{
	if (!vfs->wal_expected || vfs_wal_has_its_name(vfs))
		return true;
	atomic_store(&vfs->wal_refused, true);
	return false;
}

void vfs_note_wal(struct vfs *vfs)
{
	uint64_t dev, ino;

	vfs_looked_at(&dev, &ino);
	atomic_store(&vfs->wal_dev, dev);
	atomic_store(&vfs->wal_ino, ino);
}

void vfs_expect_wal(struct vfs *vfs, const struct vfs *other)
{
	uint64_t ino = vfs_wal_is_open(other) ? atomic_load(&other->wal_ino) : 0;

	atomic_store(&vfs->wal_dev, atomic_load(&other->wal_dev));
	atomic_store(&vfs->wal_ino, ino);
	vfs->wal_expected = ino != 0;
}

bool vfs_met_another_wal(const struct vfs *vfs)
{
	return atomic_load(&vfs->wal_refused);
}

bool vfs_wal_has_its_name(const struct vfs *vfs)
{
	uint64_t ino = atomic_load(&vfs->wal_ino);
	char path[PATH_MAX + 8];

	if (!ino || snprintf(path, sizeof(path), "%s-wal", vfs->path) >= (int)sizeof(path))
		return true;
	return vfs_leads_to(path, atomic_load(&vfs->wal_dev), ino);
}
