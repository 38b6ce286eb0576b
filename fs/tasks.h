/* SPDX-License-Identifier: MIT */
/*
 * tasks.h - restores: which are under way, and how the last ones ended, for status.json. Each end is logged.
 * No FUSE calls, so that it can be tested without a mount.
 *
 * tasks->lock is held for work on the table only. A task belongs to the thread that runs it. From
 * task_begin() to its end it is in the table, and its path must stay valid.
 */
#ifndef SQLSNAPFS_TASKS_H
#define SQLSNAPFS_TASKS_H

#include <limits.h>
#include <pthread.h>

#include "../src/sqlsnap.h"

#define TASKS_ENDED 20	/* that are remembered */
#define TASKS_FAILED 20 /* paths, likewise */

struct tasks;

struct task {
	struct tasks *all; /* borrowed; constant, as are the next three */
	const char *path;  /* borrowed; the database's, in the tree */
	struct snap_actor who;
	int64_t began_ns;	       /* CLOCK_MONOTONIC */
	struct snap_progress progress; /* updated by the library */
	struct task *prev, *next;      /* guarded by all->lock */
};

enum task_verdict {
	TASK_RESTORED,
	TASK_UNCHANGED, /* what was written was there already */
	TASK_REFUSED,
	TASK_CANCELLED, /* its writer was killed */
};

/* How a task ended. */
struct task_end {
	int64_t time_ns; /* CLOCK_REALTIME */
	char path[PATH_MAX];
	struct snap_actor who;
	enum task_verdict verdict;
	int error;			      /* -errno; 0: none */
	char reason[sizeof(struct snap_err)]; /* of a failure; "": none */
	struct snap_restored done;	      /* what is known of it */
};

struct tasks {
	pthread_mutex_t lock; /* guards all below */
	struct task *first;
	struct task_end ended[TASKS_ENDED]; /* a ring */
	unsigned next, count;
	struct task_end failed[TASKS_FAILED]; /* in no order; TIME_NS 0: none */
};

void tasks_init(struct tasks *all);
void tasks_finish(struct tasks *all); /* none is under way */

void task_begin(struct task *task, struct tasks *all, const char *path, const struct snap_actor *who);
/* The ways in which a task ends; it ends once. Each logs a line. */
void task_restored(struct task *task, const struct snap_restored *done);
/* It is restored, but what follows the commit failed: for example, the disk did not make it durable. */
void task_restored_but(struct task *task, int rc, const struct snap_err *err,
		       const struct snap_restored *done);
void task_refused(struct task *task, int rc, const struct snap_err *err, const struct snap_restored *done);
void task_cancelled(struct task *task, const struct snap_restored *done);
/* Ends a task that decided nothing, without a trace in the log or in the table. */
void task_dropped(struct task *task);

/* Text for the state of the live database after a failed restore: "refused, ..." or "failed". */
const char *task_failure(const struct snap_restored *done);

/* These call FN under the lock, so FN must not wait: with each task under way; with each end, newest first;
 * with the last failure of each path that was not restored since then, if it is later than SINCE_NS
 * (CLOCK_REALTIME). */
void tasks_each_running(struct tasks *all, void (*fn)(void *arg, const struct task *task), void *arg);
void tasks_each_ended(struct tasks *all, void (*fn)(void *arg, const struct task_end *end), void *arg);
void tasks_each_failed(struct tasks *all, int64_t since_ns, void (*fn)(void *arg, const struct task_end *end),
		       void *arg);

#endif
