/* SPDX-License-Identifier: MIT */
/*
 * acl.h - the rights that a POSIX ACL grants for certain, as mode bits. In a mount that shows only modes, an
 * ACL may take rights away but never add any. Source: acl(5), access check algorithm; linux/posix_acl_xattr.h
 * for the form of system.posix_acl_access.
 */
#ifndef SQLSNAP_ACL_H
#define SQLSNAP_ACL_H

#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

#define ACL_BYTES 4096 /* a buffer for over 500 entries; a longer ACL counts as unreadable */

/*
 * Reads the ACL of FD (O_PATH, a file or a folder). Returns its length, 0 if it has none, or -errno. Asks the
 * file system, so it must not be used on anything in our own mount.
 */
ssize_t acl_read(int fd, void *acl, size_t size);

/*
 * The permission bits (0777) of ST that every member of a class certainly has: owner is the user UID, group
 * the members of GID, other everybody else. ACL has SIZE bytes; 0: none; negative: unreadable. Membership in
 * other groups is not known here, so rights that depend on it are denied. With the file's own owner and group
 * and without an ACL the answer is the mode itself.
 */
mode_t acl_bits(const struct stat *st, const void *acl, ssize_t size, uid_t uid, gid_t gid);

#endif
