/* SPDX-License-Identifier: MIT */
/* restore_private.h - what the files restore*.c share; nobody else includes it. */
#ifndef SQLSNAP_RESTORE_PRIVATE_H
#define SQLSNAP_RESTORE_PRIVATE_H

#include "keep.h"
#include "restore.h"
#include "source_restore.h"

struct sqlite3_backup;

/* What stands at the place of a live database. */
enum restore_kind {
	RESTORE_WAL,
	RESTORE_ROLLBACK,
	RESTORE_BROKEN,	 /* SQLite cannot read it: garbage, or cut off */
	RESTORE_EMPTY,	 /* 0 bytes */
	RESTORE_MISSING, /* nothing stands there */
};

/* Of a live database: itself, its -wal, its -journal. */
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

/* How views give way to others, over all views of one restore. */
struct yield {
	bool awaited;	/* at the last look, somebody waited for readers to end */
	int64_t looked; /* CLOCK_MONOTONIC, when that was */
	int vain;	/* gaps of which nobody has made use */
	bool stays;	/* a pin gives way no more */
};

/* What the writing connection saw at one moment. */
struct dest_sample {
	bool known; /* else VERSION has at most what the database itself says (HAS_HEADER) */
	struct version version;
	bool is_database;	    /* rollback-journal mode: there are BYTES, */
	uint8_t bytes[HEADER_SIZE]; /* with which the database file began */
};

/* What the shim saw of the write lock. */
struct watch {
	bool armed; /* the transaction that restores holds it, or is about to */
	bool age;   /* before the next release, wait until a later change must show in the file's times */
	bool checkpointing; /* what holds it is a checkpoint, which may change the header and not the content
			     */
	struct dest_sample base;  /* right after it was granted */
	struct dest_sample after; /* right before it was given up */
	bool has_journal;	  /* after: it is not committed */
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
	bool cloned;	   /* it shares the live file's blocks: what is written over takes room of its own */
	uint64_t begun;	   /* bytes at its beginning that may be right already: see headstart.h */
	uint64_t counted;  /* bytes at its beginning that the progress has: they are not counted again */
	bool committed;	   /* it is on the disk, and has its name */
	bool has_sidecar;  /* it holds a file that SQLite may delete as it looks at the database */
	/* stat(2) of the files that it has as they were, from before; all zero for one that did not exist. */
	struct stat raw[RESTORE_FILES];
	/* A change of the first two since then was somebody's writing, and not SQLite's for us. */
	bool raw_tells;
};

struct restore {
	const struct restore_order *order;
	struct snap_restored *out;
	struct snap_err *err;
	struct source *source;
	struct core *core;
	int64_t began; /* CLOCK_MONOTONIC */

	/* what stands there */
	enum restore_kind kind;
	struct stat st;	   /* of the live file */
	bool broken_wal;   /* RESTORE_BROKEN, and in WAL mode */
	bool made;	   /* we made it, to restore into */
	bool announced;	   /* its inode was announced to rawfd: there is no LIVE that does it */
	int dirfd;	   /* owned; O_PATH */
	struct live *live; /* a reference; before the commit NULL unless restore_is_readable() */
	struct view view;  /* empty once the write lock is to be waited for, but for the undo of WAL mode */
	bool unreadable;   /* the view is, in part: the file was cut or overwritten, not a read that failed */
	struct yield yield;

	struct fit fit;
	struct undo undo;
	struct snap_gen *gen; /* a reference; what will show the upload */

	/* the transaction: from STAGED, the file of FIT, to DEST */
	struct db dest, staged;
	struct sqlite3_backup *backup;
	struct watch watch;
	uint32_t dest_page_size; /* with RESTORE_MISFIT */
};

/* Whether SQLite can read what stands there. */
static inline bool restore_is_readable(const struct restore *r)
{
	return r->kind == RESTORE_WAL || r->kind == RESTORE_ROLLBACK;
}

static inline bool restore_is_cancelled(const struct restore *r)
{
	return r->order->cancelled && r->order->cancelled(r->order->arg);
}

/* ---- restore_live.c ---- */

/* Finds out what stands there, and connects to it. */
int restore_live_open(struct restore *r);
/* A connection to the file that was looked at, and no other: -EBUSY when that was replaced. */
int restore_db_open(const struct restore *r, struct db *db, enum db_kind kind, struct snap_err *err);
/* What SQLite opens turned out to be truncated or overwritten (UNREADABLE): makes it a RESTORE_BROKEN, which
 * is kept as it is, without the lock. Not after a read that failed: then the database may be whole, and
 * applications go on committing. */
int restore_live_break(struct restore *r);
void restore_live_close(struct restore *r);
/* Makes the file that is missing; it stays, also after a failure. */
int restore_live_make(struct restore *r);

/* ---- restore_view.c ---- */

/* Opens the view, of what stands there now: 0; -errno with words. To be closed also after a failure. */
int view_open(struct restore *r);
/* Reads SIZE bytes at OFFSET, all of which lie in the view: 0; -errno with words, and UNREADABLE if it is not
 * the disk that failed. */
int view_read(struct restore *r, void *buf, size_t size, uint64_t offset);
/* Says that the disk does not give what stands there, and what to do. Returns RC. */
int restore_unread(const struct restore *r, int rc);
void view_close(struct view *view); /* also of none */
/*
 * To be called between two pieces that are read from a view, before the write lock is waited for. A view
 * that is in somebody's way is closed, others get their turn, and the next one is opened: in WAL mode if it
 * holds back half of wal_max, or if a checkpoint waits for readers, unless it STAYS; in rollback-journal
 * mode every quarter of a second. VIEW_STAYS: what was read is still what the view shows. VIEW_MOVED: there
 * may have been a commit. -errno: there is no view.
 */
int view_give_way(struct restore *r);
#define VIEW_STAYS 0
#define VIEW_MOVED 2
/* Whether a checkpoint of an application waits for the pin to end, now and at the previous call. The calls
 * should be a moment apart, because every checkpoint looks like a waiting one for a moment. */
bool view_is_awaited(struct restore *r);
/* Moves the view on to the commit that NOW, a version seen under the write lock, stands for. WAL mode. */
int view_advance(struct restore *r, const struct version *now, uint32_t *from_frame);
/* Waits a moment, until a change after VERSION would show in stat(2), and samples it again. For what nobody
 * can write to meanwhile. */
void version_age(struct restore *r, struct version *version);

/* ---- restore_sense.c ---- */

/* -EINVAL: the upload looks like a mistake, or has another text encoding. */
int restore_make_sense(struct restore *r);
/* 1: the live database has the content of the upload already; 0: it has not, or its writers leave no time to
 * tell. -errno */
int restore_compare(struct restore *r);
/* Takes the upload as it is, or converts a copy to pages of WANT bytes: all pages of a WAL have one size. */
int restore_fit(struct restore *r, uint32_t want);
void restore_unfit(struct restore *r);
/* Checks the room: -ENOSPC with words. To be called again once what is replaced was CLONED, which takes no
 * room at first, but later. */
int restore_check_room(struct restore *r);

/* ---- restore_undo.c ---- */

/* Before the write lock: copies what can be copied without it. */
int restore_undo_begin(struct restore *r);
/* Under the write lock: copies the rest, brings the snapshot to the disk, and gives it its name. */
int restore_undo_commit(struct restore *r);
/* RESTORE_BROKEN: whether nobody has written to it since it was kept. If it was repaired meanwhile it is not
 * replaced. */
bool restore_is_as_kept(struct restore *r);
/* Removes the snapshot because nothing was replaced, unless it may hold something that exists nowhere else
 * any more. */
void restore_undo_drop(struct restore *r);

/* ---- restore_copy.c: to KEEP ---- */

/* Copies all of the view, or of one that takes its place. */
int restore_copy_view(struct restore *r);
/* Copies what was committed since, under the write lock. WAL mode, with the view that was copied. */
int restore_copy_since(struct restore *r);
/* Copies all of a database in rollback-journal mode, under the write lock. */
int restore_copy_rollback(struct restore *r);

/* ---- restore_write.c ---- */

int restore_dest_open(struct restore *r);
void restore_dest_close(struct restore *r);
/* Takes the write lock. RESTORE_MISFIT: the pages of the live database's WAL have another size than those of
 * what is to be written, dest_page_size; -EBUSY */
int restore_lock(struct restore *r);
#define RESTORE_MISFIT 1
/* Writes, commits, and finds out the truth: OUT->committed. */
int restore_commit(struct restore *r);
/* Ends the transaction. FAILED: the write was under way. What it left behind the end of the WAL belongs to
 * nobody and may fill the disk, so it is cut off. */
void restore_finish_backup(struct restore *r, bool failed);
/* 0: the file that was looked at still stands there. Else -errno, -EBUSY when it was replaced, and the words.
 */
int restore_is_still_there(struct restore *r);
/* Whether a journal is there, or that cannot be told: whoever opens the database next rolls it back. */
bool restore_has_journal(const struct restore *r);
/* The watch over the write lock; ARG is the struct restore. */
void restore_on_write(void *arg, bool held);

/* ---- restore_anew.c ---- */

/* Prepares DEST, which was opened just now, to write over a file that is empty or cannot be read. */
void restore_begin_anew(struct restore *r);

/* ---- restore_settle.c ---- */

/* Brings the commit to the disk, its WAL into the database file, and its generation to the readers. */
int restore_settle(struct restore *r);
/* Syncs what the view shows: an application has committed it, and need not have synced it. */
int restore_sync_view(struct restore *r);
/* Opens a connection for it, and copies and cuts the WAL as far as readers let it. */
int restore_shorten(struct restore *r);

/* ---- restore_tidy.c ---- */

/* Tries again later to cut the WAL. */
void restore_tidy_later(struct restore *r);

/* ---- restore.c ---- */

/* Measures the time taken so far. */
void restore_measure(struct restore *r);

#endif
