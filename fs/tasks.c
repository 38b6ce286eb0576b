/* SPDX-License-Identifier: MIT */
/* tasks.c - see tasks.h. */
#include "tasks.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define LOG_MODULE "restore"
#include "caller.h"
#include "log.h"

#define MIB (1024.0 * 1024.0)

static int64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (int64_t)ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

/* ---- the table ----------------------------------------------------------------------------------------- */

void tasks_init(struct tasks *all)
{
	pthread_mutex_init(&all->lock, NULL);
	all->first = NULL;
	all->next = all->count = 0;
	for (int i = 0; i < TASKS_REFUSED; i++)
		all->refused[i].time_ns = 0;
}

void tasks_finish(struct tasks *all)
{
	pthread_mutex_destroy(&all->lock);
}

void task_begin(struct task *task, struct tasks *all, const char *path, const struct snap_actor *who)
{
	*task = (struct task){.all = all, .path = path, .who = *who, .began_ns = clock_ns(CLOCK_MONOTONIC)};
	pthread_mutex_lock(&all->lock);
	task->next = all->first;
	if (task->next)
		task->next->prev = task;
	all->first = task;
	pthread_mutex_unlock(&all->lock);
}

/* Takes TASK out of the table. Lock held. */
static void leave(struct task *task)
{
	task->ended = true;
	if (task->next)
		task->next->prev = task->prev;
	if (task->prev)
		task->prev->next = task->next;
	else
		task->all->first = task->next;
}

/* A refusal stands until its path is restored. The oldest makes room. Lock held. */
static void note_refusal(struct tasks *all, const struct task_end *end)
{
	struct task_end *at = all->refused;
	bool found = false;

	if (end->verdict == TASK_CANCELLED)
		return;
	for (int i = 0; i < TASKS_REFUSED && !found; i++) {
		struct task_end *one = &all->refused[i];

		found = one->time_ns && strcmp(one->path, end->path) == 0;
		if (found || one->time_ns < at->time_ns)
			at = one;
	}
	if (end->verdict == TASK_REFUSED)
		*at = *end;
	else if (found)
		at->time_ns = 0;
}

/* The same, and remembers how it ended. */
static void end(struct task *task, enum task_verdict verdict, int error, const char *reason,
		const struct snap_restored *done)
{
	struct tasks *all = task->all;
	struct task_end *to;

	pthread_mutex_lock(&all->lock);
	leave(task);
	to = &all->ended[all->next];
	all->next = (all->next + 1) % TASKS_ENDED;
	all->count += all->count < TASKS_ENDED;
	to->time_ns = clock_ns(CLOCK_REALTIME);
	to->who = task->who;
	to->verdict = verdict;
	to->error = error;
	to->done = *done;
	snprintf(to->path, sizeof(to->path), "%s", task->path);
	snprintf(to->reason, sizeof(to->reason), "%s", reason);
	note_refusal(all, to);
	pthread_mutex_unlock(&all->lock);
}

void tasks_each_running(struct tasks *all, void (*fn)(void *arg, const struct task *task), void *arg)
{
	pthread_mutex_lock(&all->lock);
	for (const struct task *task = all->first; task; task = task->next)
		fn(arg, task);
	pthread_mutex_unlock(&all->lock);
}

void tasks_each_ended(struct tasks *all, void (*fn)(void *arg, const struct task_end *end), void *arg)
{
	pthread_mutex_lock(&all->lock);
	for (unsigned i = 1; i <= all->count; i++)
		fn(arg, &all->ended[(all->next + TASKS_ENDED - i) % TASKS_ENDED]);
	pthread_mutex_unlock(&all->lock);
}

void tasks_each_refused(struct tasks *all, int64_t since_ns,
			void (*fn)(void *arg, const struct task_end *end), void *arg)
{
	pthread_mutex_lock(&all->lock);
	for (int i = 0; i < TASKS_REFUSED; i++)
		if (all->refused[i].time_ns && all->refused[i].time_ns > since_ns)
			fn(arg, &all->refused[i]);
	pthread_mutex_unlock(&all->lock);
}

/* ---- ends ---------------------------------------------------------------------------------------------- */

static void log_restored(const struct task *task, const struct snap_restored *done)
{
	char undo[sizeof(done->undo) + 1024 + 64] = "", schema[80] = "", who[ACTOR_NAME_SIZE];
	const char *path = task->path;

	actor_name(&task->who, who, sizeof(who));
	if (done->unchanged) {
		log_info("\"%s\" was equal to what %s wrote: nothing was changed", path, who);
		return;
	}
	if (done->undo[0] && done->undo_path[0])
		snprintf(undo, sizeof(undo), "; to undo it: cp .sqlsnapfs/snapshots/%s/%.500s %.500s",
			 done->undo, done->undo_path, path);
	else if (done->undo[0])
		snprintf(undo, sizeof(undo),
			 "; to undo it: mount the folder that the link leads to, and its %s", done->undo);
	if (done->old_user_version != done->new_user_version)
		snprintf(schema, sizeof(schema),
			 "; user_version was %u and is %u: migrations may have to run",
			 done->old_user_version, done->new_user_version);
	log_info("\"%s\" was restored by %s: %.1f MiB in %.2f s, locked for %.2f s%s%s", path, who,
		 (double)done->size / MIB, (double)done->took_ns / 1e9, (double)done->locked_ns / 1e9, undo,
		 schema);
}

void task_restored(struct task *task, const struct snap_restored *done)
{
	if (task->ended)
		return;
	log_restored(task, done);
	end(task, done->unchanged ? TASK_UNCHANGED : TASK_RESTORED, 0, "", done);
}

void task_refused(struct task *task, int rc, const struct snap_err *err, uint64_t size)
{
	const char *reason = err->text[0] ? err->text : strerror(-rc);
	struct snap_restored done = {.size = size, .took_ns = clock_ns(CLOCK_MONOTONIC) - task->began_ns};
	char who[ACTOR_NAME_SIZE];

	if (task->ended)
		return;
	log_error("restore of \"%s\" refused, live database unchanged: %s; written by %s", task->path, reason,
		  actor_name(&task->who, who, sizeof(who)));
	end(task, TASK_REFUSED, rc, reason, &done);
}

void task_cancelled(struct task *task)
{
	struct snap_restored done = {.took_ns = clock_ns(CLOCK_MONOTONIC) - task->began_ns};
	char who[ACTOR_NAME_SIZE];

	if (task->ended)
		return;
	log_warn("restore of \"%s\" ended: %s, who wrote it, was killed; live database unchanged", task->path,
		 actor_name(&task->who, who, sizeof(who)));
	end(task, TASK_CANCELLED, 0, "whoever wrote it was killed", &done);
}

void task_dropped(struct task *task)
{
	struct tasks *all = task->all;

	pthread_mutex_lock(&all->lock);
	leave(task);
	pthread_mutex_unlock(&all->lock);
}
