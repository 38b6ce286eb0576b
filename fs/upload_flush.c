/* SPDX-License-Identifier: MIT */
/*
 * upload_flush.c - see upload.h: when a close() restores, and what it answers.
 *
 * A FLUSH is sent for each close() of a descriptor, by any process that has it: a shell that redirects, a
 * child that was forked, dup2(2). It is the writer's if its lock_owner is that of the last WRITE. What
 * decides, however, is not who closes but whether the upload is complete: an incomplete one answers an error
 * and stays open for more. A writer that was killed never restores. Everybody who closes the upload is told
 * the verdict: the writer may be a child that has ended without hearing it, or was killed, and the process
 * that gave it the descriptor closes it too.
 *
 * What must stay true: there is one verdict for each change of the content, no matter who asks; every verdict
 * about a restore is one line in the log.
 */
#include "upload_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOG_MODULE "restore"
#include "log.h"

#include "../src/cleanup.h"
#include "fault.h"
#include "jobs.h"

static char *copy_path(struct upload *u)
{
	lock_scope(&u->all->lock);
	return strdup(u->path);
}

/* ---- verdicts ------------------------------------------------------------------------------------------ */

/* The writer of U: the process that asks now or, if that is gone already, the one that began U. */
static struct snap_actor writer_of(const struct upload *u, const struct actor *who)
{
	struct caller caller;

	return caller_look(&caller, who->tid) ? caller_actor(&caller, who->uid) : u->by;
}

static void note_verdict(struct upload *u, uint64_t changes, int verdict)
{
	lock_scope(&u->state_lock);
	u->judged = changes;
	u->verdict = verdict;
}

static void note_killed(struct upload *u)
{
	lock_scope(&u->state_lock);
	u->writer_killed = true;
}

static int64_t mtime_of(struct upload *u)
{
	lock_scope(&u->state_lock);
	return u->mtime_ns;
}

static int refuse(struct upload *u, const char *path, const struct actor *actor, int rc,
		  const struct snap_err *err)
{
	struct snap_restored done = {.size = snap_upload_size(u->data)};
	struct snap_actor who = writer_of(u, actor);
	struct task task;

	task_begin(&task, &u->all->tasks, path, &who);
	task_refused(&task, rc, err, &done);
	note_verdict(u, snap_upload_changes(u->data), rc);
	return rc;
}

/* A restore under way. */
struct job {
	struct upload *upload;
	const char *path;
	const struct upload_flush *flush;
	struct task task;
	bool told;
};

/* Whether a caller waited for this verdict and was told by the kernel that the call failed. */
static bool is_unheard(const struct job *job)
{
	return job->flush->interrupted && atomic_load(&job->upload->all->unheard);
}

static bool is_cancelled(void *arg)
{
	const struct job *job = arg;

	return is_unheard(job) || upload_was_killed((void *)job->flush);
}

/* The restore is done. What the kernel believes once it has the answer must be true before it. */
static void take_restored(struct job *job, const struct snap_restored *done)
{
	task_restored(&job->task, done);
	note_verdict(job->upload, done->changes, 0);
	upload_unname(job->upload); /* all of it has arrived, or its name has become the database's */
}

static void tell_restored(void *arg, const struct snap_restored *done)
{
	struct job *job = arg;

	take_restored(job, done);
	job->told = true;
	if (job->flush->restored)
		job->flush->restored(job->flush->arg);
}

/* Restores U over PATH. u->lock held. */
static int restore(struct upload *u, const char *path, const struct upload_flush *flush)
{
	struct job job = {.upload = u, .path = path, .flush = flush};
	struct snap_restore order = {.path = path,
				     .mtime_ns = mtime_of(u),
				     .cancelled = is_cancelled,
				     .durable = tell_restored,
				     .arg = &job,
				     .progress = &job.task.progress};
	struct snap_actor who = writer_of(u, &flush->who);
	struct snap_restored done = {.changes = snap_upload_changes(u->data)};
	struct snap_err err = {""};
	int rc = upload_check_access(u, flush, &order);

	task_begin(&job.task, &u->all->tasks, path, &who);
	if (rc == 0)
		rc = snap_upload_restore(u->data, &order, &done, &err);
	if (job.told)
		return 0;
	if (!done.committed)
		done.size = snap_upload_size(u->data); /* also if there was no restore */
	if (rc == 0) {
		take_restored(&job, &done);
	} else if (done.committed) {
		task_restored_but(&job.task, rc, &err, &done);
		upload_unname(u);
		note_verdict(u, done.changes, rc);
	} else if (rc == -ECANCELED && is_unheard(&job)) {
		rc = fault(&err, -ECONNABORTED, "the mount has ended before it was written");
		task_refused(&job.task, rc, &err, &done);
		note_verdict(u, done.changes, rc);
	} else if (rc == -ECANCELED) {
		note_killed(u);
		task_cancelled(&job.task, &done);
		rc = -EINTR;
	} else {
		task_refused(&job.task, rc, &err, &done);
		note_verdict(u, done.changes, rc);
	}
	return rc;
}

/* ---- FLUSH --------------------------------------------------------------------------------------------- */

/* Whether the rest of what WHO has announced may still come, perhaps through another open. It cannot from a
 * process that is exiting. */
static bool may_go_on(const struct actor *who)
{
	struct caller caller;

	return !caller_look(&caller, who->tid) || !caller.exiting;
}

bool upload_flush_idle(struct upload *u, const struct upload_flush *flush, int *rc)
{
	enum snap_upload_state state = snap_upload_state(u->data);
	uint64_t changes = snap_upload_changes(u->data);
	bool mine, decided, failed;

	*rc = 0;
	pthread_mutex_lock(&u->state_lock);
	failed = u->failed != 0;
	/* The kernel reuses a dead writer's lock_owner for others. */
	mine = !u->dropped && !u->writer_killed && (!u->has_owner || u->last_owner == flush->owner);
	decided = u->judged == changes;
	if (decided && !u->dropped)
		*rc = u->verdict;
	else if (u->writer_killed && !u->dropped && u->kind == UPLOAD_DATABASE)
		*rc = -EIO; /* unless somebody continues it, nothing will be restored */
	pthread_mutex_unlock(&u->state_lock);
	if (!mine || decided || state == SNAP_UPLOAD_UNTOUCHED || (state == SNAP_UPLOAD_EMPTY && !failed))
		return true;
	if (u->kind == UPLOAD_SCRATCH)
		return state != SNAP_UPLOAD_COMPLETE && !failed;
	if (state != SNAP_UPLOAD_PENDING || !may_go_on(&flush->who))
		return false;
	upload_name(u);
	return true;
}

/* The error that keeps U from being complete, with its message in ERR; 0: no change of U has failed. */
static int failure_of(struct upload *u, struct snap_err *err)
{
	lock_scope(&u->state_lock);
	*err = u->why;
	return u->failed;
}

static int refuse_incomplete(struct upload *u, const char *path, const struct actor *who)
{
	struct snap_err err;
	int rc = failure_of(u, &err);

	if (rc)
		return refuse(u, path, who, rc, &err);
	err = (struct snap_err){"parts of it were never written"};
	if (u->kind == UPLOAD_DATABASE)
		fault(&err, 0,
		      "parts of it were never written, and what stands there now is of another moment "
		      "(mount with -o hide_databases for a tool that writes only what differs, as restic; "
		      "rsync: use --whole-file)");
	return refuse(u, path, who, -EIO, &err);
}

int upload_refuse(struct upload *u, const struct actor *who, int rc)
{
	autofree char *path = NULL;
	struct snap_err err = {""};

	if (u->kind == UPLOAD_SCRATCH)
		return 0;
	path = copy_path(u);
	if (rc == -EBUSY)
		fault(&err, 0, JOBS_TOO_MANY);
	return refuse(u, path ? path : "?", who, rc, &err);
}

/* The verdict is kept for the rename; nothing says yet that this is to be a database. */
static void check_scratch(struct upload *u, const char *path, const struct upload_flush *flush)
{
	struct snap_actor who = writer_of(u, &flush->who);
	struct task task;
	struct snap_restore order = {.path = path,
				     .cancelled = upload_was_killed,
				     .arg = (void *)flush,
				     .progress = &task.progress};

	task_begin(&task, &u->all->tasks, path, &who);
	snap_upload_check(u->data, &order, NULL);
	task_dropped(&task);
}

/* A scratch file lacks data that could not be written. Its writer was told and will not rename it; its name
 * tells which database it was meant to become. U->lock held. */
static int refuse_scratch(struct upload *u, const struct actor *who)
{
	autofree char *target = NULL;
	struct snap_err err;

	if (failure_of(u, &err) == 0)
		return 0;
	pthread_mutex_lock(&u->all->lock);
	target = u->target ? strdup(u->target) : NULL;
	pthread_mutex_unlock(&u->all->lock);
	if (!target || snap_name_kind(u->all->snap, target, NULL) != SNAP_NAME_DATABASE)
		return 0;
	return refuse_incomplete(u, target, who);
}

/* u->lock held. */
static int decide(struct upload *u, const struct upload_flush *flush)
{
	autofree char *path = copy_path(u);
	enum snap_upload_state state;
	int rc;

	if (upload_flush_idle(u, flush, &rc))
		return rc; /* another thread has decided meanwhile */
	if (!path)
		return upload_refuse(u, &flush->who, -ENOMEM);
	if (upload_was_killed((void *)flush)) {
		note_killed(u);
		log_info("\"%s\": whoever wrote it was killed, nothing was restored", path);
		if (u->kind == UPLOAD_DATABASE)
			upload_unname(u); /* its writer has announced more */
		return -EINTR;
	}
	state = snap_upload_state(u->data);
	if (u->kind == UPLOAD_SCRATCH && state != SNAP_UPLOAD_COMPLETE)
		return refuse_scratch(u, &flush->who);
	if (u->kind == UPLOAD_SCRATCH) {
		check_scratch(u, path, flush);
		return 0;
	}
	if (state == SNAP_UPLOAD_COMPLETE)
		rc = restore(u, path, flush);
	else
		rc = refuse_incomplete(u, path, &flush->who);
	if (rc)
		upload_unname(u); /* its length was announced, and nothing more will come */
	return rc;
}

/* ---- RELEASE ------------------------------------------------------------------------------------------- */

/* State_lock held. */
static bool is_decided(const struct upload *u)
{
	return u->dropped || u->writer_killed || u->judged == snap_upload_changes(u->data);
}

bool upload_closes_idle(struct upload *u)
{
	lock_scope(&u->state_lock);
	return u->kind == UPLOAD_SCRATCH || is_decided(u) ||
	       snap_upload_state(u->data) != SNAP_UPLOAD_COMPLETE;
}

/* Logs that what was written is discarded. */
static void note_discarded(struct upload *u)
{
	enum snap_upload_state state = snap_upload_state(u->data);
	autofree char *path = NULL;
	bool said;

	pthread_mutex_lock(&u->state_lock);
	said = u->writer_killed || u->judged == snap_upload_changes(u->data);
	pthread_mutex_unlock(&u->state_lock);
	if (said || state == SNAP_UPLOAD_UNTOUCHED || state == SNAP_UPLOAD_EMPTY)
		return;
	path = copy_path(u);
	log_warn("\"%s\" %s: thrown away, live database unchanged", path ? path : "?",
		 state == SNAP_UPLOAD_COMPLETE ? "was given up" : "was closed before it was whole");
}

/* Whether nobody will come back to U; if so, U can no longer be found. */
static bool close_for_good(struct upload *u)
{
	bool pending = snap_upload_state(u->data) == SNAP_UPLOAD_PENDING, named;

	pthread_mutex_lock(&u->all->lock);
	if (u->opens > 0 || u->intents > 0 || (u->named && pending)) {
		pthread_mutex_unlock(&u->all->lock);
		return false;
	}
	named = u->named;
	u->named = false;
	u->gone = true;
	pthread_mutex_unlock(&u->all->lock);
	if (named)
		upload_unref(u); /* the caller's reference remains */
	return true;
}

/* Does what is left to do after the last close. u->lock held. */
static void end_upload(struct upload *u)
{
	struct upload_flush nobody = {.who = u->who};
	autofree char *path = NULL;

	if (!close_for_good(u))
		return;
	path = upload_closes_idle(u) ? NULL : copy_path(u);
	if (path)
		restore(u, path, &nobody); /* only the log gets the answer */
	else
		note_discarded(u);
	snap_upload_discard(u->data);
}

static bool is_closed(struct upload *u)
{
	lock_scope(&u->all->lock);
	return u->kind == UPLOAD_DATABASE && u->opens == 0;
}

/* Ends U if it is closed and nobody is working on it; otherwise the thread that closes it or works on it
 * will. */
static void try_end(struct upload *u)
{
	if (is_closed(u) && pthread_mutex_trylock(&u->lock) == 0) {
		end_upload(u);
		pthread_mutex_unlock(&u->lock);
	}
}

void upload_closed(struct upload *u)
{
	bool last;

	pthread_mutex_lock(&u->all->lock);
	last = --u->opens == 0;
	pthread_mutex_unlock(&u->all->lock);
	if (last)
		try_end(u);
	upload_unref(u);
}

int upload_taken_for_whole(struct upload *u, const struct actor *who)
{
	autofree char *path = NULL;
	int rc = 0;

	if (pthread_mutex_trylock(&u->lock) != 0)
		return 0; /* another thread is working on it */
	if (is_closed(u) && snap_upload_state(u->data) == SNAP_UPLOAD_PENDING) {
		path = copy_path(u);
		rc = refuse_incomplete(u, path ? path : "?", who);
		upload_unname(u);
	}
	pthread_mutex_unlock(&u->lock);
	if (rc)
		try_end(u);
	return rc;
}

int upload_flush(struct upload *u, const struct upload_flush *flush)
{
	int rc;

	pthread_mutex_lock(&u->lock);
	rc = decide(u, flush);
	pthread_mutex_unlock(&u->lock);
	/* The waiting caller may have been answered long ago, and the last close may have come since. */
	try_end(u);
	return rc;
}

/* ---- RENAME -------------------------------------------------------------------------------------------- */

static void set_spent(struct upload *u, bool spent)
{
	lock_scope(&u->state_lock);
	u->spent = spent;
}

int upload_become(struct upload *u, const char *path, const struct upload_flush *flush)
{
	enum snap_upload_state state;
	int rc;

	lock_scope(&u->lock);
	set_spent(u, true); /* first, so that what is written meanwhile is not lost silently */
	state = snap_upload_state(u->data);
	if (state == SNAP_UPLOAD_INCOMPLETE || state == SNAP_UPLOAD_PENDING)
		rc = refuse_incomplete(u, path, &flush->who);
	else
		rc = restore(u, path, flush);
	if (rc)
		set_spent(u, false);
	return rc;
}
