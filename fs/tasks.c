/* SPDX-License-Identifier: MIT */
/* tasks.c - see tasks.h. */
#include "tasks.h"

#include <stdio.h>
#include <string.h>

#define LOG_MODULE "restore"
#include "../src/bytes.h"
#include "../src/clock.h"
#include "caller.h"
#include "fault.h"
#include "log.h"

/* What a shell takes literally, unquoted. */
#define PLAIN_BYTES "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./-+=:,@%"
#define COMMAND_SIZE 600 /* a longer command would be cut: a line has a thousand bytes at most */
#define UNDO_SIZE 1280	 /* of the part of a line about an undo: two paths, a name and text */

/* ---- the table ----------------------------------------------------------------------------------------- */

void tasks_init(struct tasks *all)
{
	pthread_mutex_init(&all->lock, NULL);
	all->first = NULL;
	all->next = all->count = 0;
	for (int i = 0; i < TASKS_FAILED; i++)
		all->failed[i].time_ns = 0;
}

void tasks_finish(struct tasks *all)
{
	pthread_mutex_destroy(&all->lock);
}

void task_begin(struct task *task, struct tasks *all, const char *path, const struct snap_actor *who)
{
	*task = (struct task){.all = all, .path = path, .who = *who, .began_ns = monotonic_ns()};
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
	if (task->next)
		task->next->prev = task->prev;
	if (task->prev)
		task->prev->next = task->next;
	else
		task->all->first = task->next;
}

/* Records a failure, which stands until its path is restored. Replaces the oldest one if needed. Lock
 * held. */
static void note_failure(struct tasks *all, const struct task_end *end)
{
	struct task_end *at = all->failed;
	bool found = false;

	if (end->verdict == TASK_CANCELLED)
		return;
	for (int i = 0; i < TASKS_FAILED && !found; i++) {
		struct task_end *one = &all->failed[i];

		found = one->time_ns && strcmp(one->path, end->path) == 0;
		if (found || one->time_ns < at->time_ns)
			at = one;
	}
	if (end->error)
		*at = *end;
	else if (found)
		at->time_ns = 0;
}

/* Takes TASK out of the table, and remembers how it ended. */
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
	to->time_ns = realtime_ns();
	to->who = task->who;
	to->verdict = verdict;
	to->error = error;
	to->done = *done;
	snprintf(to->path, sizeof(to->path), "%s", task->path);
	snprintf(to->reason, sizeof(to->reason), "%s", reason);
	note_failure(all, to);
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

void tasks_each_failed(struct tasks *all, int64_t since_ns, void (*fn)(void *arg, const struct task_end *end),
		       void *arg)
{
	pthread_mutex_lock(&all->lock);
	for (int i = 0; i < TASKS_FAILED; i++)
		if (all->failed[i].time_ns && all->failed[i].time_ns > since_ns)
			fn(arg, &all->failed[i]);
	pthread_mutex_unlock(&all->lock);
}

/* ---- ends ---------------------------------------------------------------------------------------------- */

#define RAW_UNDO \
	"what was there before is no database that could be put back, and its files are kept as they were"

/* Writes the end of a log line to TEXT: WORDS, and where to find what was kept; nothing if nothing was
 * kept. */
static const char *name_undo(char text[UNDO_SIZE], const char *words, const struct snap_restored *done)
{
	text[0] = '\0';
	if (done->undo[0] && done->undo_path[0])
		snprintf(text, UNDO_SIZE, "; %s: .sqlsnapfs/snapshots/%s/%.500s", words, done->undo,
			 done->undo_path);
	else if (done->undo[0])
		snprintf(text, UNDO_SIZE, "; %s: mount the directory that the link leads to, and its %s",
			 words, done->undo);
	return text;
}

/* The same for a failed restore. */
static const char *name_left(char text[UNDO_SIZE], const struct snap_restored *done)
{
	return name_undo(text,
			 done->undo_raw ? "what was there before is kept as it was"
					: "what was there before is kept",
			 done);
}

const char *task_failure(const struct snap_restored *done)
{
	if (done->doubtful)
		return "failed"; /* the reason says that the outcome is unknown */
	return done->undo[0] ? "refused, nothing of it was written" : "refused, live database unchanged";
}

/* Appends a blank and TEXT to the words in OUT, quoted so that a shell reads it as one word. False: OUT is
 * too small, or the log would escape part of TEXT. */
static bool add_word(char *out, size_t size, const char *text)
{
	size_t used = strlen(out), plain = strspn(text, PLAIN_BYTES);
	char shown[UNDO_SIZE];

	if (strcmp(log_escape(shown, sizeof(shown), text), text) != 0 || used + 4 * strlen(text) + 4 > size)
		return false;
	if (!text[plain]) {
		snprintf(out + used, size - used, " %s", text);
		return true;
	}
	used += (size_t)snprintf(out + used, size - used, " '");
	for (; *text; text++)
		used += (size_t)snprintf(out + used, size - used, *text == '\'' ? "'\\''" : "%c", *text);
	snprintf(out + used, size - used, "'");
	return true;
}

/* Writes the command that undoes the restore, to be run in the mount's root. False: no command could be
 * pasted. */
static bool undo_command(char text[UNDO_SIZE], const char *path, const struct snap_restored *done)
{
	char from[UNDO_SIZE];
	int n = snprintf(from, sizeof(from), ".sqlsnapfs/snapshots/%s/%s", done->undo, done->undo_path);

	snprintf(text, UNDO_SIZE, "; to undo it, in the mount: cp%s", path[0] == '-' ? " --" : "");
	return (size_t)n < sizeof(from) && add_word(text, COMMAND_SIZE, from) &&
	       add_word(text, COMMAND_SIZE, path);
}

static void log_restored(const struct task *task, const struct snap_restored *done)
{
	char undo[UNDO_SIZE], schema[80] = "", who[ACTOR_NAME_SIZE], size[BYTES_TEXT_SIZE];
	const char *path = task->path;

	actor_name(&task->who, who, sizeof(who));
	if (done->unchanged) {
		log_info("\"%s\" was equal to what %s wrote: nothing was changed", path, who);
		return;
	}
	if (done->undo_raw)
		name_undo(undo, RAW_UNDO, done);
	else if (!done->undo[0] || !done->undo_path[0] || !undo_command(undo, path, done))
		name_undo(undo, "to undo it", done);
	if (done->old_user_version != done->new_user_version)
		snprintf(schema, sizeof(schema),
			 "; user_version was %u and is %u: migrations may have to run",
			 done->old_user_version, done->new_user_version);
	log_info("\"%s\" was restored by %s: %s in %.2f s, locked for %.2f s%s%s", path, who,
		 bytes_text(size, done->size), (double)done->took_ns / 1e9, (double)done->locked_ns / 1e9,
		 undo, schema);
}

void task_restored(struct task *task, const struct snap_restored *done)
{
	log_restored(task, done);
	end(task, done->unchanged ? TASK_UNCHANGED : TASK_RESTORED, 0, "", done);
}

void task_restored_but(struct task *task, int rc, const struct snap_err *err,
		       const struct snap_restored *done)
{
	/* The text says how far it got. */
	log_error("restore of \"%s\": %s%s", task->path, err->text, fault_remedy(rc));
	log_restored(task, done);
	end(task, done->unchanged ? TASK_UNCHANGED : TASK_RESTORED, rc, err->text, done);
}

void task_refused(struct task *task, int rc, const struct snap_err *err, const struct snap_restored *done)
{
	struct snap_restored known = *done;
	struct snap_err reason;
	char undo[UNDO_SIZE], who[ACTOR_NAME_SIZE];

	fault(&reason, rc, "%s%s", err->text[0] ? err->text : strerror(-rc), fault_remedy(rc));
	known.took_ns = monotonic_ns() - task->began_ns;
	log_error("restore of \"%s\" %s: %s; written by %s%s", task->path, task_failure(done), reason.text,
		  actor_name(&task->who, who, sizeof(who)), name_left(undo, done));
	end(task, TASK_REFUSED, rc, reason.text, &known);
}

void task_cancelled(struct task *task, const struct snap_restored *done)
{
	struct snap_restored known = *done;
	char undo[UNDO_SIZE], who[ACTOR_NAME_SIZE];

	known.took_ns = monotonic_ns() - task->began_ns;
	log_warn("restore of \"%s\" ended: %s, who wrote it, was killed; %s%s", task->path,
		 actor_name(&task->who, who, sizeof(who)),
		 done->undo[0] ? "nothing of it was written" : "live database unchanged",
		 name_left(undo, done));
	end(task, TASK_CANCELLED, 0, "whoever wrote it was killed", &known);
}

void task_dropped(struct task *task)
{
	struct tasks *all = task->all;

	pthread_mutex_lock(&all->lock);
	leave(task);
	pthread_mutex_unlock(&all->lock);
}
