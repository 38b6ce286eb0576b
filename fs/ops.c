/* SPDX-License-Identifier: MIT */
/*
 * ops.c - the table of low-level operations: decode, call, one reply. What counts as a file or a database is
 * decided elsewhere.
 *
 * What must stay true: nothing touches a handle or a node after its reply; what may wait for a live database
 * is answered from one of the library's threads, never from the session's loop; entries and attributes have a
 * timeout of 0, because the page cache of a nodeid is all that the kernel may trust without asking.
 */
#define LOG_MODULE "ops"
#include "ops_private.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "../src/clock.h"
#include "log.h"
#include "options.h"

/* 32 bits, because the kernel keeps no more of it. */
static uint32_t make_generation(int64_t started_ns)
{
	uint32_t random = 0, generation;

	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
		log_debug("getrandom: %s, ignoring", strerror(errno));
	generation = random ^ (uint32_t)(started_ns >> 20);
	return generation ? generation : 1;
}

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
	uploads_init(&fs->uploads, config->snap);
	tombstones_init(&fs->tombstones, config->options && config->options->hide_databases);
	fs->uploads.holder = fs->tombstones.holder =
		(struct node_holder){.hold = node_hold, .nodes = &fs->nodes};
	buffers_init(&fs->buffers);
	passthrough_init(&fs->passthrough);
	refusals_init(&fs->refusals);
	jobs_init(&fs->jobs, config->snap);
	pthread_mutex_init(&fs->session_lock, NULL);
	fs->started_ns = realtime_ns();
	fs->generation = make_generation(fs->started_ns);
	*out = fs;
	return 0;
}

void fs_destroy(struct fs *fs)
{
	if (!fs)
		return;
	uploads_abandon(&fs->uploads);
	handles_finish(&fs->handles);
	redirects_finish(&fs->redirects);
	tombstones_finish(&fs->tombstones);
	nodes_finish(&fs->nodes);
	uploads_finish(&fs->uploads);
	buffers_finish(&fs->buffers);
	passthrough_finish(&fs->passthrough);
	refusals_finish(&fs->refusals);
	jobs_finish(&fs->jobs);
	pthread_mutex_destroy(&fs->session_lock);
	free(fs);
}

int check_writable(const struct fs *fs)
{
	return fs->config.read_only ? -EROFS : 0;
}

void tell_refusal(fuse_req_t req, enum refusal kind, const char *name, const char *what, const char *reason)
{
	struct actor who = actor_of(req);
	char text[ACTOR_NAME_SIZE];
	struct snap_actor actor;
	struct caller caller;

	caller_look(&caller, who.tid);
	if (!refusals_due(&fs_of(req)->refusals, kind, caller.tgid, monotonic_ns()))
		return;
	actor = caller_actor(&caller, who.uid);
	log_error("\"%s\" cannot be %s: %s; tried by %s", name, what, reason,
		  actor_name(&actor, text, sizeof(text)));
}

void tell_read_only(fuse_req_t req, const char *name)
{
	const struct options *options = fs_of(req)->config.options;
	const char *option = options ? options_refusing(options) : NULL;
	char reason[64] = "this mount refuses restores";

	if (option)
		snprintf(reason, sizeof(reason), "this mount refuses restores (-o %s)", option);
	tell_refusal(req, REFUSAL_READ_ONLY, name, "written", reason);
}

bool is_database(struct fs *fs, const char *path, enum snap_kind kind)
{
	return kind == SNAP_DATABASE ||
	       (kind == SNAP_PLAIN && snap_name_kind(fs->config.snap, path, NULL) == SNAP_NAME_DATABASE);
}

int run_later(struct fs *fs, uid_t uid, void (*fn)(void *arg), const void *arg, size_t size)
{
	int rc = jobs_run(&fs->jobs, uid, fn, arg, size);

	return rc == -EAGAIN ? -EBUSY : rc;
}

/* ---- the session --------------------------------------------------------------------------------------- */

void fs_set_session(struct fs *fs, struct fuse_session *session)
{
	pthread_mutex_lock(&fs->session_lock);
	fs->session = session;
	pthread_mutex_unlock(&fs->session_lock);
	passthrough_attach(&fs->passthrough, session);
}

void fs_end_restores(struct fs *fs)
{
	atomic_store(&fs->uploads.unheard, true);
}

void fs_await_answers(struct fs *fs)
{
	const struct timespec pause = {.tv_nsec = NS_PER_MS};

	for (int i = 0; i < FS_ANSWERS_MS && atomic_load(&fs->unanswered) > 0; i++)
		nanosleep(&pause, NULL);
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

struct stat attr_to_stat(const struct snap_attr *a)
{
	return (struct stat){.st_ino = a->ino,
			     .st_mode = a->mode,
			     .st_nlink = a->nlink,
			     .st_uid = a->uid,
			     .st_gid = a->gid,
			     .st_rdev = a->rdev,
			     .st_size = (off_t)a->size,
			     .st_blocks = (blkcnt_t)a->blocks,
			     .st_blksize = BUFFER_SIZE, /* the largest request */
			     .st_atim = a->atime,
			     .st_mtim = a->mtime,
			     .st_ctim = a->ctime};
}

/*
 * Turns off what libfuse enables and this file system must not have. AUTO_INVAL_DATA would cost a GETATTR
 * for each read(2), to check whether cached pages still hold: those of a generation always do, and those of
 * a plain file are dropped at each open.
 */
static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct fs *fs = userdata;

	conn->want &= ~(unsigned)(FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE |
				  FUSE_CAP_SPLICE_MOVE | FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO |
				  FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_AUTO_INVAL_DATA);
	if (conn->capable & FUSE_CAP_PARALLEL_DIROPS)
		conn->want |= FUSE_CAP_PARALLEL_DIROPS;
	if (conn->max_write > BUFFER_SIZE)
		conn->max_write = BUFFER_SIZE; /* libfuse derives the maximum size of a READ from it, too */
	if (fs->config.max_read)
		conn->max_read = fs->config.max_read;
	passthrough_ask(&fs->passthrough, conn);
}

/* ---- names --------------------------------------------------------------------------------------------- */

struct actor actor_of(fuse_req_t req)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);

	return (struct actor){.uid = ctx->uid, .gid = ctx->gid, .tid = ctx->pid};
}

/* What a name leads to; has a reference to a generation if it is a database, to an upload if it is being
 * written. */
struct looked {
	struct snap_attr attr;
	struct snap_gen *gen;
	struct upload *upload;
};

/* What the caller itself is writing under the name, or any process under a temporary one. */
static struct upload *find_upload(struct fs *fs, pid_t tid, uint64_t parent, const char *name)
{
	struct upload *u = upload_led(&fs->uploads, tid, parent, name);

	return u ? u : upload_scratch(&fs->uploads, parent, name);
}

struct upload *find_pending(struct fs *fs, pid_t tid, uint64_t parent, const char *name)
{
	struct caller caller;

	if (!upload_any_pending(&fs->uploads) || !caller_look(&caller, tid))
		return NULL;
	return upload_pending(&fs->uploads, caller.tgid, parent, name);
}

/* -o hide_databases: only processes that have written a database see it. */
static int hide_database(struct fs *fs, pid_t tid, uint64_t parent, const char *name, struct looked *found)
{
	if (!fs->tombstones.all || found->attr.kind != SNAP_DATABASE ||
	    !tombstone_hides(&fs->tombstones, tid, parent, name))
		return 0;
	snap_gen_unref(found->gen);
	found->gen = NULL;
	return -ENOENT;
}

static int look(struct fs *fs, pid_t tid, struct node *parent, const char *name, struct looked *out,
		struct snap_err *err)
{
	struct snap_inode folder = node_folder(parent);
	char path[PATH_MAX];
	int rc;

	rc = node_path(parent, name, path, sizeof(path));
	if (rc)
		return rc;
	if (control_at(path))
		return control_stat(fs, control_at(path), &out->attr);
	out->upload = find_upload(fs, tid, parent->id, name);
	if (!out->upload && !fs->tombstones.all && tombstone_hides(&fs->tombstones, tid, parent->id, name))
		rc = -ENOENT;
	if (!out->upload && rc == 0) {
		out->gen = redirect_find(&fs->redirects, tid, parent->id, name);
		if (out->gen &&
		    snap_gen_stat_at(fs->config.snap, &folder, path, out->gen, false, &out->attr) != 0) {
			snap_gen_unref(out->gen); /* the name leads to something else by now */
			out->gen = NULL;
		}
		if (!out->gen)
			rc = snap_lookup_in(fs->config.snap, &folder, path, &out->attr, &out->gen, err);
		rc = rc ? rc : hide_database(fs, tid, parent->id, name, out);
	}
	if (rc == -ENOENT)
		out->upload = find_pending(fs, tid, parent->id, name);
	if (!out->upload)
		return rc;
	upload_stat(out->upload, &out->attr);
	return 0;
}

static int enter(struct fs *fs, struct node *parent, const char *name, const struct looked *found,
		 uint64_t *id)
{
	if (found->upload)
		return node_enter_upload(&fs->nodes, parent, name, &found->attr, found->upload, id);
	return node_enter(&fs->nodes, parent, name, &found->attr, found->gen, id);
}

void reply_entry(fuse_req_t req, const struct fuse_entry_param *e)
{
	struct fs *fs = fs_of(req);

	if (fuse_reply_entry(req, e) == -ENOENT)
		node_forget(&fs->nodes, e->ino, 1);
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent_id, const char *name)
{
	struct fs *fs = fs_of(req);
	struct node *parent = node_get(&fs->nodes, parent_id);
	struct fuse_entry_param e = entry_init(fs);
	struct looked found = {.gen = NULL};
	struct snap_err err = {{0}};
	int rc = -ESTALE;

	if (parent)
		rc = look(fs, fuse_req_ctx(req)->pid, parent, name, &found, &err);
	if (!rc)
		rc = enter(fs, parent, name, &found, &e.ino);
	if (found.gen)
		atomic_store_explicit(&fs->told_stale, false, memory_order_relaxed);
	snap_gen_unref(found.gen);
	upload_unref(found.upload);
	node_put(&fs->nodes, parent);
	if (rc) {
		/* A replaced folder affects every name in it, but is logged once. */
		if (rc != -ENOENT && err.text[0] &&
		    (rc != -ESTALE || !atomic_exchange(&fs->told_stale, true)))
			log_warn("\"%s\": %s", name, err.text);
		reply_error(req, rc);
		return;
	}
	e.attr = attr_to_stat(&found.attr);
	reply_entry(req, &e);
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

int stat_node(struct fs *fs, struct node *node, struct snap_attr *attr)
{
	struct snap_inode folder = node_folder(node->parent);
	char path[PATH_MAX];
	int rc;

	if (node->upload) {
		upload_stat(node->upload, attr);
		return 0;
	}
	rc = node_path(node, NULL, path, sizeof(path));
	if (!rc && control_of(node))
		return control_stat(fs, control_of(node), attr);
	if (node->kind == SNAP_DATABASE && !rc)
		return snap_gen_stat_at(fs->config.snap, &folder, path, node->gen, true, attr);
	if (!rc)
		rc = snap_lookup_in(fs->config.snap, &folder, path, attr, NULL, NULL);
	if (!rc && node->parent &&
	    (attr->kind != node->kind || attr->key_dev != node->key[0] || attr->key_ino != node->key[1]))
		rc = -ESTALE;
	/* The file was removed or replaced, or its snapshot dropped. An open file stays readable, as on any
	 * file system, and read(2) asks for the size at its end. */
	if (rc && node->kind == SNAP_PLAIN && handle_stat(&fs->handles, node, attr) == 0)
		rc = 0;
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
	struct stat st = attr_to_stat(&attr);

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
	.create = op_create,
	.write = op_write,
	.setattr = op_setattr,
	.setxattr = op_setxattr,
	.removexattr = op_removexattr,
	.fallocate = op_fallocate,
	.flush = op_flush,
	.fsync = op_fsync,
	.unlink = op_unlink,
	.rename = op_rename,
	.mkdir = op_mkdir,
	.rmdir = op_rmdir,
	.symlink = op_symlink,
	.link = op_link,
	.mknod = op_mknod,
};
