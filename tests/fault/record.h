/* SPDX-License-Identifier: MIT */
/*
 * record.h - the record of what a process does to files, in the order in which it happens: a sequence of
 * struct record, each with its bytes behind it, appended to the file that $SQLSNAPFS_RECORD names.
 * tests/fault/disk.py reads it and knows what a power failure may leave of it.
 *
 * Files are told apart by inode number: a number that is made anew is another file. Paths are absolute.
 */
#ifndef SQLSNAP_FAULT_RECORD_H
#define SQLSNAP_FAULT_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum record_kind {
	RECORD_CREATE = 1, /* inode; path: a file that was not there */
	RECORD_WRITE,	   /* inode, offset; the bytes */
	RECORD_TRUNCATE,   /* inode, size; also makes it longer */
	RECORD_SYNC,	   /* inode; of a file or a folder */
	RECORD_RENAME,	   /* from, zero, to */
	RECORD_LINK,	   /* inode; path */
	RECORD_UNLINK,	   /* path, also of a folder */
	RECORD_MKDIR,	   /* inode; path */
	RECORD_CLONE,	   /* inode, inode of what it becomes a copy of */
	RECORD_REQUEST,	   /* opcode, unique of a FUSE request that has been read */
	RECORD_REPLY,	   /* error, unique of a FUSE answer that is about to be written */
	RECORD_MARK,	   /* words of a test */
};

struct record {
	uint32_t size; /* bytes, with what follows */
	uint32_t kind;
	uint64_t ino;
	uint64_t arg;
};

/* Whether anything is recorded. */
bool record_is_on(void);
/* From here to record_end() nobody else does what is recorded. */
void record_begin(void);
/* OK: it has happened. */
void record_end(void);
void record_put(enum record_kind kind, uint64_t ino, uint64_t arg, const void *bytes, size_t size);

/* The absolute path of NAME in DIRFD. False: it has none. */
bool record_path(int dirfd, const char *name, char *out, size_t size);

#endif
