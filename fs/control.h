/* SPDX-License-Identifier: MIT */
/*
 * control.h - the files of .sqlsnapfs that the library does not know of: texts of this moment, made anew at
 * each open, that only the user of the daemon may read.
 *
 * Their nodes have CONTROL_KEY for a device and the file's number from 1 for an inode.
 */
#ifndef SQLSNAPFS_CONTROL_H
#define SQLSNAPFS_CONTROL_H

#include "node.h"

struct fs;

/* What is not listed and always there. */
#define CONTROL_FOLDER ".sqlsnapfs"
#define CONTROL_KEY 0x636f6e74726f6c00ull /* "control": no live inode has this device */

struct control_file {
	const char *name; /* in CONTROL_FOLDER */
	/* What it holds now, owned by the caller; NULL: no memory. May read the tree and the store, but waits
	 * for no live database. */
	char *(*text)(struct fs *fs);
	bool costly; /* GETATTR shows the size that it had when it was made last */
};

#define CONTROL_FILES 2
extern const struct control_file control_files[CONTROL_FILES];

/* The one at PATH, relative to the root, or whose node this is; NULL: none. */
const struct control_file *control_at(const char *path);
const struct control_file *control_of(const struct node *node);
/* What st_ino is. */
uint64_t control_ino(const struct control_file *file);

int control_stat(struct fs *fs, const struct control_file *file, struct snap_attr *attr);
/* Its text, as TEXT of the table. */
char *control_text(struct fs *fs, const struct control_file *file);

#endif
