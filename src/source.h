/* SPDX-License-Identifier: MIT */
/*
 * source.h - one live database: its identity, its versions, and the generations bound to them.
 *
 * source.c          life, closing
 * source_look.c     LOOKUP: what stands there now, and which generation shows it
 * source_bind.c     OPEN: binding a generation to bytes
 * source_connect.c  what opening waits for: a connection, and the gap of the WAL
 * source_tend.c     the janitor's work: bounds of the WAL, holds, closing what is idle
 * source_facts.c    facts for status.json
 * source_restore.c  what a restore changes: the generation that shows the uploaded bytes
 * source_keep.c     generations that are written to the store, or stay as they are
 * source_hold.c     what an instant of several sources needs (instant.h)
 *
 * This header is for code that looks up, reads and keeps databases. What restores need in addition is in
 * source_restore.h, and what only these files use in source_private.h.
 *
 * What must stay true:
 *  - a generation's size never changes; its version and bytes never change once it is bound.
 *  - stat(2) is sampled before the wal-index header of the same version, so that the times may be too old for
 *    the content but never too new.
 *  - source->lock is never held across an SQLite call, nor across I/O except the lstat(2) of the database and
 *    its sidecars in live_sample(). It is taken before image->lock and live->lock.
 */
#ifndef SQLSNAP_SOURCE_H
#define SQLSNAP_SOURCE_H

#include "image.h"
#include "spool.h"
#include "tree.h"

struct source {
	atomic_int refs;  /* the table's and one for each generation and job */
	struct list link; /* the table's; guarded by its lock */

	/* constant */
	struct core *core; /* borrowed */
	struct place place;
	char *path;  /* absolute, for the store; NULL when it could not be told */
	int refused; /* 0; -EREMOTE: its file system does not share locks, for REFUSAL's reason */
	struct snap_err refusal;

	pthread_mutex_t lock;	/* guards all below */
	pthread_cond_t changed; /* connecting, draining, a restore or its commit ended */
	bool ending;

	/* the connection */
	struct live *live; /* the incarnation that new pins are taken on; NULL: not connected */
	bool connecting;   /* a thread is connecting, without the lock */
	int binding;	   /* opens under way, from their first look until a generation has their image, and a
			      restore: until they end source_disconnect() does nothing */
	int64_t idle_since;    /* CLOCK_MONOTONIC; when something was pinned last */
	int64_t refused_until; /* CLOCK_MONOTONIC; connecting failed: LOOKUP does not try again before that */
	bool left_wal;	     /* a -wal was left behind, for example by a connection attempt that failed after
				creating it: the close of a connection removes it */
	bool owes_close;     /* LEFT_WAL, and it holds commits of an application whose last close left
				the checkpoint to us */
	int64_t learn_after; /* CLOCK_MONOTONIC; source_learn_wal() does nothing before that */

	/* what is shown */
	struct snap_gen *current;   /* a reference; what LOOKUP answered last */
	struct list gens;	    /* generations with an image, in the order of their binding */
	struct snap_attr attr;	    /* of the live file at the last look */
	_Atomic uint32_t page_size; /* at the last look at a header; 0: none yet. Needs no lock */
	uint64_t told_stale;	    /* the generation that stale() was last called for */

	/* keeping the WAL within bounds */
	bool awaited;		/* in the last round another process was waiting for readers to finish */
	bool draining;		/* pins are being spooled: no new ones */
	bool no_clone;		/* the file system cannot clone: learned by trying */
	int64_t no_spool_until; /* CLOCK_MONOTONIC; spooling failed: not again before that */

	/* restores */
	bool restoring;	       /* one is under way: others wait for their turn */
	char undo[64];	       /* the last before-restore name; used only by the restore that is under way */
	bool committing;       /* the restore may have committed what no generation shows yet */
	struct version base;   /* committing: the version that is there until the commit */
	bool base_shown;       /* committing: the current generation has uploaded bytes and shows BASE */
	void (*tidy)(void *s); /* see source_tidy_later() */
	int64_t tidy_next, tidy_until; /* CLOCK_MONOTONIC; of TIDY */

	/* what the store remembers over remounts */
	bool has_seen, seen_dirty;
	bool seen_loaded;	/* SEEN was saved by another process, which may have shown more since */
	int64_t seen_part;	/* see version_last_saved(); constant */
	struct store_seen seen; /* of the generation opened last */
	bool crowded;		/* SEEN shares its second with another state, see source_is_crowded() */
	int64_t apart_at;	/* CLOCK_MONOTONIC; see version_mtime(): APART from then on */
	int64_t save_after;	/* CLOCK_MONOTONIC: SEEN could not be saved; not retried before that */
	bool opened_dirty;
	struct snap_opened opened; /* by whom */
	int64_t opened_saved;	   /* CLOCK_MONOTONIC */

	/* for status.json */
	struct snap_err error;	/* the last one, */
	int64_t error_ns;	/* CLOCK_REALTIME; 0: none yet */
	bool failing;		/* an open or a read failed, and nobody has opened it since */
	bool mark_seen, marked; /* see source_watch_mark(); with the header at the last round */
	uint8_t mark_header[WAL_INDEX_HEADER];
	uint64_t count; /* number of source_facts() calls */
};

struct snap_gen {
	atomic_int refs;
	uint64_t id;	       /* constant, as source and size */
	struct source *source; /* a reference */
	uint64_t size;
	/* guarded by source->lock */
	struct list link; /* source->gens */
	bool bound;
	bool uploaded; /* constant; its image is what was uploaded, not what the database file holds: no other
			  image will do, and it stays as long as this is the current generation */
	bool frozen;   /* readers get its own bytes or an error, never another generation */
	struct version version; /* of the content; unbound: of the last look */
	/* While unbound, CLOCK_MONOTONIC: the end of the last look that returned it (0: there was none), and
	 * of the last such look that saw another version than VERSION. */
	int64_t looked, differed;
	int64_t mtime_ns;
	int opens;
	int expected;	     /* callers whom SNAP_MOVED led here and who have not opened it yet */
	int64_t hold_until;  /* CLOCK_MONOTONIC; keeps the image without opens */
	struct image *image; /* a reference; NULL: no bytes at hand */
	unsigned images;     /* number of images it has had */
	uint32_t max_frame;
	/* What was shown for the inode in VERSION: the last owner seen, and the bits common to all modes
	 * seen, because it may have several names. */
	bool was_shown;
	mode_t mode;
	uid_t uid;
	gid_t gid;
};

/* One look at the live database. */
struct sample {
	struct version version;
	uint64_t size;	    /* of the image, in bytes */
	int64_t changed_ns; /* newest mtime of the database and its -wal, if that is not empty */
};

int source_create(struct source **out, struct core *core, const struct place *place);
struct source *source_ref(struct source *source);
void source_unref(struct source *source);

/* ---- looking ---- */

/* See snap_lookup(). FOUND was looked up after SEEN_NS (CLOCK_REALTIME). */
int source_look(struct source *source, const struct tree_found *found, int64_t seen_ns, struct snap_gen **gen,
		struct snap_attr *attr);

/* See snap_gen_stat_at(). LIVE is what stands at the name; NULL: no database. */
int source_gen_stat(struct snap_gen *gen, const struct snap_attr *live, bool known, struct snap_attr *attr);

/* ---- opening: source_bind.c ---- */

/* Opens *GEN as snap_gen_open() does, waiting. Follows SNAP_MOVED up to MOVES times, replacing the reference
 * in *GEN. SNAP_MOVED: it was led elsewhere yet again, and nothing is open. */
int source_gen_open(struct snap_gen **gen, int moves, struct snap_err *err);

/* ---- generations that are kept: source_keep.c; GEN is open ---- */

/* As image_clone() and image_copy(), whose MAX_FRAME, SIZE and CLONED are filled in here. *OF says which of
 * GEN's images was cloned; 0: none. If GEN has another image by the time of the copy, it is unknown what the
 * clone lacks, and everything is copied. */
bool source_gen_clone(struct snap_gen *gen, int fd, unsigned *of);
int source_gen_copy(struct snap_gen *gen, unsigned of, struct image_copy *copy, struct snap_err *err);
/* From now on GEN is read from FD, which holds its bytes and is taken over; GEN no longer holds back anything
 * else. -ENOMEM */
int source_gen_replace(struct snap_gen *gen, int fd, uint32_t page_size);
/* From now on an open of GEN gets its bytes or fails, and is never led to another generation. */
void source_gen_freeze(struct snap_gen *gen);

/* ---- facts: source_facts.c ---- */

/* FOUND is what stands at its place now, NULL: nothing. OUT->path is left NULL; OUT->file is borrowed. */
void source_facts(struct source *s, const struct tree_found *found, struct snap_source_facts *out);
/* Remembers OPENED unless a newer state was opened already. Called under no lock, as the next. */
void source_note_opened(struct source *s, const struct snap_opened *opened);
/* A database that is gone is not opened again: it no longer counts as failing. 0 */
int source_forgive_gone(void *arg, struct source *s);

/* ---- periodic work and shutdown ---- */

/* Does what is due. True: there will be more to do. */
bool source_tend(struct source *source, int64_t now);

/* Disconnects if nobody reads; drops images that only linger. */
void source_shed(struct source *s);
/* Gives up the uploaded bytes to free their disk space; open readers keep them. */
void source_upload_forget(struct source *s);

/* Whether only the table refers to it, so that it may be forgotten. */
bool source_is_unused(struct source *source);

/* Releases everything. No generation may be open any more, and no job under way. */
void source_shutdown(struct source *source);

#endif
