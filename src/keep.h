/* SPDX-License-Identifier: MIT */
/*
 * keep.h - kept snapshots: whole states of one database, by name, in the store.
 *
 * STORE/<hash of the source's path>/
 *     source               the path (store.h)
 *     kept/NAME/db         the bytes
 *     kept/NAME/meta       what they were: keep_meta.c has the format
 *     kept/NAME/wal, journal   only of a raw state: a live file that SQLite could not open, as it stood
 *     kept/.NAME-<random>.partial/   being written, or being removed
 *     kept/NAME/           empty: the name is reserved for one of those
 * STORE/groups/<16 hex digits>       keep_group.c has the format
 *              .group-<16 hex digits>   the same, of one that is being published
 *              .ended-<16 hex digits>   the same, of one that is being dropped
 *
 * A snapshot of several databases consists of one of each under the same name, which form a group: meta names
 * it, and they count only while the group's file exists. That file appears after the last of them has its
 * name and goes before the first of them does: all of them are kept or none is, whenever a daemon dies.
 *
 * What must stay true: a folder without a leading dot that is not empty is complete, because it is synced
 * before it gets its name and loses its name before the first of its files goes; a process that writes or
 * removes a partial one, has reserved a name, or has named a member of a group that is not complete yet,
 * holds flock(2) on it, so that the next daemon can recognise and clean up what a killed one left. Only
 * keep_drop() waits for that lock, for a second at most.
 *
 * SOURCE is always the database's absolute path as store.h takes it. Functions without an ERR return -errno.
 */
#ifndef SQLSNAP_KEEP_H
#define SQLSNAP_KEEP_H

#include <sys/types.h>

#include "store.h"

#define KEEP_NAME_MAX 200	    /* bytes, including an appended number */
#define KEEP_UNDO "before-restore-" /* prefix of the names that keep_prune() may drop */
#define KEEP_DAY_NS (86400ll * 1000000000ll)

/* Whether NAME is neither empty nor too long, and has neither a slash nor a leading dot. */
bool keep_name_valid(const char *name);

/* What was kept, besides the bytes. */
struct keep_meta {
	int64_t mtime_ns; /* as it was shown; CLOCK_REALTIME, as the next */
	int64_t made_ns;  /* when it was kept */
	mode_t mode;	  /* permission bits, others are dropped */
	uid_t uid;
	gid_t gid;
	uint64_t size;	    /* bytes of db; keep_commit() takes the file's own */
	uint32_t page_size; /* bytes; 0: unknown, as of a raw state */
	char why[64];	    /* one line of text, for people */
};

/* ---- writing ------------------------------------------------------------------------------------------- */

struct keep; /* a snapshot being written; for one thread at a time */

/*
 * Begins a snapshot with an empty db. The name may be taken, also by one that another daemon is writing:
 * keep_commit() decides on the final name. *OUT is owned by the caller. -EINVAL: not a name.
 */
int keep_begin(struct keep **out, struct store *store, const char *source, const char *name,
	       struct snap_err *err);
int keep_fd(const struct keep *keep); /* of db: O_RDWR; borrowed */
/* Adds an empty file for SUFFIX, "-wal" or "-journal", which makes it a raw state. Returns its descriptor,
 * O_RDWR, borrowed; the same one for the same suffix. -EINVAL: another suffix. -errno */
int keep_add_file(struct keep *keep, const char *suffix);
/* Reserves exactly its name, without a number: from now on nobody else can take it. Removes what a killed
 * daemon left under it. -EEXIST */
int keep_reserve(struct keep *keep, struct snap_err *err);
/*
 * Makes it a kept snapshot under its name, followed by "-2", "-3" and so on if that is taken. 0: bytes, meta
 * and name are on the disk. On failure no snapshot was made, and keep_destroy() removes what remains. Called
 * once.
 */
int keep_commit(struct keep *keep, const struct keep_meta *meta, struct snap_err *err);
/* Its final name, or the one asked for while it is not committed. Borrowed; valid as long as KEEP. */
const char *keep_name(const struct keep *keep);
/* Changes the name asked for, before it is committed. -EINVAL: not a name. */
int keep_retitle(struct keep *keep, const char *name);
/* Ensures that no number is used twice: the one appended to the name will be above all existing ones and
 * above that of LAST, the last name given, which may have been dropped. LAST ("": none) is borrowed until the
 * commit. */
void keep_number_after(struct keep *keep, const char *last);
/* Makes keep_destroy() leave the reserved name, for keep_clean() to report. */
void keep_leave_name(struct keep *keep);
/* Frees KEEP, and removes the snapshot if it is not committed. Accepts NULL. */
void keep_destroy(struct keep *keep);

/* ---- several at once ----------------------------------------------------------------------------------- */

#define KEEP_GROUP_SIZE 17 /* sixteen hex digits, terminated */

/* A name for a new group. -EIO */
int keep_group_name(char group[KEEP_GROUP_SIZE]);
/* Does what keep_commit() does, except for the name: bytes and meta are on the disk. GROUP NULL: it belongs
 * to no group. */
int keep_seal(struct keep *keep, const struct keep_meta *meta, const char *group, struct snap_err *err);
/* Turns the COUNT sealed snapshots of GROUP into kept ones, all at once. GROUP NULL: there is one. On failure
 * none of them is kept; keep_destroy() removes them. */
int keep_publish(struct keep *const *keeps, size_t count, const char *group, struct snap_err *err);
/* Ends the group that SOURCE's snapshot NAME belongs to, if each of the group's sources passes IS_OURS: none
 * of its snapshots is kept any more, and each can be dropped. ENDED receives the group's name; "": none has
 * ended. 0 also if there was nothing to do. */
int keep_group_end(struct store *store, const char *source, const char *name,
		   bool (*is_ours)(void *arg, const char *source), void *arg, char ended[KEEP_GROUP_SIZE],
		   struct snap_err *err);
/* Removes what is left of the group ENDED if all of its snapshots are dropped; else keep_clean() does so
 * later. */
void keep_group_over(struct store *store, const char *ended);

/* ---- reading ------------------------------------------------------------------------------------------- */

struct keep_entry {
	char *name; /* owned by the list */
	struct keep_meta meta;
	uint64_t dev, ino;	   /* of db */
	bool has_wal, has_journal; /* a raw state has one of them, or both */
};

/* The kept snapshots of SOURCE, in the order in which they were made. Damaged ones (no readable meta, or a
 * file of another size) are left out. None: 0 with *COUNT 0. */
int keep_list(struct store *store, const char *source, struct keep_entry **out, size_t *count);
void keep_list_free(struct keep_entry *entries, size_t count); /* accepts NULL, 0 */

/* One of them; ENTRY->name is NULL. -ENOENT: there is none, or it is damaged. */
int keep_find(struct store *store, const char *source, const char *name, struct keep_entry *entry);

/* The file of SUFFIX ("", "-wal", "-journal") without opening it: an O_PATH descriptor owned by the caller.
 * ENTRY as keep_find() fills it. -ENOENT as above. */
int keep_reach(struct store *store, const char *source, const char *name, const char *suffix,
	       struct keep_entry *entry);

/* ---- removing ------------------------------------------------------------------------------------------ */

/* -ENOENT: there is none (another daemon may have been faster). A damaged one can be dropped. */
int keep_drop(struct store *store, const char *source, const char *name, struct snap_err *err);

/*
 * Drops the oldest snapshots whose name begins with KEEP_UNDO, so that the newest KEEP stay. The oldest that
 * is younger than a day at NOW_NS (CLOCK_REALTIME) stays, too: it is the state before the trouble. So does
 * the one named BUT (NULL: none), which is the newest even if a clock was set back. One made after NOW_NS,
 * when a clock was ahead, stays and does not count: whether it is older than the others cannot be told.
 */
int keep_prune(struct store *store, const char *source, unsigned keep, const char *but, int64_t now_ns,
	       struct snap_err *err);

/*
 * Removes what killed daemons left: partial snapshots, snapshots of incomplete groups, reserved names, and
 * whatever store_clean() removes. What another daemon is working on stays, and so do names that were reserved
 * for a source that is none of OURS (NULL: all are), until the daemon that serves the source cleans: it can
 * inform those who wait. Takes as long as removing large files takes. Calls LOST (may be NULL) with each
 * reserved name that never became a snapshot of SOURCE (NULL: unknown), also if only others of its group were
 * missing. What drops have left is not reported.
 */
int keep_clean(struct store *store, bool (*ours)(void *arg, const char *source),
	       void (*lost)(void *arg, const char *source, const char *name), void *arg,
	       struct snap_err *err);

/* Calls FN with every kept snapshot that is damaged and therefore not shown: its meta or one of its files is
 * missing or is not what was written, or its group's file is gone. It stays, in the folder FOLDER (absolute),
 * until somebody removes it. What somebody is working on is not reported. 0 also if there is no store yet;
 * -errno: it cannot be scanned. */
int keep_each_damaged(struct store *store,
		      void (*fn)(void *arg, const char *source, const char *name, const char *folder),
		      void *arg);

/* ---- sources ------------------------------------------------------------------------------------------- */

/* Calls FN for every source that the store knows, until it returns something other than 0, which is
 * returned. 0 also if there is no store yet. For a single source see store_knows(). */
int keep_sources(struct store *store, int (*fn)(void *arg, const char *source), void *arg);

#endif
