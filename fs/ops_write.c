/* SPDX-License-Identifier: MIT */
/*
 * ops_write.c - see ops_private.h: content, attributes, and the close() or rename() that restores.
 *
 * What must stay true: nothing that may take long runs on the session's threads.
 */
#define LOG_MODULE "ops"
#include "ops_private.h"

#include <errno.h>
#include <limits.h>
#include <linux/falloc.h>
#include <string.h>

#include "../src/clock.h"
#include "fault.h"
#include "log.h"

/* ---- content ------------------------------------------------------------------------------------------- */

static void log_write_failure(struct handle *h, ssize_t rc, const struct snap_err *err)
{
	if (rc < 0 && !atomic_exchange(&h->failed, true))
		log_error("writing \"%s\" failed: %s%s%s%s", h->node->name, strerror((int)-rc),
			  err->text[0] ? ": " : "", err->text, fault_remedy((int)rc));
}

void op_write(fuse_req_t req, fuse_ino_t id, const char *buf, size_t size, off_t offset,
	      struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi);
	struct snap_err err = {{0}};
	ssize_t n = -EBADF;

	(void)id;
	if (h->kind == HANDLE_UPLOAD)
		n = upload_write(h->upload, buf, size, (uint64_t)offset, fi->lock_owner, &err);
	log_write_failure(h, n, &err);
	if (n < 0)
		reply_error(req, (int)n);
	else
		fuse_reply_write(req, (size_t)n);
}

void op_fallocate(fuse_req_t req, fuse_ino_t id, int mode, off_t offset, off_t length,
		  struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi);
	struct snap_err err = {{0}};
	int rc = -EOPNOTSUPP;

	(void)id;
	if (h->kind == HANDLE_UPLOAD && (mode & ~FALLOC_FL_KEEP_SIZE) == 0)
		rc = upload_allocate(h->upload, (uint64_t)offset, (uint64_t)length,
				     mode & FALLOC_FL_KEEP_SIZE, &err);
	if (rc != -EOPNOTSUPP)
		log_write_failure(h, rc, &err);
	reply_error(req, rc);
}

struct fsync_job {
	fuse_req_t req;
	struct handle *handle; /* open as long as fsync(2) waits */
};

static void run_fsync(void *arg)
{
	struct fsync_job *job = arg;
	struct snap_err err = {{0}};
	int rc = snap_upload_sync(job->handle->upload->data, &err);

	log_write_failure(job->handle, rc, &err);
	reply_error(job->req, rc);
}

void op_fsync(fuse_req_t req, fuse_ino_t id, int datasync, struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi);
	struct fsync_job job = {.req = req, .handle = h};
	int rc = 0;

	(void)id;
	(void)datasync;
	if (h->kind == HANDLE_UPLOAD) {
		rc = run_later(fs_of(req), actor_of(req).uid, run_fsync, &job, sizeof(job));
		if (rc == 0)
			return;
	}
	reply_error(req, rc);
}

/* ---- attributes ---------------------------------------------------------------------------------------- */

/* The mtime that is to be set, in nanoseconds since the epoch; 0: none is. */
static int64_t new_mtime(const struct stat *st, int to_set)
{
	int64_t mtime;

	if (to_set & FUSE_SET_ATTR_MTIME_NOW)
		return realtime_ns();
	if (!(to_set & FUSE_SET_ATTR_MTIME))
		return 0;
	mtime = timespec_ns(st->st_mtim);
	return mtime ? mtime : 1;
}

static int set_upload(struct upload *u, const struct actor *who, const struct stat *st, int to_set,
		      struct snap_err *err)
{
	int64_t mtime = new_mtime(st, to_set);
	int rc = to_set & FUSE_SET_ATTR_SIZE ? upload_truncate(u, (uint64_t)st->st_size, err)
		 : mtime		     ? upload_taken_for_whole(u, who)
					     : 0;

	if (rc == 0)
		upload_set(u, to_set & FUSE_SET_ATTR_MODE ? &st->st_mode : NULL,
			   to_set & FUSE_SET_ATTR_UID ? &st->st_uid : NULL,
			   to_set & FUSE_SET_ATTR_GID ? &st->st_gid : NULL, mtime);
	return rc;
}

/* The process may have an upload under that name, which only an open of the name finds. */
static int settle_pending(struct fs *fs, const struct node *node, const struct actor *who)
{
	struct upload *u = node->parent ? find_pending(fs, who->tid, node->parent->id, node->name) : NULL;
	int rc = u ? upload_taken_for_whole(u, who) : 0;

	upload_unref(u);
	return rc;
}

/*
 * Changes that a restore must not make (owner, mode) are accepted and ignored, because tools that make them
 * after writing would fail otherwise. The same for folders.
 */
static int set_attr(struct fs *fs, struct node *node, const struct actor *who, const struct stat *st,
		    int to_set, struct snap_err *err)
{
	int64_t mtime = new_mtime(st, to_set);

	if (node->upload)
		return set_upload(node->upload, who, st, to_set, err);
	switch (node->kind) {
	case SNAP_DATABASE:
		if (to_set & FUSE_SET_ATTR_SIZE)
			return -EPERM;
		if (!mtime || check_writable(fs))
			return 0;
		if (settle_pending(fs, node, who))
			return -EIO;
		snap_gen_set_mtime(node->gen, mtime);
		return 0;
	case SNAP_FOLDER:
	case SNAP_MOUNTPOINT:
	case SNAP_SIDECAR:
		return to_set & FUSE_SET_ATTR_SIZE ? -EPERM : 0;
	case SNAP_PLAIN:
	case SNAP_SYMLINK:
	case SNAP_SPECIAL:
		break;
	}
	return -EROFS;
}

void op_setattr(fuse_req_t req, fuse_ino_t id, struct stat *st, int to_set, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct node *node = node_get(&fs->nodes, id);
	struct snap_err err = {{0}};
	struct snap_attr attr;
	struct actor who = actor_of(req);
	int rc = node ? set_attr(fs, node, &who, st, to_set, &err) : -ESTALE;

	(void)fi;
	if (rc == 0)
		rc = stat_node(fs, node, &attr);
	if (rc && node && err.text[0])
		log_error("\"%s\": %s%s", node->name, err.text, fault_remedy(rc));
	node_put(&fs->nodes, node);
	if (rc) {
		reply_error(req, rc);
		return;
	}
	struct stat now = attr_to_stat(&attr);

	fuse_reply_attr(req, &now, 0);
}

/* An upload accepts and ignores extended attributes, as it does a mode, for the same reason. */
static int change_xattr(struct fs *fs, fuse_ino_t id)
{
	struct node *node = node_get(&fs->nodes, id);
	int rc = !node ? -ESTALE : node->upload ? 0 : -EOPNOTSUPP;

	node_put(&fs->nodes, node);
	return rc;
}

void op_setxattr(fuse_req_t req, fuse_ino_t id, const char *name, const char *value, size_t size, int flags)
{
	(void)name;
	(void)value;
	(void)size;
	(void)flags;
	reply_error(req, change_xattr(fs_of(req), id));
}

void op_removexattr(fuse_req_t req, fuse_ino_t id, const char *name)
{
	(void)name;
	reply_error(req, change_xattr(fs_of(req), id));
}

/* ---- restores ------------------------------------------------------------------------------------------ */

struct restore_job {
	struct fs *fs;
	fuse_req_t req;
	struct upload *upload; /* a reference */
	struct upload_flush flush;
	bool answered;
	uint64_t parent;     /* the folder of PATH */
	char path[PATH_MAX]; /* RENAME: the database's; "": FLUSH */
};

static bool is_interrupted(void *arg)
{
	const struct restore_job *job = arg;

	return fuse_req_interrupted(job->req);
}

/* These errno values would mislead, because rename(2) gives them another meaning: on EINVAL, mv says
 * "subdirectory of itself"; on EXDEV, it unlinks its target and copies. */
static int rename_errno(int rc)
{
	return rc == -EINVAL || rc == -EXDEV ? -EBADMSG : rc;
}

/* If the caller had removed the name, it has now rewritten the file: shows it again. */
static void show_again(struct restore_job *job)
{
	const char *slash = strrchr(job->path, '/');
	struct caller caller;

	if (caller_look(&caller, job->flush.who.tid))
		tombstone_remove(&job->fs->tombstones, caller.tgid, job->parent,
				 slash ? slash + 1 : job->path);
}

static void answer(struct restore_job *job, int rc)
{
	if (job->path[0] && rc == 0)
		show_again(job);
	job->answered = true;
	reply_error(job->req, job->path[0] ? rename_errno(rc) : rc);
	atomic_fetch_sub(&job->fs->unanswered, 1);
}

static void answer_restored(void *arg)
{
	answer(arg, 0);
}

static void run_restore(void *arg)
{
	struct restore_job *job = arg;
	int rc;

	job->flush.arg = job;
	rc = job->path[0] ? upload_become(job->upload, job->path, &job->flush)
			  : upload_flush(job->upload, &job->flush);
	upload_unref(job->upload);
	if (!job->answered)
		answer(job, rc);
}

int restore_later(fuse_req_t req, struct upload *u, const struct upload_flush *flush,
		  const struct node *parent, const char *path)
{
	struct fs *fs = fs_of(req);
	struct restore_job job = {.fs = fs,
				  .req = req,
				  .upload = upload_ref(u),
				  .flush = *flush,
				  .parent = parent ? parent->id : 0};
	int rc;

	job.flush.interrupted = is_interrupted;
	job.flush.restored = answer_restored;
	if (path)
		memcpy(job.path, path, strlen(path) + 1);
	atomic_fetch_add(&fs->unanswered, 1);
	rc = run_later(fs, flush->who.uid, run_restore, &job, sizeof(job));
	if (rc) {
		atomic_fetch_sub(&fs->unanswered, 1);
		upload_unref(u);
	}
	return rc;
}

void op_flush(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi);
	const struct upload_flush flush = {.who = actor_of(req), .owner = fi->lock_owner};
	int rc = 0;

	(void)id;
	if (h->kind != HANDLE_UPLOAD || upload_flush_idle(h->upload, &flush, &rc)) {
		reply_error(req, rc);
		return;
	}
	rc = restore_later(req, h->upload, &flush, NULL, NULL);
	if (rc)
		reply_error(req, upload_refuse(h->upload, &flush.who, rc));
}
