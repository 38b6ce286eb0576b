/* SPDX-License-Identifier: MIT */
/* test_keep_order.c - what is on the disk when, and several at it at once. */
#include "keeps.h"

#include <stdatomic.h>

#include "syscalls.h"

static int do_keep(void *arg)
{
	(void)arg;
	return try_keep(DB, "one", "bytes", 1, NULL);
}

static int do_drop(void *arg)
{
	(void)arg;
	return keep_drop(store, DB, "one", &err);
}

/* ---- what is on the disk when -------------------------------------------------------------------------- */

#define LINES_MAX 64

static struct {
	char text[LINES_MAX][256];
	int count;
} lines;

/* "kept/.one-0123456789abcdef.partial/db" becomes "kept/PARTIAL/db", and so on. */
static void note(const char *verb, const char *path)
{
	const char *partial = strstr(path, "/.one-"), *end = partial ? strstr(partial, ".partial") : NULL;
	char *line = lines.text[lines.count++];

	assert_true(lines.count < LINES_MAX);
	if (end)
		snprintf(line, 256, "%s %.*s/PARTIAL%s", verb, (int)(partial - path), path,
			 end + strlen(".partial"));
	else
		snprintf(line, 256, "%s %s", verb, path);
}

static int judge_order(void *arg, const struct seccomp_data *call)
{
	char path[512], link[64];
	ssize_t n;

	(void)arg;
	if (call->nr == SYS_fsync || call->nr == SYS_fdatasync) {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", (int)call->args[0]);
		n = readlink(link, path, sizeof(path) - 1);
		assert_true(n > 0);
		path[n] = '\0';
		note("sync", path);
	}
	if (call->nr == SYS_renameat || call->nr == SYS_renameat2)
		note("name", watch_text(call->args[3]));
	if (call->nr == SYS_unlinkat)
		note("unlink", watch_text(call->args[1]));
	return 0;
}

/* The place of "VERB PATH REST". */
static int line_of(const char *verb, const char *path, const char *rest)
{
	char wanted[512];

	snprintf(wanted, sizeof(wanted), "%s %s%s", verb, path, rest);
	for (int i = 0; i < lines.count; i++)
		if (strcmp(lines.text[i], wanted) == 0)
			return i;
	fail_msg("\"%s\" did not happen", wanted);
	return -1;
}

static void test_sync_before_name(void **state)
{
	static const char *const before[] = {"/kept/PARTIAL/db", "/kept/PARTIAL/meta", "/kept/PARTIAL",
					     "/source", ""};
	struct watch w = {.fn = do_keep, .judge = judge_order};
	int named;

	(void)state;
	lines.count = 0;
	assert_int_equal(watch_run(&w), 0);
	named = line_of("name", "one", "");
	for (size_t i = 0; i < COUNT(before); i++)
		assert_true(line_of("sync", source_folder(DB), before[i]) < named);
	/* The folder after the files in it, and the way to it up to what was there before. */
	assert_true(line_of("sync", source_folder(DB), "/kept/PARTIAL") >
		    line_of("sync", source_folder(DB), "/kept/PARTIAL/meta"));
	assert_true(line_of("sync", at("fast/a/store"), "") < named);
	assert_true(line_of("sync", at("fast/a"), "") < named);
	assert_true(line_of("sync", at("fast"), "") < named);
	assert_true(line_of("sync", source_folder(DB), "/kept") > named);
}

static void test_name_goes_first(void **state)
{
	struct watch w = {.fn = do_drop, .judge = judge_order};
	int synced;

	(void)state;
	keep(DB, "one", "bytes", 1);
	lines.count = 0;
	assert_int_equal(watch_run(&w), 0);
	assert_int_equal(strncmp(lines.text[0], "name .one-", 10), 0);
	synced = line_of("sync", source_folder(DB), "/kept");
	assert_int_equal(synced, 1);
	assert_true(line_of("unlink", "db", "") > synced);
	assert_true(line_of("unlink", "meta", "") > synced);
}

/* ---- several at once ----------------------------------------------------------------------------------- */

#define KEEPERS 3
#define ROUNDS 40

static atomic_int running;
static atomic_int failures;

static void *run_keeper(void *arg)
{
	(void)arg;
	for (int i = 0; i < ROUNDS; i++) {
		struct keep_meta meta = meta_at(i);
		struct keep *k = NULL;
		char folder[32];
		int fd = store_make_folder(store, folder, NULL);

		if (keep_begin(&k, store, DB, "one", NULL) || write(keep_fd(k), "bytes", 5) != 5 ||
		    keep_commit(k, &meta, NULL))
			atomic_fetch_add(&failures, 1);
		keep_destroy(k);
		/* A private folder stays while it is used. */
		if (fd < 0 || mkdirat(fd, "x", 0700) || unlinkat(fd, "x", AT_REMOVEDIR))
			atomic_fetch_add(&failures, 1);
		close(fd);
		store_drop_folder(store, folder);
		if (store_save_seen(store, DB, &(struct store_seen){.mtime_ns = i}))
			atomic_fetch_add(&failures, 1);
	}
	atomic_fetch_sub(&running, 1);
	return NULL;
}

static void *run_cleaner(void *arg)
{
	(void)arg;
	while (atomic_load(&running) > 0) {
		if (keep_clean(store, NULL, NULL, NULL, NULL))
			atomic_fetch_add(&failures, 1);
	}
	return NULL;
}

/* Another daemon starts just before the N-th call. */
static int judge_clean(void *arg, const struct seccomp_data *call)
{
	unsigned *left = arg;

	(void)call;
	if (*left > 0 && --*left == 0 && keep_clean(store, NULL, NULL, NULL, NULL))
		atomic_fetch_add(&failures, 1);
	return 0;
}

static int do_all(void *arg)
{
	struct store_seen seen = {.mtime_ns = 7};
	char folder[32];
	int fd = store_make_folder(store, folder, &err), rc;

	rc = fd < 0 ? fd : do_keep(arg);
	if (!rc)
		rc = store_save_seen(store, DB, &seen);
	if (fd < 0)
		return rc;
	if (access(at("fast/a/store/%s", folder), F_OK))
		rc = -ENOENT;
	close(fd);
	store_drop_folder(store, folder);
	return rc;
}

/* Whenever another daemon cleans, what is being made is not taken for leavings, or made once more. */
static void test_cleaned_between(void **state)
{
	unsigned n = 0, left;

	(void)state;
	atomic_store(&failures, 0);
	do {
		struct watch w = {.fn = do_all, .judge = judge_clean, .judge_arg = &left};

		left = ++n;
		assert_int_equal(watch_run(&w), 0);
		assert_content(DB, "one", "", "bytes");
		assert_int_equal(keep_clean(store, NULL, NULL, NULL, &err), 0);
		assert_string_equal(names_in(source_folder(DB)), "kept seen source ");
		assert_string_equal(names_in(in_source(DB, "kept")), "one ");
		assert_null(strchr(names_in(at("fast/a/store")), '.'));
		if (left == 0)
			wipe();
	} while (left == 0);
	assert_true(n > 40);
	assert_int_equal(atomic_load(&failures), 0);
}

/* Everybody who keeps succeeds under a name of its own, whoever cleans at the same time. */
static void test_at_once(void **state)
{
	pthread_t keepers[KEEPERS], cleaner;
	struct keep_entry *entries;
	size_t count;

	(void)state;
	atomic_store(&running, KEEPERS);
	for (int i = 0; i < KEEPERS; i++)
		assert_int_equal(pthread_create(&keepers[i], NULL, run_keeper, NULL), 0);
	assert_int_equal(pthread_create(&cleaner, NULL, run_cleaner, NULL), 0);
	while (atomic_load(&running) > 0) { /* whatever is listed is whole */
		assert_int_equal(keep_list(store, DB, &entries, &count), 0);
		for (size_t i = 0; i < count; i++)
			assert_int_equal(entries[i].meta.size, 5);
		keep_list_free(entries, count);
	}
	for (int i = 0; i < KEEPERS; i++)
		assert_int_equal(pthread_join(keepers[i], NULL), 0);
	assert_int_equal(pthread_join(cleaner, NULL), 0);
	assert_int_equal(atomic_load(&failures), 0);
	assert_int_equal(keep_list(store, DB, &entries, &count), 0);
	assert_int_equal(count, KEEPERS * ROUNDS);
	keep_list_free(entries, count);
	assert_int_equal(keep_clean(store, NULL, NULL, NULL, &err), 0);
	assert_string_equal(names_in(source_folder(DB)), "kept seen source ");
	assert_null(strchr(names_in(in_source(DB, "kept")), '.'));
	assert_null(strchr(names_in(at("fast/a/store")), '.'));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test_fast(test_sync_before_name),
		test_fast(test_name_goes_first),
		test_fast(test_cleaned_between),
		test_fast(test_at_once),
	};

	return cmocka_run_group_tests(tests, scratch_namespace, NULL);
}
