/* SPDX-License-Identifier: MIT */
/*
 * store.h - the folder for what must not stand beside the live database: spools (unlinked files) and, for
 * each source, what was shown last. One subfolder per source, named by a hash of its absolute path; several
 * daemons may share a store, for every file is written whole under another name and renamed.
 *
 * Where: -o store=DIR, else $STATE_DIRECTORY, else /var/lib/sqlsnapfs for root, else
 * $XDG_STATE_HOME/sqlsnapfs or $HOME/.local/state/sqlsnapfs. Made with mode 0700 when first needed.
 */
#ifndef SQLSNAP_STORE_H
#define SQLSNAP_STORE_H

#include <stdint.h>

#include "error.h"
#include "version.h"

struct store;

/* DIR NULL: the default. Creates nothing yet. -ENOMEM; -ENOENT when there is no default (no HOME); -errno
 * when DIR cannot be resolved (an absolute one that is not there yet can). */
int store_create(struct store **out, const char *dir, struct snap_err *err);
void store_destroy(struct store *store);

const char *store_dir(const struct store *store); /* absolute; borrowed */

/* An unlinked file, O_RDWR, for BYTES to come; owned by the caller. -ENOSPC with words when the file system
 * has less than that and STORE_RESERVE free. */
int store_spool(struct store *store, uint64_t bytes, struct snap_err *err);
#define STORE_RESERVE (16ull << 20)

/* A new private folder (0700) inside the store, O_DIRECTORY descriptor owned by the caller, and its name for
 * store_drop_folder(), which removes the folder and the files in it. */
int store_make_folder(struct store *store, char name[32], struct snap_err *err);
void store_drop_folder(struct store *store, const char *name);

/* What the generation opened last showed. */
struct store_seen {
	struct version version;
	int64_t mtime_ns;
};

/* SOURCE is the database's absolute path. -ENOENT: never seen. */
int store_load_seen(struct store *store, const char *source, struct store_seen *out);
int store_save_seen(struct store *store, const char *source, const struct store_seen *seen,
		    struct snap_err *err);

#endif
