/* SPDX-License-Identifier: MIT */
/*
 * restore.c - see restore.h: the order of steps.
 *
 *   1 look       what is at the place. A hot journal that a crash of the application left is rolled back, as
 *                its next open would.
 *   2 sense      an upload that looks like a mistake, or changes nothing, ends here; in the latter case the
 *                live content is synced, because applications may not have done that.
 *   3 fit        an upload with another page size is copied and converted in the store. A crash leaves the
 *                copy for the next start to remove.
 *   4 undo       what is replaced is copied to the store while applications go on. A crash leaves a partial
 *                snapshot, which the next start removes.
 *   5 lock       a missing file is created, empty; a crash or a failure leaves it, because an application may
 *                have opened it already. The write lock is taken as any writer takes it; what was committed
 *                since 4 is added to the snapshot, which is synced and named. From here on, a crash leaves a
 *                snapshot of what is still there.
 *   6 write      one transaction. A crash leaves the old content: in WAL mode frames without a commit, which
 *                the next writer overwrites; else a hot journal, which the next reader rolls back.
 *   7 commit     a crash leaves the new content, or the old content as long as the WAL is not synced.
 *   8 settle     the WAL is synced, or the folder in which a journal was deleted: now the restore is durable,
 *                and whoever waits is told. Then a checkpoint; it comes before that where the old file could
 *                not be read, because a mount that starts after a power failure could not recognise the
 *                database by its file alone.
 *
 * What must stay true: nothing of the live database is written before its undo is named; after a failure, the
 * answer depends on the state of the live database when its write lock was released, and where that is
 * unknown the undo stays; no wait is endless.
 */
#include "restore_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "progress.h"

/* Creates the upload's generation, with its own descriptor of the uploaded bytes. */
static int make_generation(struct restore *r)
{
	int fd = fcntl(staging_fd(r->order->staging), F_DUPFD_CLOEXEC, 0);

	if (fd < 0)
		return err_errno(r->err, "cannot keep the uploaded bytes at hand");
	r->out->size = staging_size(r->order->staging);
	if (source_upload_create(r->source, fd, r->out->size, r->order->report->header.page_size,
				 r->order->mtime_ns, &r->gen))
		return err_set(r->err, -ENOMEM, "out of memory");
	return 0;
}

/* The live database already has this content: nothing is written, and the name shows it as it was
 * uploaded. */
static int accept_unchanged(struct restore *r)
{
	struct version version = r->view.version;
	int rc = restore_sync_view(r);

	if (rc)
		return rc;
	if (r->kind == RESTORE_ROLLBACK)
		version_age(r, &version);
	source_upload_publish(r->source, r->gen, &version);
	r->out->committed = r->out->unchanged = true;
	return 0;
}

static int open_and_lock(struct restore *r)
{
	int rc = restore_dest_open(r);

	return rc ? rc : restore_lock(r);
}

/* Steps 5 to 8. */
static int write_it(struct restore *r)
{
	int rc = open_and_lock(r);

	if (rc == RESTORE_MISFIT) {
		/* The page size of an unreadable database was not known before. */
		restore_dest_close(r);
		rc = restore_fit(r, r->dest_page_size);
		rc = rc ? rc : open_and_lock(r);
	}
	if (rc > 0)
		rc = err_set(r->err, -EBUSY, "its page size is being changed");
	if (!rc)
		rc = restore_undo_commit(r);
	if (!rc)
		rc = restore_check_room(r); /* the snapshot may have used it up */
	if (!rc && restore_is_cancelled(r))
		rc = err_set(r->err, -ECANCELED, "cancelled");
	view_close(&r->view);
	if (!rc)
		rc = restore_commit(r);
	if (r->out->committed)
		rc = restore_settle(r); /* a failure after the commit no longer matters */
	restore_dest_close(r);
	return rc;
}

static int replace(struct restore *r)
{
	int rc = restore_fit(r, r->kind == RESTORE_WAL ? r->view.header.page_size
						       : r->order->report->header.page_size);

	if (!rc)
		rc = restore_check_room(r);
	if (!rc)
		rc = restore_undo_begin(r);
	if (!rc)
		rc = restore_check_room(r); /* before anybody is locked out for nothing */
	if (r->kind != RESTORE_ROLLBACK)
		progress_over(r->order->progress, 2);
	if (!rc && r->kind != RESTORE_WAL)
		view_close(&r->view); /* SHARED would keep our own writer out */
	if (!rc)
		rc = write_it(r);
	if (!r->out->committed && !r->out->doubtful)
		restore_undo_drop(r);
	if (r->out->undo[0]) /* also after a failed restore: there may be many */
		keep_prune(r->core->store, r->source->path, r->order->keep, r->out->undo, realtime_ns(),
			   NULL);
	keep_destroy(steal_ptr(&r->undo.keep));
	r->undo.begun = r->undo.counted = 0;
	r->undo.cloned = false;
	restore_unfit(r);
	return rc;
}

/* Steps 2 to 8. */
static int replace_what_stands_there(struct restore *r)
{
	int rc = 0;

	if (restore_is_readable(r))
		rc = view_open(r);
	if (!rc)
		rc = restore_make_sense(r);
	if (!rc)
		rc = make_generation(r);
	if (!rc)
		rc = restore_compare(r);
	if (rc == 1)
		rc = accept_unchanged(r);
	else if (rc == 0)
		rc = replace(r);
	view_close(&r->view);
	return rc;
}

static int run(struct restore *r)
{
	int rc = restore_live_open(r);

	if (!rc)
		rc = replace_what_stands_there(r);
	if (rc == -EIO && r->unreadable && r->live) {
		snap_gen_unref(steal_ptr(&r->gen));
		rc = restore_live_break(r);
		if (!rc)
			rc = replace_what_stands_there(r);
	}
	restore_live_close(r);
	snap_gen_unref(r->gen);
	return rc;
}

void restore_measure(struct restore *r)
{
	r->out->took_ns = monotonic_ns() - r->began;
	r->out->locked_ns = r->watch.held_ns;
}

int restore_run(const struct restore_order *order, struct snap_restored *out, struct snap_err *err)
{
	struct snap_err ignored;
	struct restore r = {.order = order,
			    .out = out,
			    .err = err ? err : &ignored,
			    .source = order->source,
			    .core = order->source->core,
			    .dirfd = -1,
			    .fit = {.dir = -1, .own_dir = -1, .own_fd = -1},
			    .dest = DB_INIT,
			    .staged = DB_INIT};
	int rc;

	r.began = monotonic_ns();
	memset(out, 0, sizeof(*out));
	out->new_user_version = order->report->header.user_version;
	if (order->source->refused)
		return err_set(err, order->source->refused, "%s", order->source->refusal.text);
	rc = source_restore_begin(order->source, order->cancelled, order->arg);
	if (rc)
		return err_set(err, rc, "cancelled while another restore was under way");
	rc = run(&r);
	source_restore_end(order->source);
	restore_measure(&r);
	/* On ESTALE the kernel would look the name up again, and write to whatever it leads to by then. */
	return rc == -ESTALE ? -EBUSY : rc;
}
