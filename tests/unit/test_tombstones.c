/* SPDX-License-Identifier: MIT */
/* test_tombstones.c - names that a process has removed: hidden from it, from nobody else, and not for ever.
 */
#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../fs/tombstones.h"

static int64_t later; /* the clock's nanoseconds: it stands still, however long the test takes */

int __wrap_clock_gettime(clockid_t id, struct timespec *ts);

int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
	(void)id;
	*ts = (struct timespec){.tv_sec = 1000 + later / 1000000000, .tv_nsec = later % 1000000000};
	return 0;
}

static struct tombstones tombstones;

static int setup(void **state)
{
	(void)state;
	later = 0;
	tombstones_init(&tombstones, false);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	tombstones_finish(&tombstones);
	return 0;
}

static bool hidden(pid_t tid, uint64_t parent, const char *name)
{
	return tombstone_hides(&tombstones, tid, parent, name);
}

static void *look_from_thread(void *arg)
{
	*(bool *)arg = gettid() != getpid() && hidden(gettid(), 1, "db");
	return NULL;
}

static void test_own_process(void **state)
{
	pthread_t thread;
	bool from_thread = false;

	(void)state;
	assert_false(hidden(getpid(), 1, "db"));
	assert_int_equal(tombstone_add(&tombstones, getpid(), 1, "db"), 0);
	assert_true(hidden(getpid(), 1, "db"));
	assert_false(hidden(getpid(), 1, "db2"));
	assert_false(hidden(getpid(), 1, "d"));
	assert_false(hidden(getpid(), 2, "db"));
	assert_int_equal(pthread_create(&thread, NULL, look_from_thread, &from_thread), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(from_thread);
	assert_true(tombstone_remove(&tombstones, getpid(), 1, "db"));
	assert_false(hidden(getpid(), 1, "db"));
	assert_false(tombstone_remove(&tombstones, getpid(), 1, "db"));
}

/* Not even a child sees it: what it does is its own. */
static void test_other_processes(void **state)
{
	pid_t child = fork();

	(void)state;
	assert_true(child >= 0);
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	assert_int_equal(tombstone_add(&tombstones, getpid(), 1, "db"), 0);
	assert_false(hidden(child, 1, "db"));
	assert_false(hidden(getppid(), 1, "db"));
	assert_false(hidden(0, 1, "db")); /* who cannot be told apart is shown everything */
	assert_false(tombstone_remove(&tombstones, child, 1, "db"));
	assert_int_equal(tombstone_add(&tombstones, child, 1, "db"), 0);
	assert_true(tombstone_remove(&tombstones, getpid(), 1, "db"));
	assert_true(hidden(child, 1, "db"));
	assert_false(hidden(getpid(), 1, "db"));
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, NULL, 0), child);
	assert_false(hidden(child, 1, "db"));
}

static void test_time(void **state)
{
	(void)state;
	assert_int_equal(tombstone_add(&tombstones, getpid(), 1, "db"), 0);
	later += TOMBSTONE_NS;
	assert_true(hidden(getpid(), 1, "db"));
	/* Removed once more: from now on. */
	assert_int_equal(tombstone_add(&tombstones, getpid(), 1, "db"), 0);
	later += TOMBSTONE_NS;
	assert_true(hidden(getpid(), 1, "db"));
	later += 1;
	assert_false(hidden(getpid(), 1, "db"));
	assert_false(tombstone_remove(&tombstones, getpid(), 1, "db"));
}

/* One entry for each name, however often it is removed. */
static void test_once(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++)
		assert_int_equal(tombstone_add(&tombstones, getpid(), 1, "db"), 0);
	assert_true(tombstone_remove(&tombstones, getpid(), 1, "db"));
	assert_false(hidden(getpid(), 1, "db"));
}

/* When there are too many the one that is hidden longest gives way. */
static void test_full(void **state)
{
	char name[32];

	(void)state;
	for (int i = 0; i <= TOMBSTONES_MAX; i++) {
		snprintf(name, sizeof(name), "db%d", i);
		later += 10000000;
		assert_int_equal(tombstone_add(&tombstones, getpid(), 1, name), 0);
		assert_true(hidden(getpid(), 1, name));
	}
	assert_false(hidden(getpid(), 1, "db0"));
	for (int i = 1; i <= TOMBSTONES_MAX; i++) {
		snprintf(name, sizeof(name), "db%d", i);
		assert_true(hidden(getpid(), 1, name));
	}
	/* What has ended is in nobody's way. */
	later += 2 * TOMBSTONE_NS;
	assert_int_equal(tombstone_add(&tombstones, getpid(), 1, "db"), 0);
	assert_true(hidden(getpid(), 1, "db"));
}

static int held;

static void count_held(struct nodes *nodes, uint64_t id, bool hold)
{
	(void)nodes;
	assert_int_equal(id, 1);
	held += hold ? 1 : -1;
}

/* The folder keeps its nodeid as long as a name in it is remembered. */
static void test_holds_folder(void **state)
{
	char name[32];

	(void)state;
	tombstones.holder.hold = count_held;
	assert_int_equal(tombstone_add(&tombstones, getpid(), 1, "db"), 0);
	assert_int_equal(tombstone_add(&tombstones, getpid(), 1, "db"), 0);
	assert_int_equal(held, 1);
	assert_true(tombstone_remove(&tombstones, getpid(), 1, "db"));
	assert_int_equal(held, 0);
	for (int i = 0; i <= TOMBSTONES_MAX; i++) {
		snprintf(name, sizeof(name), "db%d", i);
		assert_int_equal(tombstone_add(&tombstones, getpid(), 1, name), 0);
	}
	assert_int_equal(held, TOMBSTONES_MAX);
	tombstones_finish(&tombstones);
	assert_int_equal(held, 0);
	tombstones_init(&tombstones, true);
	tombstones.holder.hold = count_held;
	assert_true(tombstone_remove(&tombstones, getpid(), 1, "db"));
	assert_true(tombstone_remove(&tombstones, 0, 1, "db")); /* who cannot be told apart */
	assert_int_equal(held, 1);
	assert_int_equal(tombstone_add(&tombstones, getpid(), 1, "db"), 0);
	assert_int_equal(held, 0);
}

/* ---- hidden from all ----------------------------------------------------------------------------------- */

static void hide_all(void)
{
	tombstones_finish(&tombstones);
	tombstones_init(&tombstones, true);
}

/* Shown for good to the process that has written it, until it removes it; to nobody else. */
static void test_all(void **state)
{
	(void)state;
	hide_all();
	assert_true(hidden(getpid(), 1, "db"));
	assert_true(hidden(0, 1, "db")); /* who cannot be told apart */
	assert_true(tombstone_remove(&tombstones, getpid(), 1, "db"));
	assert_false(hidden(getpid(), 1, "db"));
	assert_false(tombstone_remove(&tombstones, getpid(), 1, "db"));
	assert_true(hidden(getppid(), 1, "db"));
	assert_true(hidden(0, 1, "db"));
	assert_true(hidden(getpid(), 1, "db2"));
	assert_true(hidden(getpid(), 2, "db"));
	later += 100 * TOMBSTONE_NS;
	assert_false(hidden(getpid(), 1, "db"));
	assert_int_equal(tombstone_add(&tombstones, getpid(), 1, "db"), 0);
	assert_true(hidden(getpid(), 1, "db"));
	assert_int_equal(tombstone_add(&tombstones, getpid(), 1, "db"), 0);
	assert_true(hidden(getpid(), 1, "db"));
}

static void show(pid_t tgid, int number)
{
	char name[32];

	snprintf(name, sizeof(name), "db%d", number);
	assert_true(tombstone_remove(&tombstones, tgid, 1, name));
}

/* As many as a tool restores at once, for it sets the times of all of them at the end. */
static void test_all_full(void **state)
{
	char name[32];

	(void)state;
	hide_all();
	for (int i = 0; i < TOMBSTONES_SHOWN_MAX; i++) {
		later = 1000000000ll * i;
		show(getpid(), i);
	}
	for (int i = 0; i < TOMBSTONES_SHOWN_MAX; i += i < 1000 ? 1 : 100) {
		snprintf(name, sizeof(name), "db%d", i);
		assert_false(hidden(getpid(), 1, name));
	}
	later += 1000000000;
	show(getpid(), TOMBSTONES_SHOWN_MAX);
	assert_true(hidden(getpid(), 1, "db0"));
	assert_false(hidden(getpid(), 1, "db1"));
}

/* What was shown to a process that has ended makes room. */
static void test_all_ended(void **state)
{
	(void)state;
	hide_all();
	for (int round = 0; round < 3; round++) {
		pid_t child = fork();

		assert_true(child >= 0);
		if (child == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				pause();
		}
		for (int i = 0; i < TOMBSTONES_MAX - 10; i++)
			show(child, i);
		kill(child, SIGKILL);
		assert_int_equal(waitpid(child, NULL, 0), child);
	}
	assert_int_equal(tombstones.count, TOMBSTONES_MAX);
	show(0, 0);
	for (int i = 0; i < TOMBSTONES_MAX; i++)
		show(getpid(), i);
	assert_int_equal(tombstones.count, TOMBSTONES_MAX);
	assert_false(hidden(getpid(), 1, "db0"));
	show(getpid(), TOMBSTONES_MAX);
	assert_int_equal(tombstones.count, 2 * TOMBSTONES_MAX);
	assert_false(hidden(getpid(), 1, "db0"));
}

/* ---- threads ------------------------------------------------------------------------------------------- */

#define THREADS 4

static void *add_and_remove(void *arg)
{
	long failures = 0;

	for (int i = 0; i < 300; i++) {
		char name[32];

		snprintf(name, sizeof(name), "%s%d", (const char *)arg, i % 50);
		failures += tombstone_add(&tombstones, getpid(), 1, name) != 0;
		failures += !hidden(gettid(), 1, name);
		failures += !tombstone_remove(&tombstones, getpid(), 1, name);
		failures += hidden(gettid(), 1, name);
	}
	return (void *)failures;
}

static void test_threads(void **state)
{
	static const char *const names[THREADS] = {"a", "b", "c", "d"};
	pthread_t threads[THREADS];
	void *failures;

	(void)state;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, add_and_remove, (void *)names[i]), 0);
	for (int i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(threads[i], &failures), 0);
		assert_null(failures);
	}
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(test_own_process), test(test_other_processes), test(test_time), test(test_once),
		test(test_full),	test(test_holds_folder),    test(test_all),  test(test_all_full),
		test(test_all_ended),	test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
