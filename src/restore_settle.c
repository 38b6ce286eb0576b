/* SPDX-License-Identifier: MIT */
/*
 * restore_settle.c - what follows the commit: it is synced, and its WAL checkpointed into the database file.
 *
 * What must stay true: a checkpoint of ours that changes the wal-index header does not take the uploaded
 * bytes from readers, because the content is the same.
 */
#include "restore_private.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "progress.h"

/* Runs one checkpoint. Whatever it does to the header, the content stays the same, and nobody else can commit
 * while it holds the write lock. */
static int checkpoint(struct restore *r, int mode)
{
	struct watch *w = &r->watch;
	int rc;

	w->base.known = w->after.known = false;
	w->checkpointing = true;
	rc = sqlite3_wal_checkpoint_v2(r->dest.handle, "main", mode, NULL, NULL);
	w->checkpointing = false;
	if (w->base.known && w->after.known)
		source_upload_moved(r->source, &w->base.version, &w->after.version);
	source_commit_over(r->source);
	return db_errno(&r->dest, rc);
}

static void shorten_wal(struct restore *r)
{
	struct wal_header header;
	uint32_t copied;

	if (!vfs_wal_is_open(r->dest.vfs) || vfs_wal_header(r->dest.vfs, &header) ||
	    vfs_wal_backfill(r->dest.vfs, &copied))
		return;
	sqlite3_busy_timeout(r->dest.handle, 0);
	/* Uploaded bytes that are only shown are given up: where blocks are shared, an application would find
	 * no space either. */
	if (copied < header.max_frame && checkpoint(r, SQLITE_CHECKPOINT_PASSIVE) == -ENOSPC) {
		core_make_room(r->core);
		checkpoint(r, SQLITE_CHECKPOINT_PASSIVE);
	}
	if (copied <= header.max_frame) /* else another checkpoint met the WAL-reset bug */
		checkpoint(r, SQLITE_CHECKPOINT_TRUNCATE);
}

/* Where there was no readable database, the source connects now, so that its version outlives this
 * connection. */
static void connect_source(struct restore *r)
{
	struct version from = r->watch.after.version, to;
	struct sample sample;

	if (r->live || !vfs_wal_is_open(r->dest.vfs) || source_sample_now(r->source, NULL, &sample) ||
	    source_connect(r->source, &r->st, monotonic_ns() + NS_PER_S, true, &r->live, NULL) || !r->live ||
	    source_sample_live(r->source, r->live, &sample))
		return;
	to = sample.version;
	/* The wal-index stayed mapped in between: an equal header means the same commit. */
	if (from.has_header && to.has_header && memcmp(from.header, to.header, sizeof(to.header)) == 0)
		source_upload_moved(r->source, &from, &to);
}

/* If a deleted journal reappears after a power failure, it brings back the old content. */
static int sync_folder(struct restore *r)
{
	autoclose int fd = openat(r->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return 0; /* SQLite skips this, too */
	return fsync(fd) ? -errno : 0;
}

/* Makes the restore outlive a power failure. */
static int make_durable(struct restore *r)
{
	int rc = r->dest.handle && vfs_wal_is_open(r->dest.vfs) ? vfs_sync_wal(r->dest.vfs) : sync_folder(r);

	return rc ? err_set(r->err, -EIO, "restored, but the disk refused to make it durable") : 0;
}

int restore_sync_view(struct restore *r)
{
	int rc = vfs_sync(r->view.conn ? r->view.conn->db.vfs : r->live->hub->db.vfs);

	rc = rc ? rc : sync_folder(r);
	return rc ? err_set(r->err, -EIO, "it holds that already, but the disk refused to make it durable")
		  : 0;
}

static void tell_durable(struct restore *r)
{
	restore_measure(r);
	if (r->order->durable)
		r->order->durable(r->order->arg);
}

int restore_settle(struct restore *r)
{
	bool first;
	int rc;

	if (!r->dest.handle)
		return make_durable(r);
	progress_begin(r->order->progress, SNAP_PHASE_SETTLING, SNAP_PROGRESS_STEPS, 0);
	restore_finish_backup(r, false);
	sqlite3_db_config(r->dest.handle, SQLITE_DBCONFIG_RESET_DATABASE, 0, NULL);
	/* Before anybody is told and looks: the first to connect makes another incarnation. */
	connect_source(r);
	source_commit_over(r->source);
	rc = make_durable(r);
	/* If the old file could not be read, the file is no database before the checkpoint, and a mount would
	 * not recognise it as one. */
	first = r->kind == RESTORE_BROKEN;
	if (!rc && first)
		shorten_wal(r);
	if (!rc)
		tell_durable(r);
	if (!vfs_wal_is_open(r->dest.vfs))
		return rc;
	if (!rc && !first)
		shorten_wal(r);
	if (r->live)
		source_upload_refresh(r->source, r->live);
	restore_tidy_later(r);
	return rc;
}

int restore_shorten(struct restore *r)
{
	int rc = restore_db_open(r, &r->dest, DB_RESTORER, r->err);

	if (rc)
		return rc;
	vfs_set_write_watch(r->dest.vfs, restore_on_write, r);
	rc = restore_is_still_there(r);
	if (!rc)
		rc = db_errno(&r->dest, db_exec(&r->dest, "PRAGMA user_version"));
	if (!rc && vfs_wal_is_open(r->dest.vfs))
		shorten_wal(r);
	db_close(&r->dest);
	return rc;
}
