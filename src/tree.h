/* SPDX-License-Identifier: MIT */
/*
 * tree.h - what is mirrored: one folder, or a list of named databases under a folder that exists only in the
 * mount.
 *
 * Answers what a path is: openat2(2) below the root without crossing mounts or following links; which files
 * are databases (by content, never by name) and which are their sidecars. Holds no descriptor but the root's
 * (and one O_PATH per named database), so that a tree of any size costs nothing. Thread-safe.
 *
 *  - A regular file that begins with SQLite's magic is a database; so is one that a connection has open. A
 *    named database counts as one whatever it holds, even if it is missing.
 *  - NAME-wal, NAME-shm and NAME-journal beside a database NAME are its sidecars and not listed. A lookup
 *    finds -wal and -shm as empty files with the database's owner and its mode without write bits, and
 *    -journal not at all (-ENOENT). Beside anything else such names are ordinary files, and a folder is
 *    always a folder.
 *  - A symlink that resolves to a database is shown as that database, at its real place, its mode masked by
 *    place_mask_at() of the folders that a reader of the tree does not pass; checked at each lookup. It never
 *    leads into our own mount (mounts are compared on the way).
 *  - The folder that our own mount covers is SNAP_MOUNTPOINT and empty; the root of any other mount is
 *    SNAP_MOUNTPOINT and listing it is -EXDEV. Neither sends a request to that mount.
 *  - A database with several hard links is -EMLINK: each name would have its own WAL.
 *  - Where there is an ACL, only permission bits that it certainly leaves are shown (acl.h).
 */
#ifndef SQLSNAP_TREE_H
#define SQLSNAP_TREE_H

#include <linux/stat.h>

#include "header.h"
#include "place.h"
#include "rawfd.h"
#include "sqlsnap.h"

struct tree;

struct tree_found {
	struct snap_attr attr; /* for a database: the live file's stat(2); its size and times are left to the
				  generation */
	struct place place;    /* SNAP_DATABASE: its real place; owned, place_finish() */
	bool missing;	       /* a named database that does not exist: ATTR has only kind, ino and mode */
	bool has_header;       /* HEADER is what the file began with when its stat(2) was as in ATTR */
	struct header header;
	int refused; /* SNAP_PLAIN, -errno: it could not be read, and may be a database */
};

#define TREE_FOUND_INIT ((struct tree_found){.place = PLACE_INIT})
void tree_found_finish(struct tree_found *found);

/* TABLE is borrowed. DATABASES_ONLY hides what is neither a database nor a folder. */
int tree_create(struct tree **out, struct rawfd_table *table, bool databases_only);
/* tree_list_of() leaves databases out from now on; nothing else does. */
void tree_set_unlisted(struct tree *tree);
void tree_destroy(struct tree *tree);

/* See snap_add_folder() and snap_add_file() in sqlsnap.h; the caller checks the file systems. */
int tree_set_folder(struct tree *tree, const char *path, struct snap_err *err);
int tree_add_file(struct tree *tree, const char *name, const char *path, struct snap_err *err);
/* See snap_known_as(); before the tree is served. -errno, -ENOMEM */
int tree_known_as(struct tree *tree, const char *path, struct snap_err *err);
/* 0; -ESTALE or an error of the disk, with a message; or an error for what this process ran out of. Takes
 * microseconds. Every list begins with it, and every lookup except that of the root itself, below which
 * status.json stays available. */
int tree_check_known(struct tree *tree, struct snap_err *err);
int tree_set_mountpoint(struct tree *tree, const char *path, struct snap_err *err);

/* After mounting and before the first request is served: learns which mount is ours. Sends no request to it.
 * -errno */
int tree_note_mounted(struct tree *tree);

/* What PATH is. "" is the root: for named databases a folder that belongs to the owner of the first
 * database's folder, of mode 0555, plus the write bits that all their folders have if these have one owner
 * and group, masked by place_mask_at() of each. */
int tree_look(struct tree *tree, const char *path, struct tree_found *out, struct snap_err *err);
/* The message, with a path and a reason, for when the disk does not answer. */
#define TREE_UNREAD "\"%s\" cannot be examined: %s; check its disk"
/* The same, if the path is in FOLDER (see struct snap_inode); named databases have none. */
int tree_look_in(struct tree *tree, const struct snap_inode *folder, const char *path, struct tree_found *out,
		 struct snap_err *err);

/* Fills TEXT and returns true once for each symlink that leaves the tree and resolves to a database, as
 * tree_look() and tree_list() find them. A named database's own symlink does not count. */
bool tree_take_notice(struct tree *tree, struct snap_err *text);

struct tree_name {
	char *name; /* owned by the list */
	uint64_t ino;
	mode_t type; /* S_IFMT bits */
};
struct tree_list {
	struct tree_name *names; /* owned */
	size_t count;
};
void tree_list_finish(struct tree_list *list);
/* Sorted by name; files that vanish meanwhile are left out. */
int tree_list(struct tree *tree, const char *path, struct tree_list *out, struct snap_err *err);
/* The same, if PATH still is FOLDER; NULL: whichever folder it is. */
int tree_list_of(struct tree *tree, const struct snap_inode *folder, const char *path, struct tree_list *out,
		 struct snap_err *err);

/* Whether PATH in a mirrored folder is gone. 1: no file has its name, and its folder is in the tree, can be
 * reached, is on the device DEV that PATH was on, and is still the one that applications know. 0: some file
 * has its name. -EAGAIN: this cannot be determined. */
int tree_is_gone(struct tree *tree, const char *path, uint64_t dev);

/* -EINVAL when PATH is no symlink, -ENAMETOOLONG when SIZE is too small. */
int tree_readlink(struct tree *tree, const char *path, char *target, size_t size);
/* -ESTALE when PATH is another inode than DEV, INO, or has become a database. */
int tree_open_plain(struct tree *tree, const char *path, uint64_t dev, uint64_t ino, struct rawfd *out);
/* Attributes of a file opened that way, whatever has its name by now. -ESTALE: it has become a database. */
int tree_stat_plain(struct tree *tree, const struct rawfd *raw, struct snap_attr *attr);
int tree_statvfs(struct tree *tree, struct statvfs *out);

/*
 * Calls FN with the path of each database in the tree, until FN returns other than 0 (-errno or 1), which is
 * then returned; TREE_WALK_CUT if LIMIT entries (and the rest of their folder) were read before the end.
 * Enters no symlink and no mount. Counts a symlink only if it leads out of the tree, because inside, the
 * database itself counts. Folders that cannot be read are left out; -EMFILE and the like are returned. -EIO,
 * after everything else was visited: the disk failed to tell whether some file is a database.
 */
int tree_walk(struct tree *tree, size_t limit, int (*fn)(void *arg, const char *path), void *arg);
#define TREE_WALK_CUT 2
#define TREE_WALK_ENTRIES 20000 /* a LIMIT of one or two tenths of a second if the folders are cached */
/*
 * The same, and also calls UNSEEN with the path of each file or folder for which it is unknown whether it is
 * or holds a database, and with the reason: -EXDEV for a mount other than our own, -EACCES for what we may
 * not read, -ENAMETOOLONG for a folder with something whose path is too long. UNSEEN's return values count as
 * FN's do.
 */
int tree_walk_all(struct tree *tree, size_t limit, int (*fn)(void *arg, const char *path),
		  int (*unseen)(void *arg, const char *path, int why), void *arg);

/* Counts what tree_walk() finds in ENTRIES entries, up to LIMIT; also if the disk failed for some of it.
 * TREE_WALK_CUT: there may be more. */
int tree_count(struct tree *tree, size_t entries, size_t limit, size_t *databases);

/* The st_ino to show for the inode: INO itself on the tree's own device, else a 64-bit hash of both
 * numbers. */
uint64_t tree_ino(const struct tree *tree, uint64_t dev, uint64_t ino);

#endif
