/* SPDX-License-Identifier: MIT */
/*
 * ops_snapshots.c - see ops_private.h: mkdir(2) and rmdir(2), which keep all databases as of one instant and
 * drop such a snapshot. Both may wait for live databases or large files, and so run on the library's threads.
 */
#define LOG_MODULE "ops"
#include "ops_private.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "fault.h"
#include "log.h"

#define SNAPSHOTS CONTROL_FOLDER "/snapshots/"

/* The part of PATH below the folder of all snapshots; NULL: PATH is elsewhere. */
static const char *below_snapshots(const char *path)
{
	return strncmp(path, SNAPSHOTS, strlen(SNAPSHOTS)) == 0 ? path + strlen(SNAPSHOTS) : NULL;
}

bool is_in_snapshot(const char *path)
{
	const char *rest = below_snapshots(path);

	return rest && strchr(rest, '/');
}

/* Describes the waiting caller in TEXT, for the log. */
static const char *name_caller(const struct actor *who, char text[ACTOR_NAME_SIZE])
{
	struct snap_actor actor;
	struct caller caller;

	caller_look(&caller, who->tid);
	actor = caller_actor(&caller, who->uid);
	return actor_name(&actor, text, ACTOR_NAME_SIZE);
}

int remove_in_snapshot(struct fs *fs, const char *path, const struct actor *who)
{
	struct snap_attr attr;
	char text[ACTOR_NAME_SIZE];
	int rc = snap_lookup(fs->config.snap, path, &attr, NULL, NULL);

	if (rc == 0)
		log_info("removing \"%s\" by %s is ignored: a snapshot is dropped whole, by rmdir of its "
			 "folder",
			 path, name_caller(who, text));
	return rc;
}

struct folder_job {
	struct fs *fs;
	fuse_req_t req;
	struct node *parent;	   /* a reference */
	char who[ACTOR_NAME_SIZE]; /* for the log */
	char path[PATH_MAX];
	char name[NAME_MAX + 1]; /* of the snapshot */
};

/* 0; -EPERM: no snapshot is or can be there; -ENAMETOOLONG. */
static int fill_job(struct folder_job *job, fuse_req_t req, struct node *parent, const char *name)
{
	struct actor who = actor_of(req);
	const char *snapshot;
	int rc;

	job->fs = fs_of(req);
	job->req = req;
	job->parent = parent;
	name_caller(&who, job->who);
	rc = node_path(parent, name, job->path, sizeof(job->path));
	snapshot = rc ? NULL : below_snapshots(job->path);
	if (!rc && (!snapshot || strchr(snapshot, '/')))
		rc = -EPERM;
	if (!rc && strlen(snapshot) > NAME_MAX)
		rc = -ENAMETOOLONG;
	if (!rc)
		memcpy(job->name, snapshot, strlen(snapshot) + 1);
	return rc;
}

/* ---- mkdir --------------------------------------------------------------------------------------------- */

/* Answers with what is there now. */
static int reply_made(struct folder_job *job)
{
	struct fs *fs = job->fs;
	struct fuse_entry_param e = entry_init(fs);
	struct snap_attr attr;
	int rc = snap_lookup(fs->config.snap, job->path, &attr, NULL, NULL);

	if (!rc)
		rc = node_enter(&fs->nodes, job->parent, job->name, &attr, NULL, &e.ino);
	if (rc)
		return rc;
	e.attr = attr_to_stat(&attr);
	reply_entry(job->req, &e);
	return 0;
}

/* Drops a snapshot that was made but cannot be shown, because of RC: the caller is told that there is
 * none. */
static void unmake(struct folder_job *job, int rc)
{
	struct snap_err err = {{0}};
	int left = snap_kept_drop(job->fs->config.snap, job->name, &err);

	log_error("snapshot \"%s\" cannot be shown: %s; %s", job->name, strerror(-rc),
		  left ? "it stays" : "it was removed again");
}

static void run_mkdir(void *arg)
{
	struct folder_job *job = arg;
	struct snap_err err = {{0}};
	int rc = snap_kept_make(job->fs->config.snap, job->name, &err);

	if (rc && rc != -EEXIST)
		log_error("snapshot \"%s\" cannot be made: %s%s", job->name,
			  err.text[0] ? err.text : strerror(-rc), fault_remedy(rc));
	if (!rc) {
		log_info("snapshot \"%s\" was made by %s", job->name, job->who);
		rc = reply_made(job);
		if (rc)
			unmake(job, rc);
	}
	node_put(&job->fs->nodes, job->parent);
	if (rc)
		reply_error(job->req, rc);
}

void op_mkdir(fuse_req_t req, fuse_ino_t parent_id, const char *name, mode_t mode)
{
	struct fs *fs = fs_of(req);
	struct node *parent = node_get(&fs->nodes, parent_id);
	struct folder_job job;
	int rc = parent ? fill_job(&job, req, parent, name) : -ESTALE;

	(void)mode;
	if (rc == -EPERM)
		tell_refusal(req, REFUSAL_FOLDER, name, "made",
			     "live directories are not changed here, and snapshots are made in "
			     ".sqlsnapfs/snapshots/NAME");
	if (rc == 0)
		rc = run_later(fs, actor_of(req).uid, run_mkdir, &job, sizeof(job));
	if (rc) {
		node_put(&fs->nodes, parent);
		reply_error(req, rc);
	}
}

/* ---- rmdir --------------------------------------------------------------------------------------------- */

static void run_rmdir(void *arg)
{
	struct folder_job *job = arg;
	struct snap_err err = {{0}};
	int rc = snap_kept_drop(job->fs->config.snap, job->name, &err);

	if (rc)
		log_error("removing snapshot \"%s\": %s%s", job->name, err.text[0] ? err.text : strerror(-rc),
			  fault_remedy(rc));
	else
		log_info("snapshot \"%s\" was removed by %s", job->name, job->who);
	node_put(&job->fs->nodes, job->parent);
	reply_error(job->req, rc);
}

/* A folder in a snapshot, which rm -r removes first: see remove_in_snapshot(). */
static int remove_inner(struct fs *fs, struct node *parent, const char *name, const struct actor *who)
{
	char path[PATH_MAX];
	int rc = node_path(parent, name, path, sizeof(path));

	if (rc)
		return rc;
	return is_in_snapshot(path) ? remove_in_snapshot(fs, path, who) : -EPERM;
}

void op_rmdir(fuse_req_t req, fuse_ino_t parent_id, const char *name)
{
	struct fs *fs = fs_of(req);
	struct node *parent = node_get(&fs->nodes, parent_id);
	struct actor who = actor_of(req);
	struct folder_job job;
	int rc = parent ? fill_job(&job, req, parent, name) : -ESTALE;

	if (rc == 0) {
		rc = run_later(fs, who.uid, run_rmdir, &job, sizeof(job));
		if (rc == 0)
			return;
	} else if (rc == -EPERM) {
		rc = remove_inner(fs, parent, name, &who);
	}
	node_put(&fs->nodes, parent);
	reply_error(req, rc);
}
