/* SPDX-License-Identifier: MIT */
/*
 * acl.h - what a mode cannot say: the rights that are sure once a POSIX ACL is read. Shown through a mount
 * that knows modes only, an ACL may take rights away but never give any. Source: acl(5), access check
 * algorithm; linux/posix_acl_xattr.h for the form of system.posix_acl_access.
 */
#ifndef SQLSNAP_ACL_H
#define SQLSNAP_ACL_H

#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

#define ACL_BYTES 4096 /* a buffer for over 500 entries; a longer ACL counts as one that cannot be read */

/*
 * Reads the ACL of what FD (O_PATH, a file or a folder) is: its bytes, 0 when it has none, or -errno. Asks
 * the file system, so never for what stands in our own mount.
 */
ssize_t acl_read(int fd, void *acl, size_t size);

/*
 * The permission bits (0777) of ST that everybody of a class has for sure: the class owner is the user UID,
 * group the members of GID, other everybody else. SIZE bytes at ACL, 0 for none, negative for unreadable. Who
 * belongs to which other group is not known here, so what depends on that is denied. With the file's own
 * owner and group and without an ACL the answer is the mode itself.
 */
mode_t acl_bits(const struct stat *st, const void *acl, ssize_t size, uid_t uid, gid_t gid);

#endif
