/* SPDX-License-Identifier: MIT */
/*
 * mount.h - the mountpoint: looks at it, makes it if it is missing, unmounts and removes it again.
 *
 * No function sends a request to a live FUSE mount, because one that has stopped answering would block the
 * caller; mountpoint_look() asks through a process of its own.
 */
#ifndef SQLSNAPFS_MOUNT_H
#define SQLSNAPFS_MOUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../src/sqlsnap.h"

/* Distinguishes a mount from others, also from earlier ones at the same path; from statx(2). */
struct mount_id {
	uint64_t dev;
	uint64_t mount; /* 0: the system does not report it */
};

struct mountpoint {
	char *path;   /* owned; absolute, without links; its last part need not exist */
	int dirfd;    /* owned; the folder that we made, until it is covered; -1: none */
	bool made;    /* by us, and not removed yet */
	bool mounted; /* ID is our mount's */
	struct mount_id id;
};

#define MOUNTPOINT_INIT ((struct mountpoint){.dirfd = -1})

enum mountpoint_answer {
	MOUNTPOINT_MISSING = 1,
	MOUNTPOINT_NO_FOLDER,
	MOUNTPOINT_NOT_EMPTY,
	MOUNTPOINT_TAKEN, /* a FUSE mount stands there already, alive or not answering */
};

/* Sets the path of an initialised MP from PATH, which may be relative. -ENOENT: the folder above is
 * missing. */
int mountpoint_resolve(struct mountpoint *mp, const char *path, struct snap_err *err);
/* Frees what MP owns; leaves the folder alone. */
void mountpoint_finish(struct mountpoint *mp);

/* Looks at the path: 0 for an empty folder, else an answer. First detaches dead mounts (ENOTCONN). To be
 * called before any thread is started. */
int mountpoint_look(struct mountpoint *mp, struct snap_err *err);

/* Makes the folder if it is missing, but none above it. Takes over a folder that was made by an instance of
 * this program that was killed. */
int mountpoint_make(struct mountpoint *mp, struct snap_err *err);

/* Right after mounting: remembers which mount is ours. A folder that we made is made read-only below the
 * mount. */
void mountpoint_covered(struct mountpoint *mp);

/* Whether the topmost mount at the path is ours. */
bool mountpoint_is_ours(const struct mountpoint *mp);

/* Whether mountpoint_is_ours() can decide: the mount was remembered, and the system answers. */
bool mountpoint_is_told(const struct mountpoint *mp);

/*
 * Detaches our mount, so that open files keep working (MNT_DETACH), and removes the folder if we made it.
 * Harmless when the mount is gone already. -errno if it is still there.
 */
int mountpoint_detach(struct mountpoint *mp, struct snap_err *err);

/* Removes the folder if we made it and it is empty. */
void mountpoint_remove(struct mountpoint *mp);

/* As root: sets the kernel's readahead for our mount to KIB. Failures are ignored. */
void mountpoint_set_readahead(const struct mountpoint *mp, unsigned kib);

/* Whether LINE of /proc/self/mountinfo is a FUSE mount at PATH. Pure. */
bool mountinfo_is_fuse_at(const char *line, const char *path);

/* Whether PATH is FOLDER or stands below it; both absolute and without links. */
bool path_is_below(const char *path, const char *folder);

#endif
