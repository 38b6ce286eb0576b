/* SPDX-License-Identifier: MIT */
/*
 * ops.c - the table of low-level operations: decode, call, one reply. What counts as a file or a database is
 * decided elsewhere.
 *
 * What must stay true: nothing touches a handle or a node after its reply; what may wait for a live database
 * is answered from one of the library's threads, never from the session's loop; entries have a timeout of 0,
 * because the page cache of a nodeid is all that the kernel may trust without asking; so have attributes,
 * except those of what is no database, which serve for the walk that asked for them (WALK_SECONDS).
 */
#define LOG_MODULE "ops"
#include "ops_private.h"

#include <errno.h>
#include <limits.h>

#include "fault.h"
#include "log.h"

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

/*
 * How long the kernel may use the attributes of what is live and no database: for the least that it can
 * count, which ends one or two of its timer interrupts later (4 to 8 ms at 250 Hz). A system call by a path
 * asks for each name of it in any case, so that what it finds is as new as with 0; but it would ask once more
 * for the rights to each folder, and for the attributes of the file that it has just looked up. What is not
 * looked up, because it is the root, a working directory or open, may be that old.
 */
#define WALK_SECONDS 1e-9

/* What a name leads to; has a reference to a generation if it is a database, to an upload if it is being
 * written. */
struct looked {
	struct snap_attr attr;
	double attr_seconds; /* for which the kernel may use them */
	struct snap_gen *gen;
	struct upload *upload;
};

/* What the caller itself is writing under the name, or any process under a temporary one. */
static struct upload *find_upload(struct fs *fs, pid_t tid, uint64_t parent, const char *name)
{
	struct upload *u = upload_led(&fs->uploads, tid, parent, name);

	return u ? u : upload_scratch(&fs->uploads, parent, name);
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
		out->attr_seconds = out->attr.kind == SNAP_DATABASE ? 0 : WALK_SECONDS;
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
			log_warn("\"%s\": %s%s", name, err.text, fault_remedy(rc));
		reply_error(req, rc);
		return;
	}
	e.attr = attr_to_stat(&found.attr);
	e.attr_timeout = found.upload ? 0 : found.attr_seconds;
	reply_entry(req, &e);
}

static void op_forget(fuse_req_t req, fuse_ino_t id, uint64_t n)
{
	node_forget(&fs_of(req)->nodes, id, n);
	snap_freed(fs_of(req)->config.snap);
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		node_forget(&fs_of(req)->nodes, forgets[i].ino, forgets[i].nlookup);
	snap_freed(fs_of(req)->config.snap);
	fuse_reply_none(req);
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

	fuse_reply_attr(req, &st, attr.kind == SNAP_FOLDER ? WALK_SECONDS : 0);
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
