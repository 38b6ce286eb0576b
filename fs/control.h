/* SPDX-License-Identifier: MIT */
/*
 * control.h - the files of .sqlsnapfs that fs/ makes itself: texts that are generated at each open and that
 * only the daemon's user may read.
 *
 * Their nodes have CONTROL_KEY as device and the number of the file, from 1, as inode.
 */
#ifndef SQLSNAPFS_CONTROL_H
#define SQLSNAPFS_CONTROL_H

#include "node.h"

struct fs;

/* Always there, never listed. */
#define CONTROL_FOLDER ".sqlsnapfs"
#define CONTROL_KEY 0x636f6e74726f6c00ull /* "control": no live inode has this device */

struct control_file {
	const char *name; /* in CONTROL_FOLDER */
	/* Returns its current content, owned by the caller; NULL: no memory. May read the tree and the
	 * store, but waits for no live database. */
	char *(*text)(struct fs *fs);
	bool costly; /* GETATTR shows the size of the most recent text */
};

#define CONTROL_FILES 2
extern const struct control_file control_files[CONTROL_FILES];

/* The control file at PATH, relative to the root, or the one that NODE stands for; NULL: none. */
const struct control_file *control_at(const char *path);
const struct control_file *control_of(const struct node *node);
/* Its st_ino. */
uint64_t control_ino(const struct control_file *file);

int control_stat(struct fs *fs, const struct control_file *file, struct snap_attr *attr);
/* Calls its TEXT. */
char *control_text(struct fs *fs, const struct control_file *file);

#endif
