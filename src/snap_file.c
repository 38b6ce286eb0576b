/* SPDX-License-Identifier: MIT */
/*
 * snap_file.c - see sqlsnap.h: plain files of the tree and of kept snapshots, and the snapshots themselves.
 *
 * What must stay true: a file of a snapshot is the same file, with the same attributes and bytes, while it is
 * being written and when it is kept, and for those who have it open, even after it was dropped.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "opath.h"
#include "snap_private.h"

struct snap_file {
	struct snap *snap;
	struct rawfd raw;
	struct snap_gen *gen; /* opened, a reference: read instead of RAW; NULL: none */
	bool kept;
	struct snap_attr attr; /* KEPT */
};

int snap_file_open(struct snap *snap, const char *path, uint64_t key_dev, uint64_t key_ino,
		   struct snap_file **out, struct snap_err *err)
{
	autofree struct snap_file *f = calloc(1, sizeof(*f));
	int rc;

	if (!f)
		return err_set(err, -ENOMEM, "out of memory");
	f->snap = snap;
	f->raw = RAWFD_INIT;
	f->kept = kept_tree_has(path);
	rc = f->kept ? kept_tree_look(snap->kept, path, &f->attr) : 0;
	if (opath_transient(rc))
		return err_set(err, rc, "%s", strerror(-rc));
	if (f->kept && (rc || f->attr.key_dev != key_dev || f->attr.key_ino != key_ino))
		return err_set(err, -ESTALE, "%s", strerror(ESTALE));
	f->gen = f->kept ? kept_tree_open_pending(snap->kept, path, key_dev, key_ino) : NULL;
	if (f->gen) {
		*out = steal_ptr(&f);
		return 0;
	}
	rc = f->kept ? kept_tree_open(snap->kept, path, key_dev, key_ino, &f->raw)
		     : tree_open_plain(snap->tree, path, key_dev, key_ino, &f->raw);
	if (rc)
		return err_set(err, rc, "%s", strerror(-rc));
	*out = steal_ptr(&f);
	return 0;
}

ssize_t snap_file_read(struct snap_file *f, void *buf, size_t size, uint64_t offset)
{
	ssize_t got;

	if (f->gen)
		return snap_gen_read(f->gen, buf, size, offset, NULL);
	got = pread(f->raw.fd, buf, size, (off_t)offset);
	return got < 0 ? -errno : got;
}

int snap_file_lend(struct snap_file *f, int (*use)(void *arg, int fd), void *arg)
{
	struct stat st;

	if (f->gen)
		return snap_gen_lend(f->gen, use, arg);
	if (!f->kept || fstat(f->raw.fd, &st) || (uint64_t)st.st_size != f->attr.size ||
	    !rawfd_takes_direct(f->snap->core.raw, f->raw.fd))
		return -ENOENT;
	return use(arg, f->raw.fd);
}

int snap_file_stat(struct snap_file *f, struct snap_attr *attr)
{
	if (!f->kept)
		return tree_stat_plain(f->snap->tree, &f->raw, attr);
	*attr = f->attr;
	return 0;
}

void snap_file_close(struct snap_file *f)
{
	rawfd_close(f->snap->core.raw, &f->raw);
	if (f->gen) {
		snap_gen_close(f->gen);
		snap_gen_unref(f->gen);
	}
	free(f);
}

int snap_kept_make(struct snap *snap, const char *name, struct snap_err *err)
{
	return snapshots_take(snap->snapshots, name, err);
}

int snap_kept_drop(struct snap *snap, const char *name, struct snap_err *err)
{
	bool given_up = snapshots_drop(snap->snapshots, name) == 0;
	int rc = kept_tree_drop(snap->kept, name, err);

	if (!rc)
		snapshots_forget_lost(snap->snapshots, name);
	return given_up && rc == -ENOENT ? 0 : rc;
}
