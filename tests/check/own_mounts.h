/* SPDX-License-Identifier: MIT */
/*
 * own_mounts.h - a mount namespace of a test's own, for mounts that end with it and that nobody else sees.
 *
 * It begins as a copy of the one before. A FUSE mount in there that somebody unmounts meanwhile would live on
 * as long as the test does, and so would its daemon: strangers' are let go first.
 */
#ifndef SQLSNAP_TEST_OWN_MOUNTS_H
#define SQLSNAP_TEST_OWN_MOUNTS_H

#include <errno.h>
#include <mntent.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

static inline int let_go_of_fuse(void)
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	const struct mntent *m;

	if (!mounts)
		return -1;
	while ((m = getmntent(mounts))) {
		if (strncmp(m->mnt_type, "fuse", 4) == 0)
			umount2(m->mnt_dir, MNT_DETACH);
	}
	endmntent(mounts);
	return 0;
}

/* 0, or -1 with errno: EINVAL where / is no mount point (below a chroot). Needs root. */
static inline int take_own_mounts(void)
{
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -1;
	return let_go_of_fuse();
}

#endif
