/* SPDX-License-Identifier: MIT */
/*
 * ops_write.c - see ops_private.h: opening for writing, content, attributes, and the close() that restores.
 *
 * What must stay true: nothing that may take long runs on the session's threads; a generation's nodeid is
 * never opened for writing.
 */
#define LOG_MODULE "ops"
#include "ops_private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "log.h"

/* ---- opening ------------------------------------------------------------------------------------------- */

/* An OPEN for writing of a database's name, on a thread that may wait. */
struct intent_job {
	struct fs *fs;
	fuse_req_t req;
	struct node *node; /* a reference */
	struct actor who;
	bool readable;
};

/* The upload that NODE's name leads WHO to from now on: one that he has begun already, or a new one. */
static int make_intent(struct intent_job *job, struct upload **out, struct snap_err *err)
{
	struct fs *fs = job->fs;
	struct node *node = job->node;
	char path[PATH_MAX];
	struct snap_attr attr;
	struct caller caller;
	int rc = node_path(node, NULL, path, sizeof(path));

	if (rc)
		return rc;
	if (!caller_look(&caller, job->who.tid)) {
		log_error("\"%s\": whoever wants to write lives in another pid namespace and cannot be told "
			  "apart: "
			  "write under a temporary name and rename it",
			  path);
		return -EACCES;
	}
	*out = upload_pending(&fs->uploads, caller.tgid, node->parent->id, node->name);
	if (*out)
		return 0;
	rc = snap_gen_stat_at(fs->config.snap, path, node->gen, &attr);
	if (rc)
		return rc;
	struct upload_order order = {.kind = UPLOAD_DATABASE,
				     .parent = node->parent->id,
				     .name = node->name,
				     .path = path,
				     .mode = attr.mode,
				     .uid = attr.uid,
				     .gid = attr.gid,
				     .creator = caller.tgid,
				     .by = caller_actor(&caller, job->who.uid)};

	rc = upload_create(out, &fs->uploads, &order, err);
	if (rc == 0)
		rc = snap_upload_begin_with((*out)->data, node->gen, job->readable, err);
	if (rc == 0 && job->readable)
		upload_in_place(*out);
	if (rc && *out) {
		upload_unref(*out);
		*out = NULL;
	}
	return rc;
}

static void run_intent(void *arg)
{
	struct intent_job *job = arg;
	struct upload *u = NULL;
	struct snap_err err = {{0}};
	int rc = make_intent(job, &u, &err);

	if (rc == 0) {
		upload_lead(u, job->who.tid);
		rc = -ESTALE; /* the kernel looks the name up again */
	} else if (err.text[0]) {
		log_error("\"%s\" cannot be opened for writing: %s", job->node->name, err.text);
	}
	upload_unref(u);
	node_put(&job->fs->nodes, job->node);
	reply_error(job->req, rc);
	free(job);
}

void open_for_writing(fuse_req_t req, struct node *node, const struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct intent_job *job = NULL;
	int rc = check_writable(fs);

	if (rc == 0 && node->kind == SNAP_SIDECAR)
		rc = -EACCES;
	else if (rc == 0 && node->kind != SNAP_DATABASE)
		rc = -EROFS;
	if (rc == 0) {
		job = malloc(sizeof(*job));
		rc = job ? 0 : -ENOMEM;
	}
	if (rc == 0) {
		*job = (struct intent_job){.fs = fs,
					   .req = req,
					   .node = node,
					   .who = actor_of(req),
					   .readable = (fi->flags & O_ACCMODE) == O_RDWR};
		rc = run_later(fs, run_intent, job);
	}
	if (rc == 0)
		return;
	free(job);
	node_put(&fs->nodes, node);
	reply_error(req, rc);
}

/* What a file that is made under NAME will be. */
static int describe_new(struct fs *fs, fuse_req_t req, const char *path, mode_t mode,
			struct upload_order *order, struct snap_err *err)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct snap_attr attr;
	struct caller caller;
	int kind = snap_name_kind(fs->config.snap, path, err);

	order->path = path;
	order->mode = mode & 0777;
	order->uid = ctx->uid;
	order->gid = ctx->gid;
	order->creator = caller_look(&caller, ctx->pid) ? caller.tgid : 0;
	order->by = caller_actor(&caller, ctx->uid);
	switch (kind) {
	case SNAP_NAME_DATABASE:
		order->kind = UPLOAD_DATABASE;
		if (snap_lookup(fs->config.snap, path, &attr, NULL, NULL) == 0) {
			order->mode = attr.mode;
			order->uid = attr.uid;
			order->gid = attr.gid;
		}
		return 0;
	case SNAP_NAME_SCRATCH:
		order->kind = UPLOAD_SCRATCH;
		return 0;
	case SNAP_NAME_SIDECAR:
		return -EACCES;
	case SNAP_NAME_TAKEN:
		return -EEXIST;
	case SNAP_NAME_OTHER:
		return -EPERM;
	default:
		return kind;
	}
}

/* Makes the upload and its handle. */
static int create(struct fs *fs, fuse_req_t req, struct node *parent, const char *name, mode_t mode,
		  struct fuse_entry_param *e, struct handle **h, struct snap_err *err)
{
	struct upload_order order = {.parent = parent->id, .name = name};
	struct actor who = actor_of(req);
	struct upload *u = NULL;
	struct node *node;
	struct snap_attr attr;
	char path[PATH_MAX];
	uint64_t id;
	int rc = check_writable(fs);

	if (rc == 0)
		rc = node_path(parent, name, path, sizeof(path));
	if (rc == 0)
		rc = describe_new(fs, req, path, mode, &order, err);
	if (rc == 0)
		rc = upload_create(&u, &fs->uploads, &order, err);
	if (rc == 0)
		rc = upload_truncate(u, 0, err); /* holes in a new file are zeros, and meant */
	if (rc == 0) {
		tomb_remove(&fs->tombs, order.creator, parent->id, name);
		upload_stat(u, &attr);
		rc = node_enter_upload(&fs->nodes, parent, name, &attr, u, &id);
	}
	if (rc == 0) {
		e->ino = id;
		e->attr = attr_to_stat(&attr);
		node = node_get(&fs->nodes, id);
		rc = handle_open_upload(h, &fs->handles, node, &who, err);
		node_put(&fs->nodes, node);
		if (rc)
			node_forget(&fs->nodes, id, 1);
	}
	if (rc && u)
		upload_unname(u);
	upload_unref(u);
	return rc;
}

void op_create(fuse_req_t req, fuse_ino_t parent_id, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct node *parent = node_get(&fs->nodes, parent_id);
	struct fuse_entry_param e = {.generation = 1};
	struct handle *h = NULL;
	struct snap_err err = {{0}};
	int rc = parent ? create(fs, req, parent, name, mode, &e, &h, &err) : -ESTALE;

	node_put(&fs->nodes, parent);
	if (rc) {
		if (err.text[0])
			log_error("\"%s\" cannot be written: %s", name, err.text);
		reply_error(req, rc);
		return;
	}
	fi->fh = (uintptr_t)h;
	fi->direct_io = 1;
	if (fuse_reply_create(req, &e, fi) == -ENOENT) {
		handle_close(h, &fs->handles);
		node_forget(&fs->nodes, e.ino, 1);
	}
}

/* ---- content ------------------------------------------------------------------------------------------- */

static void log_write_failure(struct handle *h, ssize_t rc, const struct snap_err *err)
{
	if (rc < 0 && !atomic_exchange(&h->failed, true))
		log_error("writing \"%s\" failed: %s%s%s", h->node->name, strerror((int)-rc),
			  err->text[0] ? ": " : "", err->text);
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

void op_fsync(fuse_req_t req, fuse_ino_t id, int datasync, struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi);
	struct snap_err err = {{0}};
	int rc = 0;

	(void)id;
	(void)datasync;
	if (h->kind == HANDLE_UPLOAD)
		rc = snap_upload_sync(h->upload->data, &err);
	log_write_failure(h, rc, &err);
	reply_error(req, rc);
}

/* ---- attributes ---------------------------------------------------------------------------------------- */

/* 0: it is not being set. */
static int64_t new_mtime(const struct stat *st, int to_set)
{
	struct timespec now;

	if (to_set & FUSE_SET_ATTR_MTIME_NOW) {
		clock_gettime(CLOCK_REALTIME, &now);
		return (int64_t)now.tv_sec * 1000000000ll + now.tv_nsec;
	}
	if (!(to_set & FUSE_SET_ATTR_MTIME))
		return 0;
	return (int64_t)st->st_mtim.tv_sec * 1000000000ll + st->st_mtim.tv_nsec;
}

static int set_upload(struct upload *u, const struct stat *st, int to_set, struct snap_err *err)
{
	int64_t mtime = new_mtime(st, to_set);
	int rc = to_set & FUSE_SET_ATTR_SIZE ? upload_truncate(u, (uint64_t)st->st_size, err) : 0;

	if (rc == 0)
		upload_set(u, to_set & FUSE_SET_ATTR_MODE ? &st->st_mode : NULL,
			   to_set & FUSE_SET_ATTR_UID ? &st->st_uid : NULL,
			   to_set & FUSE_SET_ATTR_GID ? &st->st_gid : NULL, mtime);
	return rc;
}

/*
 * What a restore must not change (owner, mode) is accepted and stays, for tools that set it after they have
 * written: theirs would be a failure otherwise. The same for folders.
 */
static int set_attr(struct fs *fs, struct node *node, const struct stat *st, int to_set, struct snap_err *err)
{
	int64_t mtime = new_mtime(st, to_set);

	if (node->upload)
		return set_upload(node->upload, st, to_set, err);
	switch (node->kind) {
	case SNAP_DATABASE:
		if (to_set & FUSE_SET_ATTR_SIZE)
			return -EPERM;
		return mtime && check_writable(fs) == 0 ? snap_gen_set_mtime(node->gen, mtime) : 0;
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
	int rc = node ? set_attr(fs, node, st, to_set, &err) : -ESTALE;

	(void)fi;
	if (rc == 0)
		rc = stat_node(fs, node, &attr);
	if (rc && node && err.text[0])
		log_error("\"%s\": %s", node->name, err.text);
	node_put(&fs->nodes, node);
	if (rc) {
		reply_error(req, rc);
		return;
	}
	struct stat now = attr_to_stat(&attr);

	fuse_reply_attr(req, &now, 0);
}

/* ---- close() ------------------------------------------------------------------------------------------- */

struct flush_job {
	fuse_req_t req;
	struct upload *upload; /* a reference */
	struct upload_flush flush;
	bool answered;
};

static bool is_interrupted(void *arg)
{
	const struct flush_job *job = arg;

	return fuse_req_interrupted(job->req);
}

static void answer_restored(void *arg)
{
	struct flush_job *job = arg;

	job->answered = true;
	reply_error(job->req, 0);
}

static void run_flush(void *arg)
{
	struct flush_job *job = arg;
	int rc;

	job->flush.arg = job;
	rc = upload_flush(job->upload, &job->flush);
	upload_unref(job->upload);
	if (!job->answered)
		reply_error(job->req, rc);
	free(job);
}

void op_flush(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct handle *h = handle_of(fi);
	struct upload_flush flush = {.who = actor_of(req),
				     .owner = fi->lock_owner,
				     .interrupted = is_interrupted,
				     .restored = answer_restored};
	struct flush_job *job;
	int rc = 0;

	(void)id;
	if (h->kind != HANDLE_UPLOAD || upload_flush_idle(h->upload, &flush, &rc)) {
		reply_error(req, rc);
		return;
	}
	job = malloc(sizeof(*job));
	rc = job ? 0 : -ENOMEM;
	if (job) {
		*job = (struct flush_job){.req = req, .upload = upload_ref(h->upload), .flush = flush};
		rc = run_later(fs, run_flush, job);
	}
	if (rc == 0)
		return;
	if (job)
		upload_unref(job->upload);
	free(job);
	log_error("\"%s\" is not restored yet: %s", h->node->name, strerror(-rc));
	reply_error(req, rc);
}
