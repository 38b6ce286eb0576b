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
 * What must stay true:
 *  - a generation's size never changes; its version and bytes never change once it is bound.
 *  - stat(2) is sampled before the wal-index header of the same version, so that the times may be too old for
 *    the content but never too new.
 *  - source->lock is held across no SQLite call, and across no I/O but the lstat(2) of the database and its
 *    sidecars in live_sample(). It comes before image->lock and live->lock.
 */
#ifndef SQLSNAP_SOURCE_H
#define SQLSNAP_SOURCE_H

#include "image.h"
#include "spool.h"
#include "tree.h"

#define SOURCE_WAIT_NS (2 * NS_PER_S)	/* the longest that OPEN waits for somebody else's lock */
#define SOURCE_LOOK_NS (50 * NS_PER_MS) /* the longest that LOOKUP waits */
#define SOURCE_LINGER_NS \
	(2 * NS_PER_S)		   /* how long a source without readers stays connected, a spool is kept */
#define SOURCE_OLD_PIN_NS NS_PER_S /* a pin older than this is spooled if that is cheap */
#define SOURCE_SMALL (64ull << 20) /* bytes of database and WAL whose copy counts as cheap */
#define SOURCE_CONNECTED_MAX 32	   /* with more incarnations connected nobody lingers */

struct source {
	struct core *core;  /* borrowed */
	atomic_int refs;    /* the table's and one for each generation and job */
	struct place place; /* constant, as the path */
	char *path;	    /* absolute, for the store; NULL when it could not be told */
	struct list link;   /* the table's; guarded by its lock */

	pthread_mutex_t lock;	/* guards all below */
	pthread_cond_t changed; /* connecting, draining, a restore or its commit ended */
	struct live *live;	/* the incarnation that new pins are taken on; NULL: not connected */
	int refused; /* constant; -EREMOTE: its file system does not share locks, for REFUSAL's reason */
	struct snap_err refusal;
	bool connecting; /* somebody is at it, outside the lock */
	int binding;	 /* opens between their first look and the generation that has their image */
	bool awaited;	 /* at the last round another process was waiting for readers to go */
	bool draining;	 /* pins are being spooled: no new ones */
	bool ending;
	bool restoring;		       /* a restore is under way: others wait for their turn */
	char undo[64];		       /* the last before-restore name; whoever is restoring uses it */
	bool committing;	       /* it may have committed what no generation shows yet */
	int64_t tidy_next, tidy_until; /* CLOCK_MONOTONIC; tidy_until 0: there is nothing to tidy up */
	struct version base;	       /* committing: what was there before, as long as it has not */
	bool base_shown;	       /* committing: the uploaded bytes that are current are of BASE */
	bool no_clone;		       /* the file system cannot clone: learned by trying */
	int64_t no_spool_until;	       /* CLOCK_MONOTONIC; spooling failed: not again before that */
	int64_t refused_until; /* CLOCK_MONOTONIC; a connection was refused: LOOKUP asks stat(2) until then */
	bool left_wal;	       /* a connection that failed had made a -wal, which another must close */
	int64_t learn_after;   /* CLOCK_MONOTONIC; source_learn_wal() does nothing before that */
	uint64_t told_stale;   /* the generation that stale() was last called for */
	struct snap_gen *current; /* a reference; what LOOKUP answered last */
	struct list gens;	  /* generations with an image, in the order of their binding */
	int64_t idle_since;	  /* CLOCK_MONOTONIC; when something was pinned last */
	struct snap_attr attr;	  /* of the live file at the last look */
	bool has_seen, seen_dirty;
	int64_t save_after;	/* CLOCK_MONOTONIC: it could not be saved, and is not tried before */
	struct store_seen seen; /* of the generation opened last, over remounts */
	bool opened_dirty;
	struct snap_opened opened; /* by whom, over remounts */
	int64_t opened_saved;	   /* CLOCK_MONOTONIC */
	struct snap_err error;	   /* the last one, */
	int64_t error_ns;	   /* CLOCK_REALTIME; 0: none yet */
	bool failing;		   /* an open or a read failed, and nobody has opened it since */
	bool mark_seen, marked;	   /* see source_watch_mark(); with the header at the last round */
	uint8_t mark_header[WAL_INDEX_HEADER];
	uint64_t count;		    /* number of source_facts() calls */
	_Atomic uint32_t page_size; /* at the last look at a header; 0: none yet */
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
			  will do, and it stays as long as this is the current generation */
	bool frozen;   /* its bytes or none: nobody is led elsewhere */
	struct version version; /* of the content; unbound: of the last look */
	/* Unbound: CLOCK_MONOTONIC after the last look that it was the answer to, 0: none, and after the last
	 * of these that saw another version. */
	int64_t looked, differed;
	int64_t mtime_ns;
	int opens;
	int expected;	     /* callers that were led here and have not come yet */
	int64_t hold_until;  /* CLOCK_MONOTONIC; keeps the image without opens */
	struct image *image; /* a reference; NULL: no bytes at hand */
	unsigned images;     /* that it has had */
	uint32_t max_frame;
	/* What was shown for the inode in VERSION: its owner of last, and the least of its modes, for it may
	 * have several names. */
	bool was_shown;
	mode_t mode;
	uid_t uid;
	gid_t gid;
};

/* One look at the live database. */
struct sample {
	struct version version;
	uint64_t size;	    /* of the image, in bytes */
	int64_t changed_ns; /* newest mtime of database and not empty -wal */
};

int source_create(struct source **out, struct core *core, const struct place *place);
struct source *source_ref(struct source *source);
void source_unref(struct source *source);

/* See snap_lookup(). FOUND was looked up after SEEN_NS (CLOCK_REALTIME). */
int source_look(struct source *source, const struct tree_found *found, int64_t seen_ns, struct snap_gen **gen,
		struct snap_attr *attr);

/* See snap_gen_stat_at(). LIVE is what stands at the name; NULL: no database. */
int source_gen_stat(struct snap_gen *gen, const struct snap_attr *live, bool known, struct snap_attr *attr);

/* Does what is due. True: there will be more to do. */
bool source_tend(struct source *source, int64_t now);

/* Whether only the table refers to it, so that it may be forgotten. */
bool source_is_unused(struct source *source);

/* Releases everything. No generation may be open any more, and no job under way. */
void source_shutdown(struct source *source);

/* ---- between these files, and for restore*.c; the lock is held where it says so ---- */

/* Whether a generation is read under a pin, which needs the connection; *SINCE (may be NULL): since when the
 * oldest is (CLOCK_MONOTONIC). Lock held. */
bool source_has_pins(struct source *s, int64_t *since);

/* A reference to the incarnation if it is on inode DEV, INO; otherwise drops the incarnation and returns
 * NULL. Waits for nothing; nor should the caller when it drops the reference: live_unref_later(). */
struct live *source_live(struct source *s, uint64_t dev, uint64_t ino);
/* The same, but connects first if need be, until DEADLINE. On a thread that may not wait (INLINE_ false) a
 * job connects. 0 with *OUT (NULL: time ran out), PIN_HOT_JOURNAL, -ESTALE (another inode stands there),
 * -errno. */
int source_connect(struct source *s, const struct stat *st, int64_t deadline, bool inline_, struct live **out,
		   struct snap_err *err);

/* Connects if a connection that failed has left the -wal that it had made: SQLite removes it when this one
 * closes. Nothing is removed by its name, for an application may have it open by now. INLINE_ as above. */
void source_close_left(struct source *s, int64_t now, bool inline_);

/* Waits for s->changed. False: DEADLINE (CLOCK_MONOTONIC) has passed. Lock held. */
bool source_wait(struct source *s, int64_t deadline);

/* If the database was switched to WAL mode after LIVE connected, and there is a WAL, makes LIVE notice it,
 * on another thread. */
void source_learn_wal(struct source *s, struct live *live, int64_t now);

/*
 * Lets the WAL have its gap: while our pins hold back too much, waits until they are spooled and the WAL has
 * started over, for ten seconds at most, because that takes as long as the application needs to copy its WAL
 * to the database. A pin taken in the middle of that would again keep the WAL from starting over, and it
 * would grow without bound.
 */
void source_wait_gap(struct source *s);
/* Whether source_wait_gap() would wait. */
bool source_awaits_gap(struct source *s);

/* Fills SAMPLE from the live header that LIVE has mapped, or from the file's header in rollback mode; the
 * stat(2) fields are set already. 0, WAL_TORN, -errno. */
int source_sample_live(struct source *s, struct live *live, struct sample *sample);
/* Reads the database's own header and file size through the hub's handle: 0; -EUCLEAN: it is no database;
 * -EIO: it cannot be read. */
int source_read_header(struct live *live, struct header *out, uint64_t *file_size);
/* Bytes and page size of the image of a pin on LIVE as of the header AT. From the database's own header if
 * the WAL is empty and says neither. 0; else as source_read_header(). */
int source_image_shape(struct live *live, const struct wal_header *at, uint64_t *size, uint32_t *page_size);
/* Fills the stat(2) fields of SAMPLE. 0; or what this process ran out of while it looked at the -wal. */
int source_sample_stat(struct source *s, struct sample *sample, uint64_t dev, uint64_t ino, uint64_t size,
		       struct timespec mtime, struct timespec ctime, int64_t seen_ns);
/* Whether the -wal or the -shm is missing, which a connection would make: 1, 0; -errno: it cannot be told. */
int source_lacks_sidecars(struct source *s);
/* Whether connecting would leave sidecars that lock the application out, because they are made by neither
 * root nor the owner, or without the group's rights; also if that cannot be told. */
bool source_must_not_connect(struct source *s, const struct stat *st);

struct snap_gen *source_new_gen(struct source *s,
				const struct sample *sample);	     /* lock held; NULL: no memory */
int64_t source_mtime(struct source *s, const struct sample *sample); /* lock held */
/* Returns the previous one, which the caller drops after unlocking (NULL: none, or the same). Lock held. */
struct snap_gen *source_set_current(struct source *s, struct snap_gen *gen);

/* Takes the image away from the generation if nobody needs it; the caller passes it to image_unref() after
 * unlocking. Lock held. */
struct image *source_take_image(struct source *s, struct snap_gen *gen, int64_t now);

/* Whether GEN shows what was seen as SAMPLE. Lock held. */
bool source_shows(const struct snap_gen *gen, const struct sample *sample);

/* ---- facts: source_facts.c ---- */

/* FOUND is what stands at its place now, NULL: nothing. OUT->path is left NULL; OUT->file is borrowed. */
void source_facts(struct source *s, const struct tree_found *found, struct snap_source_facts *out);
/* Remembers that an open or a read failed, for the reason TEXT; NULL: the reason is remembered already.
 * Under no lock, as the next four. */
void source_note_error(struct source *s, const char *text);
/* A database that is gone is not opened again: it no longer counts as failing. 0 */
int source_forgive_gone(void *arg, struct source *s);
/* Reports to the configuration's event function, with the source's name in front, and remembers warnings and
 * errors. */
void source_event(struct source *s, enum snap_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* Remembers OPENED unless a newer state was opened already. */
void source_note_opened(struct source *s, const struct snap_opened *opened);
/* Saves that to the store now and then. True: there is something left to save. */
bool source_save_opened(struct source *s, int64_t now);
#define OPENED_EVERY_NS (10 * NS_PER_S)
/* Checks whether more frames count as copied to the database than there are: the mark of the WAL-reset
 * bug. */
void source_watch_mark(struct source *s, struct live *live);

/* ---- restores: source_restore.c ---- */

/* Begins a restore; one at a time: waits for the others, and calls CANCELLED (may be NULL) now and then.
 * -ECANCELED. Keeps the source connected. */
int source_restore_begin(struct source *s, bool (*cancelled)(void *arg), void *arg);
void source_restore_end(struct source *s);

/* stat(2) of database and -wal, and the live header by LIVE (NULL: not connected). 0, WAL_TORN, -errno. */
int source_sample_now(struct source *s, struct live *live, struct sample *sample);

/* From here to source_commit_over(), lookups and opens that see another version than BASE wait a moment. */
void source_commit_expected(struct source *s, const struct version *base);
/* The same after source_upload_publish(), because until the source has connected, other threads see another
 * version. */
void source_connect_expected(struct source *s);
void source_commit_over(struct source *s);
/* Waits so, for WAIT_NS at most, in a thread that saw SEEN. False: it was not enough. Under no lock. */
bool source_await_commit(struct source *s, const struct version *seen, int64_t wait_ns);
/* Whether what was uploaded is current though SAMPLE says another version: SAMPLE was made before a commit or
 * a checkpoint of ours that is over by now. True: it is that of now instead. Under no lock. */
bool source_is_overtaken(struct source *s, struct sample *sample);

/* Makes a generation of the SIZE bytes of FD, which it takes over, also on failure. Nobody can see it yet.
 * MTIME_NS 0: now. *OUT is a reference. -ENOMEM */
int source_upload_create(struct source *s, int fd, uint64_t size, uint32_t page_size, int64_t mtime_ns,
			 struct snap_gen **out);
/* Makes GEN the current generation, which shows VERSION. */
void source_upload_publish(struct source *s, struct snap_gen *gen, const struct version *version);
/* If the current generation is an uploaded one that shows FROM, told by its wal-index header, it shows TO
 * from now on: the caller knows that nothing was committed in between, not even by another incarnation. */
void source_upload_moved(struct source *s, const struct version *from, const struct version *to);
/* Whether the current generation is an uploaded one that shows VERSION. */
bool source_upload_is(struct source *s, const struct version *version);
/* Samples the version of an uploaded current generation again, so that with its later times it is still
 * recognised when the connection is gone. */
void source_upload_refresh(struct source *s, struct live *live);
/* Cuts what a restore left of its WAL, when that is due (restore_tidy.c). */
void source_tidy(struct source *s, int64_t now);
/* Gives up the uploaded bytes to free their room; open readers keep them. */
void source_upload_forget(struct source *s);

/* ---- generations that are kept: source_keep.c; GEN is open ---- */

/* As image_clone() and image_copy(), whose MAX_FRAME, SIZE and CLONED are filled in here. *OF says which of
 * GEN's images was cloned; 0: none. If GEN has another image by the time of the copy, the clone does not
 * tell what it lacks, and everything is copied. */
bool source_gen_clone(struct snap_gen *gen, int fd, unsigned *of);
int source_gen_copy(struct snap_gen *gen, unsigned of, struct image_copy *copy, struct snap_err *err);
/* From now on GEN is read from FD, which holds its bytes and is taken over: it holds nothing else back any
 * more. -ENOMEM */
int source_gen_replace(struct snap_gen *gen, int fd, uint32_t page_size);
/* From now on whoever opens GEN gets its bytes or none, and is never led to another generation. */
void source_gen_freeze(struct snap_gen *gen);

void source_disconnect(struct source *s); /* lets the incarnation go */
/* Ends every pinned image: they are on a file that was replaced, and whose -shm is in the way. */
void source_kill_pinned(struct source *s);
/* Disconnects if nobody reads; drops images that only linger. */
void source_shed(struct source *s);
/* Disconnects from a lost incarnation, and ends every image pinned on its inode, because they hold the
 * connections that must be closed. */
void source_lose(struct source *s, struct live *live);

#endif
