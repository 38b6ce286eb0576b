/* SPDX-License-Identifier: MIT */
/* test_store_faults.c - files and folders of the store, of which any call fails: what is refused is not left.
 */
#include "../../src/store_private.h"

#include "scratch.h"
#include "syscalls.h"

struct made {
	int dir;
	char name[STORE_NAME_SIZE];
};

static int make_file(void *arg)
{
	struct made *made = arg;

	return store_make_file(made->dir, ".made-", made->name);
}

static int make_locked(void *arg)
{
	struct made *made = arg;

	snprintf(made->name, sizeof(made->name), "locked");
	return store_make_locked(made->dir, made->name);
}

static int count_names(void *arg, int fd, const char *name)
{
	int *count = arg;

	(void)fd;
	(void)name;
	++*count;
	return 0;
}

/* Each call that FN makes fails once; REMOVE: as unlinkat(2). */
static void check_nothing_is_left(int (*fn)(void *arg), int remove)
{
	struct made made = {.dir = open(at("."), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
	unsigned n = 0;
	bool failed;
	int rc;

	do {
		int count = 0;

		failed = run_failing(++n, EIO, fn, &made, &rc);
		assert_int_equal(store_each_name(made.dir, count_names, &count), 0);
		assert_int_equal(count, rc >= 0);
		if (rc >= 0) {
			close(rc);
			assert_int_equal(unlinkat(made.dir, made.name, remove), 0);
		}
	} while (failed);
	assert_true(rc >= 0);
	assert_true(n > 3);
	close(made.dir);
}

static void test_file(void **state)
{
	(void)state;
	check_nothing_is_left(make_file, 0);
}

static void test_folder(void **state)
{
	(void)state;
	check_nothing_is_left(make_locked, AT_REMOVEDIR);
}

/* What cannot be brought to the disk is told; where that cannot be asked for, there is nothing to tell. */
static void test_sync_folder(void **state)
{
	int ends[2], folder = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	(void)state;
	assert_true(folder >= 0);
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(store_sync_folder(folder), 0);
	assert_int_equal(store_sync_folder(ends[0]), 0); /* EINVAL */
	close(folder);
	close(ends[0]);
	close(ends[1]);
	assert_int_equal(store_sync_folder(folder), -EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_file, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_folder, scratch_setup, scratch_teardown),
		cmocka_unit_test(test_sync_folder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
