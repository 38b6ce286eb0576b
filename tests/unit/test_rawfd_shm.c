/* SPDX-License-Identifier: MIT */
/* test_rawfd_shm.c - the closes that wait for a -shm which SQLite has open. */
#include "rawfd_file.h"

/* "file" is opened as SQLite opens a -shm: its descriptor. */
static int open_shm(void)
{
	int fd = open(at("file"), O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(rawfd_shm_opened(fd), 0);
	return fd;
}

static bool is_shm(void)
{
	return rawfd_is_shm(f.st.st_dev, f.st.st_ino);
}

static void test_close_waits_for_shm(void **state)
{
	int before = count_fds();
	struct rawfd early = open_file(), late;
	int shm;

	(void)state;
	assert_false(is_shm());
	shm = open_shm();
	assert_true(is_shm());
	assert_false(rawfd_is_shm(f.st.st_dev, f.st.st_ino + 1));
	assert_false(rawfd_is_shm(f.st.st_dev + 1, f.st.st_ino));
	assert_false(rawfd_connected(f.table, f.st.st_dev, f.st.st_ino));
	lock();
	rawfd_close(f.table, &early);
	assert_int_equal(count_fds(), before + 2);
	/* What was put off serves whoever comes next. */
	for (int i = 0; i < 20; i++) {
		late = open_file();
		rawfd_close(f.table, &late);
	}
	assert_true(is_locked());
	assert_int_equal(count_fds(), before + 2);
	assert_int_equal(rawfd_shm_close(shm), 0);
	assert_int_equal(count_fds(), before);
	assert_false(is_shm());
	/* It is a file like any other now. */
	lock();
	late = open_file();
	rawfd_close(f.table, &late);
	assert_false(is_locked());
}

/* The number of a deleted one is no other file's as long as it is known. */
static void test_deleted_shm(void **state)
{
	int shm = open_shm();
	struct rawfd raw = open_file();
	struct stat st;

	(void)state;
	assert_int_equal(unlink(at("file")), 0);
	lock();
	rawfd_close(f.table, &raw);
	assert_true(is_locked());
	for (int i = 0; i < 200; i++) {
		char name[16];

		snprintf(name, sizeof(name), "next-%d", i);
		put_text(name, "");
		assert_int_equal(stat(at("%s", name), &st), 0);
		assert_false(rawfd_is_shm(st.st_dev, st.st_ino));
	}
	assert_true(is_shm());
	assert_int_equal(rawfd_shm_close(shm), 0);
	assert_false(is_shm());
}

/* For two databases: what waits for the one descriptor waits for the other, too. */
static void test_shm_twice(void **state)
{
	int before = count_fds();
	struct rawfd a = open_file(), b = open_file();
	int first = open_shm(), second = open_shm();

	(void)state;
	rawfd_close(f.table, &a);
	assert_int_equal(rawfd_shm_close(second), 0);
	assert_true(is_shm());
	assert_int_equal(count_fds(), before + 3);
	lock();
	rawfd_close(f.table, &b);
	assert_true(is_locked());
	second = open_shm();
	assert_int_equal(rawfd_shm_close(first), 0);
	assert_int_equal(count_fds(), before + 3);
	a = open_file();
	b = open_file();
	assert_int_equal(count_fds(), before + 3);
	rawfd_close(f.table, &a);
	rawfd_close(f.table, &b);
	assert_int_equal(rawfd_shm_close(second), 0);
	assert_false(is_shm());
	assert_int_equal(count_fds(), before);
}

/* Somebody has made a database of it, or the other way round: no close falls between the two. */
static void test_shm_that_is_a_database(void **state)
{
	int before = count_fds();
	struct rawfd raw = open_file();
	int shm = open_shm();

	(void)state;
	rawfd_close(f.table, &raw);
	connect_file();
	assert_int_equal(rawfd_shm_close(shm), 0);
	lock();
	assert_int_equal(count_fds(), before + 2); /* and the one that holds the inode */
	shm = open_shm();
	disconnect_file();
	assert_true(is_locked());
	assert_int_equal(count_fds(), before + 2);
	assert_int_equal(rawfd_shm_close(shm), 0);
	assert_int_equal(count_fds(), before);
}

/* Whatever else SQLite closes goes the same way. */
static void test_closes_that_are_no_shm(void **state)
{
	int before = count_fds();
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct stat st;

	(void)state;
	assert_int_equal(fstat(null, &st), 0);
	assert_int_equal(rawfd_shm_opened(null), 0);
	assert_false(rawfd_is_shm(st.st_dev, st.st_ino));
	assert_int_equal(rawfd_shm_close(null), 0);
	assert_int_equal(rawfd_shm_close(open(at("file"), O_RDONLY | O_CLOEXEC)), 0);
	assert_int_equal(count_fds(), before);
	errno = 0;
	assert_int_equal(rawfd_shm_close(-1), -1);
	assert_int_equal(errno, EBADF);
	assert_int_equal(rawfd_shm_opened(-1), -EBADF);
}

static int shm_fd;

static void begin_shm(void)
{
	shm_fd = open_shm();
}

static void end_shm(void)
{
	assert_int_equal(rawfd_shm_close(shm_fd), 0);
}

static void test_closes_beside_a_shm(void **state)
{
	(void)state;
	check_closes_beside(begin_shm, end_shm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RAWFD_TEST(test_close_waits_for_shm),
		RAWFD_TEST(test_deleted_shm),
		RAWFD_TEST(test_shm_twice),
		RAWFD_TEST(test_shm_that_is_a_database),
		RAWFD_TEST(test_closes_that_are_no_shm),
		RAWFD_TEST(test_closes_beside_a_shm),
	};

	return cmocka_run_group_tests(tests, scratch_namespace, NULL);
}
