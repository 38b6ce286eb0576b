/* SPDX-License-Identifier: MIT */
/* stores.h - what the tests of the store share: a store on real file systems, which may be full, read-only,
 * or support less. */
#ifndef SQLSNAP_TEST_STORES_H
#define SQLSNAP_TEST_STORES_H

#include "../../src/store.h"

#include <sys/wait.h>

#include "scratch.h"

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static struct store *store;
static struct snap_err err;

static inline int setup(void **state)
{
	store = NULL;
	memset(&err, 0, sizeof(err));
	return scratch_setup(state);
}

static inline int teardown(void **state)
{
	store_destroy(store);
	return scratch_teardown(state);
}

static inline void open_store(const char *name)
{
	store_destroy(store);
	store = NULL;
	assert_int_equal(store_create(&store, at("%s", name), &err), 0);
}

static inline void mount_store(const char *options)
{
	char *path = at("store");

	make_folder("store", 0700);
	assert_int_equal(mount("test", path, "tmpfs", 0, options), 0);
	mounted(path);
	open_store("store");
}

static inline void make_read_only(const char *name)
{
	assert_int_equal(mount(NULL, at("%s", name), NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
}

static inline bool exists(const char *name)
{
	struct stat st;

	return lstat(at("%s", name), &st) == 0;
}

static inline void assert_words(const char *expected)
{
	if (!strstr(err.text, expected))
		fail_msg("\"%s\" does not say \"%s\"", err.text, expected);
}

/* Runs FN in a child, whose exit status is FN's answer. */
static inline int in_child(int (*fn)(void))
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(fn());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* Every function fails with RC, and leaves the caller an error text, where it has one, and nothing else. */
static inline void assert_all_fail(int rc)
{
	struct store_seen seen = {.mtime_ns = 1};
	int fds = count_fds();
	char name[32];

	for (int i = 0; i < 2; i++) {
		memset(&err, 0, sizeof(err));
		assert_int_equal(i == 0 ? store_spool(store, 1, &err) : store_make_folder(store, name, &err),
				 rc);
		assert_words(store_dir(store));
		assert_words(strerror(-rc));
	}
	assert_int_equal(store_save_seen(store, "/db", &seen), rc);
	assert_int_equal(store_spool(store, 1, NULL), rc);
	store_drop_folder(store, "x");
	assert_int_equal(count_fds(), fds);
}

#endif
