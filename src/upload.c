/* SPDX-License-Identifier: MIT */
/*
 * upload.c - uploads as sqlsnap.h has them: a staging file, what it began with, and the verdict about it.
 *
 * What must stay true: while a verdict is made nothing is written (busy); a verdict is about one state of the
 * content; the staging file that a restore has shown to readers is never written again.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "headstart.h"
#include "progress.h"
#include "restore.h"
#include "snap_private.h"
#include "staging.h"
#include "target.h"
#include "validate.h"

struct snap_upload {
	struct snap *snap; /* borrowed */

	pthread_rwlock_t lock;	 /* writing: while STAGING is replaced, and BUSY begins */
	struct staging *staging; /* owned */
	uint64_t changes;	 /* of the stagings before */
	bool busy;		 /* a verdict is being made */
	bool spent;		 /* STAGING is shown to readers, and there was no memory for another */

	char *expected;		     /* owned; constant: the database that it may become; NULL: unknown */
	atomic_bool asked;	     /* HEADSTART has been asked for */
	struct headstart *headstart; /* owned; NULL: none. Set by whoever asked, with LOCK for reading */

	/* for whoever has made it busy */
	struct validate_report report;
	bool checked;
	uint64_t checked_at; /* snap_upload_changes() */
	int check_rc;
	struct snap_err check_err;
};

/* ---- what it begins with ------------------------------------------------------------------------------- */

/* A generation that lends its bytes; opened when somebody asks for them. */
struct lender {
	struct snap_gen *gen; /* a reference */
	pthread_mutex_t lock;
	bool opened;
};

static void lender_drop(void *arg)
{
	struct lender *l = arg;

	if (l->opened)
		snap_gen_close(l->gen);
	snap_gen_unref(l->gen);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

/* The generation may have moved on since it was looked at: then its successor lends. */
static int lender_open(struct lender *l, struct snap_err *err)
{
	int rc = 0;

	lock_scope(&l->lock);
	for (int i = 0; i < 4 && !l->opened && rc == 0; i++) {
		struct snap_gen *moved = NULL;

		rc = snap_gen_open(l->gen, 0, &moved, err);
		l->opened = rc == 0;
		if (rc == SNAP_MOVED) {
			snap_gen_unref(l->gen);
			l->gen = moved;
			rc = 0;
		}
	}
	return l->opened ? 0 : rc ? rc : -EBUSY;
}

static ssize_t lender_read(void *arg, void *buf, size_t size, uint64_t offset, struct snap_err *err)
{
	struct lender *l = arg;
	int rc = lender_open(l, err);

	return rc ? rc : snap_gen_read(l->gen, buf, size, offset, err);
}

static int lend(struct staging *staging, struct snap_gen *gen, bool readable, struct snap_err *err)
{
	struct lender *l = calloc(1, sizeof(*l));
	struct snap_attr attr;
	int rc = 0;

	if (!l)
		return err_set(err, -ENOMEM, "out of memory");
	pthread_mutex_init(&l->lock, NULL);
	l->gen = snap_gen_ref(gen);
	if (readable)
		rc = lender_open(l, err);
	if (rc) {
		lender_drop(l);
		return rc;
	}
	snap_gen_stat(l->gen, &attr);
	struct staging_base base = {.size = attr.size, .read = lender_read, .drop = lender_drop, .arg = l};

	staging_set_base(staging, &base);
	return 0;
}

/* ---- life ---------------------------------------------------------------------------------------------- */

int snap_upload_create(struct snap *snap, struct snap_upload **out, struct snap_err *err)
{
	struct snap_upload *u = calloc(1, sizeof(*u));
	int rc;

	if (!u)
		return err_set(err, -ENOMEM, "out of memory");
	rc = staging_create(&u->staging, snap->core.store, err);
	if (rc) {
		free(u);
		return rc;
	}
	u->snap = snap;
	pthread_rwlock_init(&u->lock, NULL);
	*out = u;
	return 0;
}

void snap_upload_destroy(struct snap_upload *u)
{
	if (!u)
		return;
	headstart_end(u->headstart);
	free(u->expected);
	staging_destroy(u->staging);
	validate_report_finish(&u->report);
	pthread_rwlock_destroy(&u->lock);
	free(u);
}

int snap_upload_begin_with(struct snap_upload *u, struct snap_gen *gen, bool readable, struct snap_err *err)
{
	return lend(u->staging, gen, readable, err);
}

int snap_upload_expect(struct snap_upload *u, const char *path)
{
	u->expected = strdup(path);
	return u->expected ? 0 : -ENOMEM;
}

/* ---- content ------------------------------------------------------------------------------------------- */

/* Begins a change: -EBUSY while a verdict is made. With 0 the lock is held. */
static int begin_change(struct snap_upload *u, struct snap_err *err)
{
	pthread_rwlock_rdlock(&u->lock);
	if (!u->busy && !u->spent)
		return 0;
	pthread_rwlock_unlock(&u->lock);
	return err_set(err, -EBUSY, "it is being restored");
}

/* Begins to copy what will be replaced. Lock held for reading. */
static void begin_early(struct snap_upload *u)
{
	if (!u->expected || u->snap->core.config.keep == 0 || staging_size(u->staging) < HEADSTART_MIN ||
	    atomic_exchange(&u->asked, true))
		return;
	if (headstart_begin(&u->headstart, u->snap, u->expected))
		u->headstart = NULL;
}

ssize_t snap_upload_write(struct snap_upload *u, const void *buf, size_t size, uint64_t offset,
			  struct snap_err *err)
{
	ssize_t n = begin_change(u, err);

	if (n)
		return n;
	n = staging_write(u->staging, buf, size, offset, err);
	if (n > 0)
		begin_early(u);
	pthread_rwlock_unlock(&u->lock);
	return n;
}

int snap_upload_truncate(struct snap_upload *u, uint64_t size, struct snap_err *err)
{
	int rc = begin_change(u, err);

	if (rc)
		return rc;
	rc = staging_truncate(u->staging, size, err);
	pthread_rwlock_unlock(&u->lock);
	return rc;
}

int snap_upload_allocate(struct snap_upload *u, uint64_t offset, uint64_t size, bool keep_size,
			 struct snap_err *err)
{
	int rc = begin_change(u, err);

	if (rc)
		return rc;
	rc = staging_allocate(u->staging, offset, size, keep_size, err);
	pthread_rwlock_unlock(&u->lock);
	return rc;
}

ssize_t snap_upload_read(struct snap_upload *u, void *buf, size_t size, uint64_t offset, struct snap_err *err)
{
	ssize_t n;

	pthread_rwlock_rdlock(&u->lock);
	n = staging_read(u->staging, buf, size, offset, err);
	pthread_rwlock_unlock(&u->lock);
	return n;
}

int snap_upload_sync(struct snap_upload *u, struct snap_err *err)
{
	int rc;

	pthread_rwlock_rdlock(&u->lock);
	rc = staging_sync(u->staging, err);
	pthread_rwlock_unlock(&u->lock);
	return rc;
}

uint64_t snap_upload_size(struct snap_upload *u)
{
	uint64_t size;

	pthread_rwlock_rdlock(&u->lock);
	size = staging_size(u->staging);
	pthread_rwlock_unlock(&u->lock);
	return size;
}

uint64_t snap_upload_changes(struct snap_upload *u)
{
	uint64_t changes;

	pthread_rwlock_rdlock(&u->lock);
	changes = u->changes + staging_changes(u->staging);
	pthread_rwlock_unlock(&u->lock);
	return changes;
}

enum snap_upload_state snap_upload_state(struct snap_upload *u)
{
	enum staging_state state;

	pthread_rwlock_rdlock(&u->lock);
	state = staging_state(u->staging);
	pthread_rwlock_unlock(&u->lock);
	switch (state) {
	case STAGING_UNTOUCHED:
		return SNAP_UPLOAD_UNTOUCHED;
	case STAGING_EMPTY:
		return SNAP_UPLOAD_EMPTY;
	case STAGING_PENDING:
		return SNAP_UPLOAD_PENDING;
	case STAGING_COMPLETE:
		return SNAP_UPLOAD_COMPLETE;
	case STAGING_INCOMPLETE:
		break;
	}
	return SNAP_UPLOAD_INCOMPLETE;
}

/* What our own folder hides is nobody's to write. */
static int find_target(struct snap *snap, const char *path, struct target *out, struct snap_err *err)
{
	*out = TARGET_INIT;
	if (!kept_tree_has(path))
		return target_find(snap->tree, snap->core.store, path, out, err);
	out->kind = SNAP_NAME_OTHER;
	err_set(err, 0, "\"%s\" is read-only: a restore is written to a database's own name", path);
	return 0;
}

int snap_name_kind(struct snap *snap, const char *path, struct snap_err *err)
{
	struct target target;
	int rc = find_target(snap, path, &target, err);

	if (rc == 0)
		rc = (int)target.kind;
	target_finish(&target);
	return rc;
}

/* ---- verdicts ------------------------------------------------------------------------------------------ */

static int begin_verdict(struct snap_upload *u, struct snap_err *err)
{
	int rc = 0;

	pthread_rwlock_wrlock(&u->lock);
	if (u->busy)
		rc = err_set(err, -EBUSY, "it is being restored already");
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
	u->checked = rc != -ECANCELED;
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

/* Makes NEXT the content; NULL: there is no memory, and nothing is written any more. */
static void replace(struct snap_upload *u, struct staging *next)
{
	struct staging *old = NULL;

	pthread_rwlock_wrlock(&u->lock);
	u->spent = !next;
	if (next) {
		old = u->staging;
		u->changes += staging_changes(old) + 1;
		u->staging = next;
		u->checked = false;
	}
	pthread_rwlock_unlock(&u->lock);
	staging_destroy(old);
}

/* Nothing is left of a restore that is over. Busy. */
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
		lend(next, gen, false, NULL);
	snap_gen_unref(gen);
	replace(u, next);
}

void snap_upload_discard(struct snap_upload *u)
{
	struct staging *next = NULL;

	if (staging_create(&next, u->snap->core.store, NULL) == 0)
		replace(u, next);
}

/* A restore under way. */
struct job {
	struct snap_upload *upload;
	const struct snap_restore *order;
	struct restore_result result;
	bool told;	     /* it is durable, and the upload is not the restore's any more */
	char undo_path[512]; /* where its kept snapshots show the database */
	struct snap_restored done;
};

/* Fills DONE; afterwards the upload may be written to again. */
static void end_job(struct job *job)
{
	const struct restore_result *result = &job->result;

	end_headstart(job->upload);
	if (result->committed)
		begin_anew(job->upload, job->order->path);
	job->done = (struct snap_restored){.committed = result->committed,
					   .changes = snap_upload_changes(job->upload),
					   .unchanged = result->unchanged,
					   .size = result->size,
					   .took_ns = result->took_ns,
					   .locked_ns = result->locked_ns,
					   .old_user_version = result->old_user_version,
					   .new_user_version = result->new_user_version};
	memcpy(job->done.undo, result->undo, sizeof(job->done.undo));
	memcpy(job->done.undo_path, job->undo_path, sizeof(job->done.undo_path));
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
	int rc = find_target(snap, order->path, &target, err);

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

	rc = restore_run(&to, &job->result, err);
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
