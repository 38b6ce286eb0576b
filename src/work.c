/* SPDX-License-Identifier: MIT */
/*
 * work.c - see work.h.
 *
 * What must stay true: a submitted call is taken by a thread that is idle or new, never queued behind one
 * that may be waiting for somebody else's lock; so the number of calls under way never exceeds the number of
 * threads.
 */
#include "work.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "cleanup.h"
#include "clock.h"
#include "list.h"
#include "thread.h"

#define IDLE_SECONDS 10

struct call {
	struct list link;
	void (*fn)(void *arg);
	void *arg;
};

struct work {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct list queue; /* calls for which a thread is reserved; guarded by lock, as all below */
	int busy;	   /* threads inside a call, plus calls in the queue */
	int threads;
	bool ending;
};

int work_create(struct work **out)
{
	struct work *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	pthread_mutex_init(&w->lock, NULL);
	cond_init_monotonic(&w->changed);
	list_init(&w->queue);
	*out = w;
	return 0;
}

void work_stop(struct work *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	w->ending = true;
	pthread_cond_broadcast(&w->changed);
	while (w->threads > 0)
		pthread_cond_wait(&w->changed, &w->lock);
	pthread_mutex_unlock(&w->lock);
}

void work_destroy(struct work *w)
{
	if (!w)
		return;
	work_stop(w);
	pthread_cond_destroy(&w->changed);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

/* The next call for this thread, or NULL when it has been idle for long enough or everything ends. Lock held.
 */
static struct call *next_call(struct work *w)
{
	struct timespec until;
	int rc = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += IDLE_SECONDS;
	while (list_empty(&w->queue)) {
		if (w->ending || rc == ETIMEDOUT)
			return NULL;
		rc = pthread_cond_timedwait(&w->changed, &w->lock, &until);
	}
	struct call *c = list_entry(w->queue.next, struct call, link);
	list_remove(&c->link);
	return c;
}

static void *run(void *arg)
{
	struct work *w = arg;
	struct call *c;

	pthread_mutex_lock(&w->lock);
	while ((c = next_call(w)) != NULL) {
		pthread_mutex_unlock(&w->lock);
		c->fn(c->arg);
		free(c);
		pthread_mutex_lock(&w->lock);
		w->busy--;
	}
	w->threads--;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

static int start_thread(struct work *w)
{
	pthread_attr_t attr;
	pthread_t thread;
	int rc;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, (size_t)512 * 1024);
	rc = thread_start(&thread, &attr, run, w);
	pthread_attr_destroy(&attr);
	return rc;
}

static int submit(struct work *w, int limit, void (*fn)(void *arg), void *arg)
{
	autofree struct call *c = calloc(1, sizeof(*c));
	int rc;

	if (!c)
		return -ENOMEM;
	c->fn = fn;
	c->arg = arg;
	list_init(&c->link);
	lock_scope(&w->lock);
	if (w->busy >= limit || w->ending)
		return -EAGAIN;
	if (w->busy == w->threads) {
		rc = start_thread(w);
		if (rc)
			return rc;
		w->threads++;
	}
	w->busy++;
	list_append(&w->queue, &steal_ptr(&c)->link);
	pthread_cond_signal(&w->changed);
	return 0;
}

int work_submit(struct work *w, void (*fn)(void *arg), void *arg)
{
	return submit(w, WORK_THREADS, fn, arg);
}

int work_submit_urgent(struct work *w, void (*fn)(void *arg), void *arg)
{
	return submit(w, WORK_THREADS + WORK_URGENT, fn, arg);
}
