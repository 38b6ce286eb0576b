/* SPDX-License-Identifier: MIT */
/* restore_private.h - what the files restore*.c share; nobody else includes it. */
#ifndef SQLSNAP_RESTORE_PRIVATE_H
#define SQLSNAP_RESTORE_PRIVATE_H

#include "keep.h"
#include "restore.h"
#include "source_restore.h"

struct sqlite3_backup;

/* What is at the place of a live database. */
enum restore_kind {
	RESTORE_WAL,
	RESTORE_ROLLBACK,
	RESTORE_BROKEN,	 /* SQLite cannot read it: garbage, or truncated */
	RESTORE_EMPTY,	 /* 0 bytes */
	RESTORE_MISSING, /* there is no file */
};

/* The files of a live database: itself, its -wal, its -journal. */
#define RESTORE_FILES 3

/* The live database held still for reading: a pin, or SHARED in rollback-journal mode. */
struct view {
	struct conn *conn;   /* owned; NULL with IMAGE */
	struct image *image; /* a reference: WAL mode */
	uint32_t max_frame;
	uint64_t size; /* bytes, whole pages */
	int64_t since; /* CLOCK_MONOTONIC */
	struct header header;
	struct version version;
};

/* How views give way to others, across all views of one restore. */
struct yield {
	bool awaited;	/* at the last look, somebody waited for readers to end */
	int64_t looked; /* CLOCK_MONOTONIC, time of that look */
	int vain;	/* gaps that went unused */
	bool stays;	/* a pin no longer gives way */
};

/* What the writing connection saw at one moment. */
struct dest_sample {
	bool known; /* else VERSION has at most what the database itself says (HAS_HEADER) */
	struct version version;
	bool is_database;	    /* rollback-journal mode: BYTES are set, */
	uint8_t bytes[HEADER_SIZE]; /* the beginning of the database file */
};

/* What the shim saw of the write lock. */
struct watch {
	bool armed; /* the restoring transaction holds it, or is about to */
	bool age;   /* before the next release, wait until a later change must show in the file's times */
	bool checkpointing;	  /* a checkpoint holds it, which may change the header but not the content */
	struct dest_sample base;  /* right after it was granted */
	struct dest_sample after; /* right before it was released */
	bool has_journal;	  /* at AFTER: it is not committed */
	int64_t since, held_ns;	  /* CLOCK_MONOTONIC */
};

/* What is written: the upload as it is, or a copy of it with pages of another size. */
struct fit {
	int dir; /* the folder of its file: borrowed, or OWN_DIR */
	char name[32];
	uint64_t size; /* bytes, whole pages */
	uint32_t page_size, pages;
	int own_dir, own_fd; /* owned; the copy's folder in the store, and its file; -1: there is no copy */
	char own_name[32];   /* the folder's */
};

/* The snapshot of what is replaced. */
struct undo {
	struct keep *keep; /* owned; NULL: nothing is kept */
	bool cloned;	   /* it shares the live file's blocks: overwriting those takes new space */
	uint64_t begun;	   /* bytes at its beginning that may be correct already: see headstart.h */
	uint64_t counted;  /* bytes at its beginning that the progress counts already */
	bool committed;	   /* it is synced, and has its name */
	bool has_sidecar;  /* it holds a file that SQLite may delete when it looks at the database */
	/* stat(2), before the copy, of the files that are kept as they are; all zero: there was none. */
	struct stat raw[RESTORE_FILES];
	/* If the first two changed since then, somebody else wrote them, not SQLite on our behalf. */
	bool raw_tells;
};

struct restore {
	const struct restore_order *order;
	struct snap_restored *out;
	struct snap_err *err;
	struct source *source;
	struct core *core;
	int64_t began; /* CLOCK_MONOTONIC */

	/* what is at the place */
	enum restore_kind kind;
	struct stat st;	   /* of the live file */
	bool broken_wal;   /* RESTORE_BROKEN, and in WAL mode */
	bool made;	   /* we created it, to restore into */
	bool announced;	   /* we announced its inode to rawfd, for lack of a LIVE that does */
	int dirfd;	   /* owned; O_PATH */
	struct live *live; /* a reference; before the commit NULL unless restore_is_readable() */
	struct view view;  /* empty from the wait for the write lock on, except for the undo in WAL mode */
	bool unreadable;   /* part of the view is: truncated or overwritten; not for a failed read */
	struct yield yield;

	struct fit fit;
	struct undo undo;
	struct snap_gen *gen; /* a reference; it will show the upload */

	/* the transaction: from STAGED, the file of FIT, to DEST */
	struct db dest, staged;
	struct sqlite3_backup *backup;
	struct watch watch;
	uint32_t dest_page_size; /* with RESTORE_MISFIT */
};

/* Whether SQLite can read what is at the place. */
static inline bool restore_is_readable(const struct restore *r)
{
	return r->kind == RESTORE_WAL || r->kind == RESTORE_ROLLBACK;
}

static inline bool restore_is_cancelled(const struct restore *r)
{
	return r->order->cancelled && r->order->cancelled(r->order->arg);
}

/* ---- restore_live.c ---- */

/* Finds out what is at the place, and connects to it. */
int restore_live_open(struct restore *r);
/* Opens a connection to the very file that was looked at: -EBUSY if that was replaced. */
int restore_db_open(const struct restore *r, struct db *db, enum db_kind kind, struct snap_err *err);
/* The database turned out to be truncated or overwritten (UNREADABLE): makes it RESTORE_BROKEN, which is kept
 * as it is, without the lock. Not for a failed read: then the database may be whole, and applications go on
 * committing. */
int restore_live_break(struct restore *r);
void restore_live_close(struct restore *r);
/* Creates the missing file, which stays even after a failure. */
int restore_live_make(struct restore *r);

/* ---- restore_view.c ---- */

/* Opens the view of the current content: 0; -errno with a message. To be closed even after a failure. */
int view_open(struct restore *r);
/* Reads SIZE bytes at OFFSET, all of which lie in the view: 0; -errno with a message, and UNREADABLE if it
 * was not the disk that failed. */
int view_read(struct restore *r, void *buf, size_t size, uint64_t offset);
/* Reports that the live database cannot be read from its disk, and what to do. Returns RC. */
int restore_unread(const struct restore *r, int rc);
void view_close(struct view *view); /* also an empty one */
/*
 * To be called between two reads from a view, before waiting for the write lock. A view that is in others'
 * way is closed, they get their turn, and a new view is opened: in WAL mode if the view holds back half of
 * wal_max, or if a checkpoint waits for readers, unless it STAYS; in rollback-journal mode every quarter of a
 * second. VIEW_STAYS: what was read is still what the view shows. VIEW_MOVED: there may have been a commit.
 * -errno: there is no view.
 */
int view_give_way(struct restore *r);
#define VIEW_STAYS 0
#define VIEW_MOVED 2
/* Whether an application's checkpoint waits for the pin to end, now and at the previous call. Calls should be
 * a moment apart, because every checkpoint looks like a waiting one for a moment. */
bool view_is_awaited(struct restore *r);
/* Advances the view to the commit of NOW, a version seen under the write lock. WAL mode. */
int view_advance(struct restore *r, const struct version *now, uint32_t *from_frame);
/* Waits a moment, until a change after VERSION would show in stat(2), and samples it again. Only for what
 * nobody can write to meanwhile. */
void version_age(struct restore *r, struct version *version);

/* ---- restore_sense.c ---- */

/* -EINVAL: the upload looks like a mistake, or has another text encoding. */
int restore_make_sense(struct restore *r);
/* 1: the live database already has the content of the upload; 0: it has not, or its writers leave no time to
 * find out. -errno */
int restore_compare(struct restore *r);
/* Uses the upload as it is, or converts a copy to pages of WANT bytes: all pages of a WAL have one size. */
int restore_fit(struct restore *r, uint32_t want);
void restore_unfit(struct restore *r);
/* Checks the free space: -ENOSPC with a message. To be called again after what is replaced was CLONED,
 * because a clone takes no space at first, but later. */
int restore_check_room(struct restore *r);

/* ---- restore_undo.c ---- */

/* Before the write lock: copies what can be copied without it. */
int restore_undo_begin(struct restore *r);
/* Under the write lock: copies the rest, syncs the snapshot, and gives it its name. */
int restore_undo_commit(struct restore *r);
/* RESTORE_BROKEN: whether nobody has written to it since it was kept. If it was repaired meanwhile, it is not
 * replaced. */
bool restore_is_as_kept(struct restore *r);
/* Removes the snapshot because nothing was replaced, unless it may hold the only copy of something. */
void restore_undo_drop(struct restore *r);

/* ---- restore_copy.c: to KEEP ---- */

/* Copies all of the view, or of one that replaces it. */
int restore_copy_view(struct restore *r);
/* Copies what was committed since then, under the write lock. WAL mode, with the view that was copied. */
int restore_copy_since(struct restore *r);
/* Copies all of a database in rollback-journal mode, under the write lock. */
int restore_copy_rollback(struct restore *r);

/* ---- restore_write.c ---- */

int restore_dest_open(struct restore *r);
void restore_dest_close(struct restore *r);
/* Takes the write lock. RESTORE_MISFIT: the pages of the live database's WAL have another size
 * (dest_page_size) than those to be written; -EBUSY */
int restore_lock(struct restore *r);
#define RESTORE_MISFIT 1
/* Writes, commits, and determines whether that took effect: OUT->committed. */
int restore_commit(struct restore *r);
/* Ends the transaction. FAILED: the write was under way; what it left after the end of the WAL belongs to
 * nobody and may fill the disk, so it is cut off. */
void restore_finish_backup(struct restore *r, bool failed);
/* 0: the file that was looked at is still in place. Else -errno with a message, -EBUSY if it was replaced. */
int restore_is_still_there(struct restore *r);
/* Whether there is a journal, or that is unknown: whoever opens the database next rolls it back. */
bool restore_has_journal(const struct restore *r);
/* -EIO, with a message, if SQLite would have to look into another folder to decide what is to become of a
 * journal (SUPER_UNKNOWN): either way it might take back what was committed, or keep what was not. 0 also if
 * the journal cannot be read: SQLite will tell why. */
int restore_check_decided(const struct restore *r);
/* The watch on the write lock; ARG is the struct restore. */
void restore_on_write(void *arg, bool held);

/* ---- restore_anew.c ---- */

/* Prepares DEST, which was just opened, to overwrite a file that is empty or cannot be read. */
void restore_begin_anew(struct restore *r);

/* ---- restore_settle.c ---- */

/* Syncs the commit, checkpoints its WAL into the database file, and shows its generation to readers. */
int restore_settle(struct restore *r);
/* Syncs what the view shows: an application has committed it, but may not have synced it. */
int restore_sync_view(struct restore *r);
/* Opens a connection, and with it checkpoints and truncates the WAL as far as readers permit. */
int restore_shorten(struct restore *r);

/* ---- restore_tidy.c ---- */

/* Retries later to truncate the WAL. */
void restore_tidy_later(struct restore *r);

/* ---- restore.c ---- */

/* Measures the time taken so far. */
void restore_measure(struct restore *r);

#endif
