/* SPDX-License-Identifier: MIT */
/* kept_tree_private.h - what the files kept*.c share; nobody else includes it. */
#ifndef SQLSNAP_KEPT_TREE_PRIVATE_H
#define SQLSNAP_KEPT_TREE_PRIVATE_H

#include <limits.h>
#include <pthread.h>

#include "keep_private.h"
#include "kept_tree.h"

#define KEPT_SNAPSHOTS "snapshots"

/* A named database. */
struct kept_file {
	char *name;   /* owned: in the mount */
	char *source; /* owned: its absolute path */
};

struct kept_tree {
	struct store *store; /* borrowed, as the next */
	struct rawfd_table *table;
	char *folder;		 /* owned: absolute, "" for the root; NULL: named databases */
	struct kept_file *files; /* owned */
	size_t file_count;
	int64_t since_ns; /* CLOCK_REALTIME */

	pthread_mutex_t lock;
	struct list pending; /* guarded by lock */
};

/* A parsed path. */
struct kept_spot {
	enum {
		KEPT_TOP,    /* KEPT_FOLDER */
		KEPT_NAMES,  /* the folder of all snapshots */
		KEPT_INSIDE, /* a snapshot, or something in it */
	} level;
	char name[NAME_MAX + 1]; /* of the snapshot */
	const char *path;	 /* in the snapshot; "" is its folder */
};

/* -ENOENT: a path that can never exist. */
int kept_parse(const char *path, struct kept_spot *out);

/* The rest of PATH below FOLDER: "" when it is that folder; NULL when it is elsewhere. */
const char *kept_below(const char *path, const char *folder);

/* A walk over the kept snapshots of this mount's sources. */
struct kept_walk {
	const struct kept_tree *kept;
	const char *name; /* the snapshot wanted; NULL: all */
	const char *path; /* only of sources below this folder of the mount; "" is its root */
	/* Returns as store_each()'s function. The entry's name is borrowed. */
	int (*fn)(struct kept_walk *walk, const struct keep_entry *entry);
	/* for FN */
	const char *here; /* the source's path in the mount, */
	const char *rest; /* the part of it below PATH */
	struct keep_entry found;
	const char *at; /* the path of the folder that is listed */
	struct tree_list *list;
	size_t room; /* of LIST */
};
int kept_walk(struct kept_walk *walk);

/* The same over what is being written. */
int kept_walk_pending(struct kept_walk *walk);
/* Attributes of the pending file at SPOT; false when there is none. */
bool kept_look_pending(struct kept_tree *kept, const struct kept_spot *spot, struct snap_attr *attr);

/* Attributes of the file of ENTRY (DEV, INO) with SIZE bytes, and of an empty one beside it. */
void kept_fill_file(struct snap_attr *attr, const struct keep_entry *entry, uint64_t dev, uint64_t key_ino,
		    uint64_t size, uint64_t ino);
void kept_fill_sidecar(struct snap_attr *attr, const struct keep_entry *entry, uint64_t ino);

uint64_t kept_folder_ino(const char *path);
/* Of the file that is shown at PATH in the snapshot NAME, of the state ENTRY. */
uint64_t kept_file_ino(const struct keep_entry *entry, const char *name, const char *path);

#endif
