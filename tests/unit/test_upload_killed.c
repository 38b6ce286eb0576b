/* SPDX-License-Identifier: MIT */
/* test_upload_killed.c - who wrote it was killed, has removed the name, or is gone with the session: nothing
 * is restored. */
#include "upload_gate.h"

/* ---- killed -------------------------------------------------------------------------------------------- */

static const struct {
	int sig;	  /* that ended it; 0: it exited; -1: it lives; -2: it cannot be looked at */
	bool interrupted; /* INTERRUPT has come */
	bool restores;
} ends[] = {
	{-1, false, true},	 {-1, true, true},	  /* SIGALRM, SIGWINCH, SIGCHLD while it closes */
	{0, false, true},				  /* gpg -d > file, which never closes */
	{0, true, false},	 {SIGKILL, false, false}, /* INTERRUPT comes some milliseconds later */
	{SIGKILL, true, false},	 {SIGTERM, false, false}, {SIGTERM, true, false}, {SIGHUP, true, false},
	{SIGQUIT, false, false}, {SIGABRT, false, false}, {-2, false, true},	  {-2, true, false},
};

static void test_ends(void **state)
{
	for (size_t i = 0; i < COUNT(ends); i++) {
		struct upload *u = open_cut();
		struct closing c = {.interrupted = ends[i].interrupted, .unknown = ends[i].sig == -2};
		int64_t rows;
		int rc;

		if (ends[i].sig >= 0)
			c.tid = ended_process(ends[i].sig);
		write_all(u, OWNER, &image);
		rc = flush_as(u, c);
		upload_closed(u);
		rows = live_rows();
		if (rc != (ends[i].restores ? 0 : -EINTR) || (rows == IMAGE_ROWS) != ends[i].restores)
			fail_msg("end %zu: %d, %d rows", i, rc, (int)rows);
		if (!ends[i].restores) {
			assert_int_equal(logged("whoever wrote it was killed, nothing was restored"), 1);
			assert_int_equal(logged("thrown away"), 0); /* it was said */
			assert_int_equal(checks, 0);
			assert_untouched();
		}
		if (c.tid)
			reap(c.tid);
		teardown(state);
		setup_gate(state);
	}
}

/* What was killed had two descriptors, and others have it open, of whom one has got its lock_owner. */
static void test_killed_twice(void **state)
{
	struct upload *u = open_cut();
	struct closing c = {.tid = ended_process(SIGKILL)};
	struct snap_err err;

	(void)state;
	write_all(u, OWNER, &image);
	assert_int_equal(flush_as(u, c), -EINTR);
	assert_int_equal(flush_as(u, c), -EIO);
	assert_true(upload_closes_idle(u));
	assert_int_equal(flush_as(u, (struct closing){.owner = 5}), -EIO); /* who waited for it is told */
	assert_int_equal(flush(u), -EIO);
	assert_int_equal(logged("whoever wrote it was killed, nothing was restored"), 1);
	/* What fails changes nothing about that. */
	assert_int_equal(upload_truncate(u, UINT64_MAX / 4, &err), -EFBIG);
	assert_int_equal(snap_upload_state(u->data), SNAP_UPLOAD_COMPLETE);
	assert_true(upload_closes_idle(u));
	upload_closed(u);
	assert_untouched();
	reap(c.tid);
}

/* Somebody else goes on with the same descriptor, and closes it. */
static void test_killed_and_continued(void **state)
{
	struct upload *u = open_cut();
	struct closing c = {.tid = ended_process(SIGTERM), .owner = 1};

	(void)state;
	write_part(u, 1, &image, 0, 10000);
	assert_int_equal(flush_as(u, c), -EINTR);
	write_part(u, 2, &image, 10000, image.size - 10000);
	assert_int_equal(flush_as(u, (struct closing){.owner = 2}), 0);
	upload_closed(u);
	assert_int_equal(live_rows(), IMAGE_ROWS);
	reap(c.tid);
}

/* Killed while it waits: before the point of no return. */
static void test_killed_meanwhile(void **state)
{
	struct upload *u = open_cut();

	(void)state;
	victim = process_start(NULL);
	at_check = kill_victim;
	write_all(u, OWNER, &image);
	assert_int_equal(flush_as(u, (struct closing){.tid = victim}), -EINTR);
	assert_int_equal(logged("was killed; live database unchanged"), 1);
	upload_closed(u);
	assert_int_equal(logged("thrown away"), 0);
	assert_untouched();
	reap(victim);
}

/* ---- given up ------------------------------------------------------------------------------------------ */

/* The writer removes the name that he writes to: gone is gone, as with any file. */
static void test_removed(void **state)
{
	struct upload *u = open_cut(), *announced = open_cut(), *other_name, *of_another;

	(void)state;
	other_name = opened(make_upload(UPLOAD_DATABASE, "db2", getpid()));
	of_another = opened(make_upload(UPLOAD_DATABASE, "db", getppid()));
	assert_false(uploads_drop(&all, getpid(), FOLDER + 1, "db"));
	assert_false(uploads_drop(&all, 0, FOLDER, "db"));
	write_all(u, OWNER, &image);
	truncate_to(announced, image.size);
	write_part(announced, OWNER, &image, 0, 4096);
	assert_int_equal(close_upload(announced), 0);
	assert_true(uploads_drop(&all, getpid(), FOLDER, "db"));
	assert_null(pending());
	assert_int_equal(flush(u), 0);
	assert_true(upload_closes_idle(u));
	upload_closed(u);
	assert_int_equal(logged("\"db\" was given up: thrown away"), 1);
	assert_untouched();
	assert_false(uploads_drop(&all, getpid(), FOLDER, "db"));
	upload_closed(other_name);
	/* Whatever another process writes there is its own. */
	truncate_to(of_another, 0);
	write_all(of_another, OWNER, &image);
	assert_int_equal(close_upload(of_another), 0);
	assert_restored();
}

/* Everybody is busy: who has heard that is not surprised by a restore. */
static void test_refuse(void **state)
{
	struct upload *u = open_cut();
	struct actor who = {.tid = gettid()};

	(void)state;
	write_all(u, OWNER, &image);
	upload_refuse(u, &who, -EBUSY);
	assert_int_equal(logged(REFUSED), 1);
	assert_int_equal(flush(u), -EBUSY);
	assert_true(upload_closes_idle(u));
	upload_closed(u);
	assert_untouched();
}

/* The session is over before it was closed. */
static void test_session_over(void **state)
{
	struct upload *u = open_cut(), *scratch = open_scratch(".x");

	(void)state;
	write_all(u, OWNER, &image);
	write_all(scratch, OWNER, &image);
	uploads_abandon(&all);
	assert_true(upload_closes_idle(u));
	upload_closed(u);
	upload_closed(scratch);
	assert_int_equal(live_rows(), LIVE_ROWS);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		gate_test(test_ends),
		gate_test(test_killed_twice),
		gate_test(test_killed_and_continued),
		gate_test(test_killed_meanwhile),
		gate_test(test_removed),
		gate_test(test_refuse),
		gate_test(test_session_over),
	};

	if (argc > 1 && strcmp(argv[1], SNAP_CHILD_ARGUMENT) == 0)
		return snap_validate_child(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
