/* SPDX-License-Identifier: MIT */
/* test_upload_tend.c - what goes by itself: uploads that nobody goes on with. */
#include "upload_table.h"

#include <stdatomic.h>

static void test_silent(void **state)
{
	struct upload *scratch = open_scratch(".x"), *pending = open_cut();

	(void)state;
	truncate_to(pending, 10000);
	write_part(pending, OWNER, &image, 0, 5000);
	write_part(scratch, OWNER, &image, 0, 5000);
	assert_int_equal(flush(pending), 0);
	/* Nothing happens to what is open. */
	uploads_tend(&all, monotonic_ns() + 2 * UPLOAD_SCRATCH_NS);
	assert_true(scratch_is(".x", scratch));
	assert_true(pending_for(getpid(), pending));
	upload_closed(pending);
	upload_closed(scratch);
	uploads_tend(&all, pending->touched + UPLOAD_SILENCE_NS);
	assert_true(pending_for(getpid(), pending));
	assert_int_equal(stored(), 2);
	upload_ref(pending); /* the kernel still remembers it */
	uploads_tend(&all, pending->touched + UPLOAD_SILENCE_NS + 1);
	assert_true(pending_for(getpid(), NULL));
	assert_true(scratch_is(".x", scratch));
	assert_int_equal(stored(), 1);
	assert_int_equal(logged("\"db\" was never finished: thrown away, nothing was restored"), 1);
	upload_unref(pending);
	uploads_tend(&all, scratch->touched + UPLOAD_SCRATCH_NS);
	assert_true(scratch_is(".x", scratch));
	uploads_tend(&all, scratch->touched + UPLOAD_SCRATCH_NS + 1);
	assert_true(is_empty());
	assert_int_equal(stored(), 0);
	assert_int_equal(logged(".x\", 5 KiB, was never renamed to a database's name: thrown away"), 1);
	assert_int_equal(live_rows(), LIVE_ROWS);
}

/* The end takes what was written under a temporary name and became nothing: not without a word. */
static void test_left_at_the_end(void **state)
{
	static const struct {
		const char *name;
		bool written, removed, killed;
	} cases[] = {
		{".left", true, false, false},
		{".empty", false, false, false},
		{".removed", true, true, false},
		{".killed", true, false, true}, /* that was said */
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct upload *u = open_scratch(cases[i].name);

		if (cases[i].written)
			write_part(u, OWNER, &image, 0, 5000);
		u->writer_killed = cases[i].killed;
		if (cases[i].removed)
			upload_unname(u);
		upload_closed(u);
	}
	uploads_finish(&all);
	uploads_init(&all, f.snap);
	assert_int_equal(logged("was never renamed"), 1);
	assert_int_equal(logged("warning: upload: \".left\", 5 KiB, was never renamed"), 1);
}

/* As long as something comes it is not silent. */
static void test_not_silent(void **state)
{
	struct upload *pending = open_cut();
	int64_t touched;

	(void)state;
	truncate_to(pending, 10000);
	write_part(pending, OWNER, &image, 0, 5000);
	assert_int_equal(close_upload(pending), 0);
	touched = pending->touched;
	upload_opened(pending, gettid());
	assert_true(pending->touched >= touched);
	upload_closed(pending);
	uploads_tend(&all, touched + UPLOAD_SILENCE_NS);
	assert_true(pending_for(getpid(), pending));
}

static void wait_until_empty(void)
{
	const struct timespec step = {.tv_nsec = 10000000};

	for (int i = 0; i < 6000 && !is_empty(); i++)
		nanosleep(&step, NULL);
	assert_true(is_empty());
}

/* The process that has announced a length ends: nobody has to ask for anything. */
static void test_orphan(void **state)
{
	pid_t pid = process_start(NULL);
	struct upload *u = opened(make_upload(UPLOAD_DATABASE, "db", pid));

	(void)state;
	truncate_to(u, 0);
	truncate_to(u, 10000);
	write_part(u, OWNER, &image, 0, 5000);
	assert_int_equal(flush_as(u, (struct closing){.tid = pid}), 0);
	upload_closed(u);
	uploads_tend(&all, monotonic_ns());
	assert_true(pending_for(pid, u));
	assert_int_equal(kill(pid, SIGKILL), 0);
	reap(pid);
	wait_until_empty();
	assert_int_equal(stored(), 0);
}

int __real_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *lock, const struct timespec *until);
int __wrap_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *lock, const struct timespec *until);

static atomic_int rounds; /* of the thread that tends */

int __wrap_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *lock, const struct timespec *until)
{
	int rc = __real_pthread_cond_timedwait(cond, lock, until);

	if (cond == &all.changed)
		atomic_fetch_add(&rounds, rc == ETIMEDOUT);
	return rc;
}

/* Who looks after what is left may do so for an hour: once a second. */
static void test_every_second(void **state)
{
	const struct timespec step = {.tv_nsec = 10000000};
	struct upload *scratch = open_scratch(".x");
	int64_t began;

	(void)state;
	upload_closed(scratch);
	atomic_store(&rounds, 0);
	while (atomic_load(&rounds) == 0)
		nanosleep(&step, NULL);
	began = monotonic_ns();
	for (int i = 0; i < 20; i++)
		nanosleep(&step, NULL);
	assert_between(atomic_load(&rounds), 1, 2 + (monotonic_ns() - began) / NS_PER_S);
	assert_true(scratch_is(".x", scratch));
}

/* The end does not wait for anything either, and afterwards nobody tends. */
static void test_abandoned(void **state)
{
	struct upload *u = open_cut();
	pid_t pid = process_start(NULL);

	(void)state;
	write_all(u, OWNER, &image);
	uploads_abandon(&all);
	upload_closed(u);
	assert_int_equal(live_rows(), LIVE_ROWS);
	assert_int_equal(stored(), 0);
	assert_int_equal(logged("\"db\" was given up: thrown away"), 1);
	u = opened(make_upload(UPLOAD_DATABASE, "db", pid));
	upload_name(u);
	assert_false(all.has_tender);
	upload_unname(u);
	upload_closed(u);
	assert_int_equal(kill(pid, SIGKILL), 0);
	reap(pid);
	uploads_abandon(&all);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		test(test_silent),    test(test_not_silent),	  test(test_orphan),
		test(test_abandoned), test(test_left_at_the_end), test(test_every_second),
	};

	if (argc > 1 && strcmp(argv[1], SNAP_CHILD_ARGUMENT) == 0)
		return snap_validate_child(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
