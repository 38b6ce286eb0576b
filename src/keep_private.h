/* SPDX-License-Identifier: MIT */
/* keep_private.h - what the files keep*.c and kept_tree.c share; nobody else includes it. */
#ifndef SQLSNAP_KEEP_PRIVATE_H
#define SQLSNAP_KEEP_PRIVATE_H

#include <limits.h>

#include "keep.h"

/* Files of a kept snapshot, in this order everywhere. */
enum keep_part {
	KEEP_DB,
	KEEP_WAL,
	KEEP_JOURNAL,
	KEEP_PARTS,
};
extern const char *const keep_files[KEEP_PARTS]; /* their names */

/* The part of "", "-wal" or "-journal"; -EINVAL. */
int keep_part(const char *suffix);

/* What meta holds. */
struct keep_record {
	struct keep_meta meta; /* SIZE is SIZES[KEEP_DB] */
	bool has[KEEP_PARTS];
	uint64_t sizes[KEEP_PARTS]; /* bytes */
};

#define KEEP_RECORD_SIZE 1024 /* bytes of meta at most */

/* Writes meta's text, a string, into BUF and returns its length. */
size_t keep_record_format(const struct keep_record *record, char buf[KEEP_RECORD_SIZE]);
/* 0, or -EINVAL when TEXT is not what keep_record_format() wrote, whole. */
int keep_record_parse(struct keep_record *out, const char *text, size_t size);

/* The folder "kept" in a source's, O_RDONLY and owned by the caller; -errno. */
int keep_open_kept(int source_folder, bool make);

/*
 * What stands under NAME in the folder KEPT, as keep_find(). With PART not negative also an O_PATH descriptor
 * of that part, which is returned, owned by the caller; else 0. -ENOENT
 */
int keep_load(int kept, const char *name, int part, struct keep_entry *entry);

/* Makes the name of a partial one. -EIO */
int keep_partial_name(char out[NAME_MAX + 1], const char *name);
bool keep_is_partial(const char *name);

#endif
