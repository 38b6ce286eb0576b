/* SPDX-License-Identifier: MIT */
/* rawfd_file.h - what the tests of rawfd share: a file, locks on it, and threads that open and close it. */
#ifndef SQLSNAP_TEST_RAWFD_FILE_H
#define SQLSNAP_TEST_RAWFD_FILE_H

#include "../../src/rawfd.h"

#include <pthread.h>
#include <stdatomic.h>

#include "scratch.h"

struct fixture {
	struct rawfd_table *table;
	int root;   /* O_PATH of the folder */
	int file;   /* "file", opened without the table: holds locks, */
	int second; /* and asks for them as another owner would */
	struct stat st;
};

static struct fixture f;

static inline int setup(void **state)
{
	if (scratch_setup(state))
		return -1;
	put_text("file", "content");
	f.root = open(scratch.path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	f.file = open(at("file"), O_RDWR | O_CLOEXEC);
	f.second = open(at("file"), O_RDWR | O_CLOEXEC);
	return f.root < 0 || f.file < 0 || f.second < 0 || fstat(f.file, &f.st) ||
	       rawfd_table_create(&f.table);
}

static inline int teardown(void **state)
{
	rawfd_table_destroy(f.table);
	close(f.file);
	close(f.second);
	close(f.root);
	return scratch_teardown(state);
}

static inline struct rawfd open_file(void)
{
	struct rawfd raw = RAWFD_INIT;
	struct stat st;

	assert_int_equal(rawfd_open(f.table, f.root, "file", &raw, &st), 0);
	assert_true(raw.fd >= 0);
	assert_int_equal(raw.ino, f.st.st_ino);
	assert_int_equal(raw.dev, f.st.st_dev);
	assert_int_equal(st.st_size, 7);
	return raw;
}

static inline void lock(void)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 1073741826, .l_len = 1};

	assert_int_equal(fcntl(f.file, F_SETLK, &fl), 0);
}

/* As another process would find it. */
static inline bool is_locked(void)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 1073741826, .l_len = 1};

	assert_int_equal(fcntl(f.second, F_OFD_GETLK, &fl), 0);
	return fl.l_type != F_UNLCK;
}

static inline void connect_file(void)
{
	assert_int_equal(rawfd_connect(f.table, f.root, "file", f.st.st_dev, f.st.st_ino), 0);
}

static inline void disconnect_file(void)
{
	rawfd_disconnect(f.table, f.st.st_dev, f.st.st_ino);
}

/* ---- threads ------------------------------------------------------------------------------------------- */

static atomic_bool stop;
static atomic_ulong closes;
static atomic_int failures;

static inline void *open_and_close(void *arg)
{
	(void)arg;
	while (!atomic_load(&stop)) {
		struct rawfd raw = RAWFD_INIT;

		if (rawfd_open(f.table, f.root, "file", &raw, NULL))
			atomic_fetch_add(&failures, 1);
		rawfd_close(f.table, &raw);
		atomic_fetch_add(&closes, 1);
	}
	return NULL;
}

/* Locks that are taken after BEGIN and given up before END are never lost. */
static inline void check_closes_beside(void (*begin)(void), void (*end)(void))
{
	pthread_t threads[3];
	int before = count_fds();
	int lost = 0;

	atomic_store(&stop, false);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, open_and_close, NULL), 0);
	for (int round = 0; round < 300; round++) {
		struct flock fl = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
		unsigned long until;

		begin();
		lock();
		until = atomic_load(&closes) + 12; /* every thread has closed some */
		while (atomic_load(&closes) < until)
			sched_yield();
		lost += !is_locked();
		assert_int_equal(fcntl(f.file, F_SETLK, &fl), 0);
		end();
	}
	atomic_store(&stop, true);
	for (size_t i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(lost, 0);
	assert_int_equal(atomic_load(&failures), 0);
	assert_int_equal(count_fds(), before);
}

#define RAWFD_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
