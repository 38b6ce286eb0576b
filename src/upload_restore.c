/* SPDX-License-Identifier: MIT */
/*
 * upload_restore.c - the verdict on an upload, and its restore.
 *
 * What must stay true: nothing is written while a verdict is being made (busy); a verdict is about one state
 * of the content.
 */
#include "upload_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "headstart.h"
#include "opath.h"
#include "progress.h"
#include "restore.h"
#include "target.h"

static int begin_verdict(struct snap_upload *u, struct snap_err *err)
{
	int rc = 0;

	pthread_rwlock_wrlock(&u->lock);
	if (u->busy || u->spent)
		rc = err_set(err, -EBUSY,
			     u->busy ? "it is being restored already"
				     : "there was no memory to write it anew");
	else
		u->busy = true;
	pthread_rwlock_unlock(&u->lock);
	return rc;
}

static void end_verdict(struct snap_upload *u)
{
	pthread_rwlock_wrlock(&u->lock);
	u->busy = false;
	pthread_rwlock_unlock(&u->lock);
}

/* The gate, once for each state of the content. Busy. */
static int check(struct snap_upload *u, const struct snap_restore *order, struct snap_err *err)
{
	const struct snap_config *config = &u->snap->core.config;
	uint64_t at = u->changes + staging_changes(u->staging);
	struct validate_order check = {.fd = staging_fd(u->staging),
				       .size = staging_size(u->staging),
				       .full = config->check_full,
				       .fit_fd = -1,
				       .timeout_ms = VALIDATE_PATIENCE_MS,
				       .cancelled = order->cancelled,
				       .arg = order->arg,
				       .progress = order->progress};
	int rc;

	if (u->checked && u->checked_at == at) {
		if (err)
			*err = u->check_err;
		return u->check_rc;
	}
	u->check_err = (struct snap_err){""};
	validate_report_finish(&u->report);
	progress_begin(order->progress, SNAP_PHASE_CHECKING, 0, 2 * check.size);
	rc = check.fd < 0 ? err_set(&u->check_err, -EMEDIUMTYPE, "it is empty")
			  : validate_file(&check, &u->report, &u->check_err);
	/* A shortage in this process says nothing about the file, and the next check may have more luck. */
	u->checked = rc != -ECANCELED && !opath_transient(rc);
	u->checked_at = at;
	u->check_rc = rc;
	if (err)
		*err = u->check_err;
	return rc;
}

int snap_upload_check(struct snap_upload *u, const struct snap_restore *order, struct snap_err *err)
{
	int rc = begin_verdict(u, err);

	if (rc)
		return rc;
	rc = check(u, order, err);
	end_verdict(u);
	return rc;
}

/* Makes NEXT the content; NULL: there is no memory, and writes are refused from now on. Ends the headstart of
 * the restore that the old content may have been for. */
static void replace(struct snap_upload *u, struct staging *next)
{
	struct headstart *headstart;
	struct staging *old = NULL;

	pthread_rwlock_wrlock(&u->lock);
	headstart = steal_ptr(&u->headstart);
	atomic_store(&u->asked, false);
	u->spent = !next;
	if (next) {
		old = u->staging;
		u->changes += staging_changes(old) + 1;
		u->staging = next;
		u->checked = false;
	}
	pthread_rwlock_unlock(&u->lock);
	upload_let_go(u->snap, old, headstart);
}

/* Ends the headstart of a restore that is over. Busy. */
static void end_headstart(struct snap_upload *u)
{
	headstart_end(steal_ptr(&u->headstart));
	atomic_store(&u->asked, false);
}

/* The content is shown to readers from now on, so further writes go to another file over it. */
static void begin_anew(struct snap_upload *u, const char *path)
{
	struct staging *next = NULL;
	struct snap_gen *gen = NULL;
	struct snap_attr attr;

	if (snap_lookup(u->snap, path, &attr, &gen, NULL))
		gen = NULL;
	if (staging_create(&next, u->snap->core.store, NULL) == 0 && gen)
		upload_lend(next, gen, false, NULL);
	snap_gen_unref(gen);
	replace(u, next);
}

void snap_upload_discard(struct snap_upload *u)
{
	struct staging *next = NULL;

	staging_create(&next, u->snap->core.store, NULL);
	replace(u, next);
}

/* A restore under way. */
struct job {
	struct snap_upload *upload;
	const struct snap_restore *order;
	struct snap_restored done;
	bool told;	     /* it is durable, and the restore no longer uses the upload */
	char undo_path[512]; /* where its kept snapshots show the database */
};

/* Completes DONE; afterwards the upload may be written to again. */
static void end_job(struct job *job)
{
	struct snap_restored *done = &job->done;

	end_headstart(job->upload);
	if (done->committed)
		begin_anew(job->upload, job->order->path);
	done->changes = snap_upload_changes(job->upload);
	if (done->undo[0])
		memcpy(done->undo_path, job->undo_path, sizeof(done->undo_path));
	else
		done->undo_raw = false;
	end_verdict(job->upload);
}

static bool is_cancelled(void *arg)
{
	const struct job *job = arg;

	return job->order->cancelled && job->order->cancelled(job->order->arg);
}

static void tell_durable(void *arg)
{
	struct job *job = arg;

	end_job(job);
	job->told = true;
	if (job->order->durable)
		job->order->durable(job->order->arg, &job->done);
}

static int restore(struct job *job, struct snap_err *err)
{
	struct snap_upload *u = job->upload;
	const struct snap_restore *order = job->order;
	struct snap *snap = u->snap;
	struct target target;
	struct source *source = NULL;
	const char *shown;
	int rc = upload_find_target(snap, order->path, &target, err);

	if (rc == 0 && target.kind != SNAP_NAME_DATABASE)
		rc = err_set(err, -EPERM, "it is no database's name any more");
	if (rc == 0)
		rc = sources_get(snap->core.sources, &target.place, &source);
	target_finish(&target);
	if (rc)
		return rc;
	shown = source->path ? kept_shown_path(snap->kept, source->path) : NULL;
	snprintf(job->undo_path, sizeof(job->undo_path), "%s", shown ? shown : "");
	struct restore_order to = {.source = source,
				   .staging = u->staging,
				   .report = &u->report,
				   .file = order->file,
				   .folder = order->folder,
				   .force = snap->core.config.force,
				   .keep = snap->core.config.keep,
				   .headstart = u->headstart,
				   .busy_timeout_ms = snap->core.config.busy_timeout_ms,
				   .mtime_ns = order->mtime_ns,
				   .cancelled = is_cancelled,
				   .durable = tell_durable,
				   .arg = job,
				   .progress = order->progress};

	rc = restore_run(&to, &job->done, err);
	source_unref(source);
	return rc;
}

int snap_upload_restore(struct snap_upload *u, const struct snap_restore *order, struct snap_restored *done,
			struct snap_err *err)
{
	struct job job = {.upload = u, .order = order};
	int rc = begin_verdict(u, err);

	if (rc)
		return rc;
	rc = check(u, order, err);
	progress_over(order->progress, 1);
	if (rc == 0)
		rc = restore(&job, err);
	if (!job.told)
		end_job(&job);
	*done = job.done;
	return rc;
}
