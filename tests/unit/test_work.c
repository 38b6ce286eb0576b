/* SPDX-License-Identifier: MIT */
/*
 * test_work.c - calls on threads. A call that waits behind another one would hang here for ever: the alarm
 * ends the program then.
 */
#include "../../src/thread.h"
#include "../../src/work.h"

#include "unit.h"

#include <dirent.h>
#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../src/clock.h"

#define ALARM_SECONDS 100 /* of which ten are waited for on purpose */

/* What calls wait at until it is opened; OPEN and the counts are guarded by LOCK. */
struct gate {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool open;
	int arrived, left;
};

static void gate_init(struct gate *g)
{
	memset(g, 0, sizeof(*g));
	pthread_mutex_init(&g->lock, NULL);
	pthread_cond_init(&g->changed, NULL);
}

static void gate_finish(struct gate *g)
{
	pthread_cond_destroy(&g->changed);
	pthread_mutex_destroy(&g->lock);
}

static void gate_open(struct gate *g)
{
	pthread_mutex_lock(&g->lock);
	g->open = true;
	pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
}

static void wait_at_gate(void *arg)
{
	struct gate *g = arg;

	pthread_mutex_lock(&g->lock);
	g->arrived++;
	pthread_cond_broadcast(&g->changed);
	while (!g->open)
		pthread_cond_wait(&g->changed, &g->lock);
	g->left++;
	pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
}

static void await_arrived(struct gate *g, int n)
{
	pthread_mutex_lock(&g->lock);
	while (g->arrived < n)
		pthread_cond_wait(&g->changed, &g->lock);
	pthread_mutex_unlock(&g->lock);
}

static int count_left(struct gate *g)
{
	int n;

	pthread_mutex_lock(&g->lock);
	n = g->left;
	pthread_mutex_unlock(&g->lock);
	return n;
}

static int count_threads(void)
{
	DIR *dir = opendir("/proc/self/task");
	int n = -2; /* . and .. */

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static struct work *create(void)
{
	struct work *work = NULL;

	assert_int_equal(work_create(&work), 0);
	assert_non_null(work);
	return work;
}

/* Submits as somebody does who can wait: until there is room. */
static void submit_patiently(struct work *work, void (*fn)(void *arg), void *arg)
{
	int rc;

	while ((rc = work_submit(work, fn, arg)) == -EAGAIN)
		sched_yield();
	assert_int_equal(rc, 0);
}

static void submit_urgently(struct work *work, void (*fn)(void *arg), void *arg)
{
	int rc;

	while ((rc = work_submit_urgent(work, fn, arg)) == -EAGAIN)
		sched_yield();
	assert_int_equal(rc, 0);
}

static void test_destroys_what_did_nothing(void **state)
{
	(void)state;
	work_destroy(NULL);
	work_destroy(create());
}

/* ---- a thread that cannot be started; first, for a fork of a process with threads is another matter - */

static void add_one(void *arg)
{
	atomic_fetch_add((atomic_int *)arg, 1);
}

/* As a user who may have no more threads; 0 when all went well. */
static int submit_without_threads(void)
{
	struct rlimit limit;
	struct work *work = NULL;
	atomic_int ran = 0;

	if (setgroups(0, NULL) || setgid(65534) || setuid(65534) || getrlimit(RLIMIT_NPROC, &limit))
		return 1;
	struct rlimit none = {.rlim_cur = 0, .rlim_max = limit.rlim_max};

	if (setrlimit(RLIMIT_NPROC, &none) || work_create(&work))
		return 2;
	for (int i = 0; i < 2 * WORK_THREADS; i++) {
		if (work_submit(work, add_one, &ran) != -EAGAIN)
			return 3;
	}
	if (setrlimit(RLIMIT_NPROC, &limit))
		return 4;
	/* What failed is not counted as under way. */
	if (work_submit(work, add_one, &ran) != 0)
		return 5;
	work_destroy(work);
	return atomic_load(&ran) == 1 ? 0 : 6;
}

static void test_no_thread_to_be_had(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	assert_int_equal(geteuid(), 0); /* root may always have one more: a child becomes somebody else */
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(submit_without_threads());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* ---- no call waits behind another ------------------------------------------------------------------- */

static void meet(void *arg)
{
	pthread_barrier_wait(arg);
}

static void test_all_wait_for_each_other(void **state)
{
	struct work *work = create();
	pthread_barrier_t barriers[5];

	(void)state;
	for (int round = 0; round < 5; round++) {
		assert_int_equal(pthread_barrier_init(&barriers[round], NULL, WORK_THREADS + 1), 0);
		for (int i = 0; i < WORK_THREADS; i++)
			submit_patiently(work, meet, &barriers[round]);
		pthread_barrier_wait(&barriers[round]);
	}
	work_destroy(work);
	for (int round = 0; round < 5; round++)
		pthread_barrier_destroy(&barriers[round]);
}

static void test_limit(void **state)
{
	struct work *work = create();
	struct gate gates[3];

	(void)state;
	for (int round = 0; round < 3; round++) {
		struct gate *g = &gates[round];

		gate_init(g);
		for (int i = 0; i < WORK_THREADS; i++)
			submit_patiently(work, wait_at_gate, g);
		await_arrived(g, WORK_THREADS);
		for (int i = 0; i < 3; i++)
			assert_int_equal(work_submit(work, wait_at_gate, g), -EAGAIN);
		gate_open(g);
		/* What was refused is not run later. */
		submit_patiently(work, wait_at_gate, g);
		await_arrived(g, WORK_THREADS + 1);
		while (count_left(g) < WORK_THREADS + 1)
			sched_yield();
		assert_int_equal(g->arrived, WORK_THREADS + 1);
	}
	work_destroy(work);
	for (int round = 0; round < 3; round++)
		gate_finish(&gates[round]);
}

/* What calls may be waiting for has threads of its own: no number of them can keep it from running. */
static void test_urgent(void **state)
{
	struct work *work = create();
	struct gate waiting, urgent;

	(void)state;
	gate_init(&waiting);
	gate_init(&urgent);
	for (int i = 0; i < WORK_THREADS; i++)
		assert_int_equal(work_submit(work, wait_at_gate, &waiting), 0);
	assert_int_equal(work_submit(work, wait_at_gate, &urgent), -EAGAIN);
	for (int i = 0; i < WORK_URGENT; i++) {
		assert_int_equal(work_submit_urgent(work, wait_at_gate, &urgent), 0);
		assert_int_equal(work_submit(work, wait_at_gate, &urgent), -EAGAIN);
	}
	await_arrived(&waiting, WORK_THREADS);
	await_arrived(&urgent, WORK_URGENT);
	assert_int_equal(work_submit_urgent(work, wait_at_gate, &urgent), -EAGAIN);
	gate_open(&urgent);
	/* Their end makes room for others of their kind. */
	submit_urgently(work, wait_at_gate, &urgent);
	await_arrived(&urgent, WORK_URGENT + 1);
	gate_open(&waiting);
	work_destroy(work);
	assert_int_equal(waiting.left, WORK_THREADS);
	assert_int_equal(urgent.left, WORK_URGENT + 1);
	gate_finish(&waiting);
	gate_finish(&urgent);
}

/* A call that goes through threads which are idle, and new ones, beside calls that never end. */
static void test_passes_stuck_calls(void **state)
{
	struct work *work = create();
	struct gate stuck, passing;

	(void)state;
	gate_init(&stuck);
	gate_init(&passing);
	gate_open(&passing);
	for (int i = 1; i < WORK_THREADS; i++) {
		submit_patiently(work, wait_at_gate, &stuck);
		submit_patiently(work, wait_at_gate, &passing);
		await_arrived(&stuck, i);
		await_arrived(&passing, i);
	}
	assert_int_equal(count_left(&stuck), 0);
	gate_open(&stuck);
	work_destroy(work);
	assert_int_equal(stuck.left, WORK_THREADS - 1);
	assert_int_equal(passing.left, WORK_THREADS - 1);
	gate_finish(&stuck);
	gate_finish(&passing);
}

#define SUBMITTERS 4
#define CALLS_EACH 5000

struct submitter {
	struct work *work;
	atomic_int *ran; /* one counter for each call */
	pthread_t thread;
};

static void *submit_many(void *arg)
{
	struct submitter *s = arg;
	intptr_t failed = 0;

	for (int i = 0; i < CALLS_EACH; i++) {
		int rc;

		while ((rc = work_submit(s->work, add_one, &s->ran[i])) == -EAGAIN)
			sched_yield();
		failed += rc != 0;
	}
	return (void *)failed;
}

static void test_each_call_runs_once(void **state)
{
	atomic_int *ran = calloc((size_t)SUBMITTERS * CALLS_EACH, sizeof(*ran));
	struct submitter submitters[SUBMITTERS];
	struct work *work = create();
	void *failed;

	(void)state;
	assert_non_null(ran);
	for (int i = 0; i < SUBMITTERS; i++) {
		submitters[i] = (struct submitter){.work = work, .ran = ran + i * CALLS_EACH};
		assert_int_equal(pthread_create(&submitters[i].thread, NULL, submit_many, &submitters[i]), 0);
	}
	for (int i = 0; i < SUBMITTERS; i++) {
		assert_int_equal(pthread_join(submitters[i].thread, &failed), 0);
		assert_null(failed);
	}
	work_destroy(work);
	for (int i = 0; i < SUBMITTERS * CALLS_EACH; i++)
		assert_int_equal(atomic_load(&ran[i]), 1);
	free(ran);
}

/* ---- signals ---------------------------------------------------------------------------------------- */

static void read_mask(void *arg)
{
	pthread_sigmask(SIG_BLOCK, NULL, arg);
}

/* Signals that can be blocked and must be; the C library keeps 32 and 33 for itself. */
static bool must_be_blocked(int sig)
{
	return sig != SIGKILL && sig != SIGSTOP && (sig < 32 || sig >= SIGRTMIN);
}

/* Signals that a thread raises by what it does: blocked, they would end the process past their handler. */
static bool must_pass(int sig)
{
	return sig == SIGBUS || sig == SIGSEGV || sig == SIGFPE || sig == SIGILL;
}

static void *read_mask_of_thread(void *arg)
{
	read_mask(arg);
	return NULL;
}

/* Of the threads of both kinds, and of the one that starts them. */
static void check_masks(bool own_thread)
{
	struct work *work = create();
	sigset_t before, after, inside;
	pthread_t thread;

	sigemptyset(&inside);
	pthread_sigmask(SIG_BLOCK, NULL, &before);
	if (own_thread) {
		assert_int_equal(thread_start(&thread, NULL, read_mask_of_thread, &inside), 0);
		assert_int_equal(pthread_join(thread, NULL), 0);
	} else {
		assert_int_equal(work_submit(work, read_mask, &inside), 0);
	}
	pthread_sigmask(SIG_BLOCK, NULL, &after);
	work_destroy(work);
	for (int sig = 1; sig <= SIGRTMAX; sig++) {
		if (must_be_blocked(sig))
			assert_int_equal(sigismember(&inside, sig), !must_pass(sig));
		if (sig < 32 || sig >= SIGRTMIN)
			assert_int_equal(sigismember(&after, sig), sigismember(&before, sig));
	}
}

static void test_signals_are_blocked(void **state)
{
	(void)state;
	check_masks(false);
	check_masks(true);
}

/* ---- the end ---------------------------------------------------------------------------------------- */

static void *open_soon(void *arg)
{
	struct gate *g = arg;

	await_arrived(g, WORK_THREADS);
	/* Time for work_destroy() to return too early, if it would. */
	nanosleep(&(struct timespec){.tv_nsec = 50 * NS_PER_MS}, NULL);
	gate_open(g);
	return NULL;
}

static void test_destroy_waits(void **state)
{
	struct work *work = create();
	pthread_t opener;
	struct gate g;

	(void)state;
	gate_init(&g);
	for (int i = 0; i < WORK_THREADS; i++)
		assert_int_equal(work_submit(work, wait_at_gate, &g), 0);
	assert_int_equal(pthread_create(&opener, NULL, open_soon, &g), 0);
	work_destroy(work);
	assert_int_equal(count_left(&g), WORK_THREADS);
	assert_int_equal(pthread_join(opener, NULL), 0);
	gate_finish(&g);
}

/* What comes too late is refused; what was under way is not lost. */
static void test_stop(void **state)
{
	struct work *work = create();
	pthread_t opener;
	struct gate g;

	(void)state;
	work_stop(NULL);
	gate_init(&g);
	for (int i = 0; i < WORK_THREADS; i++)
		assert_int_equal(work_submit(work, wait_at_gate, &g), 0);
	assert_int_equal(pthread_create(&opener, NULL, open_soon, &g), 0);
	work_stop(work);
	assert_int_equal(count_left(&g), WORK_THREADS);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(work_submit(work, wait_at_gate, &g), -EAGAIN);
		assert_int_equal(work_submit_urgent(work, wait_at_gate, &g), -EAGAIN);
		work_stop(work);
	}
	work_destroy(work);
	assert_int_equal(g.arrived, WORK_THREADS);
	assert_int_equal(pthread_join(opener, NULL), 0);
	gate_finish(&g);
}

struct chain {
	struct work *work;
	atomic_int submitted, ran;
};

/* Submits itself, until the end is near. */
static void run_chain(void *arg)
{
	struct chain *c = arg;

	atomic_fetch_add(&c->ran, 1);
	if (work_submit(c->work, run_chain, c) == 0)
		atomic_fetch_add(&c->submitted, 1);
}

/* What is submitted by the last calls is refused, or run: never lost. */
static void test_submits_while_it_ends(void **state)
{
	(void)state;
	for (int round = 0; round < 200; round++) {
		struct chain c = {.work = create()};

		for (int i = 0; i < 4; i++)
			submit_patiently(c.work, run_chain, &c);
		work_destroy(c.work);
		assert_int_equal(atomic_load(&c.ran), atomic_load(&c.submitted) + 4);
	}
}

/* Idle threads go after ten seconds, and others come when they are needed. */
static void test_idle_threads_end(void **state)
{
	struct work *work = create();
	int64_t idle_since;
	struct gate g, again;
	int with;

	(void)state;
	gate_init(&g);
	gate_init(&again);
	for (int i = 0; i < WORK_THREADS; i++)
		assert_int_equal(work_submit(work, wait_at_gate, &g), 0);
	await_arrived(&g, WORK_THREADS);
	with = count_threads();
	assert_true(with > WORK_THREADS);
	idle_since = monotonic_ns();
	gate_open(&g);
	while (count_threads() > with - WORK_THREADS) /* or the alarm ends it */
		nanosleep(&(struct timespec){.tv_nsec = 5 * NS_PER_MS}, NULL);
	assert_true(monotonic_ns() - idle_since >= 9 * NS_PER_S);
	gate_open(&again);
	assert_int_equal(work_submit(work, wait_at_gate, &again), 0);
	work_destroy(work);
	assert_int_equal(again.left, 1);
	gate_finish(&again);
	gate_finish(&g);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_destroys_what_did_nothing),
		cmocka_unit_test(test_no_thread_to_be_had),
		cmocka_unit_test(test_all_wait_for_each_other),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_urgent),
		cmocka_unit_test(test_passes_stuck_calls),
		cmocka_unit_test(test_each_call_runs_once),
		cmocka_unit_test(test_signals_are_blocked),
		cmocka_unit_test(test_destroy_waits),
		cmocka_unit_test(test_stop),
		cmocka_unit_test(test_submits_while_it_ends),
		cmocka_unit_test(test_idle_threads_end),
	};

	alarm(ALARM_SECONDS);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
