/* SPDX-License-Identifier: MIT */
/* jobs.c - see jobs.h. */
#include "jobs.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

void jobs_init(struct jobs *jobs, struct snap *snap)
{
	*jobs = (struct jobs){.snap = snap};
	pthread_mutex_init(&jobs->lock, NULL);
}

void jobs_finish(struct jobs *jobs)
{
	pthread_mutex_destroy(&jobs->lock);
}

/* One that is counted. */
struct counted_job {
	struct jobs *jobs;
	size_t user; /* its place among the users */
	void (*fn)(void *arg);
	void *arg;
};

/* 0 with UID's place in *USER, or -EAGAIN. There are as many places as jobs, so one is free for each. */
static int add(struct jobs *jobs, uid_t uid, size_t *user)
{
	size_t place = JOBS_OTHERS;
	int rc = -EAGAIN;

	pthread_mutex_lock(&jobs->lock);
	for (size_t i = 0; i < JOBS_OTHERS; i++) {
		if (jobs->users[i].count == 0) {
			place = i;
		} else if (jobs->users[i].uid == uid) {
			place = i;
			break;
		}
	}
	if (jobs->others < JOBS_OTHERS && jobs->users[place].count < JOBS_EACH) {
		jobs->users[place].uid = uid;
		jobs->users[place].count++;
		jobs->others++;
		*user = place;
		rc = 0;
	}
	pthread_mutex_unlock(&jobs->lock);
	return rc;
}

static void remove_one(struct jobs *jobs, size_t user)
{
	pthread_mutex_lock(&jobs->lock);
	jobs->users[user].count--;
	jobs->others--;
	pthread_mutex_unlock(&jobs->lock);
}

static void run_counted(void *arg)
{
	struct counted_job *job = arg;

	job->fn(job->arg);
	remove_one(job->jobs, job->user);
	free(job);
}

static int run_counted_later(struct jobs *jobs, uid_t uid, void (*fn)(void *arg), void *arg)
{
	struct counted_job *job = malloc(sizeof(*job));
	int rc;

	if (!job)
		return -ENOMEM;
	*job = (struct counted_job){.jobs = jobs, .fn = fn, .arg = arg};
	rc = add(jobs, uid, &job->user);
	if (rc == 0) {
		rc = snap_defer(jobs->snap, run_counted, job);
		if (rc)
			remove_one(jobs, job->user);
	}
	if (rc)
		free(job);
	return rc;
}

int jobs_run(struct jobs *jobs, uid_t uid, void (*fn)(void *arg), void *arg)
{
	bool is_exempt = uid == 0 || uid == geteuid();

	return is_exempt ? snap_defer(jobs->snap, fn, arg) : run_counted_later(jobs, uid, fn, arg);
}
