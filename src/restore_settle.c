/* SPDX-License-Identifier: MIT */
/*
 * restore_settle.c - what follows the commit: it is brought to the disk, and its WAL into the database file.
 *
 * What must stay true: a checkpoint of ours that changes the header of the wal-index does not take the
 * uploaded bytes from readers, for the content is the same.
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

/* Runs one checkpoint. Whatever it does to the header, the content stays, and nobody else can have committed
 * while it held the write lock. */
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
	/* What is only shown gives way: where blocks are shared, an application would find no room either. */
	if (copied < header.max_frame && checkpoint(r, SQLITE_CHECKPOINT_PASSIVE) == -ENOSPC) {
		core_make_room(r->core);
		checkpoint(r, SQLITE_CHECKPOINT_PASSIVE);
	}
	if (copied <= header.max_frame) /* else somebody's checkpoint met the WAL-reset bug */
		checkpoint(r, SQLITE_CHECKPOINT_TRUNCATE);
}

/* Where nothing readable stood, the source connects now, so that its version outlives this connection. */
static void connect_source(struct restore *r)
{
	struct version from = r->watch.after.version, to;
	struct sample sample;

	if (r->live || !vfs_wal_is_open(r->dest.vfs) || source_sample_now(r->source, NULL, &sample) ||
	    source_connect(r->source, &r->st, monotonic_ns() + NS_PER_S, true, &r->live, NULL) || !r->live ||
	    source_sample_live(r->source, r->live, &sample))
		return;
	to = sample.version;
	/* The wal-index stayed mapped in between: an equal header is the same commit. */
	if (from.has_header && to.has_header && memcmp(from.header, to.header, sizeof(to.header)) == 0)
		source_upload_moved(r->source, &from, &to);
}

/* A journal that was deleted, and is there again after a power failure, would bring the old content back. */
static int sync_folder(struct restore *r)
{
	autoclose int fd = openat(r->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return 0; /* SQLite lets it be, too */
	return fsync(fd) ? -errno : 0;
}

/* Whether it would outlive a power failure. */
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
	/* Before anybody is told and looks: whoever connects first is another incarnation. */
	connect_source(r);
	source_commit_over(r->source);
	rc = make_durable(r);
	/* Of what could not be read the file is no database before that, and a mount would not take it for
	 * one. */
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
