/* SPDX-License-Identifier: MIT */
/*
 * ops_private.h - what the operations share: fs.c (what they have in common), ops.c (names), ops_open.c,
 * ops_read.c (reading), ops_create.c (opening for writing), ops_write.c (content), ops_change.c (names that
 * change), ops_snapshots.c (snapshots: made and dropped), and control.c (the files of .sqlsnapfs).
 */
#ifndef SQLSNAPFS_OPS_PRIVATE_H
#define SQLSNAPFS_OPS_PRIVATE_H

#include <errno.h>
#include <stdatomic.h>

#include "buffers.h"
#include "control.h"
#include "fs.h"
#include "handle.h"
#include "jobs.h"
#include "passthrough.h"
#include "redirect.h"
#include "refusals.h"
#include "tombstones.h"

struct fs {
	struct fs_config config;
	struct nodes nodes;
	struct handles handles;
	struct redirects redirects;
	struct uploads uploads;
	struct tombstones tombstones;
	struct buffers buffers;
	struct passthrough passthrough;
	struct refusals refusals;
	struct jobs jobs;
	atomic_uint unanswered; /* FLUSH and RENAME requests that may restore and have no reply yet */
	atomic_bool told_stale; /* ESTALE was logged, and no lookup has found a database since: it is not
				   logged again */
	int64_t started_ns;	/* CLOCK_REALTIME; constant */
	uint32_t generation;	/* of all nodeids: different in each session; not 0; constant */
	_Atomic uint64_t control_sizes[CONTROL_FILES]; /* of the most recent texts; 0: none yet */
	pthread_mutex_t session_lock; /* held while the kernel is notified, to keep the session alive */
	struct fuse_session *session; /* borrowed; guarded by session_lock */
};

static inline struct fs *fs_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

static inline struct handle *handle_of(const struct fuse_file_info *fi)
{
	return (struct handle *)(uintptr_t)fi->fh;
}

/*
 * libfuse takes positive errno values. ENOSYS is never sent, wherever it came from, because the kernel would
 * conclude that we do not implement this kind of request, send no more of them, and answer them itself: if it
 * was a FLUSH, with 0 to each close(2).
 */
static inline void reply_error(fuse_req_t req, int rc)
{
	int error = rc < 0 ? -rc : rc;

	fuse_reply_err(req, error == ENOSYS ? EIO : error);
}

/* Who sent REQ. */
struct actor actor_of(fuse_req_t req);

struct stat attr_to_stat(const struct snap_attr *attr);

/* The reply to a LOOKUP and the like, without a nodeid yet. Nodeids start over in each session, but file
 * handles (name_to_handle_at(2), NFS) outlive it: the generation distinguishes the sessions. */
static inline struct fuse_entry_param entry_init(const struct fs *fs)
{
	return (struct fuse_entry_param){.generation = fs->generation};
}

/* Answers with E, which counts one lookup of its node. If the request was interrupted, the kernel never
 * learned of that lookup, which is then not counted. */
void reply_entry(fuse_req_t req, const struct fuse_entry_param *e);

/* Attributes of NODE, by its name. -ESTALE: the name leads to something else now. */
int stat_node(struct fs *fs, struct node *node, struct snap_attr *attr);

/* A reference to the unfinished upload of TID's process under that name; NULL: none. Does not lead TID to
 * it. */
struct upload *find_pending(struct fs *fs, pid_t tid, uint64_t parent, const char *name);

/* -EROFS if nothing may be restored, else 0. */
int check_writable(const struct fs *fs);

/* Logs why the request is refused for NAME: WHAT cannot be done with it, and the REASON. */
void tell_refusal(fuse_req_t req, enum refusal kind, const char *name, const char *what, const char *reason);
/* Logs that NAME cannot be written because restores are off. */
void tell_read_only(fuse_req_t req, const char *name);

/* Whether PATH, where there is a KIND, is the name of a database, even if what is there now is no longer
 * one. */
bool is_database_name(struct fs *fs, const char *path, enum snap_kind kind);

/* jobs_run(), with -EBUSY when too many wait already. */
int run_later(struct fs *fs, uid_t uid, void (*fn)(void *arg), const void *arg, size_t size);

/* Decides about U on a thread that may wait, which restores it if it is complete and answers REQ: a FLUSH
 * (PATH NULL), or a RENAME of U over the database at PATH, in PARENT. Fails as run_later() does, and then
 * leaves REQ unanswered. */
int restore_later(fuse_req_t req, struct upload *u, const struct upload_flush *flush,
		  const struct node *parent, const char *path);

/* Handles an OPEN for writing of something that is not an upload yet. */
void open_for_writing(fuse_req_t req, struct node *node, const struct fuse_file_info *fi);

void op_open(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi);
void op_read(fuse_req_t req, fuse_ino_t id, size_t size, off_t offset, struct fuse_file_info *fi);
void op_release(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi);
void op_opendir(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi);
void op_readdir(fuse_req_t req, fuse_ino_t id, size_t size, off_t offset, struct fuse_file_info *fi);

void op_create(fuse_req_t req, fuse_ino_t parent_id, const char *name, mode_t mode,
	       struct fuse_file_info *fi);
void op_mknod(fuse_req_t req, fuse_ino_t parent_id, const char *name, mode_t mode, dev_t rdev);
void op_write(fuse_req_t req, fuse_ino_t id, const char *buf, size_t size, off_t offset,
	      struct fuse_file_info *fi);
void op_setattr(fuse_req_t req, fuse_ino_t id, struct stat *st, int to_set, struct fuse_file_info *fi);
void op_setxattr(fuse_req_t req, fuse_ino_t id, const char *name, const char *value, size_t size, int flags);
void op_removexattr(fuse_req_t req, fuse_ino_t id, const char *name);
void op_fallocate(fuse_req_t req, fuse_ino_t id, int mode, off_t offset, off_t length,
		  struct fuse_file_info *fi);
void op_flush(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi);
void op_fsync(fuse_req_t req, fuse_ino_t id, int datasync, struct fuse_file_info *fi);

/* Whether PATH is inside a kept snapshot. */
bool is_in_snapshot(const char *path);
/* Removes nothing: a snapshot is removed as a whole, by the rmdir(2) of its folder with which rm -r ends. */
int remove_in_snapshot(struct fs *fs, const char *path, const struct actor *who);

void op_unlink(fuse_req_t req, fuse_ino_t parent_id, const char *name);
void op_rename(fuse_req_t req, fuse_ino_t parent_id, const char *name, fuse_ino_t new_parent_id,
	       const char *new_name, unsigned flags);
void op_mkdir(fuse_req_t req, fuse_ino_t parent_id, const char *name, mode_t mode);
void op_rmdir(fuse_req_t req, fuse_ino_t parent_id, const char *name);
void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent_id, const char *name);
void op_link(fuse_req_t req, fuse_ino_t id, fuse_ino_t parent_id, const char *name);

#endif
