/* SPDX-License-Identifier: MIT */
/*
 * ops_create.c - see ops_private.h: opening for writing, and files that are made.
 *
 * What must stay true: a generation's nodeid is never opened for writing; no user gets a descriptor whose
 * close could restore a live file which that user may not write.
 */
#define LOG_MODULE "ops"
#include "ops_private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "fault.h"
#include "log.h"

/* Tells the upload which database it may become: that of its own name; or, for the temporary names of rsync
 * (".NAME.abcdef") and rclone ("NAME.abcdef.partial"), that of NAME. */
static void expect(struct upload *u, const char *path)
{
	char target[PATH_MAX];
	char *name, *end;

	snprintf(target, sizeof(target), "%s", path);
	name = strrchr(target, '/');
	name = name ? name + 1 : target;
	if (u->kind == UPLOAD_SCRATCH) {
		end = strrchr(name, '.');
		if (end && name[0] != '.' && strcmp(end, ".partial") == 0) {
			*end = '\0';
			end = strrchr(name, '.');
		}
		if (!end || end == name)
			return;
		*end = '\0';
		if (name[0] == '.')
			memmove(name, name + 1, strlen(name));
	}
	upload_expect(u, target);
}

/* ---- opening ------------------------------------------------------------------------------------------- */

/* An OPEN for writing of a database's name, on a thread that may wait. */
struct intent_job {
	struct fs *fs;
	fuse_req_t req;
	struct node *node; /* a reference */
	struct actor who;
	bool readable;
};

static bool is_control(const char *path)
{
	return strncmp(path, CONTROL_FOLDER "/", sizeof(CONTROL_FOLDER)) == 0;
}

static int make_order(struct intent_job *job, const char *path, const struct snap_actor *by,
		      struct upload_order *order)
{
	struct snap *snap = job->fs->config.snap;
	struct node *node = job->node;
	struct snap_inode folder = node_folder(node->parent);
	struct snap_attr attr;
	int rc = node->gen ? snap_gen_stat_at(snap, &folder, path, node->gen, true, &attr)
			   : snap_lookup_in(snap, &folder, path, &attr, NULL, NULL);

	if (rc)
		return rc;
	/* The kernel checks the rights: at OPEN of the upload, by the mode and owner that are shown for
	 * it. */
	*order = (struct upload_order){.kind = UPLOAD_DATABASE,
				       .parent = node->parent->id,
				       .folder = folder,
				       .name = node->name,
				       .path = path,
				       .ino = attr.ino,
				       .mode = attr.mode,
				       .uid = attr.uid,
				       .gid = attr.gid,
				       .who = job->who,
				       .creator = by->pid,
				       .by = *by,
				       .over = true};
	return 0;
}

/* Nothing is known of the process that wants to write; WHY is the errno of the look at it. */
static int refuse_unknown(int why, struct snap_err *err)
{
	if (why == ENOMEM || why == EMFILE || why == ENFILE)
		return fault(err, -why, "cannot tell who wants to write: %s", strerror(why));
	return fault(err, -EACCES,
		     "whoever wants to write lives in another pid namespace and cannot be told apart: write "
		     "under a temporary name and rename it");
}

/* The upload to lead WHO to by NODE's name: one that its process has begun already, or a new one. */
static int make_intent(struct intent_job *job, struct upload **out, struct snap_err *err)
{
	struct fs *fs = job->fs;
	struct node *node = job->node;
	struct upload_order order;
	struct snap_actor by;
	char path[PATH_MAX];
	struct caller caller;
	struct upload *u;
	int rc = node_path(node, NULL, path, sizeof(path));

	if (rc)
		return rc;
	if (!is_database_name(fs, path, node->kind)) {
		if (!job->readable)
			tell_refusal(job->req, REFUSAL_PLAIN, path, "written",
				     is_control(path)
					     ? "what stands there is read-only: a restore is "
					       "written to a database's own name"
					     : "it is no database: copy other files into the source");
		return -EROFS;
	}
	if (!caller_look(&caller, job->who.tid))
		return refuse_unknown(errno, err);
	*out = upload_pending(&fs->uploads, caller.tgid, node->parent->id, node->name);
	if (*out)
		return 0;
	by = caller_actor(&caller, job->who.uid);
	rc = make_order(job, path, &by, &order);
	if (rc == 0)
		rc = upload_create(&u, &fs->uploads, &order, err);
	if (rc)
		return rc;
	expect(u, path);
	/* Nobody is shown a file that is not a database, so an upload over it begins empty. */
	rc = node->gen ? snap_upload_begin_with(u->data, node->gen, job->readable, err) : 0;
	if (rc == 0 && node->gen && job->readable)
		upload_in_place(u);
	if (rc)
		upload_unref(u);
	else
		*out = u;
	return rc;
}

/* Leads WHO to an upload. If the one that its process had begun was discarded meanwhile for being silent,
 * leads WHO to another. */
static int lead(struct intent_job *job, struct snap_err *err)
{
	for (;;) {
		struct upload *u = NULL;
		int rc = make_intent(job, &u, err);

		if (rc)
			return rc;
		rc = upload_lead(u, job->who.tid);
		upload_unref(u);
		if (rc != -ESTALE)
			return rc;
	}
}

static void run_intent(void *arg)
{
	struct intent_job *job = arg;
	struct snap_err err = {{0}};
	int rc = lead(job, &err);

	if (rc == UPLOAD_NOT_FOLLOWED)
		tell_refusal(job->req, REFUSAL_HELD, job->node->name, "written",
			     "its opener does not look up the name again: it has /proc/self/fd/N of an "
			     "older descriptor (as Samba has), or a bind mount of the file; write under a "
			     "temporary name and rename it");
	if (rc >= 0) {
		rc = -ESTALE; /* the kernel looks up the name again */
	} else if (err.text[0]) {
		log_error("\"%s\" cannot be opened for writing: %s%s", job->node->name, err.text,
			  fault_remedy(rc));
	}
	node_put(&job->fs->nodes, job->node);
	reply_error(job->req, rc);
}

/* Logs what a user who copies a database's -wal or -shm must know. */
static int refuse_sidecar(struct fs *fs, struct node *node)
{
	char path[PATH_MAX];
	struct snap_err err = {{0}};

	if (node_path(node, NULL, path, sizeof(path)) == 0 &&
	    snap_name_kind(fs->config.snap, path, &err) == SNAP_NAME_SIDECAR)
		log_error("\"%s\" cannot be written: %s", node->name, err.text);
	return -EACCES;
}

void open_for_writing(fuse_req_t req, struct node *node, const struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct intent_job job = {.fs = fs,
				 .req = req,
				 .node = node,
				 .who = actor_of(req),
				 .readable = (fi->flags & O_ACCMODE) == O_RDWR};
	int rc = check_writable(fs);

	if (rc && (fi->flags & O_ACCMODE) == O_WRONLY) /* SQLite tries O_RDWR, then only reads */
		tell_read_only(req, node->name);
	if (rc == 0 && node->kind == SNAP_SIDECAR)
		rc = job.readable ? -EACCES /* SQLite tries, then only reads */
				  : refuse_sidecar(fs, node);
	else if (rc == 0 && node->kind != SNAP_DATABASE && node->kind != SNAP_PLAIN)
		rc = -EROFS;
	if (rc == 0)
		rc = run_later(fs, job.who.uid, run_intent, &job, sizeof(job));
	if (rc == 0)
		return;
	node_put(&fs->nodes, node);
	reply_error(req, rc);
}

/* ---- making -------------------------------------------------------------------------------------------- */

/* A database's name under which the caller sees no file: it has removed that, or there is none. */
static int describe_database(struct fs *fs, const char *path, struct upload_order *order)
{
	struct snap_attr attr;
	int rc = snap_lookup_in(fs->config.snap, &order->folder, path, &attr, NULL, NULL);

	order->kind = UPLOAD_DATABASE;
	if (rc == -ENOENT)
		return 0; /* the folder's mode has already decided */
	if (rc)
		return order->who.uid == 0 ? 0 : rc;
	order->over = true;
	order->ino = attr.ino;
	order->mode = attr.mode;
	order->uid = attr.uid;
	order->gid = attr.gid;
	return caller_may_write(&order->who, attr.uid, attr.gid, attr.mode) ? 0 : -EACCES;
}

/* Sets what a file that is made at PATH will be. */
static int describe_new(struct fs *fs, fuse_req_t req, const char *path, mode_t mode,
			struct upload_order *order, struct snap_err *err)
{
	struct caller caller;
	int kind = snap_name_kind(fs->config.snap, path, err);

	order->path = path;
	order->who = actor_of(req);
	order->mode = mode & 0777;
	order->uid = order->who.uid;
	order->gid = order->who.gid;
	caller_look(&caller, order->who.tid);
	order->creator = caller.tgid;
	order->by = caller_actor(&caller, order->who.uid);
	order->kind = UPLOAD_SCRATCH;
	switch (kind) {
	case SNAP_NAME_DATABASE:
		return describe_database(fs, path, order);
	case SNAP_NAME_SCRATCH:
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

/* Makes the upload, with a reference in *OUT, and its node. KNOD: nobody has it open; the sender of the MKNOD
 * will look it up by its name. */
static int make_new(fuse_req_t req, struct node *parent, const char *name, mode_t mode, bool knod,
		    struct fuse_entry_param *e, struct upload **out, struct snap_err *err)
{
	struct fs *fs = fs_of(req);
	struct upload_order order = {.parent = parent->id, .folder = node_folder(parent), .name = name};
	struct upload *u = NULL;
	struct snap_attr attr;
	char path[PATH_MAX];
	int rc = node_path(parent, name, path, sizeof(path));

	if (rc == 0)
		rc = describe_new(fs, req, path, mode, &order, err);
	if (rc == 0 && knod && order.creator == 0)
		rc = -EPERM; /* it would not be found again */
	if (rc == 0)
		rc = upload_create(&u, &fs->uploads, &order, err);
	if (rc == 0)
		expect(u, path);
	if (rc == 0)
		rc = upload_truncate(u, 0, err); /* holes in a new file are zeros, and intended */
	if (rc == 0) {
		if (knod && order.kind == UPLOAD_DATABASE)
			upload_name(u);
		else if (order.kind == UPLOAD_DATABASE)
			tombstone_remove(&fs->tombstones, order.creator, parent->id, name);
		upload_stat(u, &attr);
		e->attr = attr_to_stat(&attr);
		rc = node_enter_upload(&fs->nodes, parent, name, &attr, u, &e->ino);
	}
	if (rc && u) {
		upload_unname(u);
		upload_unref(u);
	} else {
		*out = u;
	}
	return rc;
}

/* As make_new(), and opens a handle. */
static int create(fuse_req_t req, struct node *parent, const char *name, mode_t mode,
		  struct fuse_entry_param *e, struct handle **h, struct snap_err *err)
{
	struct fs *fs = fs_of(req);
	struct upload *u;
	struct node *node;
	int rc = make_new(req, parent, name, mode, false, e, &u, err);

	if (rc)
		return rc;
	node = node_get(&fs->nodes, e->ino);
	rc = handle_open_upload(h, &fs->handles, node, actor_of(req).tid, err);
	node_put(&fs->nodes, node);
	if (rc) {
		node_forget(&fs->nodes, e->ino, 1);
		upload_unname(u);
	}
	upload_unref(u);
	return rc;
}

/* Logs nothing for a journal, which SQLite tries to make beside a database that it only reads. */
static void tell_new_read_only(fuse_req_t req, struct node *parent, const char *name)
{
	char path[PATH_MAX];

	if (node_path(parent, name, path, sizeof(path)) == 0 &&
	    snap_name_kind(fs_of(req)->config.snap, path, NULL) != SNAP_NAME_SIDECAR)
		tell_read_only(req, name);
}

void op_create(fuse_req_t req, fuse_ino_t parent_id, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct node *parent = node_get(&fs->nodes, parent_id);
	struct fuse_entry_param e = entry_init(fs);
	struct handle *h = NULL;
	struct snap_err err = {{0}};
	int rc = parent ? check_writable(fs) : -ESTALE;

	if (rc == -EROFS)
		tell_new_read_only(req, parent, name);
	if (rc == 0)
		rc = create(req, parent, name, mode, &e, &h, &err);
	node_put(&fs->nodes, parent);
	if (rc) {
		/* Not for a journal, see tell_new_read_only(). */
		if (err.text[0] && !(rc == -EACCES && (fi->flags & O_ACCMODE) == O_RDWR))
			log_error("\"%s\" cannot be written: %s%s", name, err.text, fault_remedy(rc));
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

/* tar --xattrs makes a file first, gives it its attributes, and then opens it. */
void op_mknod(fuse_req_t req, fuse_ino_t parent_id, const char *name, mode_t mode, dev_t rdev)
{
	struct fs *fs = fs_of(req);
	struct node *parent = node_get(&fs->nodes, parent_id);
	struct fuse_entry_param e = entry_init(fs);
	struct upload *u = NULL;
	struct snap_err err = {{0}};
	int rc = parent ? check_writable(fs) : -ESTALE;

	(void)rdev;
	if (rc == -EROFS)
		tell_new_read_only(req, parent, name);
	if (rc == 0)
		rc = S_ISREG(mode) ? make_new(req, parent, name, mode, true, &e, &u, &err) : -EPERM;
	node_put(&fs->nodes, parent);
	if (rc && err.text[0])
		log_error("\"%s\" cannot be written: %s%s", name, err.text, fault_remedy(rc));
	upload_unref(u);
	if (rc)
		reply_error(req, rc);
	else
		reply_entry(req, &e);
}
