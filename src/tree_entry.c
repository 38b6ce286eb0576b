/* SPDX-License-Identifier: MIT */
/*
 * tree_entry.c - what one name in an open folder is, and the attributes that are shown of it.
 *
 * What must stay true:
 *  - A name is looked at through one descriptor (O_PATH): type, attributes and content are of the same inode.
 *  - What lies on another mount is described from the kernel's cache and never entered.
 *  - The permission bits shown are never wider than what the real file and the folders above it grant.
 * Sidecars, and what is hidden, are left to tree_look.c and tree_list.c.
 */
#include "tree_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "acl.h"
#include "cleanup.h"
#include "opath.h"

/* ---- attributes ---------------------------------------------------------------------------------------- */

void tree_fill_attr(const struct tree *tree, struct snap_attr *attr, enum snap_kind kind,
		    const struct stat *st, mode_t bits)
{
	uint64_t size = (uint64_t)st->st_size;

	*attr = (struct snap_attr){
		.kind = kind,
		.key_dev = st->st_dev,
		.key_ino = st->st_ino,
		.ino = tree_ino(tree, st->st_dev, st->st_ino),
		.size = size,
		.blocks = kind == SNAP_DATABASE ? size / 512 + (size % 512 != 0) : (uint64_t)st->st_blocks,
		.mode = (st->st_mode & S_IFMT) | (bits & 0777) |
			(S_ISDIR(st->st_mode) ? st->st_mode & S_ISVTX : 0),
		.uid = st->st_uid,
		.gid = st->st_gid,
		.nlink = kind == SNAP_DATABASE ? 1 : st->st_nlink,
		.rdev = st->st_rdev,
		.atime = st->st_atim,
		.mtime = st->st_mtim,
		.ctime = st->st_ctim,
	};
}

/* FD's permission bits, less what an ACL takes away. */
mode_t tree_shown_bits(int fd, const struct stat *st)
{
	char acl[ACL_BYTES];

	if (!(S_ISREG(st->st_mode) || S_ISDIR(st->st_mode)) || !(st->st_mode & 077))
		return st->st_mode & 0777;
	return acl_bits(st, acl, acl_read(fd, acl, sizeof(acl)), st->st_uid, st->st_gid);
}

/* ---- one name in a folder ------------------------------------------------------------------------------ */

static void keep_header(struct tree_found *out, const struct sniffed *sniffed)
{
	out->has_header = sniffed->has_header;
	out->header = sniffed->header;
}

static int look_regular(struct tree *tree, const struct tree_spot *spot, int fd, struct stat *st,
			struct tree_found *out, struct tree_aside *aside)
{
	struct sniffed sniffed;
	struct place place = {.root = spot->base};
	int rc = sniff_look(tree->sniff, fd, st, &sniffed);

	if (rc)
		return rc;
	if (!sniffed.database && !spot->named) {
		tree_fill_attr(tree, &out->attr, SNAP_PLAIN, st, tree_shown_bits(fd, st));
		out->refused = sniffed.refused;
		return 0;
	}
	place.dir = strdup(spot->path);
	place.name = strdup(spot->name);
	if (!place.dir || !place.name) {
		place_finish(&place);
		return -ENOMEM;
	}
	out->place = place;
	keep_header(out, &sniffed);
	aside->links = st->st_nlink;
	tree_fill_attr(tree, &out->attr, SNAP_DATABASE, st, tree_shown_bits(fd, st));
	return 0;
}

/*
 * The end of a symlink, as a database. Of the folders above it, the mask counts those that the reader does
 * not already pass: those up to the tree's folder, or up to the root.
 */
static int look_end(struct tree *tree, const struct tree_spot *spot, struct tree_end *end,
		    struct tree_found *out, struct tree_aside *aside)
{
	struct sniffed sniffed;
	struct stat base = {0};
	mode_t bits;
	int rc = sniff_look(tree->sniff, end->file, &end->st, &sniffed);

	if (rc)
		return rc;
	if (!sniffed.database && !spot->named)
		return LINK_ELSEWHERE;
	rc = tree_link_place(tree, spot->base, end, &out->place, &aside->outside);
	if (rc)
		return rc;
	if (fstat(spot->base, &base) < 0)
		return -errno;
	bits = tree_shown_bits(end->file, &end->st);
	bits &= place_mask_at(end->dir, &base, atomic_load(&tree->cover.dev), end->st.st_uid, end->st.st_gid);
	keep_header(out, &sniffed);
	aside->link = true;
	aside->links = end->st.st_nlink;
	tree_fill_attr(tree, &out->attr, SNAP_DATABASE, &end->st, bits);
	return 0;
}

static int look_link(struct tree *tree, const struct tree_spot *spot, int fd, const struct stat *st,
		     struct tree_found *out, struct tree_aside *aside)
{
	struct tree_end end = TREE_END_INIT;
	int rc = tree_link_follow(tree, spot->dir, fd, &end);

	if (rc == 0)
		rc = look_end(tree, spot, &end, out, aside);
	tree_end_finish(&end);
	if (rc == LINK_ELSEWHERE) {
		tree_fill_attr(tree, &out->attr, SNAP_SYMLINK, st, 0777);
		return 0;
	}
	if (rc == 0 && aside->outside && !spot->named) {
		char target[PATH_MAX + NAME_MAX + 2];

		snprintf(target, sizeof(target), "%s/%s", out->place.dir, out->place.name);
		tree_notice(tree, st, spot->name, target);
	}
	return rc;
}

/* Something is mounted there. Our own mount is described by what it covers. */
static int look_mount(struct tree *tree, const struct tree_spot *spot, struct tree_found *out,
		      struct snap_err *err)
{
	struct stat st;
	int rc;

	if (spot->named)
		return err_set(err, -EXDEV,
			       "\"%s\" is a mount of its own: name the file where it really stands",
			       spot->name);
	if (tree_is_cover(tree, spot->dir, spot->name)) {
		st = tree->cover.covered;
	} else {
		rc = opath_stat(spot->dir, spot->name, &st, NULL);
		if (rc)
			return rc;
	}
	tree_fill_attr(tree, &out->attr, SNAP_MOUNTPOINT, &st, st.st_mode & 0777);
	return 0;
}

int tree_look_entry(struct tree *tree, const struct tree_spot *spot, struct tree_found *out,
		    struct tree_aside *aside, struct snap_err *err)
{
	autoclose int fd = opath_open(spot->dir, spot->name, O_PATH | O_NOFOLLOW, OPATH_BELOW);
	struct tree_aside unasked;
	struct stat st;
	int rc = 0;

	*out = TREE_FOUND_INIT;
	if (!aside)
		aside = &unasked;
	*aside = (struct tree_aside){.links = 1};
	if (fd == -EXDEV)
		return look_mount(tree, spot, out, err);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISREG(st.st_mode))
		rc = look_regular(tree, spot, fd, &st, out, aside);
	else if (S_ISLNK(st.st_mode))
		rc = look_link(tree, spot, fd, &st, out, aside);
	else
		tree_fill_attr(tree, &out->attr,
			       !S_ISDIR(st.st_mode)	    ? SNAP_SPECIAL
			       : tree_is_covered(tree, &st) ? SNAP_MOUNTPOINT
							    : SNAP_FOLDER,
			       &st, tree_shown_bits(fd, &st));
	if (rc)
		tree_found_finish(out);
	return rc;
}
