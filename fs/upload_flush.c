/* SPDX-License-Identifier: MIT */
/*
 * upload_flush.c - see upload.h: when a close() restores, and what it answers.
 *
 * A FLUSH is sent for each close() of a descriptor, by whoever has it: a shell that redirects, a child that
 * was forked, dup2(2). It is the writer's if its lock_owner is that of the last WRITE. Who closes does not
 * decide, though; whether the upload is whole does: an incomplete one answers an error and stays open for
 * more. A writer that was killed never restores.
 *
 * What must stay true: one verdict for each change of the content, whoever asks; every verdict about a
 * restore is one line in the log.
 */
#include "upload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOG_MODULE "restore"
#include "log.h"

static char *copy_path(struct upload *u)
{
	char *path;

	pthread_mutex_lock(&u->all->lock);
	path = strdup(u->path);
	pthread_mutex_unlock(&u->all->lock);
	return path;
}

/* ---- who ----------------------------------------------------------------------------------------------- */

/*
 * Whether whoever waits for FLUSH was killed. That a signal came (INTERRUPT) says too little, for it may be a
 * harmless one, and too late, for it comes some milliseconds after the FLUSH.
 */
static bool was_killed(void *arg)
{
	const struct upload_flush *flush = arg;
	bool interrupted = flush->interrupted && flush->interrupted(flush->arg);
	struct caller caller;

	if (!flush->interrupted || !caller_look(&caller, flush->who.tid))
		return false;
	return caller.exiting ? caller.killed || interrupted : caller.killed && interrupted;
}

/* The kernel has checked it at open(), but the live file's mode may be another by now, and RENAME asks for
 * that of folders only. */
static int check_access(struct upload *u, const char *path, const struct actor *who)
{
	struct snap_attr attr;
	struct caller caller;
	int rc = snap_lookup(u->all->snap, path, &attr, NULL, NULL);

	if (rc == -ENOENT)
		return 0; /* nothing stands there: the folder's mode has decided */
	if (rc)
		return who->uid == 0 ? 0 : rc; /* root repairs what cannot be looked at */
	caller_look(&caller, who->tid);
	return caller_may_write(&caller, who->uid, who->gid, attr.uid, attr.gid, attr.mode) ? 0 : -EACCES;
}

/* ---- verdicts ------------------------------------------------------------------------------------------ */

/* Who writes U: whoever asks now, or, where he is gone already, who began it. */
static struct snap_actor writer_of(const struct upload *u, const struct actor *who)
{
	struct caller caller;

	return caller_look(&caller, who->tid) ? caller_actor(&caller, who->uid) : u->by;
}

static void note_verdict(struct upload *u, uint64_t changes, int verdict)
{
	pthread_mutex_lock(&u->state_lock);
	u->judged = changes;
	u->verdict = verdict;
	pthread_mutex_unlock(&u->state_lock);
}

/* A restore under way. */
struct job {
	struct upload *upload;
	const char *path;
	const struct upload_flush *flush;
	struct task task;
	bool renamed; /* it is a scratch file that is renamed over PATH */
	bool told;
};

/* The scratch file's name has become the database's. */
static void spend(struct upload *u)
{
	pthread_mutex_lock(&u->state_lock);
	u->spent = true;
	pthread_mutex_unlock(&u->state_lock);
	upload_unname(u);
}

static bool is_cancelled(void *arg)
{
	const struct job *job = arg;

	return was_killed((void *)job->flush);
}

static void tell_restored(void *arg, const struct snap_restored *done)
{
	struct job *job = arg;

	task_restored(&job->task, done);
	note_verdict(job->upload, snap_upload_changes(job->upload->data), 0); /* it began anew */
	job->told = true;
	if (job->renamed)
		spend(job->upload);
	if (job->flush->restored)
		job->flush->restored(job->flush->arg);
}

/* Restores U over PATH. u->lock held. */
static int restore(struct upload *u, const char *path, const struct upload_flush *flush, bool renamed)
{
	struct job job = {.upload = u, .path = path, .flush = flush, .renamed = renamed};
	struct snap_restore order = {.path = path,
				     .cancelled = is_cancelled,
				     .durable = tell_restored,
				     .arg = &job,
				     .progress = &job.task.progress};
	struct snap_actor who = writer_of(u, &flush->who);
	struct snap_restored done = {.unchanged = false};
	struct snap_err err = {""};
	uint64_t changes = snap_upload_changes(u->data);
	int rc = check_access(u, path, &flush->who);

	task_begin(&job.task, &u->all->tasks, path, &who);
	pthread_mutex_lock(&u->state_lock);
	order.mtime_ns = u->mtime_ns;
	pthread_mutex_unlock(&u->state_lock);
	if (rc == 0)
		rc = snap_upload_restore(u->data, &order, &done, &err);
	if (job.told)
		return 0;
	if (rc == -ECANCELED) {
		pthread_mutex_lock(&u->state_lock);
		u->writer_killed = true;
		pthread_mutex_unlock(&u->state_lock);
		task_cancelled(&job.task);
		return -EINTR;
	}
	if (rc == 0) {
		task_restored(&job.task, &done);
		changes = snap_upload_changes(u->data); /* it begins anew */
		if (renamed)
			spend(u);
	} else {
		task_refused(&job.task, rc, &err, snap_upload_size(u->data));
	}
	note_verdict(u, changes, rc);
	return rc;
}

/* ---- FLUSH --------------------------------------------------------------------------------------------- */

/* A length was announced, and the rest is still to come, perhaps through another open: keeps the upload. */
static void keep_pending(struct upload *u)
{
	pthread_mutex_lock(&u->all->lock);
	if (!u->named) {
		u->named = true;
		u->refs++;
	}
	pthread_mutex_unlock(&u->all->lock);
}

bool upload_flush_idle(struct upload *u, const struct upload_flush *flush, int *rc)
{
	enum snap_upload_state state = snap_upload_state(u->data);
	uint64_t changes = snap_upload_changes(u->data);
	bool mine;

	*rc = 0;
	pthread_mutex_lock(&u->state_lock);
	mine = !u->has_owner || u->last_owner == flush->owner;
	if (mine && u->judged == changes)
		*rc = u->verdict;
	mine = mine && u->judged != changes;
	pthread_mutex_unlock(&u->state_lock);
	if (!mine || state == SNAP_UPLOAD_UNTOUCHED || state == SNAP_UPLOAD_EMPTY)
		return true;
	if (u->kind == UPLOAD_SCRATCH)
		return state != SNAP_UPLOAD_COMPLETE;
	if (state != SNAP_UPLOAD_PENDING)
		return false;
	keep_pending(u);
	return true;
}

static int refuse_incomplete(struct upload *u, const char *path, const struct actor *actor)
{
	struct snap_actor who = writer_of(u, actor);
	struct task task;
	struct snap_err err = {
		"parts of the file were never written, and what stands there now is of another "
		"moment (rsync: use --whole-file)"};

	task_begin(&task, &u->all->tasks, path, &who);
	task_refused(&task, -EIO, &err, snap_upload_size(u->data));
	note_verdict(u, snap_upload_changes(u->data), -EIO);
	return -EIO;
}

/* u->lock held. */
static int decide(struct upload *u, const struct upload_flush *flush)
{
	char *path = copy_path(u);
	struct snap_err err = {""};
	int rc;

	if (!path)
		return -ENOMEM;
	if (upload_flush_idle(u, flush, &rc)) {
		/* Somebody else has decided meanwhile. */
	} else if (was_killed((void *)flush)) {
		pthread_mutex_lock(&u->state_lock);
		u->writer_killed = true;
		pthread_mutex_unlock(&u->state_lock);
		log_info("\"%s\": whoever wrote it was killed, nothing was restored", path);
		rc = -EINTR;
	} else if (u->kind == UPLOAD_SCRATCH) {
		/* The verdict is kept for the rename; nobody has said yet that this is to be a database. */
		struct snap_restore order = {.path = path, .cancelled = was_killed, .arg = (void *)flush};

		snap_upload_check(u->data, &order, &err);
	} else if (snap_upload_state(u->data) == SNAP_UPLOAD_INCOMPLETE) {
		rc = refuse_incomplete(u, path, &flush->who);
	} else {
		rc = restore(u, path, flush, false);
		upload_unname(u);
	}
	free(path);
	return rc;
}

int upload_flush(struct upload *u, const struct upload_flush *flush)
{
	int rc;

	pthread_mutex_lock(&u->lock);
	rc = decide(u, flush);
	pthread_mutex_unlock(&u->lock);
	return rc;
}

/* ---- RELEASE ------------------------------------------------------------------------------------------- */

bool upload_closes_idle(struct upload *u)
{
	enum snap_upload_state state = snap_upload_state(u->data);
	bool idle;

	pthread_mutex_lock(&u->state_lock);
	idle = u->kind == UPLOAD_SCRATCH || u->writer_killed || u->judged == snap_upload_changes(u->data) ||
	       state != SNAP_UPLOAD_COMPLETE;
	pthread_mutex_unlock(&u->state_lock);
	return idle;
}

/* Says that what was written goes. */
static void note_discarded(struct upload *u)
{
	enum snap_upload_state state = snap_upload_state(u->data);
	bool unjudged;
	char *path;

	pthread_mutex_lock(&u->state_lock);
	unjudged = u->judged != snap_upload_changes(u->data);
	pthread_mutex_unlock(&u->state_lock);
	if (u->kind == UPLOAD_SCRATCH || !unjudged || state == SNAP_UPLOAD_UNTOUCHED ||
	    state == SNAP_UPLOAD_EMPTY)
		return;
	path = copy_path(u);
	log_warn("\"%s\" was closed before it was whole: thrown away, live database unchanged",
		 path ? path : "?");
	free(path);
}

void upload_closed(struct upload *u, const struct actor *who)
{
	struct upload_flush flush = {.who = *who};
	bool last, pending;

	pthread_mutex_lock(&u->all->lock);
	last = --u->opens == 0;
	pending = u->named;
	pthread_mutex_unlock(&u->all->lock);
	if (last && u->kind == UPLOAD_DATABASE) {
		pthread_mutex_lock(&u->lock);
		if (!upload_closes_idle(u)) {
			char *path = copy_path(u);

			if (path)
				restore(u, path, &flush, false); /* nobody hears the answer but the log */
			free(path);
			upload_unname(u);
		} else if (!pending) {
			note_discarded(u);
		}
		if (!pending)
			snap_upload_discard(u->data);
		pthread_mutex_unlock(&u->lock);
	}
	upload_unref(u);
}

/* ---- RENAME -------------------------------------------------------------------------------------------- */

int upload_become(struct upload *u, const char *path, const struct upload_flush *flush)
{
	int rc;

	pthread_mutex_lock(&u->lock);
	if (snap_upload_state(u->data) == SNAP_UPLOAD_INCOMPLETE ||
	    snap_upload_state(u->data) == SNAP_UPLOAD_PENDING)
		rc = refuse_incomplete(u, path, &flush->who);
	else
		rc = restore(u, path, flush, true);
	pthread_mutex_unlock(&u->lock);
	return rc;
}
