/* SPDX-License-Identifier: MIT */
/*
 * kept_tree.h - what .sqlsnapfs/snapshots shows: the kept snapshots of the sources of one mount, each as a
 * folder of its name, which holds the databases at their paths in the mount.
 *
 * A mount of a folder shows every source of the store whose path is below that folder; one of named databases
 * shows those whose path is that of a named file (for a symlink, of its target).
 *
 *  - .sqlsnapfs, snapshots and all folders below: mode 0700, owned by this process; a snapshot's folders have
 *    the time at which it was kept, those above the time of the mount.
 *  - A kept database is SNAP_PLAIN with owner, mode and times as they were kept; key_dev and key_ino are
 *    those of the file in the store; st_ino differs from the live file's, because cp(1) calls files of one
 *    inode the same file. Nobody ever writes it.
 *  - A raw state (keep.h) has NAME-wal and NAME-journal beside it, as plain files. For any other, a lookup
 *    finds NAME-wal and NAME-shm as empty files (SNAP_SIDECAR), which are not listed, so that sqlite3(1) can
 *    query it in place.
 *
 * A snapshot that is still being written (snapshots.h) is shown by kept_tree_show() like a kept one, except
 * that its bytes come from kept_tree_open_pending().
 *
 * PATH is relative to the mount's root, as in sqlsnap.h, and kept_tree_has(PATH) is true. Everything is
 * looked up in the store each time, because other daemons change it too. Thread-safe once the sources are
 * added.
 */
#ifndef SQLSNAP_KEPT_TREE_H
#define SQLSNAP_KEPT_TREE_H

#include "keep.h"
#include "list.h"
#include "rawfd.h"
#include "store.h"
#include "tree.h"

#define KEPT_FOLDER ".sqlsnapfs"

struct kept_tree;

/* STORE and TABLE are borrowed. -ENOMEM */
int kept_tree_create(struct kept_tree **out, struct store *store, struct rawfd_table *table);
void kept_tree_destroy(struct kept_tree *kept); /* accepts NULL */

/* Set what the mount shows; PATH is as in snap_add_folder() and snap_add_file(), and exists. -errno */
int kept_tree_set_folder(struct kept_tree *kept, const char *path);
int kept_tree_add_file(struct kept_tree *kept, const char *name, const char *path);

/* Whether PATH is KEPT_FOLDER or below it. */
bool kept_tree_has(const char *path);

/* What stands at PATH; -ENOENT */
int kept_tree_look(struct kept_tree *kept, const char *path, struct snap_attr *attr);
/* Sorted by name. -ENOENT, -ENOTDIR */
int kept_tree_list(struct kept_tree *kept, const char *path, struct tree_list *out);
/* Opens a plain file; -ESTALE when it is no longer the inode DEV, INO. */
int kept_tree_open(struct kept_tree *kept, const char *path, uint64_t dev, uint64_t ino, struct rawfd *out);

/* Calls FN with every kept database of this mount's sources, by its PATH in the mount, until FN returns
 * something other than 0, which is returned. PATH and the entry are borrowed. -errno */
int kept_tree_each(struct kept_tree *kept,
		   int (*fn)(void *arg, const char *path, const struct keep_entry *entry), void *arg);
/* Finds the source whose kept state the file at PATH is: *FILE is its absolute path, owned by the caller;
 * SNAPSHOT (KEEP_NAME_MAX + 1 bytes) and *MADE_NS say which state. -ENOENT */
int kept_tree_origin(struct kept_tree *kept, const char *path, char **file, char *snapshot, int64_t *made_ns);

/* The absolute path by which the store knows the file at PATH in the mount; owned by the caller. NULL with
 * errno: ENOENT, ENOMEM */
char *kept_tree_source(const struct kept_tree *kept, const char *path);

/* The path in the mount of the source at the absolute path SOURCE, borrowed from either; NULL: it is no
 * source of this mount. */
const char *kept_shown_path(const struct kept_tree *kept, const char *source);

/* A database of a snapshot that is being written. It and what it points to belong to the caller, and must
 * stay valid while it is shown. */
struct kept_pending {
	struct list link; /* guarded by the tree's lock */
	const char *name; /* of the snapshot */
	const char *path; /* in the mount */
	struct keep_entry entry;
	struct snap_gen *gen; /* opened */
};
/* Shows or hides COUNT of them, all at once. */
void kept_tree_show(struct kept_tree *kept, struct kept_pending *pendings, size_t count);
void kept_tree_hide(struct kept_tree *kept, struct kept_pending *pendings, size_t count);
/* Opens what kept_tree_show() shows at PATH if it is the inode DEV, INO; returns a reference to its opened
 * generation. NULL: there is none. */
struct snap_gen *kept_tree_open_pending(struct kept_tree *kept, const char *path, uint64_t dev, uint64_t ino);

/* Drops the snapshot NAME of every source of this mount. -ENOENT: there is none. On failure some of them may
 * be left. */
int kept_tree_drop(struct kept_tree *kept, const char *name, struct snap_err *err);

#endif
