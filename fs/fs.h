/* SPDX-License-Identifier: MIT */
/*
 * fs.h - what the program (main.c, session.c) needs from the file system that it serves (ops.c has the
 * table).
 *
 * The order of calls: snap_create(), fs_create(), fuse_session_new(&fs_ops, fs), mount, snap_start(), loop,
 * unmount, fuse_session_destroy(), fs_destroy(), snap_destroy().
 */
#ifndef SQLSNAPFS_FS_H
#define SQLSNAPFS_FS_H

#define FUSE_USE_VERSION 312 /* not above that of the oldest libfuse that this builds with */

#include <fuse_lowlevel.h>
#include <stdbool.h>

#include "../src/sqlsnap.h"

struct options;
struct fs; /* nodes, handles, and the snap that they use */

struct fs_config {
	struct snap *snap;	       /* borrowed; outlives the fs */
	bool read_only;		       /* every change is EROFS */
	const struct options *options; /* borrowed, as the next: for status.json. NULL: unknown */
	const char *mountpoint;
	const char *folder; /* the SOURCE; NULL: databases were named */
	unsigned max_read;  /* bytes, from -o max_read; 0: not given. init() must copy it to conn->max_read,
			       because libfuse ends the session if the two differ */
};

/* Copies CONFIG. *out is owned by the caller; -errno, and *out untouched, on failure. */
int fs_create(struct fs **out, const struct fs_config *config);
/* Sets the session that serves FS: after mounting, and to NULL before the session is destroyed. Stale pages
 * are dropped from the kernel's cache through it. */
void fs_set_session(struct fs *fs, struct fuse_session *session);
/* To be called when the connection has ended or is about to. The kernel then reports a close() or rename()
 * that waits for a restore as failed, so such a restore is cancelled; one that nobody waits for continues. */
void fs_end_restores(struct fs *fs);
/* To be called next: waits, for FS_ANSWERS_MS at most, for restores that can no longer be cancelled, so that
 * their callers still get the reply that they succeeded. */
void fs_await_answers(struct fs *fs);
#define FS_ANSWERS_MS 2000
/* Drops the generation's pages from the kernel's cache: for snap_config.stale. */
void fs_drop_pages(struct fs *fs, uint64_t gen_id);

/* After fuse_session_destroy(). Accepts NULL. */
void fs_destroy(struct fs *fs);

/* Its userdata is the struct fs. GETATTR of the root must work: the mount counts as ready once it does. */
extern const struct fuse_lowlevel_ops fs_ops;

#endif
