/* SPDX-License-Identifier: MIT */
/* foldertimes: what we make and remove beside a database does not show in its folder's times; what others do
 * does. */
#include <stdbool.h>

#include "app.h"

#include "foldertimes.h"

static struct folder folder;
static struct foldertimes *times;

static int setup(void **state)
{
	(void)state;
	folder_make(&folder);
	assert_int_equal(foldertimes_create(&times), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	foldertimes_destroy(times);
	folder_remove(&folder);
	return 0;
}

static struct timespec actual(void)
{
	struct stat st;

	assert_int_equal(fstat(folder.fd, &st), 0);
	return st.st_mtim;
}

static struct timespec shown(void)
{
	struct stat st;

	assert_int_equal(fstat(folder.fd, &st), 0);
	struct snap_attr attr = {
		.key_dev = st.st_dev, .key_ino = st.st_ino, .mtime = st.st_mtim, .ctime = st.st_ctim};
	foldertimes_show(times, &attr);
	return attr.mtime;
}

static bool same(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

/* Makes or removes a file until the folder's mtime has moved: the kernel's clock for file times has a tick.
 */
static void change(const char *name)
{
	struct timespec before = actual();

	while (same(actual(), before)) {
		int fd = openat(folder.fd, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

		assert_true(fd >= 0);
		close(fd);
		assert_int_equal(unlinkat(folder.fd, name, 0), 0);
	}
}

static void change_of_ours(void)
{
	foldertimes_begin(times, folder.fd);
	change("db-wal");
	foldertimes_end(times, folder.fd);
}

static void test_ours_does_not_show(void **state)
{
	struct timespec first = actual();

	(void)state;
	for (int i = 0; i < 3; i++) {
		change_of_ours();
		assert_false(same(actual(), first));
		assert_true(same(shown(), first));
	}
}

static void test_it_does_not_show_while_under_way(void **state)
{
	struct timespec first = actual();

	(void)state;
	foldertimes_begin(times, folder.fd);
	change("a-wal");
	assert_true(same(shown(), first));
	foldertimes_begin(times, folder.fd); /* another database of the folder */
	change("b-wal");
	foldertimes_end(times, folder.fd);
	assert_true(same(shown(), first));
	change("a-shm");
	foldertimes_end(times, folder.fd);
	assert_true(same(shown(), first));
}

static void test_others_show(void **state)
{
	(void)state;
	change_of_ours();
	change("theirs");
	assert_true(same(shown(), actual()));
	struct timespec theirs = actual();
	change_of_ours();
	assert_true(same(shown(), theirs));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_ours_does_not_show, setup, teardown),
		cmocka_unit_test_setup_teardown(test_it_does_not_show_while_under_way, setup, teardown),
		cmocka_unit_test_setup_teardown(test_others_show, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
