/* SPDX-License-Identifier: MIT */
/* jobs.c - see jobs.h. */
#include "jobs.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
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

#define UNCOUNTED SIZE_MAX /* the place of root, and of the user who mounted */

struct job {
	struct jobs *jobs;
	size_t user; /* its place among the users, or UNCOUNTED */
	void (*fn)(void *arg);
	max_align_t arg[]; /* the copy */
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

static void run(void *arg)
{
	struct job *job = arg;

	job->fn(job->arg);
	if (job->user != UNCOUNTED)
		remove_one(job->jobs, job->user);
	free(job);
}

int jobs_run(struct jobs *jobs, uid_t uid, void (*fn)(void *arg), const void *arg, size_t size)
{
	struct job *job = malloc(sizeof(*job) + size);
	int rc = 0;

	if (!job)
		return -ENOMEM;
	*job = (struct job){.jobs = jobs, .user = UNCOUNTED, .fn = fn};
	memcpy(job->arg, arg, size);
	if (uid != 0 && uid != geteuid())
		rc = add(jobs, uid, &job->user);
	if (!rc) {
		rc = snap_defer(jobs->snap, run, job);
		if (rc && job->user != UNCOUNTED)
			remove_one(jobs, job->user);
	}
	if (rc)
		free(job);
	return rc;
}
