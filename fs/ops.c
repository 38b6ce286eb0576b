/* SPDX-License-Identifier: MIT */
/*
 * ops.c - the table of low-level operations: decode, call, one reply. What a file or a database is, is known
 * elsewhere.
 *
 * What must stay true: nothing touches a handle or a node after its reply; what may wait for a live database
 * is answered from a thread of the library's, never from the session's loop; entries and attributes have a
 * timeout of 0, for the only thing that the kernel may believe without asking is the page cache of a nodeid.
 */
#define LOG_MODULE "ops"
#include "fs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buffers.h"
#include "handle.h"
#include "log.h"
#include "redirect.h"

#define READ_NICE 10 /* added to the daemon's own */

struct fs {
	struct fs_config config;
	struct nodes nodes;
	struct handles handles;
	struct redirects redirects;
	struct buffers buffers;
	pthread_mutex_t session_lock; /* held while the kernel is told something, so that the session stays
					 until then */
	struct fuse_session *session; /* borrowed; guarded by session_lock */
};

int fs_create(struct fs **out, const struct fs_config *config)
{
	struct fs *fs = calloc(1, sizeof(*fs));
	int rc;

	if (!fs)
		return -ENOMEM;
	fs->config = *config;
	rc = nodes_init(&fs->nodes);
	if (rc) {
		free(fs);
		return rc;
	}
	handles_init(&fs->handles, config->snap, &fs->nodes);
	redirects_init(&fs->redirects);
	buffers_init(&fs->buffers);
	pthread_mutex_init(&fs->session_lock, NULL);
	*out = fs;
	return 0;
}

void fs_destroy(struct fs *fs)
{
	if (!fs)
		return;
	handles_finish(&fs->handles);
	redirects_finish(&fs->redirects);
	nodes_finish(&fs->nodes);
	buffers_finish(&fs->buffers);
	pthread_mutex_destroy(&fs->session_lock);
	free(fs);
}

void fs_set_session(struct fs *fs, struct fuse_session *session)
{
	pthread_mutex_lock(&fs->session_lock);
	fs->session = session;
	pthread_mutex_unlock(&fs->session_lock);
}

void fs_drop_pages(struct fs *fs, uint64_t gen_id)
{
	uint64_t ids[NODE_NAMES_MAX];
	size_t n = nodes_of_gen(&fs->nodes, gen_id, ids, NODE_NAMES_MAX);

	pthread_mutex_lock(&fs->session_lock);
	for (size_t i = 0; i < n && fs->session; i++)
		fuse_lowlevel_notify_inval_inode(fs->session, ids[i], 0, 0);
	pthread_mutex_unlock(&fs->session_lock);
}

static struct fs *fs_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

static struct handle *handle_of(const struct fuse_file_info *fi)
{
	return (struct handle *)(uintptr_t)fi->fh;
}

/* libfuse counts errno upwards. */
static void reply_error(fuse_req_t req, int rc)
{
	fuse_reply_err(req, rc < 0 ? -rc : rc);
}

static struct stat to_stat(const struct snap_attr *a)
{
	return (struct stat){.st_ino = a->ino,
			     .st_mode = a->mode,
			     .st_nlink = a->nlink,
			     .st_uid = a->uid,
			     .st_gid = a->gid,
			     .st_rdev = a->rdev,
			     .st_size = (off_t)a->size,
			     .st_blocks = (blkcnt_t)a->blocks,
			     .st_blksize = 131072,
			     .st_atim = a->atime,
			     .st_mtim = a->mtime,
			     .st_ctim = a->ctime};
}

/*
 * Removes what libfuse wants and this file system must not have. AUTO_INVAL_DATA would cost a GETATTR for
 * each read(2), to find out whether cached pages still hold: those of a generation always do, those of a
 * plain file are dropped at each open.
 */
static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct fs *fs = userdata;

	conn->want &= ~(unsigned)(FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE |
				  FUSE_CAP_SPLICE_MOVE | FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO |
				  FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_AUTO_INVAL_DATA);
	if (conn->capable & FUSE_CAP_PARALLEL_DIROPS)
		conn->want |= FUSE_CAP_PARALLEL_DIROPS;
	if (fs->config.max_read)
		conn->max_read = fs->config.max_read;
}

/* ---- names --------------------------------------------------------------------------------------------- */

/* What NAME in PARENT is now, with a reference to its generation if it is a database. */
static int look(struct fs *fs, pid_t tid, struct node *parent, const char *name, struct snap_attr *attr,
		struct snap_gen **gen, struct snap_err *err)
{
	char path[PATH_MAX];
	int rc;

	rc = node_path(parent, name, path, sizeof(path));
	if (rc)
		return rc;
	*gen = redirect_find(&fs->redirects, tid, parent->id, name);
	if (*gen)
		return snap_gen_stat_at(fs->config.snap, path, *gen, attr);
	return snap_lookup(fs->config.snap, path, attr, gen, err);
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent_id, const char *name)
{
	struct fs *fs = fs_of(req);
	struct node *parent = node_get(&fs->nodes, parent_id);
	struct fuse_entry_param e = {.generation = 1};
	struct snap_gen *gen = NULL;
	struct snap_err err = {{0}};
	struct snap_attr attr;
	uint64_t id;
	int rc = -ESTALE;

	if (parent)
		rc = look(fs, fuse_req_ctx(req)->pid, parent, name, &attr, &gen, &err);
	if (!rc)
		rc = node_enter(&fs->nodes, parent, name, &attr, gen, &id);
	snap_gen_unref(gen);
	node_put(&fs->nodes, parent);
	if (rc) {
		if (rc != -ENOENT && err.text[0])
			log_warn("\"%s\": %s", name, err.text);
		reply_error(req, rc);
		return;
	}
	e.ino = id;
	e.attr = to_stat(&attr);
	if (fuse_reply_entry(req, &e) == -ENOENT)
		node_forget(&fs->nodes, id, 1); /* interrupted: the kernel never learned of it */
}

static void op_forget(fuse_req_t req, fuse_ino_t id, uint64_t n)
{
	node_forget(&fs_of(req)->nodes, id, n);
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		node_forget(&fs_of(req)->nodes, forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

/* Attributes of NODE; of what its name leads to now unless that is something else. */
static int stat_node(struct fs *fs, struct node *node, struct snap_attr *attr)
{
	char path[PATH_MAX];
	int rc;

	rc = node_path(node, NULL, path, sizeof(path));
	if (node->kind == SNAP_DATABASE && !rc)
		return snap_gen_stat_at(fs->config.snap, path, node->gen, attr);
	if (!rc)
		rc = snap_lookup(fs->config.snap, path, attr, NULL, NULL);
	if (!rc && node->parent &&
	    (attr->kind != node->kind || attr->key_dev != node->key[0] || attr->key_ino != node->key[1]))
		rc = -ESTALE;
	return rc;
}

static void op_getattr(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct node *node = node_get(&fs->nodes, id);
	struct snap_attr attr;
	int rc = node ? stat_node(fs, node, &attr) : -ESTALE;

	(void)fi;
	node_put(&fs->nodes, node);
	if (rc) {
		reply_error(req, rc);
		return;
	}
	struct stat st = to_stat(&attr);

	fuse_reply_attr(req, &st, 0);
}

static void op_readlink(fuse_req_t req, fuse_ino_t id)
{
	struct fs *fs = fs_of(req);
	struct node *node = node_get(&fs->nodes, id);
	char path[PATH_MAX], target[PATH_MAX];
	int rc = node ? node_path(node, NULL, path, sizeof(path)) : -ESTALE;

	node_put(&fs->nodes, node);
	if (!rc)
		rc = snap_readlink(fs->config.snap, path, target, sizeof(target));
	if (rc)
		reply_error(req, rc);
	else
		fuse_reply_readlink(req, target);
}

/* ---- files --------------------------------------------------------------------------------------------- */

/* An OPEN under way, perhaps on a thread that may wait. */
struct open_job {
	struct fs *fs;
	fuse_req_t req;
	struct node *node; /* a reference */
	struct fuse_file_info fi;
	pid_t tid;
};

/* Ends an OPEN that did not have to wait, or has waited. */
static void finish_open(struct open_job *job, int rc, struct handle *h, struct snap_gen *moved,
			const struct snap_err *err)
{
	struct fs *fs = job->fs;
	struct node *node = job->node;

	if (rc == HANDLE_MOVED) {
		redirect_add(&fs->redirects, job->tid, node->parent->id, node->name, moved);
		snap_gen_unref(moved);
		rc = -ESTALE;
	} else if (rc) {
		log_error("\"%s\" cannot be opened: %s%s%s", node->name, strerror(-rc),
			  err->text[0] ? ": " : "", err->text);
	} else if (node->gen && redirect_drop(&fs->redirects, job->tid, node->gen)) {
		snap_gen_arrived(node->gen);
	}
	node_put(&fs->nodes, node);
	if (rc) {
		reply_error(job->req, rc);
		return;
	}
	job->fi.fh = (uintptr_t)h;
	job->fi.keep_cache = h->kind == HANDLE_GENERATION;
	job->fi.noflush = 1;
	if (fuse_reply_open(job->req, &job->fi) == -ENOENT)
		handle_close(h, &fs->handles); /* interrupted: no RELEASE will come */
}

static void run_open(void *arg)
{
	struct open_job *job = arg;
	struct snap_gen *moved = NULL;
	struct handle *h = NULL;
	struct snap_err err = {{0}};
	int rc = handle_open(&h, &job->fs->handles, job->node, true, &moved, &err);

	finish_open(job, rc, h, moved, &err);
	free(job);
}

/* Hands an OPEN to a thread that may wait. */
static void open_later(const struct open_job *job)
{
	struct open_job *copy = malloc(sizeof(*copy));
	struct open_job here = *job;
	struct snap_err err = {{0}};
	int rc = -ENOMEM;

	if (copy) {
		*copy = *job;
		rc = snap_defer(job->fs->config.snap, run_open, copy);
	}
	if (!rc)
		return;
	free(copy);
	if (rc == -EAGAIN) {
		rc = -EBUSY;
		snprintf(err.text, sizeof(err.text), "too many others wait to be opened");
	}
	finish_open(&here, rc, NULL, NULL, &err);
}

static void op_open(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct open_job job = {.fs = fs, .req = req, .fi = *fi, .tid = fuse_req_ctx(req)->pid};
	struct snap_gen *moved = NULL;
	struct handle *h = NULL;
	struct snap_err err = {{0}};
	int rc;

	if ((fi->flags & O_ACCMODE) != O_RDONLY || (fi->flags & O_TRUNC)) {
		reply_error(req, EROFS);
		return;
	}
	job.node = node_get(&fs->nodes, id);
	if (!job.node) {
		reply_error(req, ESTALE);
		return;
	}
	rc = handle_open(&h, &fs->handles, job.node, false, &moved, &err);
	if (rc == HANDLE_WOULD_WAIT)
		open_later(&job);
	else
		finish_open(&job, rc, h, moved, &err);
}

/*
 * The thread that copies bytes out yields the processor to the applications: a backup may take longer, a
 * commit may not. On Linux a nice value is a thread's own, and libfuse's threads wait for or hold none of the
 * locks that SQLite knows for longer than it takes to drop one.
 */
static void yield_to_applications(void)
{
	static _Thread_local bool yields;

	if (!yields && nice(READ_NICE) == -1) {
		/* A thread may always be nicer than it is; -1 is a nice value too. */
	}
	yields = true;
}

static void op_read(fuse_req_t req, fuse_ino_t id, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct handle *h = handle_of(fi);
	void *buffer = buffer_get(&fs->buffers);
	struct snap_err err = {{0}};
	ssize_t n = -ENOMEM;

	(void)id;
	yield_to_applications();
	if (size > BUFFER_SIZE)
		size = BUFFER_SIZE;
	if (buffer)
		n = handle_read(h, buffer, size, (uint64_t)offset, &err);
	if (n < 0 && !atomic_exchange(&h->failed, true))
		log_error("reading \"%s\" failed: %s%s%s", h->node->name, strerror((int)-n),
			  err.text[0] ? ": " : "", err.text);
	if (n < 0)
		reply_error(req, (int)n);
	else
		fuse_reply_buf(req, buffer, (size_t)n);
	buffer_put(&fs->buffers, buffer);
}

static void op_release(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	(void)id;
	handle_close(handle_of(fi), &fs_of(req)->handles);
	fuse_reply_err(req, 0);
}

/* ---- folders ------------------------------------------------------------------------------------------- */

static void op_opendir(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct node *node = node_get(&fs->nodes, id);
	struct handle *h = NULL;
	struct snap_err err = {{0}};
	int rc = node ? handle_open_folder(&h, &fs->handles, node, &err) : -ESTALE;

	if (rc && node && err.text[0])
		log_warn("folder \"%s\": %s", node->name, err.text);
	node_put(&fs->nodes, node);
	if (rc) {
		reply_error(req, rc);
		return;
	}
	fi->fh = (uintptr_t)h;
	if (fuse_reply_open(req, fi) == -ENOENT)
		handle_close(h, &fs->handles);
}

/* Entry I of a folder: ".", "..", then the list's. False past the end. */
static bool entry_at(const struct handle *h, size_t i, const char **name, struct stat *st)
{
	uint64_t ino = 0;
	mode_t type = S_IFDIR;

	if (i < 2)
		*name = i == 0 ? "." : "..";
	else if (!snap_list_get(h->list, i - 2, name, &ino, &type))
		return false;
	*st = (struct stat){.st_ino = ino ? ino : FUSE_ROOT_ID, .st_mode = type};
	return true;
}

static void op_readdir(fuse_req_t req, fuse_ino_t id, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	const struct handle *h = handle_of(fi);
	char *buffer = buffer_get(&fs->buffers);
	const char *name;
	struct stat st;
	size_t used = 0;

	(void)id;
	if (!buffer) {
		reply_error(req, ENOMEM);
		return;
	}
	if (size > BUFFER_SIZE)
		size = BUFFER_SIZE;
	for (size_t i = (size_t)offset; entry_at(h, i, &name, &st); i++) {
		size_t n = fuse_add_direntry(req, buffer + used, size - used, name, &st, (off_t)i + 1);

		if (n > size - used)
			break;
		used += n;
	}
	fuse_reply_buf(req, buffer, used);
	buffer_put(&fs->buffers, buffer);
}

static void op_statfs(fuse_req_t req, fuse_ino_t id)
{
	struct statvfs st;
	int rc = snap_statvfs(fs_of(req)->config.snap, &st);

	(void)id;
	if (rc)
		reply_error(req, rc);
	else
		fuse_reply_statfs(req, &st);
}

const struct fuse_lowlevel_ops fs_ops = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.readlink = op_readlink,
	.open = op_open,
	.read = op_read,
	.release = op_release,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.releasedir = op_release,
	.statfs = op_statfs,
};
