/* SPDX-License-Identifier: MIT */
/*
 * acl.c - decoding of POSIX ACLs, and the rights that follow from them for whole classes of users.
 *
 * What must stay true: a malformed or unreadable ACL gives no rights beyond the owner's. acl_bits() is pure.
 * User and group names are never looked up: a lookup could lead through the mount back to this process.
 */
#include "acl.h"

#include <endian.h>
#include <errno.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <linux/xattr.h>
#include <stdbool.h>
#include <string.h>
#include <sys/xattr.h>

#include "opath.h"

/* Permission bits, three each. */
struct rights {
	unsigned owner, group, other; /* of the file's owner, of its group (within the mask), of the rest */
	unsigned users;	       /* granted to every named user but UID and those whose entry does not count */
	unsigned groups;       /* granted to every named group but GID */
	unsigned uid, gid;     /* what is granted to UID and GID by name, */
	bool has_uid, has_gid; /* whether they have an entry */
	bool has_users, has_groups; /* whether others have one */
};

ssize_t acl_read(int fd, void *acl, size_t size)
{
	struct opath_name name = opath_name(fd);
	ssize_t n = getxattr(name.text, XATTR_NAME_POSIX_ACL_ACCESS, acl, size);

	if (n < 0)
		return errno == ENODATA || errno == EOPNOTSUPP ? 0 : -errno;
	return n;
}

static void take_user(struct rights *r, const struct stat *st, unsigned id, unsigned perm, uid_t uid)
{
	if (id == st->st_uid || id == 0)
		return; /* the owner's entry takes precedence, and root needs none */
	if (id == uid) {
		r->uid = perm;
		r->has_uid = true;
	} else {
		r->users &= perm;
		r->has_users = true;
	}
}

static void take_group(struct rights *r, unsigned id, unsigned perm, gid_t gid)
{
	if (id == gid) {
		r->gid = perm;
		r->has_gid = true;
	} else {
		r->groups &= perm;
		r->has_groups = true;
	}
}

static bool decode(struct rights *r, const struct stat *st, const void *acl, size_t size, uid_t uid,
		   gid_t gid)
{
	struct posix_acl_xattr_header header;
	unsigned mask = 7, seen = 0;

	*r = (struct rights){.users = 7, .groups = 7};
	if (size < sizeof(header) || (size - sizeof(header)) % sizeof(struct posix_acl_xattr_entry) != 0)
		return false;
	memcpy(&header, acl, sizeof(header));
	if (le32toh(header.a_version) != POSIX_ACL_XATTR_VERSION)
		return false;
	for (size_t at = sizeof(header); at < size; at += sizeof(struct posix_acl_xattr_entry)) {
		struct posix_acl_xattr_entry entry;
		unsigned tag, perm;

		memcpy(&entry, (const char *)acl + at, sizeof(entry));
		tag = le16toh(entry.e_tag);
		perm = le16toh(entry.e_perm) & 7u;
		seen |= tag;
		if (tag == ACL_USER_OBJ)
			r->owner = perm;
		else if (tag == ACL_USER)
			take_user(r, st, le32toh(entry.e_id), perm, uid);
		else if (tag == ACL_GROUP_OBJ)
			r->group = perm;
		else if (tag == ACL_GROUP)
			take_group(r, le32toh(entry.e_id), perm, gid);
		else if (tag == ACL_MASK)
			mask = perm;
		else if (tag == ACL_OTHER)
			r->other = perm;
		else
			return false;
	}
	r->group &= mask;
	r->users &= r->has_users ? mask : 7u;
	r->groups &= r->has_groups ? mask : 7u;
	r->uid &= mask;
	r->gid &= mask;
	return (seen & ACL_USER_OBJ) && (seen & ACL_GROUP_OBJ) && (seen & ACL_OTHER);
}

/* What the mode says when there is no ACL. */
static struct rights plain_rights(mode_t mode)
{
	return (struct rights){.owner = (mode >> 6) & 7u,
			       .group = (mode >> 3) & 7u,
			       .other = mode & 7u,
			       .users = 7,
			       .groups = 7};
}

mode_t acl_bits(const struct stat *st, const void *acl, ssize_t size, uid_t uid, gid_t gid)
{
	struct rights r = plain_rights(st->st_mode);
	unsigned stranger, owner, group, other, all;

	if (size < 0 || (size > 0 && !decode(&r, st, acl, (size_t)size, uid, gid)))
		return uid == st->st_uid ? st->st_mode & 0700 : 0;

	/* A user who is neither the owner nor named may be in any of the groups, or in none. */
	stranger = r.group & r.groups & r.other & (r.has_gid ? r.gid : 7u);
	owner = uid == st->st_uid ? r.owner : r.has_uid ? r.uid : stranger;

	/* The file's owner (root apart) and the named users may belong to the group class and to the rest. */
	all = r.users & (uid == st->st_uid || st->st_uid == 0 ? 7u : r.owner);
	if (gid == st->st_gid)
		group = r.group | (r.has_gid ? r.gid : 0);
	else
		group = r.has_gid ? r.gid : stranger;
	other = r.other & r.groups & (gid == st->st_gid ? 7u : r.group);
	return (mode_t)(owner << 6 | (group & all) << 3 | (other & all));
}
