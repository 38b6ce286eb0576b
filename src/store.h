/* SPDX-License-Identifier: MIT */
/*
 * store.h - the folder for what must not stand beside the live database: spools (unlinked files), private
 * folders and, for each source, what was shown last and what is kept (keep.h). Several daemons may share it:
 * every file is written whole under another name and then renamed, and a process that works on something with
 * a name of its own holds flock(2) on it.
 *
 *     .work-*, .spool-*   private folders; spools where O_TMPFILE is not known
 *     <16 hex digits>/    of one source: a hash of its absolute path
 *         source          that path and a newline, which distinguishes two sources of one hash; missing in
 *                         folders made by older versions, which count as those of the hash's first source
 *         seen            what was shown last
 *         opened          who opened it, and when
 *         gone            an empty file whose mtime tells since when the source's database is gone
 *
 * A process that writes to a source's folder holds flock(2) on it shared; one that forgets the source,
 * exclusively.
 *
 * Where: -o store=DIR, else $STATE_DIRECTORY, else /var/lib/sqlsnapfs for root, else
 * $XDG_STATE_HOME/sqlsnapfs or $HOME/.local/state/sqlsnapfs. Made with mode 0700 when first needed.
 */
#ifndef SQLSNAP_STORE_H
#define SQLSNAP_STORE_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "error.h"
#include "version.h"

struct store;

/* DIR NULL: the default. Creates nothing yet. -ENOMEM; -ENOENT when there is no default (no HOME); -errno
 * when DIR cannot be resolved (an absolute one that is not there yet can). */
int store_create(struct store **out, const char *dir, struct snap_err *err);
void store_destroy(struct store *store);

/* Whether it can be written to, or made if it does not exist yet: 0, or the error, with a message. */
int store_check(const struct store *store, struct snap_err *err);

const char *store_dir(const struct store *store); /* absolute; borrowed */

/* Whether ERROR (-errno) is for lack of room: of blocks, of inodes, or by a quota, which statvfs(3) does not
 * show. */
static inline bool store_is_full(int error)
{
	return error == -ENOSPC || error == -EDQUOT;
}

/* Writes "240 MiB free" to TEXT and, if ERROR (0: nothing failed yet) says that something has run out, what
 * that may be. Returns TEXT. */
#define STORE_ROOM_SIZE 80
const char *store_room(const struct store *store, int error, char text[STORE_ROOM_SIZE]);

/* Sets ERR: WHAT ("cannot write to") failed in the store because of ERROR, and what to do if that is a lack
 * of room. Returns ERROR. */
int store_failed(const struct store *store, int error, struct snap_err *err, const char *what);

/* An unlinked file, O_RDWR, for BYTES to come; owned by the caller. -ENOSPC with a message when the file
 * system has less than that plus STORE_RESERVE free. */
int store_spool(struct store *store, uint64_t bytes, struct snap_err *err);
#define STORE_RESERVE (16ull << 20)

/* A new private folder (0700) inside the store, O_DIRECTORY descriptor owned by the caller, and its name for
 * store_drop_folder(), which removes the folder and the files in it. Other daemons treat it as in use as long
 * as the descriptor is open. */
int store_make_folder(struct store *store, char name[32], struct snap_err *err);
void store_drop_folder(struct store *store, const char *name);

/* Removes what killed daemons left behind: private folders and files that nobody is working on. 0 also if
 * there is no store yet; -errno: it cannot be looked through. */
int store_clean(struct store *store, struct snap_err *err);

/* ---- sources ------------------------------------------------------------------------------------------- */
/* SOURCE is the database's absolute path. */

/* The folder of SOURCE, O_RDONLY and owned by the caller; MAKE: created if need be, with its path file, and
 * not forgotten by anybody as long as the descriptor is open. -ENOENT: there is none. -EBUSY, only with MAKE:
 * it is being forgotten, and that takes more than a second. */
int store_open_source(struct store *store, const char *source, bool make, struct snap_err *err);
/* Syncs FOLDER, which store_open_source() made, with its path file and its name. */
int store_sync_source(struct store *store, int folder, struct snap_err *err);

/* Whether FOLDER is still where the store has SOURCE: somebody may have moved or replaced the store since it
 * was opened. */
bool store_is_source(struct store *store, const char *source, int folder);

/* Whether a mount ever opened SOURCE. */
bool store_knows(struct store *store, const char *source);

/* Calls FN with the folder (borrowed) of every source, until it answers something other than 0, which is
 * returned. SOURCE is NULL if its path is unknown. Folders of another user that we may not open are skipped.
 * 0 also when there is no store yet. */
int store_each(struct store *store, int (*fn)(void *arg, int folder, const char *source), void *arg);

/*
 * Forgets sources that are gone and of which nothing is kept: what was shown last, who opened them, and that
 * a database stood there (store_knows()). IS_GONE(ARG, SOURCE), called under no lock, returns 1 only if the
 * source is certainly gone; 0: it is there; -EAGAIN: it cannot be told, because what is merely out of reach
 * (a file system that is not mounted, another mount's business) does not count as gone. -ECANCELED ends
 * everything.
 *
 * A source is forgotten once it has been gone for as long as it was known, but for at least a day and at most
 * a month. So an application's temporary databases are forgotten the next day, while one that was removed by
 * mistake can be restored under its name for as long as anybody may miss it. That time begins when this
 * function first finds it gone and can note that, and starts over whenever something is written about it.
 * NOW_NS: CLOCK_REALTIME.
 *
 * A source that anybody is writing about, in this process or another, stays. If killed at any moment, this
 * leaves nothing, or what store_clean() removes. 0 also if there is no store yet; -errno: it cannot be
 * looked through.
 */
int store_forget(struct store *store, int (*is_gone)(void *arg, const char *source), void *arg,
		 int64_t now_ns);

/* What the most recently opened generation showed. */
struct store_seen {
	struct version version;
	int64_t mtime_ns;
};

/* Who opened the newest state of SOURCE that anybody has opened. -ENOENT: nobody ever did. */
int store_load_opened(struct store *store, const char *source, struct snap_opened *out);
int store_save_opened(struct store *store, const char *source, const struct snap_opened *opened);

/* -ENOENT: never seen. */
int store_load_seen(struct store *store, const char *source, struct store_seen *out);
/* Remembers the source's path too. */
int store_save_seen(struct store *store, const char *source, const struct store_seen *seen);

#endif
