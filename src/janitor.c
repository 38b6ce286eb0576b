/* SPDX-License-Identifier: MIT */
/* janitor.c - see janitor.h. */
#include "janitor.h"

#include <errno.h>

#include "clock.h"
#include "memory.h"
#include "snap_private.h"
#include "thread.h"

#define TEND_MS 100
#define HURRY_MS 20
#define FORGET_ROUNDS 6000 /* rounds between two looks for sources that nobody refers to any more */
#define TRIM_ROUNDS 100	   /* rounds between two times that unused memory is given back */
#define TRIM_IDLE_S 2	   /* and how long after the last round */

/* ARG: set when another round is due. */
static int tend(void *arg, struct source *source)
{
	bool *more = arg;

	*more |= source_tend(source, monotonic_ns());
	return 0;
}

/* Returns when a source needs tending, or when all is to end. Under core->lock. */
static void wait_for_work(struct core *core)
{
	struct timespec idle = ns_timespec(monotonic_ns() + TRIM_IDLE_S * NS_PER_S);
	bool trimmed = false;

	while (!core->awake && !core->ending) {
		if (trimmed) {
			pthread_cond_wait(&core->changed, &core->lock);
		} else if (pthread_cond_timedwait(&core->changed, &core->lock, &idle) == ETIMEDOUT) {
			pthread_mutex_unlock(&core->lock);
			memory_trim();
			trimmed = true;
			pthread_mutex_lock(&core->lock);
		}
	}
}

static void *run(void *arg)
{
	struct snap *snap = arg;
	struct core *core = &snap->core;
	struct timespec until;

	pthread_mutex_lock(&core->lock);
	for (unsigned round = 1; !core->ending; round++) {
		wait_for_work(core);
		until = ns_timespec(monotonic_ns() +
				    (atomic_exchange(&core->hurry, false) ? HURRY_MS : TEND_MS) * NS_PER_MS);
		core->awake = false;
		pthread_mutex_unlock(&core->lock);
		bool more = false;
		sources_each(core->sources, tend, &more);
		if (round % FORGET_ROUNDS == 0) {
			sources_each(core->sources, source_forgive_gone, NULL);
			sources_forget_unused(core->sources);
		}
		snap_tidy_store(snap, monotonic_ns()); /* if no thread can be had: not today */
		if (round % TRIM_ROUNDS == 0)
			memory_trim();
		pthread_mutex_lock(&core->lock);
		core->awake |= more;
		while (!core->ending &&
		       pthread_cond_timedwait(&core->changed, &core->lock, &until) != ETIMEDOUT)
			;
	}
	pthread_mutex_unlock(&core->lock);
	return NULL;
}

int janitor_start(struct janitor *janitor, struct snap *snap)
{
	int rc = thread_start(&janitor->thread, NULL, run, snap);

	janitor->runs = rc == 0;
	return rc;
}

void janitor_stop(struct janitor *janitor, struct snap *snap)
{
	struct core *core = &snap->core;

	pthread_mutex_lock(&core->lock);
	core->ending = true;
	pthread_cond_signal(&core->changed);
	pthread_mutex_unlock(&core->lock);
	if (janitor->runs)
		pthread_join(janitor->thread, NULL);
	janitor->runs = false;
}
