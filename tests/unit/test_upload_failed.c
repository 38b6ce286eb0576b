/* SPDX-License-Identifier: MIT */
/* test_upload_failed.c - what is said of restores that have not worked: as much as is known, and where that
 * stands which was there before. */
#include "uploads.h"

#include "../../src/error.h"
#include "../../src/restore.h"

#define UNDO "before-restore-x"

int __real_restore_run(const struct restore_order *order, struct snap_restored *out, struct snap_err *err);
int __wrap_restore_run(const struct restore_order *order, struct snap_restored *out, struct snap_err *err);

static struct snap_restored result; /* of the next one */
static int code;

int __wrap_restore_run(const struct restore_order *order, struct snap_restored *out, struct snap_err *err)
{
	(void)order;
	*out = result;
	return err_set(err, code, "the reason");
}

struct ended {
	int count;
	struct task_end last;
};

static void take_ended(void *arg, const struct task_end *end)
{
	struct ended *ended = arg;

	if (ended->count++ == 0)
		ended->last = *end;
}

/* What becomes of an upload whose restore ends like that. */
static struct task_end end_with(struct snap_restored how, int with)
{
	struct upload *u = open_cut();
	struct ended ended = {.count = 0};

	result = how;
	code = with;
	write_all(u, OWNER, &image);
	assert_int_equal(close_upload(u), with == -ECANCELED ? -EINTR : with);
	tasks_each_ended(&all.tasks, take_ended, &ended);
	assert_int_equal(ended.count, 1);
	return ended.last;
}

static void test_nothing_has_happened(void **state)
{
	struct task_end end = end_with((struct snap_restored){.undo_raw = true}, -EBUSY);

	(void)state;
	assert_int_equal(logged("restore of \"db\" refused, live database unchanged: the reason; written by"),
			 1);
	assert_int_equal(logged("kept"), 0);
	assert_int_equal(end.done.size, image.size);
	assert_string_equal(end.done.undo_path, "");
	assert_false(end.done.undo_raw);
}

static void test_it_cannot_be_told(void **state)
{
	struct task_end end = end_with((struct snap_restored){.doubtful = true, .undo = UNDO}, -EIO);

	(void)state;
	assert_int_equal(logged("restore of \"db\" failed: the reason; written by"), 1);
	assert_int_equal(logged("; what was there before is kept: .sqlsnapfs/snapshots/" UNDO "/db"), 1);
	assert_int_equal(logged("unchanged"), 0);
	assert_true(end.done.doubtful);
	assert_string_equal(end.done.undo, UNDO);
	assert_string_equal(end.done.undo_path, "db");
}

static const int codes[] = {-EBUSY, -ECANCELED};

static void test_files_are_kept(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(codes); i++) {
		struct task_end end;

		if (i > 0) {
			assert_int_equal(teardown(state), 0);
			assert_int_equal(setup(state), 0);
		}
		end = end_with((struct snap_restored){.undo = UNDO, .undo_raw = true}, codes[i]);
		assert_int_equal(logged("nothing of it was written"), 1);
		assert_int_equal(
			logged("; what was there before is kept as it was: .sqlsnapfs/snapshots/" UNDO "/db"),
			1);
		assert_int_equal(logged("unchanged"), 0);
		assert_true(end.done.undo_raw);
		assert_string_equal(end.done.undo_path, "db");
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		test(test_nothing_has_happened),
		test(test_it_cannot_be_told),
		test(test_files_are_kept),
	};

	if (argc > 1 && strcmp(argv[1], SNAP_CHILD_ARGUMENT) == 0)
		return snap_validate_child(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
