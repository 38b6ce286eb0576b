/* SPDX-License-Identifier: MIT */
/* test_jobs.c - who may have how many jobs under way. The library's threads are stand-ins here: they run a
 * job when the test says so. */
#include "../../fs/jobs.h"

#include "unit.h"

#include <errno.h>
#include <unistd.h>

#define FIRST_USER 12345 /* neither root nor who runs this */

static struct {
	void (*fn)(void *arg);
	void *arg;
} waiting[SNAP_DEFER_MAX];
static size_t waiting_count;
static struct jobs jobs;
static size_t runs;

int snap_defer(struct snap *snap, void (*fn)(void *arg), void *arg)
{
	(void)snap;
	if (waiting_count == SNAP_DEFER_MAX)
		return -EAGAIN;
	waiting[waiting_count].fn = fn;
	waiting[waiting_count++].arg = arg;
	return 0;
}

/* Runs the oldest COUNT of those that wait. */
static void run_oldest(size_t count)
{
	assert_true(count <= waiting_count);
	for (size_t i = 0; i < count; i++)
		waiting[i].fn(waiting[i].arg);
	waiting_count -= count;
	for (size_t i = 0; i < waiting_count; i++)
		waiting[i] = waiting[i + count];
}

static void job(void *arg)
{
	runs += *(size_t *)arg;
}

static size_t one = 1;

/* How many jobs UID gets under way until he is refused. */
static size_t fill(uid_t uid)
{
	size_t count = 0;

	while (jobs_run(&jobs, uid, job, &one, sizeof(one)) == 0)
		count++;
	assert_int_equal(jobs_run(&jobs, uid, job, &one, sizeof(one)), -EAGAIN);
	return count;
}

static int setup(void **state)
{
	(void)state;
	jobs_init(&jobs, NULL);
	runs = 0;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	run_oldest(waiting_count);
	jobs_finish(&jobs);
	return 0;
}

static void test_each_has_a_share_and_root_what_is_left(void **state)
{
	(void)state;
	for (uid_t i = 0; i < 3; i++)
		assert_int_equal(fill(FIRST_USER + i), JOBS_EACH);
	assert_int_equal(jobs_run(&jobs, FIRST_USER + 3, job, &one, sizeof(one)), -EAGAIN);
	assert_int_equal(fill(0), SNAP_DEFER_MAX - JOBS_OTHERS);
}

static void test_who_mounted_is_not_counted(void **state)
{
	(void)state;
	assert_int_equal(fill(geteuid()), SNAP_DEFER_MAX);
}

static void test_a_job_that_ended_makes_room(void **state)
{
	(void)state;
	assert_int_equal(fill(FIRST_USER), JOBS_EACH);
	run_oldest(3);
	assert_int_equal(runs, 3);
	assert_int_equal(fill(FIRST_USER), 3);
}

/* Users come and go: their places are given to others, and a user has never two. */
static void test_places_are_given_again(void **state)
{
	(void)state;
	for (uid_t i = 0; i < 3 * JOBS_OTHERS; i++) {
		assert_int_equal(jobs_run(&jobs, FIRST_USER, job, &one, sizeof(one)), 0);
		assert_int_equal(jobs_run(&jobs, FIRST_USER + 1 + i, job, &one, sizeof(one)), 0);
		run_oldest(2);
	}
	assert_int_equal(jobs_run(&jobs, FIRST_USER + 1, job, &one, sizeof(one)), 0);
	assert_int_equal(jobs_run(&jobs, FIRST_USER + 2, job, &one, sizeof(one)), 0);
	run_oldest(1);
	assert_int_equal(fill(FIRST_USER + 2), JOBS_EACH - 1);
}

/* The threads are all taken: the job was never one of this user's. */
static void test_what_the_library_refuses_is_not_counted(void **state)
{
	(void)state;
	assert_int_equal(fill(0), SNAP_DEFER_MAX);
	assert_int_equal(jobs_run(&jobs, FIRST_USER, job, &one, sizeof(one)), -EAGAIN);
	run_oldest(waiting_count);
	assert_int_equal(fill(FIRST_USER), JOBS_EACH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_each_has_a_share_and_root_what_is_left, setup, teardown),
		cmocka_unit_test_setup_teardown(test_who_mounted_is_not_counted, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_job_that_ended_makes_room, setup, teardown),
		cmocka_unit_test_setup_teardown(test_places_are_given_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_the_library_refuses_is_not_counted, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
