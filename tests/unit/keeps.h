/* SPDX-License-Identifier: MIT */
/* keeps.h - what the tests of the store and of kept snapshots share: a store in a scratch folder, and what is
 * in it. */
#ifndef SQLSNAP_TEST_KEEPS_H
#define SQLSNAP_TEST_KEEPS_H

#include "../../src/keep.h"
#include "kept_file.h"
#include "scratch.h"

#define DB "/srv/app/db.sqlite3"

static struct store *store;
static struct snap_err err;

static inline int setup(void **state)
{
	store = NULL;
	memset(&err, 0, sizeof(err));
	if (scratch_setup(state))
		return -1;
	return store_create(&store, at("store"), &err);
}

static inline int teardown(void **state)
{
	store_destroy(store);
	return scratch_teardown(state);
}

/* Syncing costs nothing on a tmpfs; the store's folder does not exist yet. */
static inline int setup_fast(void **state)
{
	if (setup(state))
		return -1;
	make_folder("fast", 0755);
	if (mount("test", at("fast"), "tmpfs", 0, "size=16m,mode=755"))
		return -1;
	mounted(at("fast"));
	store_destroy(store);
	return store_create(&store, at("fast/a/store"), &err);
}

static inline void wipe(void)
{
	assert_int_equal(nftw(at("fast/a"), remove_one, 32, FTW_DEPTH | FTW_PHYS), 0);
}

static inline void mount_store(const char *options)
{
	char *path = at("store");

	make_folder("store", 0700);
	assert_int_equal(mount("test", path, "tmpfs", 0, options), 0);
	mounted(path);
}

static inline void assert_words(const char *expected)
{
	if (!strstr(err.text, expected))
		fail_msg("\"%s\" does not say \"%s\"", err.text, expected);
}

/* ---- folders ------------------------------------------------------------------------------------------- */

static inline int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static inline int is_entry(const struct dirent *e)
{
	return strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
}

/* The names in the folder PATH, sorted, with a space after each; "-" when there is no such folder. In a
 * buffer that the next call fills again. */
static inline const char *names_in(const char *path)
{
	static char names[8192];
	struct dirent **entries;
	int n = scandir(path, &entries, is_entry, by_name);

	names[0] = '\0';
	if (n < 0)
		return "-";
	for (int i = 0; i < n; i++) {
		size_t used = strlen(names);

		snprintf(names + used, sizeof(names) - used, "%s ", entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
	return names;
}

/* The path of SOURCE's folder in the store. */
static inline char *source_folder(const char *source)
{
	int fd = store_open_source(store, source, false, NULL);
	static char path[256];
	char link[64];
	ssize_t n;

	assert_true(fd >= 0);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	assert_true(n > 0);
	path[n] = '\0';
	close(fd);
	return path;
}

/* "FOLDER/REST" of SOURCE's folder, in one of two buffers in turn. */
static inline char *in_source(const char *source, const char *rest)
{
	static char paths[2][512];
	static unsigned turn;
	char *path = paths[turn++ % 2];

	snprintf(path, sizeof(paths[0]), "%s/%s", source_folder(source), rest);
	return path;
}

static inline bool exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

static inline void write_file(const char *path, const void *bytes, size_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, size), (ssize_t)size);
	close(fd);
}

/* ---- snapshots ----------------------------------------------------------------------------------------- */

static inline struct keep_meta meta_at(int64_t made_ns)
{
	return (struct keep_meta){.mtime_ns = 1795144321123456789ll,
				  .made_ns = made_ns,
				  .mode = 0640,
				  .uid = 1000,
				  .gid = 1001,
				  .page_size = 4096,
				  .why = "before a restore"};
}

/* Keeps CONTENT of SOURCE as NAME: 0 or the first failure. *BECAME (may be NULL) receives the name. */
static inline int try_keep(const char *source, const char *name, const char *content, int64_t made_ns,
			   char became[64])
{
	struct keep_meta meta = meta_at(made_ns);
	size_t size = strlen(content);
	struct keep *keep = NULL;
	int rc = keep_begin(&keep, store, source, name, &err);

	if (!rc && pwrite(keep_fd(keep), content, size, 0) != (ssize_t)size)
		rc = errno ? -errno : -ENOSPC;
	if (!rc)
		rc = keep_commit(keep, &meta, &err);
	if (!rc && became)
		snprintf(became, 64, "%s", keep_name(keep));
	keep_destroy(keep);
	return rc;
}

static inline void keep(const char *source, const char *name, const char *content, int64_t made_ns)
{
	char became[64];

	assert_int_equal(try_keep(source, name, content, made_ns, became), 0);
	assert_string_equal(became, name);
}

/* The names of what is kept of SOURCE, in the order of the list, with a space after each. In a buffer that
 * the next call fills again. */
static inline const char *kept(const char *source)
{
	static char names[8192];
	struct keep_entry *entries = NULL;
	size_t count = 0;

	names[0] = '\0';
	assert_int_equal(keep_list(store, source, &entries, &count), 0);
	for (size_t i = 0; i < count; i++) {
		size_t used = strlen(names);

		snprintf(names + used, sizeof(names) - used, "%s ", entries[i].name);
	}
	keep_list_free(entries, count);
	return names;
}

static inline void assert_content(const char *source, const char *name, const char *suffix,
				  const char *expected)
{
	char bytes[256] = "";
	int fd = kept_file_open(store, source, name, suffix, NULL);

	assert_true(fd >= 0);
	assert_true(read(fd, bytes, sizeof(bytes) - 1) >= 0);
	close(fd);
	assert_string_equal(bytes, expected);
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#define test_fast(name) cmocka_unit_test_setup_teardown(name, setup_fast, teardown)

#endif
