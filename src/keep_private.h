/* SPDX-License-Identifier: MIT */
/* keep_private.h - what the files keep*.c and kept*.c share; nobody else includes it. */
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
	uint64_t sizes[KEEP_PARTS];  /* bytes */
	char group[KEEP_GROUP_SIZE]; /* "": of none */
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

/* Meta of the snapshot's FOLDER. -ENOENT, -EINVAL, -errno */
int keep_read_record(int folder, struct keep_record *out);

/* Whether GROUP is whole, 1 or 0; -errno: that cannot be told. KEPT is the folder of any source. */
int keep_group_is(int kept, const char *group);
/* Whether GROUP is on its way to be whole, or was dropped while some of it is left: 1 or 0; -errno likewise.
 */
int keep_group_passes(int kept, const char *group);
/* Makes the name NAME in KEPT free if nobody is at work on it and it is a reserved one, or one of a group
 * that is not whole. True: it is. *WAS_RESERVED (may be NULL): by this call, from one that was to be kept. */
bool keep_free_name(int kept, const char *name, bool *was_reserved);
/* Takes the name away from FOLDER, which is locked, and then the files. */
int keep_drop_locked(int kept, const char *name, int folder);
/* Removes the files of groups of which nothing is left. */
int keep_clean_groups(struct store *store);

/* One being written: keep.c's, and keep_group.c's to publish. */
struct keep {
	struct store *store; /* borrowed */
	char *path;	     /* owned: of the source */
	int source;	     /* owned, as all descriptors: the source's folder */
	int kept;	     /* "kept" in it */
	int folder;	     /* the partial one; the snapshot's own once it is named */
	int reserved;	     /* the empty folder that has the name; -1: none */
	int files[KEEP_PARTS];
	bool insists, named, committed, leaves_name;
	const char *after; /* borrowed: see keep_number_after() */
	char partial[NAME_MAX + 1];
	char name[KEEP_NAME_MAX + 16]; /* a number behind it included */
};

/* Gives a sealed one its name, on the disk as well. It keeps its lock. */
int keep_give_name(struct keep *keep, struct snap_err *err);
/* Takes the name back that keep_give_name() has given; keep_destroy() removes the rest. */
void keep_take_name_back(struct keep *keep);
/* It is kept: lets go of its lock. */
void keep_settle(struct keep *keep);

/* Makes the name of a partial one. -EIO */
int keep_partial_name(char out[NAME_MAX + 1], const char *name);
bool keep_is_partial(const char *name);

#endif
