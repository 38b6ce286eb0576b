/* SPDX-License-Identifier: MIT */
/* test_status_progress.c - how far a check and a restore say they are: it only grows, each phase to its end.
 */
#include "restores.h"

#include "../../src/progress.h"

#define OLD_ROWS APP_ROWS(9000)
#define NEW                                                                            \
	"CREATE TABLE t(a INTEGER PRIMARY KEY, b);"                                    \
	"WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<12000) " \
	"INSERT INTO t(b) SELECT randomblob(300) FROM c"

struct seen {
	struct snap_progress progress;
	double share; /* the last one, in long steps */
	uint64_t most[SNAP_PHASE_SETTLING + 1], total[SNAP_PHASE_SETTLING + 1]; /* of each phase */
	uint64_t again; /* bytes that were counted after a step and before the next */
	unsigned samples;
	struct fixture *checkpoint; /* what is to begin one; NULL: nothing */
};

static void look_at_it(struct seen *seen)
{
	int phase = seen->progress.phase, steps = seen->progress.steps;
	uint64_t done = seen->progress.done, total = seen->progress.total;
	double share = steps + (total ? (double)(done < total ? done : total) / (double)total : 0);

	assert_between(phase, SNAP_PHASE_WAITING, SNAP_PHASE_SETTLING);
	assert_between(steps, 0, SNAP_PROGRESS_STEPS);
	assert_true(share >= seen->share);
	seen->share = share;
	seen->samples++;
	if (done > seen->most[phase])
		seen->most[phase] = done;
	if (total)
		seen->total[phase] = total;
	if (steps == 2 && !total && done > seen->again)
		seen->again = done;
}

static int at_each_call(void *arg, enum vfs_call call)
{
	(void)call;
	look_at_it(arg);
	return SQLITE_OK;
}

static bool at_each_question(void *arg)
{
	struct seen *seen = arg;

	look_at_it(seen);
	if (seen->checkpoint)
		begin_checkpoint(seen->checkpoint, BUSY_CHECKPOINT);
	seen->checkpoint = NULL;
	return false;
}

static void restore_and_look(const char *old, bool checkpoint)
{
	struct seen seen = {.share = 0};
	struct snap_restored result;
	struct snap_err error = {""};
	struct source *source;
	uint64_t old_size;
	struct upload u;
	struct fixture f;

	restore_up(&f, &u, old, NEW);
	source = source_of(&f);
	struct snap_gen *gen = open_now(&f);
	old_size = size_of(gen);
	close_gen(gen);
	const struct restore_order order = {.source = source,
					    .staging = u.staging,
					    .report = &u.report,
					    .keep = 3,
					    .busy_timeout_ms = 5000,
					    .cancelled = at_each_question,
					    .arg = &seen,
					    .progress = &seen.progress,
					    .fault = at_each_call,
					    .fault_arg = &seen};
	seen.checkpoint = checkpoint ? &f : NULL;
	if (restore_run(&order, &result, &error))
		fail_msg("%s", error.text);
	look_at_it(&seen);
	if (checkpoint)
		end_checkpoint(&f);
	source_unref(source);
	assert_int_equal(seen.again, 0);
	assert_true(seen.samples > 100);
	assert_int_equal(seen.progress.steps, SNAP_PROGRESS_STEPS);
	assert_int_equal(seen.total[SNAP_PHASE_KEEPING], old_size);
	assert_between(seen.most[SNAP_PHASE_KEEPING], old_size - 2 * (1 << 20), old_size);
	assert_int_equal(seen.total[SNAP_PHASE_WRITING], u.size);
	assert_between(seen.most[SNAP_PHASE_WRITING], u.size * 9 / 10, u.size * 11 / 10);
	assert_int_equal(seen.progress.phase, SNAP_PHASE_SETTLING);
	restore_down(&f, &u);
}

static void test_restore_over_wal(void **state)
{
	(void)state;
	restore_and_look(APP_WAL ";" OLD_ROWS, false);
}

/* What was copied under a view that a checkpoint waited for is compared under the lock, and not counted. */
static void test_view_given_up(void **state)
{
	(void)state;
	restore_and_look(APP_WAL ";" OLD_ROWS, true);
}

static void test_restore_over_a_journal(void **state)
{
	(void)state;
	restore_and_look("CREATE TABLE t(a INTEGER PRIMARY KEY, b);" OLD_ROWS, false);
}

/* The whole way, with the check in a process of its own. */
static void test_check_and_restore(void **state)
{
	struct copy copy = database_of(4096, NEW);
	struct seen seen = {.share = 0};
	struct snap_restored done;
	struct snap_upload *u;
	struct snap_err error = {""};
	struct fixture f;
	const struct snap_restore order = {
		.path = "db", .cancelled = at_each_question, .arg = &seen, .progress = &seen.progress};

	(void)state;
	up(&f, APP_WAL);
	assert_int_equal(snap_upload_create(f.snap, &u, NULL), 0);
	assert_int_equal(snap_upload_truncate(u, 0, NULL), 0);
	assert_int_equal(snap_upload_write(u, copy.bytes, copy.size, 0, NULL), copy.size);
	assert_int_equal(snap_upload_check(u, &order, &error), 0);
	look_at_it(&seen);
	/* Read once from end to end, and then by SQLite, as far as it is told: in whole mebibytes. */
	assert_int_equal(seen.progress.phase, SNAP_PHASE_CHECKING);
	assert_int_equal(seen.progress.total, 2 * copy.size);
	assert_between(seen.progress.done, copy.size + (1 << 20), 2 * copy.size);
	if (snap_upload_restore(u, &order, &done, &error))
		fail_msg("%s", error.text);
	look_at_it(&seen);
	assert_int_equal(seen.progress.steps, SNAP_PROGRESS_STEPS);
	snap_upload_destroy(u);
	sqlite3_free(copy.bytes);
	app_stop(&f.app);
	down(&f);
}

static void test_nobody_has_to_look(void **state)
{
	(void)state;
	progress_begin(NULL, SNAP_PHASE_WRITING, 2, 5);
	progress_wait(NULL, SNAP_PHASE_LOCKING);
	progress_over(NULL, 1);
	progress_add(NULL, 7);
	progress_reach(NULL, 7);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_restore_over_wal),       cmocka_unit_test(test_view_given_up),
		cmocka_unit_test(test_restore_over_a_journal), cmocka_unit_test(test_check_and_restore),
		cmocka_unit_test(test_nobody_has_to_look),
	};

	if (argc > 1 && strcmp(argv[1], SNAP_CHILD_ARGUMENT) == 0)
		return snap_validate_child(argc, argv);
	return cmocka_run_group_tests(tests, own_tmp, NULL);
}
