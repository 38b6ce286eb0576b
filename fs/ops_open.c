/* SPDX-License-Identifier: MIT */
/* ops_open.c - see ops_private.h: opening and closing files, opening and reading folders. */
#define LOG_MODULE "ops"
#include "ops_private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "fault.h"
#include "log.h"

/* ---- files --------------------------------------------------------------------------------------------- */

/* An OPEN under way, perhaps on a thread that may wait. */
struct open_job {
	struct fs *fs;
	fuse_req_t req;
	struct node *node; /* a reference */
	struct fuse_file_info fi;
	struct actor who;
};

/* Remembers who has a state of a database now. Called before the reply, after which that process may be
 * gone. */
static void note_opened(struct fs *fs, const struct node *node, const struct actor *who)
{
	struct snap_actor actor;
	struct caller caller;
	char path[PATH_MAX];

	if (!node->gen && (node_path(node, NULL, path, sizeof(path)) || !is_in_snapshot(path)))
		return;
	caller_look(&caller, who->tid);
	actor = caller_actor(&caller, who->uid);
	if (node->gen)
		snap_gen_opened(node->gen, &actor);
	else
		snap_kept_opened(fs->config.snap, path, &actor);
}

/* Answers an OPEN or OPENDIR with H. If it was interrupted, no RELEASE will come, so H is closed. */
static void reply_handle(struct fs *fs, fuse_req_t req, struct handle *h, struct fuse_file_info *fi)
{
	fi->fh = (uintptr_t)h;
	if (fuse_reply_open(req, fi) == -ENOENT) {
		passthrough_close(&fs->passthrough, h);
		handle_close(h, &fs->handles);
	}
}

/* Completes an OPEN that did not have to wait, or has waited. */
static void finish_open(struct open_job *job, int rc, struct handle *h, struct snap_gen *moved,
			const struct snap_err *err)
{
	struct fs *fs = job->fs;
	struct node *node = job->node;

	if (rc != SNAP_MOVED && node->gen && redirect_drop(&fs->redirects, job->who.tid, node->gen))
		snap_gen_arrived(node->gen);
	if (rc == SNAP_MOVED) {
		redirect_add(&fs->redirects, job->who.tid, node->parent->id, node->name, moved);
		snap_gen_unref(moved);
		rc = -ESTALE;
	} else if (rc == -ENOENT || (rc == -ESTALE && node->kind == SNAP_PLAIN)) {
		/* This is no failure: after ESTALE the kernel looks up the name again, and opens what it
		 * leads to. */
		log_debug("\"%s\" was %s while it was being opened", node->name,
			  rc == -ENOENT ? "removed" : "replaced");
	} else if (rc) {
		log_error("\"%s\" cannot be opened: %s%s%s%s", node->name, strerror(-rc),
			  err->text[0] ? ": " : "", err->text, fault_remedy(rc));
	}
	if (rc == 0)
		note_opened(fs, node, &job->who);
	node_put(&fs->nodes, node);
	if (rc) {
		reply_error(job->req, rc);
		return;
	}
	job->fi.keep_cache = h->kind == HANDLE_GENERATION;
	job->fi.noflush = 1;
	passthrough_open(&fs->passthrough, h, &job->fi);
	reply_handle(fs, job->req, h, &job->fi);
}

static void run_open(void *arg)
{
	struct open_job *job = arg;
	struct snap_gen *moved = NULL;
	struct handle *h = NULL;
	struct snap_err err = {{0}};
	int rc = handle_open(&h, &job->fs->handles, job->node, true, &moved, &err);

	finish_open(job, rc, h, moved, &err);
}

/* Opens on this thread or, if that would have to wait, on another one. */
static void open_for_reading(struct open_job *job)
{
	struct snap_gen *moved = NULL;
	struct handle *h = NULL;
	struct snap_err err = {{0}};
	int rc = handle_open(&h, &job->fs->handles, job->node, false, &moved, &err);

	if (rc == SNAP_WOULD_WAIT) {
		rc = run_later(job->fs, job->who.uid, run_open, job, sizeof(*job));
		if (!rc)
			return;
		if (rc == -EBUSY)
			fault(&err, 0, JOBS_TOO_MANY);
	}
	finish_open(job, rc, h, moved, &err);
}

/* An OPEN of .sqlsnapfs/status.json or its like, whose text requires a walk through the tree. */
static void run_control(void *arg)
{
	struct open_job *job = arg;
	struct fs *fs = job->fs;
	struct handle *h = NULL;
	struct snap_err err = {{0}};
	char *text = control_text(fs, control_of(job->node));
	int rc = handle_open_text(&h, &fs->handles, job->node, text, &err);

	node_put(&fs->nodes, job->node);
	if (rc) {
		reply_error(job->req, rc);
		return;
	}
	job->fi.direct_io = 1; /* its size is that of the text just made, whatever was shown */
	job->fi.noflush = 1;
	reply_handle(fs, job->req, h, &job->fi);
}

/* status.json shows what keeps opens waiting, so it must not wait with them: if no thread is free, this one
 * does it. */
static void open_control(struct open_job *job)
{
	if (run_later(job->fs, job->who.uid, run_control, job, sizeof(*job)))
		run_control(job);
}

/* An OPEN of an upload, which needs neither a live database nor a wait. */
static void open_upload(fuse_req_t req, struct node *node, const struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct fuse_file_info out = *fi;
	struct handle *h = NULL;
	struct snap_err err = {{0}};
	int rc = handle_open_upload(&h, &fs->handles, node, actor_of(req).tid, &err);

	/* If mknod(2) made the upload, its name has led to it until now. */
	if (rc == 0 && node->upload->kind == UPLOAD_DATABASE)
		tombstone_remove(&fs->tombstones, node->upload->creator, node->parent->id, node->name);
	node_put(&fs->nodes, node);
	if (rc) {
		reply_error(req, rc);
		return;
	}
	out.direct_io = 1; /* WRITE then names its owner, and sizes are always current */
	reply_handle(fs, req, h, &out);
}

void op_open(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct open_job job = {.fs = fs, .req = req, .fi = *fi, .who = actor_of(req)};
	bool writing = (fi->flags & O_ACCMODE) != O_RDONLY || (fi->flags & O_TRUNC);

	job.node = node_get(&fs->nodes, id);
	if (!job.node) {
		reply_error(req, ESTALE);
		return;
	}
	if (job.node->upload && (writing || !upload_forgo(job.node->upload, job.who.tid))) {
		open_upload(req, job.node, fi);
	} else if (job.node->upload) {
		node_put(&fs->nodes, job.node);
		reply_error(req, ESTALE);
	} else if (writing) {
		open_for_writing(req, job.node, fi);
	} else if (control_of(job.node)) {
		open_control(&job);
	} else {
		open_for_reading(&job);
	}
}

struct release_job {
	struct fs *fs;
	fuse_req_t req;
	struct handle *handle;
};

static void run_release(void *arg)
{
	struct release_job *job = arg;

	handle_close(job->handle, &job->fs->handles);
	fuse_reply_err(job->req, 0);
}

void op_release(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct handle *h = handle_of(fi);
	struct release_job job = {.fs = fs, .req = req, .handle = h};

	(void)id;
	if (h->kind == HANDLE_UPLOAD && !upload_closes_idle(h->upload)) {
		if (run_later(fs, h->upload->who.uid, run_release, &job, sizeof(job)) == 0)
			return;
		/* A restore must not run on this thread. */
		upload_refuse(h->upload, &h->upload->who, -EBUSY);
		upload_drop(h->upload);
	}
	passthrough_close(&fs->passthrough, h);
	handle_close(h, &fs->handles);
	fuse_reply_err(req, 0);
}

/* ---- folders ------------------------------------------------------------------------------------------- */

static void tell_no_list(struct fs *fs, const struct node *node, int rc, const struct snap_err *err)
{
	if (err->text[0] && (rc != -ESTALE || !atomic_exchange(&fs->told_stale, true)))
		log_warn("directory \"%s\": %s%s", node->parent ? node->name : "/", err->text,
			 fault_remedy(rc));
}

void op_opendir(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct node *node = node_get(&fs->nodes, id);
	struct handle *h = NULL;
	struct snap_err err = {{0}};
	int rc = node ? handle_open_folder(&h, &fs->handles, node, &err) : -ESTALE;

	if (rc && node)
		tell_no_list(fs, node, rc, &err);
	node_put(&fs->nodes, node);
	if (rc) {
		reply_error(req, rc);
		return;
	}
	reply_handle(fs, req, h, fi);
}

/* .sqlsnapfs itself, which has files that the library does not know. */
static bool is_control_folder(const struct node *node)
{
	return node->parent && !node->parent->parent && strcmp(node->name, CONTROL_FOLDER) == 0;
}

/* Entry I of a folder: ".", "..", then the list's, our own files first. False past the end. */
static bool entry_at(const struct handle *h, size_t i, const char **name, struct stat *st)
{
	size_t first = is_control_folder(h->node) ? 2 + CONTROL_FILES : 2;
	uint64_t ino = 0;
	mode_t type = S_IFDIR;

	if (i < 2) {
		*name = i == 0 ? "." : "..";
	} else if (i < first) {
		*name = control_files[i - 2].name;
		ino = control_ino(&control_files[i - 2]);
		type = S_IFREG;
	} else if (!snap_list_get(h->list, i - first, name, &ino, &type)) {
		return false;
	}
	*st = (struct stat){.st_ino = ino ? ino : FUSE_ROOT_ID, .st_mode = type};
	return true;
}

void op_readdir(fuse_req_t req, fuse_ino_t id, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct handle *h = handle_of(fi);
	struct snap_err err = {{0}};
	const char *name;
	struct stat st;
	size_t used = 0;
	int rc = offset == 0 ? handle_begin_list(h, &fs->handles, &err) : 0;
	char *buffer = rc ? NULL : buffer_get(&fs->buffers);

	(void)id;
	if (rc)
		tell_no_list(fs, h->node, rc, &err);
	if (!buffer) {
		reply_error(req, rc ? rc : -ENOMEM);
		return;
	}
	if (size > BUFFER_SIZE)
		size = BUFFER_SIZE;
	pthread_mutex_lock(&h->list_lock);
	for (size_t i = (size_t)offset; entry_at(h, i, &name, &st); i++) {
		size_t n = fuse_add_direntry(req, buffer + used, size - used, name, &st, (off_t)i + 1);

		if (n > size - used)
			break;
		used += n;
	}
	pthread_mutex_unlock(&h->list_lock);
	fuse_reply_buf(req, buffer, used);
	buffer_put(&fs->buffers, buffer);
}
