/* SPDX-License-Identifier: MIT */
/*
 * place.h - where a database is: an open folder and a name in it; and what the file system there can be used
 * for. Once the program is running it resolves no absolute path but those of symlinks that left the tree, and
 * these without following symlinks, so neither a swapped symlink nor our own mount can lead it elsewhere.
 */
#ifndef SQLSNAP_PLACE_H
#define SQLSNAP_PLACE_H

#include <sys/stat.h>

#include "error.h"

struct place {
	int root;   /* O_PATH; borrowed: lives as long as the tree. AT_FDCWD: DIR is absolute */
	char *dir;  /* owned; folder relative to ROOT, "" for ROOT itself; absolute when a symlink left the
		       tree */
	char *name; /* owned; no slash */
};

#define PLACE_INIT ((struct place){.root = -1})

int place_copy(struct place *out, const struct place *from); /* -ENOMEM */
void place_finish(struct place *place);
bool place_same(const struct place *a, const struct place *b);
uint64_t place_hash(const struct place *place); /* hash.h */

/* An O_PATH descriptor of the folder, owned by the caller; never crosses symlinks, nor mounts below ROOT.
 * -errno */
int place_open_dir(const struct place *place);
/* The absolute path, as the kernel knows the folder now; the store identifies a database by it. Owned by the
 * caller; NULL: unknown. */
char *place_path(const struct place *place);
/* stat(2) of NAME + SUFFIX ("", "-wal", ...) without following a link or crossing a mount below ROOT. -ENOENT
 * also when that name exceeds NAME_MAX; else -errno */
int place_stat(const struct place *place, const char *suffix, struct stat *st);

/*
 * Whether POSIX locks taken at PATH are seen by everybody who can write there. 0: they are. -EREMOTE: the
 * file system is NFS, SMB, 9p, virtiofs or FUSE, or the folder is an overlay's upperdir or lowerdir
 * (Docker's on the host); ERR names it and says what to do. -errno: PATH cannot be examined.
 */
int place_locks_shared(const char *path, struct snap_err *err);

/*
 * The bits of 0777 that the folders above a file, from its own folder DIRFD (O_PATH) up to the root, leave to
 * the owner UID, the group GID and others. Read and write access is left to those who may search every folder
 * on the path, so that a file in a 0700 folder does not become readable through the mount. The folder STOP
 * (NULL: none) and those above it do not count. With an ACL the group gets no more than all whom its
 * entries concern (acl.h). What is unknown is denied. Climbs by "..", so that no request goes to a mount that
 * covers one of the folders. OWN_DEV (0: none) is the device of our own mount, whose ACL is not asked for.
 */
mode_t place_mask_at(int dirfd, const struct stat *stop, uint64_t own_dev, uid_t uid, gid_t gid);

#endif
