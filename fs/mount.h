/* SPDX-License-Identifier: MIT */
/*
 * mount.h - the folder that is mounted on: what stands there, made when missing, uncovered and removed again.
 *
 * No function sends a request to a live FUSE mount, for one that has stopped answering would take the caller
 * with it; mountpoint_look() asks through a process of its own.
 */
#ifndef SQLSNAPFS_MOUNT_H
#define SQLSNAPFS_MOUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../src/sqlsnap.h"

/* A mount, as statx(2) tells it from all others that there have been at its path. */
struct mount_id {
	uint64_t dev;
	uint64_t mount; /* 0: the system does not tell */
};

struct mountpoint {
	char *path;   /* owned; absolute, without links; its last part need not exist */
	int dirfd;    /* owned; the folder that was made, until it is covered; -1 */
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

/* Sets the path of an initialised one from PATH, which may be relative. -ENOENT: the folder above is missing.
 */
int mountpoint_resolve(struct mountpoint *mp, const char *path, struct snap_err *err);
/* Frees; leaves the folder alone. */
void mountpoint_finish(struct mountpoint *mp);

/* What stands there: 0 is an empty folder, else an answer. Detaches dead mounts (ENOTCONN) first. Before any
 * thread. */
int mountpoint_look(struct mountpoint *mp, struct snap_err *err);

/* Makes the folder when it is missing, nothing above it; takes one over that a killed program made. */
int mountpoint_make(struct mountpoint *mp, struct snap_err *err);

/* Right after mounting: notes which mount it is, and makes a folder that we made read-only below it. */
void mountpoint_covered(struct mountpoint *mp);

/* Whether the mount on top at the path is ours. */
bool mountpoint_is_ours(const struct mountpoint *mp);

/* Whether the last can be told: the mount was noted, and the system answers. */
bool mountpoint_is_told(const struct mountpoint *mp);

/*
 * Takes our mount out of the tree, open files go on; removes the folder if it was made. Harmless when the
 * mount has gone already. -errno when it is still there.
 */
int mountpoint_detach(struct mountpoint *mp, struct snap_err *err);

/* Removes the folder if it was made and nothing is in it. */
void mountpoint_remove(struct mountpoint *mp);

/* As root: lets the kernel read KIB ahead in our mount. Failures are ignored. */
void mountpoint_set_readahead(const struct mountpoint *mp, unsigned kib);

/* Whether LINE of /proc/self/mountinfo is a FUSE mount at PATH. Pure. */
bool mountinfo_is_fuse_at(const char *line, const char *path);

/* Whether PATH is FOLDER or stands below it; both absolute and without links. */
bool path_is_below(const char *path, const char *folder);

#endif
