/* SPDX-License-Identifier: MIT */
/*
 * ops_change.c - see ops_private.h: names that change. Live files never lose or change their names through
 * the mount; scratch files do, and a scratch file that is renamed over a database restores it.
 */
#define LOG_MODULE "ops"
#include "ops_private.h"

#include <errno.h>
#include <limits.h>
#include <linux/fs.h>
#include <string.h>

#include "log.h"
#include "options.h"

/* ---- unlink -------------------------------------------------------------------------------------------- */

/* NAME is a database's: the database stays, and for WHO's process it is gone. */
static int hide_name(struct fs *fs, struct node *parent, const char *name, const char *path,
		     const struct actor *who)
{
	struct snap_attr attr;
	struct snap_actor actor;
	struct caller caller;
	char text[ACTOR_NAME_SIZE];
	bool known = caller_look(&caller, who->tid);
	/* What it was writing there is dropped, as with any file that is removed while it is written. */
	bool dropped = known && uploads_drop(&fs->uploads, caller.tgid, parent->id, name);
	int rc = snap_lookup(fs->config.snap, path, &attr, NULL, NULL);

	if (rc)
		return rc == -ENOENT && dropped ? 0 : rc;
	if (attr.kind == SNAP_SIDECAR)
		return 0; /* whoever restores is often told to remove it first, and what is shown is empty */
	if (!is_database_name(fs, path, attr.kind))
		return -EROFS;
	if (!known)
		return -EACCES; /* the process to hide it from is unknown */
	actor = caller_actor(&caller, who->uid);
	log_info("removing \"%s\" by %s is ignored: live databases are not removed here", path,
		 actor_name(&actor, text, sizeof(text)));
	return tombstone_add(&fs->tombstones, caller.tgid, parent->id, name);
}

static int remove_name(struct fs *fs, struct node *parent, const char *name, const struct actor *who)
{
	struct upload *u = upload_scratch(&fs->uploads, parent->id, name);
	char path[PATH_MAX];
	int rc;

	if (u) {
		upload_unname(u);
		upload_unref(u);
		return 0;
	}
	rc = node_path(parent, name, path, sizeof(path));
	if (rc == 0 && is_in_snapshot(path))
		return remove_in_snapshot(fs, path, who);
	if (rc == 0)
		rc = check_writable(fs);
	return rc ? rc : hide_name(fs, parent, name, path, who);
}

void op_unlink(fuse_req_t req, fuse_ino_t parent_id, const char *name)
{
	struct fs *fs = fs_of(req);
	struct node *parent = node_get(&fs->nodes, parent_id);
	struct actor who = actor_of(req);
	int rc = parent ? remove_name(fs, parent, name, &who) : -ESTALE;

	if (rc == -EROFS && check_writable(fs))
		tell_read_only(req, name);
	node_put(&fs->nodes, parent);
	reply_error(req, rc);
}

/* ---- rename -------------------------------------------------------------------------------------------- */

enum { RENAME_LATER = 1 };

/* 0, -errno, or RENAME_LATER: another thread will answer. */
static int rename_scratch(struct fs *fs, fuse_req_t req, struct upload *u, struct node *parent,
			  const char *name, unsigned flags)
{
	char path[PATH_MAX];
	struct snap_attr attr;
	struct snap_err err = {{0}};
	struct upload *there;
	const struct upload_flush flush = {.who = actor_of(req), .folder = node_folder(parent)};
	int rc = node_path(parent, name, path, sizeof(path));
	int kind = rc ? rc : snap_name_kind(fs->config.snap, path, &err);

	if (err.text[0] && (kind == SNAP_NAME_OTHER || kind == SNAP_NAME_SIDECAR))
		log_error("renaming to \"%s\": %s", path, err.text);
	switch (kind) {
	case SNAP_NAME_DATABASE:
		if (flags & RENAME_NOREPLACE && snap_lookup(fs->config.snap, path, &attr, NULL, NULL) == 0 &&
		    !tombstone_hides(&fs->tombstones, fuse_req_ctx(req)->pid, parent->id, name))
			return -EEXIST;
		rc = restore_later(req, u, &flush, parent, path);
		return rc ? rc : RENAME_LATER;
	case SNAP_NAME_SCRATCH:
		there = flags & RENAME_NOREPLACE ? upload_scratch(&fs->uploads, parent->id, name) : NULL;
		upload_unref(there);
		return there ? -EEXIST : upload_rename(u, parent->id, name, path);
	case SNAP_NAME_SIDECAR:
		return -EACCES;
	case SNAP_NAME_TAKEN:
		return -EROFS;
	case SNAP_NAME_OTHER:
		return -EPERM;
	default:
		return kind;
	}
}

/* Refuses to rename what is not a scratch file. */
static int refuse_rename(struct fs *fs, fuse_req_t req, struct node *parent, const char *name)
{
	const struct options *options = fs->config.options;
	char path[PATH_MAX];
	struct snap_attr attr;
	int rc = node_path(parent, name, path, sizeof(path));

	if (rc == 0)
		rc = snap_lookup(fs->config.snap, path, &attr, NULL, NULL);
	if (rc)
		return rc;
	if (attr.kind != SNAP_DATABASE)
		return -EROFS;
	tell_refusal(
		req, REFUSAL_RENAME, path, "renamed",
		options && options->hide_databases
			? "live databases are not moved away here"
			: "live databases are not moved away here (cp -b, mv -b and install -b work in a "
			  "mount with -o hide_databases)");
	return -EPERM;
}

void op_rename(fuse_req_t req, fuse_ino_t parent_id, const char *name, fuse_ino_t new_parent_id,
	       const char *new_name, unsigned flags)
{
	struct fs *fs = fs_of(req);
	struct node *parent = node_get(&fs->nodes, parent_id);
	struct node *new_parent = node_get(&fs->nodes, new_parent_id);
	struct upload *u = parent ? upload_scratch(&fs->uploads, parent->id, name) : NULL;
	int rc = check_writable(fs);

	if (!parent || !new_parent)
		rc = -ESTALE;
	else if (flags & ~(unsigned)RENAME_NOREPLACE)
		rc = -EINVAL;
	else if (rc == 0)
		rc = u ? rename_scratch(fs, req, u, new_parent, new_name, flags)
		       : refuse_rename(fs, req, parent, name);
	if (rc == -EROFS && check_writable(fs))
		tell_read_only(req, name);
	upload_unref(u);
	node_put(&fs->nodes, parent);
	node_put(&fs->nodes, new_parent);
	if (rc != RENAME_LATER)
		reply_error(req, rc);
}

/* ---- not supported ------------------------------------------------------------------------------------- */

void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent_id, const char *name)
{
	(void)target;
	(void)parent_id;
	(void)name;
	reply_error(req, EPERM);
}

void op_link(fuse_req_t req, fuse_ino_t id, fuse_ino_t parent_id, const char *name)
{
	(void)id;
	(void)parent_id;
	(void)name;
	reply_error(req, EPERM);
}
