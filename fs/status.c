/* SPDX-License-Identifier: MIT */
/*
 * status.c - see status.h: facts from the library and from fs/, as JSON. Its only decision is what is a
 * warning.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "status_private.h"

void status_warn(struct making *m, const char *format, ...)
{
	va_list ap;

	if (m->warnings.count < WARNINGS_MAX) {
		va_start(ap, format);
		vsnprintf(m->warnings.text[m->warnings.count], sizeof(m->warnings.text[0]), format, ap);
		va_end(ap);
	}
	m->warnings.count++;
}

static void put_actor(struct json *j, const struct snap_actor *who)
{
	json_number(j, "uid", who->uid);
	if (who->pid > 0)
		json_number(j, "pid", (uint64_t)who->pid);
	else
		json_null(j, "pid");
	json_string(j, "command", who->command[0] ? who->command : NULL);
}

/* ---- the mount ----------------------------------------------------------------------------------------- */

static void put_options(struct json *j, const struct options *o)
{
	if (!o) {
		json_null(j, "options");
		return;
	}
	json_object(j, "options");
	json_string(j, "store", o->store);
	json_number(j, "wal_limit", o->wal_limit);
	json_number(j, "wal_max", o->wal_max);
	json_seconds(j, "busy_timeout", (int64_t)o->busy_timeout);
	json_string(j, "check", o->check == CHECK_FULL ? "full" : "quick");
	json_number(j, "keep", o->keep);
	json_bool(j, "force", o->force);
	json_bool(j, "norestore", o->norestore);
	json_bool(j, "frozen", o->frozen);
	json_bool(j, "shared_locks", o->shared_locks);
	json_bool(j, "databases_only", o->databases_only);
	json_bool(j, "hide_databases", o->hide_databases);
	json_end(j);
}

static void put_mount(struct making *m, const struct status_order *order)
{
	struct json *j = &m->json;

	json_number(j, "schema", STATUS_SCHEMA);
	json_time(j, "time", m->now_ns);
	json_time(j, "started", order->started_ns);
	json_string(j, "version", SQLSNAPFS_VERSION);
	json_number(j, "pid", (uint64_t)getpid());
	json_string(j, "mountpoint", order->mountpoint);
	json_bool(j, "read_only", order->read_only);
	put_options(j, order->options);
	json_number(j, "passed_through", order->passed_through);
	json_object(j, "sqlite");
	json_string(j, "version", snap_sqlite_version());
	json_bool(j, "wal_reset_bug", snap_sqlite_has_wal_reset_bug());
	json_end(j);
}

static void put_warnings(struct making *m)
{
	size_t shown = m->warnings.count < WARNINGS_MAX ? m->warnings.count : WARNINGS_MAX;

	json_array(&m->json, "warnings");
	for (size_t i = 0; i < shown; i++)
		json_string(&m->json, NULL, m->warnings.text[i]);
	json_end(&m->json);
}

/* ---- databases ----------------------------------------------------------------------------------------- */

static const char *journal_word(enum snap_journal journal)
{
	switch (journal) {
	case SNAP_JOURNAL_WAL:
		return "wal";
	case SNAP_JOURNAL_ROLLBACK:
		return "rollback";
	case SNAP_JOURNAL_UNKNOWN:
		break;
	}
	return "unknown";
}

static void put_pins(struct json *j, const struct snap_source_facts *f)
{
	size_t shown = f->pin_count < SNAP_PINS_MAX ? f->pin_count : SNAP_PINS_MAX;

	json_array(j, "pins");
	for (size_t i = 0; i < shown; i++) {
		json_object(j, NULL);
		json_seconds(j, "age", f->pins[i].age_ns / NS_PER_MS);
		json_number(j, "wal_bytes", f->pins[i].wal_bytes);
		json_end(j);
	}
	json_end(j);
	json_number(j, "pin_count", f->pin_count);
}

static void put_number_or_null(struct json *j, const char *key, bool known, uint64_t value)
{
	if (known)
		json_number(j, key, value);
	else
		json_null(j, key);
}

static void put_opened(struct making *m, const struct snap_opened *opened)
{
	struct json *j = &m->json;

	if (opened->time_ns == 0) {
		json_null(j, "last_opened");
		return;
	}
	json_object(j, "last_opened");
	json_time(j, "time", opened->time_ns);
	json_seconds(j, "seconds_ago", (m->now_ns - opened->time_ns) / NS_PER_MS);
	json_string(j, "snapshot", opened->snapshot[0] ? opened->snapshot : NULL);
	put_actor(j, &opened->who);
	json_end(j);
}

static int put_source(void *arg, const struct snap_source_facts *f)
{
	struct making *m = arg;
	struct json *j = &m->json;

	m->has_database |= f->path != NULL;
	json_object(j, NULL);
	json_string(j, "path", f->path);
	json_string(j, "file", f->file);
	json_string(j, "kind", journal_word(f->journal));
	put_number_or_null(j, "page_size", f->page_size != 0, f->page_size);
	json_number(j, "size", f->size);
	put_number_or_null(j, "generation", f->generation != 0, f->generation);
	json_bool(j, "connected", f->connected);
	json_number(j, "readers", f->readers);
	put_pins(j, f);
	put_number_or_null(j, "wal_bytes", f->connected, f->wal_bytes);
	put_number_or_null(j, "held_bytes", f->connected, f->held_bytes);
	json_number(j, "spool_bytes", f->spool_bytes);
	json_bool(j, "wal_marked", f->wal_marked);
	if (f->error_ns) {
		json_object(j, "last_error");
		json_time(j, "time", f->error_ns);
		json_string(j, "text", f->error.text);
		json_end(j);
	} else {
		json_null(j, "last_error");
	}
	put_opened(m, &f->opened);
	json_end(j);
	if (f->failing && f->path)
		status_warn(m,
			    "\"%.200s\" cannot be read: %s; this warning ends with the next open that "
			    "succeeds",
			    f->path, f->error.text);
	if (f->wal_marked)
		status_warn(m,
			    "%s: its wal-index shows the mark of the WAL-reset bug (nBackfill > mxFrame): "
			    "stop its "
			    "applications, copy the database with its -wal and -shm, and check it",
			    f->path   ? f->path
			    : f->file ? f->file
				      : "?");
	return j->failed ? -ENOMEM : 0;
}

/* ---- restores ------------------------------------------------------------------------------------------ */

static const char *const phase_words[] = {
	[SNAP_PHASE_WAITING] = "waiting", [SNAP_PHASE_CHECKING] = "checking",
	[SNAP_PHASE_KEEPING] = "keeping", [SNAP_PHASE_LOCKING] = "locking",
	[SNAP_PHASE_WRITING] = "writing", [SNAP_PHASE_SETTLING] = "settling",
};

/* Progress of the whole in thousandths; each long step counts equally. */
static int64_t share_of(int steps, uint64_t done, uint64_t total)
{
	double part = total ? (double)(done < total ? done : total) / (double)total : 0;

	return steps >= SNAP_PROGRESS_STEPS ? 1000 : (int64_t)((steps + part) * 1000 / SNAP_PROGRESS_STEPS);
}

static void put_running(void *arg, const struct task *task)
{
	struct making *m = arg;
	struct json *j = &m->json;
	int phase = task->progress.phase, steps = task->progress.steps;
	uint64_t done = task->progress.done, total = task->progress.total;

	json_object(j, NULL);
	json_string(j, "kind", "restore");
	json_string(j, "path", task->path);
	json_string(j, "phase", phase_words[phase]);
	json_number(j, "done", done);
	put_number_or_null(j, "total", total != 0, total);
	json_seconds(j, "share", share_of(steps, done, total));
	json_seconds(j, "seconds", (m->monotonic_ns - task->began_ns) / NS_PER_MS);
	put_actor(j, &task->who);
	json_end(j);
}

static const char *verdict_word(const struct task_end *end)
{
	switch (end->verdict) {
	case TASK_RESTORED:
		return "restored";
	case TASK_UNCHANGED:
		return "unchanged";
	case TASK_CANCELLED:
		return "cancelled";
	case TASK_REFUSED:
		break;
	}
	return end->done.doubtful ? "doubtful" : "refused";
}

static void put_ended(void *arg, const struct task_end *end)
{
	struct making *m = arg;
	struct json *j = &m->json;

	json_object(j, NULL);
	json_string(j, "path", end->path);
	json_time(j, "time", end->time_ns);
	json_string(j, "verdict", verdict_word(end));
	json_string(j, "error", end->error ? strerror(-end->error) : NULL);
	json_string(j, "reason", end->reason[0] ? end->reason : NULL);
	json_number(j, "size", end->done.size);
	json_seconds(j, "seconds", end->done.took_ns / NS_PER_MS);
	json_seconds(j, "locked_seconds", end->done.locked_ns / NS_PER_MS);
	json_string(j, "undo", end->done.undo[0] ? end->done.undo : NULL);
	json_string(j, "undo_path", end->done.undo_path[0] ? end->done.undo_path : NULL);
	json_bool(j, "undo_raw", end->done.undo_raw);
	put_actor(j, &end->who);
	json_end(j);
}

static void warn_failed(void *arg, const struct task_end *end)
{
	const char *was = end->done.committed || end->done.doubtful ? "" : "was ";
	const char *failure = end->done.committed ? "failed" : task_failure(&end->done);
	char time[JSON_TIME_SIZE];
	const char *at = json_time_text(end->time_ns, time);

	status_warn(arg,
		    "the restore of \"%.200s\" at %s %s%s: %s; this warning ends with a restore of it that "
		    "succeeds, or after a day",
		    end->path, at ? at : "?", was, failure, end->reason);
}

/* ---- all of it ----------------------------------------------------------------------------------------- */

char *status_make(const struct status_order *order)
{
	struct making *m = calloc(1, sizeof(*m));
	struct snap_err err = {""};
	bool complete = false;
	char *text;

	if (!m)
		return NULL;
	m->json = JSON_INIT;
	m->now_ns = realtime_ns();
	m->monotonic_ns = monotonic_ns();
	json_object(&m->json, NULL);
	put_mount(m, order);
	json_array(&m->json, "sources");
	if (snap_each_source(order->snap, put_source, m, &complete))
		json_fail(&m->json);
	json_end(&m->json);
	json_bool(&m->json, "complete", complete);
	json_array(&m->json, "running");
	tasks_each_running(order->tasks, put_running, m);
	json_end(&m->json);
	json_array(&m->json, "restores");
	tasks_each_ended(order->tasks, put_ended, m);
	json_end(&m->json);
	if (snap_check_known(order->snap, &err) && err.text[0])
		status_warn(m, "%s", err.text);
	else if (order->folder && complete && !m->has_database)
		status_warn(m, STATUS_NO_DATABASE, order->folder);
	tasks_each_failed(order->tasks, m->now_ns - FAILURE_NS, warn_failed, m);
	status_put_snapshots(m, order->snap);
	put_warnings(m);
	json_end(&m->json);
	text = json_take(&m->json);
	free(m);
	return text;
}
