/* SPDX-License-Identifier: MIT */
/* fs.c - see fs.h; and what the operations have in common (ops_private.h). */
#define LOG_MODULE "ops"
#include "ops_private.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

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

/* ---- requests ------------------------------------------------------------------------------------------ */

struct actor actor_of(fuse_req_t req)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);

	return (struct actor){.uid = ctx->uid, .gid = ctx->gid, .tid = ctx->pid};
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

bool is_database_name(struct fs *fs, const char *path, enum snap_kind kind)
{
	return kind == SNAP_DATABASE ||
	       (kind == SNAP_PLAIN && snap_name_kind(fs->config.snap, path, NULL) == SNAP_NAME_DATABASE);
}

int run_later(struct fs *fs, uid_t uid, void (*fn)(void *arg), const void *arg, size_t size)
{
	int rc = jobs_run(&fs->jobs, uid, fn, arg, size);

	return rc == -EAGAIN ? -EBUSY : rc;
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

void reply_entry(fuse_req_t req, const struct fuse_entry_param *e)
{
	struct fs *fs = fs_of(req);

	if (fuse_reply_entry(req, e) == -ENOENT)
		node_forget(&fs->nodes, e->ino, 1);
}

struct upload *find_pending(struct fs *fs, pid_t tid, uint64_t parent, const char *name)
{
	struct caller caller;

	if (!upload_any_pending(&fs->uploads) || !caller_look(&caller, tid))
		return NULL;
	return upload_pending(&fs->uploads, caller.tgid, parent, name);
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
