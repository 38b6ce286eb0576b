/* SPDX-License-Identifier: MIT */
/*
 * restore.h - an upload becomes the content of a live database, in one SQLite transaction.
 *
 * restore.c         the order of steps, and what a crash leaves after each
 * restore_live.c    what is at the place: WAL or rollback-journal mode, empty, missing, garbage
 * restore_view.c    the live database held still for reading
 * restore_sense.c   uploads that look like a mistake; uploads that change nothing
 * restore_undo.c    keeping what is replaced
 * restore_copy.c    copying its content
 * restore_write.c   the transaction, and whether it was committed
 * restore_anew.c    writing where SQLite finds no database
 * restore_settle.c  the sync and the checkpoint after the transaction
 * restore_tidy.c    that checkpoint, retried when readers have gone
 * source_restore.c  the generation that shows the uploaded bytes for as long as the restored version stands
 */
#ifndef SQLSNAP_RESTORE_H
#define SQLSNAP_RESTORE_H

#include "source.h"
#include "staging.h"
#include "validate.h"

struct headstart;

struct restore_order {
	struct source *source;		      /* borrowed; its file may be missing */
	struct staging *staging;	      /* borrowed; complete, and not written to meanwhile */
	const struct validate_report *report; /* borrowed; the verdict on STAGING as it is */
	struct snap_inode file, folder;	      /* as in struct snap_restore */
	bool force;			      /* accept what looks like a mistake */
	unsigned keep;			      /* before-restore snapshots to keep; 0: none is made */
	struct headstart *headstart;	      /* borrowed; NULL: there is none */
	int busy_timeout_ms;		      /* how long to wait for the live database's lock */
	int64_t mtime_ns;		      /* that the restored database shows; 0: now */
	bool (*cancelled)(void *arg);	      /* asked until the point of no return; NULL: never */
	/* Called when the restore is committed, durable and visible, with OUT filled and the source still
	 * held by this restore. Only a checkpoint follows, for which nobody need wait (it came first if the
	 * old file could not be read). STAGING and REPORT are no longer used. Not called if nothing was
	 * written, or on failure. May be NULL. */
	void (*durable)(void *arg);
	void *arg;			/* of both */
	struct snap_progress *progress; /* NULL: nobody looks */
	vfs_fault_fn fault;		/* of the connection that writes; for tests, with its argument */
	void *fault_arg;
};

/*
 * Replaces the content of the live database. 0: restored (or UNCHANGED) and durable. From then on, until the
 * database changes, its name shows the bytes of STAGING and the requested mtime. STAGING's file is what
 * readers are shown: nobody may write to it again. Runs on the library's threads and may take minutes.
 * Several restores of one source take turns.
 *
 * OUT gets everything but CHANGES and UNDO_PATH, which belong to the upload.
 *
 * -errno with a message in ERR: the live database is unchanged, unless OUT says COMMITTED (the disk failed to
 * make it durable, or a step after the commit failed) or DOUBTFUL. But a missing database may now be there,
 * empty; and the -wal or -journal of a damaged one may be gone, in which case OUT names the UNDO that holds
 * it.
 *   -EINVAL   the upload looks like a mistake (without FORCE), or has another text encoding (always)
 *   -EINVAL   the live file is not a regular file; -EMLINK: it has several names
 *   -EBUSY    locked past BUSY_TIMEOUT_MS, or replaced meanwhile
 *   -ENOSPC   no space for the WAL, the journal, the growth or the snapshot of what is replaced
 *   -EACCES, -EROFS  this process may not write to it or its sidecars
 *   -ECANCELED  CANCELLED returned true
 *   -EOPNOTSUPP  the upload cannot be converted to the page size of the live database's WAL, for which
 *             validate_file() may also return -EUCLEAN
 *   -EIO, -ENOMEM
 */
int restore_run(const struct restore_order *order, struct snap_restored *out, struct snap_err *err);

#endif
