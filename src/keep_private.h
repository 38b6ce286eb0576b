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

/* The part with the suffix "", "-wal" or "-journal"; -EINVAL. */
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
/* 0, or -EINVAL when TEXT is not the complete output of keep_record_format(). */
int keep_record_parse(struct keep_record *out, const char *text, size_t size);

/* The folder "kept" in a source's folder, O_RDONLY and owned by the caller; -errno. */
int keep_open_kept(int source_folder, bool make);

/*
 * Loads the snapshot NAME of the folder KEPT, as keep_find(). If PART is not negative, returns an O_PATH
 * descriptor of that part, owned by the caller; else 0. -ENOENT
 */
int keep_load(int kept, const char *name, int part, struct keep_entry *entry);

/* Meta of the snapshot's FOLDER. -ENOENT, -EINVAL, -errno */
int keep_read_record(int folder, struct keep_record *out);

/* Whether GROUP is complete, 1 or 0; -errno: unknown. KEPT is the folder of any source. */
int keep_group_is(int kept, const char *group);
/* Whether GROUP is still being completed, or was dropped but is partly left: 1 or 0; -errno: unknown. */
int keep_group_is_unsettled(int kept, const char *group);
/* Frees the name NAME in KEPT if nobody is working on it and it is reserved, or belongs to a group that is
 * not complete. True: it is free. *WAS_RESERVED (may be NULL): this call freed it, and a snapshot was to be
 * kept under it. */
bool keep_free_name(int kept, const char *name, bool *was_reserved);
/* Removes the name of FOLDER, which is locked, and then its files. */
int keep_drop_locked(int kept, const char *name, int folder);
/* Removes the files of groups that have no member left. */
int keep_clean_groups(struct store *store);

/* A snapshot that keep.c writes, and keep_group.c publishes. */
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
	char name[KEEP_NAME_MAX + 16]; /* including an appended number */
};

/* RC, with a message that KEEP cannot be kept. */
int keep_failed(const struct keep *keep, int rc, struct snap_err *err);

/* Gives a sealed snapshot its name, on the disk as well. It stays locked. */
int keep_give_name(struct keep *keep, struct snap_err *err);
/* Takes back the name that keep_give_name() has given; keep_destroy() removes the rest. */
void keep_take_name_back(struct keep *keep);
/* Marks the snapshot as kept and releases its lock. */
void keep_settle(struct keep *keep);

/* Makes the name of a partial snapshot. -EIO */
int keep_partial_name(char out[NAME_MAX + 1], const char *name);
bool keep_is_partial(const char *name);

#endif
