/* SPDX-License-Identifier: MIT */
/* source_private.h - what the files source*.c share; nobody else includes it. */
#ifndef SQLSNAP_SOURCE_PRIVATE_H
#define SQLSNAP_SOURCE_PRIVATE_H

#include "source_restore.h"

#define SOURCE_WAIT_NS (2 * NS_PER_S)	/* the longest that OPEN waits for somebody else's lock */
#define SOURCE_LOOK_NS (50 * NS_PER_MS) /* the longest that LOOKUP waits */
#define SOURCE_LINGER_NS (2 * NS_PER_S) /* a source without readers stays connected, and a spool is kept */
#define SOURCE_OLD_PIN_NS NS_PER_S	/* a pin older than this is spooled if that is cheap */
#define SOURCE_SMALL (64ull << 20)	/* bytes of database and WAL whose copy counts as cheap */
#define SOURCE_CONNECTED_MAX 32		/* with more incarnations connected, none lingers */
#define OPENED_EVERY_NS (10 * NS_PER_S) /* between two times that source_save_opened() writes */

/* ---- generations ---- */

/* An unbound generation of SAMPLE; the reference is the caller's. NULL: no memory. Lock held. */
struct snap_gen *source_new_gen(struct source *s, const struct sample *sample);
/* The mtime that a generation of SAMPLE shows: the one that its version had before, or a new one.
 * CLOCK_REALTIME nanoseconds. Lock held. */
int64_t source_mtime(struct source *s, const struct sample *sample);
/*
 * Whether the generation opened last, of VERSION, is to be shown with a time of its own: it was opened so
 * soon after others that their times differ by nanoseconds, and the clock has moved on since. Who compares
 * seconds (rsync) and has copied one of the others would take the two for the same, for as long as nobody
 * commits. Lock held.
 */
bool source_is_crowded(const struct source *s, const struct version *version);
/* Makes GEN the current generation. Returns the previous one, which the caller drops after unlocking (NULL:
 * none, or the same). Lock held. */
struct snap_gen *source_set_current(struct source *s, struct snap_gen *gen);

/* Takes the image away from the generation if nobody needs it; the caller passes it to image_unref() after
 * unlocking. Lock held. */
struct image *source_take_image(struct source *s, struct snap_gen *gen, int64_t now);

/* Whether GEN shows what was seen as SAMPLE. Lock held. */
bool source_shows(const struct snap_gen *gen, const struct sample *sample);

/* ---- looking at the live database ---- */

/* Fills the stat(2) fields of SAMPLE. 0; or what this process ran out of while it looked at the -wal. */
int source_sample_stat(struct source *s, struct sample *sample, uint64_t dev, uint64_t ino, uint64_t size,
		       struct timespec mtime, struct timespec ctime, int64_t seen_ns);
/* stat(2) of database and -wal, before anything else is sampled. */
int source_sample_place(struct source *s, struct sample *sample, struct stat *st, struct snap_err *err);
/* Fills in what the wal-index header WAL says. */
void source_sample_wal(struct sample *sample, const struct live *live, const struct wal_header *wal);

/* ---- pins and the connection ---- */

/* Whether a generation is read under a pin, which needs the connection; *SINCE (may be NULL): when the oldest
 * pin began (CLOCK_MONOTONIC). Lock held. */
bool source_has_pins(struct source *s, int64_t *since);
/* A reference to the incarnation if it is on inode DEV, INO; otherwise drops the incarnation and returns
 * NULL. Never waits; nor should the caller when it drops the reference: live_unref_later(). */
struct live *source_live(struct source *s, uint64_t dev, uint64_t ino);
/* Drops the incarnation, unless it has pins or one is being taken. */
void source_disconnect(struct source *s);
/* Connects if a failed connection has left the -wal that it had created, or a closed one has left a -wal that
 * its close should have removed: SQLite removes it when this connection closes. We never unlink it by name,
 * because an application may have it open by now. HERE: see source_connect(). */
void source_close_left(struct source *s, int64_t now, bool here);

/* Whether connecting would leave sidecars that lock the application out, because they are made by neither
 * root nor the owner, or without the group's rights; true also if that cannot be told. */
bool source_must_not_connect(struct source *s, const struct stat *st);

/* If the database was switched to WAL mode after LIVE connected, and there is a WAL, makes LIVE notice it,
 * on another thread. */
void source_learn_wal(struct source *s, struct live *live, int64_t now);

/* What is still to be done after a restore, if that is due: see source_tidy_later(). */
void source_tidy(struct source *s, int64_t now);

/* ---- waiting ---- */

/* Waits for s->changed. False: DEADLINE (CLOCK_MONOTONIC) has passed. Lock held. */
bool source_wait(struct source *s, int64_t deadline);

/* If a restore is committing and SEEN is not the version before its commit, waits for source_commit_over(),
 * for WAIT_NS at most. False: time ran out. Under no lock. */
bool source_await_commit(struct source *s, const struct version *seen, int64_t wait_ns);
/* Whether the upload is current though SAMPLE shows another version, because SAMPLE was taken before a commit
 * or a checkpoint of ours that is over by now. If true, SAMPLE is replaced by one taken now. Under no
 * lock. */
bool source_is_overtaken(struct source *s, struct sample *sample);

/*
 * Gives the WAL its gap: while our pins hold back too much, waits, for ten seconds at most, until they are
 * spooled and the WAL has started over, which takes as long as the application needs to copy its WAL to the
 * database. A pin taken meanwhile would again keep the WAL from starting over, and it would grow without
 * bound.
 */
void source_wait_gap(struct source *s);
/* Whether source_wait_gap() would wait. */
bool source_awaits_gap(struct source *s);

/* ---- facts: source_facts.c; under no lock ---- */

/* Remembers that an open or a read failed, for the reason TEXT; NULL: the reason is remembered already. */
void source_note_error(struct source *s, const char *text);
/* Reports to the configuration's event function, with the source's name in front, and remembers warnings and
 * errors. */
void source_event(struct source *s, enum snap_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* Saves what source_note_opened() has remembered to the store, if that is due. True: something is left to
 * save. */
bool source_save_opened(struct source *s, int64_t now);
/* Checks whether more frames count as copied to the database than there are: the mark of the WAL-reset
 * bug. */
void source_watch_mark(struct source *s, struct live *live);

/* ---- binding a generation to bytes: source_bind.c, source_hold.c ---- */

/* Bytes for a version, on their way to a generation. */
struct source_binding {
	struct sample sample;
	int64_t since;	     /* CLOCK_MONOTONIC before SAMPLE was taken */
	struct image *image; /* a reference */
	uint32_t max_frame;
};

/* Makes the copy FLAT the binding's image; its descriptor is taken over, also on failure. */
int source_bind_flat(struct source_binding *b, struct spool_flat *flat, struct snap_err *err);
/* Ends an open: 0 when the bytes are GEN's, SNAP_MOVED when they are another generation's. Takes B's image.
 * -EAGAIN: they were lost meanwhile, or a restore is about to commit and MAY_WAIT is false; -ENOMEM. */
int source_adopt(struct source *s, struct snap_gen *gen, struct source_binding *b, bool may_wait,
		 struct snap_gen **moved);

#endif
