/* SPDX-License-Identifier: MIT */
/* test_store_seen.c - what the store remembers of what was shown last, whole or not at all. */
#include "stores.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>

/* ---- what was shown last ---------------------------------------------------------------------------- */

/* Any one; N tells them apart. */
static struct store_seen make_seen(int64_t n)
{
	struct store_seen seen;

	memset(&seen, 0, sizeof(seen));
	seen.version.dev = 10;
	seen.version.ino = (uint64_t)n;
	seen.version.has_counters = true;
	memset(seen.version.counters, (int)n, sizeof(seen.version.counters));
	seen.version.db = (struct version_stat){(uint64_t)n * 4096, n + 1, n + 2};
	seen.version.wal = (struct version_stat){(uint64_t)n, n + 3, n + 4};
	seen.version.seen_ns = n + 5;
	seen.mtime_ns = n + 6;
	return seen;
}

static bool same_seen(const struct store_seen *a, const struct store_seen *b)
{
	return a->version.dev == b->version.dev && a->version.ino == b->version.ino &&
	       a->version.has_counters == b->version.has_counters &&
	       memcmp(a->version.counters, b->version.counters, sizeof(a->version.counters)) == 0 &&
	       memcmp(&a->version.db, &b->version.db, sizeof(a->version.db)) == 0 &&
	       memcmp(&a->version.wal, &b->version.wal, sizeof(a->version.wal)) == 0 &&
	       a->version.seen_ns == b->version.seen_ns && a->mtime_ns == b->mtime_ns;
}

static void save(const char *source, int64_t n)
{
	struct store_seen seen = make_seen(n);

	assert_int_equal(store_save_seen(store, source, &seen), 0);
}

static void assert_seen(const char *source, int64_t n)
{
	struct store_seen expected = make_seen(n), seen;

	assert_int_equal(store_load_seen(store, source, &seen), 0);
	assert_true(same_seen(&seen, &expected));
}

static void test_seen(void **state)
{
	struct store_seen seen;
	char longest[PATH_MAX];

	(void)state;
	memset(longest, 'x', sizeof(longest) - 1);
	longest[0] = '/';
	longest[sizeof(longest) - 1] = '\0';
	open_store("store");
	assert_int_equal(store_load_seen(store, "/srv/db", &seen), -ENOENT);
	assert_false(exists("store")); /* looking makes nothing */
	save("/srv/db", 1);
	assert_int_equal(store_load_seen(store, "/srv/db2", &seen), -ENOENT);
	save("/srv/db2", 2);
	save("/srv/d/b", 3);
	save(longest, 4);
	assert_seen("/srv/db", 1);
	assert_seen("/srv/db2", 2);
	assert_seen("/srv/d/b", 3);
	assert_seen(longest, 4);
	save("/srv/db", 5);
	assert_seen("/srv/db", 5);
	assert_seen("/srv/db2", 2);
	assert_int_equal(entries_in("store"), 4); /* one folder for each source */
	/* Another daemon, or the next one. */
	open_store("store");
	assert_seen("/srv/db", 5);
}

/* Incarnations are numbers of one process; the header stays, as evidence. */
static void test_seen_across_processes(void **state)
{
	struct store_seen seen = make_seen(1), loaded;

	(void)state;
	open_store("store");
	seen.version.incarnation = 7;
	seen.version.has_header = true;
	memset(seen.version.header, 1, sizeof(seen.version.header));
	assert_int_equal(store_save_seen(store, "/db", &seen), 0);
	assert_int_equal(store_load_seen(store, "/db", &loaded), 0);
	assert_int_equal(loaded.version.incarnation, 0);
	assert_true(loaded.version.has_header);
	seen.version.incarnation = 0;
	assert_true(same_seen(&seen, &loaded));
}

/* The file that the one source of this store has. */
static char *seen_file(void)
{
	DIR *dir = opendir(at("store"));
	struct dirent *e;
	char *path = NULL;

	assert_non_null(dir);
	while ((e = readdir(dir)) != NULL) {
		if (e->d_name[0] != '.')
			path = at("store/%s/seen", e->d_name);
	}
	closedir(dir);
	assert_non_null(path);
	return path;
}

#define SEEN_PADDING 7 /* behind the magic's 17 bytes */

static void test_seen_garbage(void **state)
{
	struct store_seen seen;
	char *path;
	int fd;

	(void)state;
	open_store("store");
	save("/db", 1);
	path = seen_file();
	assert_int_equal(truncate(path, 20), 0);
	assert_int_equal(store_load_seen(store, "/db", &seen), -ENOENT);
	assert_int_equal(truncate(path, 1000), 0);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "sqlsnapfs seen 9\n", 17, 0), 17);
	close(fd);
	assert_int_equal(store_load_seen(store, "/db", &seen), -ENOENT);
	assert_int_equal(truncate(path, 0), 0);
	assert_int_equal(store_load_seen(store, "/db", &seen), -ENOENT);
	/* What no program writes into a bool is not taken for one. */
	save("/db", 1);
	path = seen_file();
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "\4", 1,
				(off_t)(strlen("sqlsnapfs seen 1\n") +
					offsetof(struct store_seen, version.has_header) + SEEN_PADDING)),
			 1);
	close(fd);
	assert_int_equal(store_load_seen(store, "/db", &seen), -ENOENT);
	/* Nobody waits for somebody to write to a fifo. */
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(store_load_seen(store, "/db", &seen), -ENOENT);
	/* A link is not followed, and the next save puts a file in its place. */
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("/etc/passwd", path), 0);
	assert_true(store_load_seen(store, "/db", &seen) < 0);
	save("/db", 2);
	assert_seen("/db", 2);
}

/* ---- a save that fails: the old one stays, and nothing else does ------------------------------------ */

static void test_save_read_only(void **state)
{
	struct store_seen seen = make_seen(2);

	(void)state;
	mount_store("size=32m,mode=700"); /* there would be room */
	save("/db", 1);
	make_read_only("store");
	assert_all_fail(-EROFS);
	assert_int_equal(store_save_seen(store, "/other", &seen), -EROFS);
	assert_seen("/db", 1);
}

/* In the folder of the one source stand its path and what was seen. */
static void assert_nothing_else(void)
{
	char folder[64];
	char *path = seen_file();

	*strrchr(path, '/') = '\0';
	snprintf(folder, sizeof(folder), "%s", path + strlen(scratch.path) + 1);
	assert_int_equal(entries_in(folder), 2);
	assert_int_equal(access(at("%s/source", folder), F_OK), 0);
	assert_int_equal(access(at("%s/seen", folder), F_OK), 0);
}

static void test_save_without_room(void **state)
{
	struct store_seen seen = make_seen(2);
	char zeros[4096] = "";
	int fd;

	(void)state;
	mount_store("size=64k,mode=700");
	save("/db", 1);
	fd = openat(AT_FDCWD, at("store/fill"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	while (write(fd, zeros, sizeof(zeros)) > 0)
		;
	assert_int_equal(errno, ENOSPC);
	close(fd);
	assert_int_equal(store_save_seen(store, "/db", &seen), -ENOSPC);
	assert_int_equal(unlink(at("store/fill")), 0);
	assert_seen("/db", 1);
	assert_nothing_else();
	save("/db", 2);
	assert_seen("/db", 2);
}

/* A write that is cut short is a failure too, whatever errno said before. */
static int save_cut_short(void)
{
	struct rlimit limit = {.rlim_cur = 40, .rlim_max = 40};
	struct store_seen seen = make_seen(2);
	int rc;

	signal(SIGXFSZ, SIG_IGN);
	if (setrlimit(RLIMIT_FSIZE, &limit))
		return 255;
	rc = store_save_seen(store, "/db", &seen);
	return rc > 0 ? 254 : -rc;
}

static void test_save_cut_short(void **state)
{
	(void)state;
	open_store("store");
	save("/db", 1);
	assert_int_equal(in_child(save_cut_short), ENOSPC);
	assert_seen("/db", 1);
	assert_nothing_else();
}

/* ---- several at once -------------------------------------------------------------------------------- */

#define SAVERS 3

static atomic_bool enough;
static atomic_int failures, loads;

static void *keep_saving(void *arg)
{
	int64_t n = *(int *)arg;

	while (!atomic_load(&enough)) {
		struct store_seen seen = make_seen(n);

		if (store_save_seen(store, "/db", &seen))
			atomic_fetch_add(&failures, 1);
		n += SAVERS;
	}
	return NULL;
}

static void *keep_loading(void *arg)
{
	(void)arg;
	while (atomic_load(&loads) < 5000) {
		struct store_seen seen, expected;

		if (store_load_seen(store, "/db", &seen))
			atomic_fetch_add(&failures, 1);
		expected = make_seen(seen.mtime_ns - 6);
		if (!same_seen(&seen, &expected))
			atomic_fetch_add(&failures, 1);
		atomic_fetch_add(&loads, 1);
	}
	atomic_store(&enough, true);
	return NULL;
}

/* A reader finds the file whole. */
static void test_whole_or_not_at_all(void **state)
{
	pthread_t savers[SAVERS], loader;
	int from[SAVERS];

	(void)state;
	open_store("store");
	save("/db", 1);
	for (int i = 0; i < SAVERS; i++) {
		from[i] = i + 1;
		assert_int_equal(pthread_create(&savers[i], NULL, keep_saving, &from[i]), 0);
	}
	assert_int_equal(pthread_create(&loader, NULL, keep_loading, NULL), 0);
	assert_int_equal(pthread_join(loader, NULL), 0);
	for (int i = 0; i < SAVERS; i++)
		assert_int_equal(pthread_join(savers[i], NULL), 0);
	assert_int_equal(atomic_load(&failures), 0);
	assert_nothing_else();
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(test_seen),
		test(test_seen_across_processes),
		test(test_seen_garbage),
		test(test_save_read_only),
		test(test_save_without_room),
		test(test_save_cut_short),
		test(test_whole_or_not_at_all),
	};

	return cmocka_run_group_tests(tests, scratch_namespace, NULL);
}
