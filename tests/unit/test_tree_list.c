/* SPDX-License-Identifier: MIT */
/* test_tree_list.c - lists of folders, of any size and depth. */
#include "mirror.h"
#include "syscalls.h"

static void test_databases_only(void **state)
{
	static const struct expected cases[] = {
		{"db", SNAP_DATABASE},	  {"link", SNAP_DATABASE},   {"folder", SNAP_FOLDER},
		{"db-wal", SNAP_SIDECAR}, {"plain", -ENOENT},	     {"to-plain", -ENOENT},
		{"fifo", -ENOENT},	  {"folder/plain", -ENOENT},
	};

	(void)state;
	put_database("src/db");
	put_file("src/db-wal");
	put_file("src/plain");
	put_file("src/plain-wal");
	make_folder("src/folder", 0755);
	put_file("src/folder/plain");
	make_link("db", "src/link");
	make_link("plain", "src/to-plain");
	assert_int_equal(mkfifo(at("src/fifo"), 0600), 0);
	mirror(true);
	check_looks(cases, COUNT(cases));
	check_list("", "db/100 folder/40 link/100");
	check_list("folder", "");
}

/* Unlisted databases are where they are, and whatever goes through all of them finds them. */
static void test_unlisted(void **state)
{
	static const struct expected cases[] = {
		{"db", SNAP_DATABASE}, {"folder/db", SNAP_DATABASE}, {"plain", SNAP_PLAIN}};
	struct tree_list list;
	size_t count;

	(void)state;
	put_database("src/db");
	put_file("src/db-wal");
	put_file("src/plain");
	make_folder("src/folder", 0755);
	put_database("src/folder/db");
	make_link("db", "src/link");
	mirror(false);
	tree_set_unlisted(tree);
	check_list("", "folder/40 plain/100");
	check_list("folder", "");
	check_looks(cases, COUNT(cases));
	assert_int_equal(tree_count(tree, SIZE_MAX, 10, &count), 0);
	assert_int_equal(count, 2);
	assert_int_equal(tree_list(tree, "", &list, NULL), 0);
	assert_int_equal(list.count, 4);
	tree_list_finish(&list);
}

static void test_list(void **state)
{
	struct tree_list list;
	struct stat st;

	(void)state;
	put_file("src/b");
	put_file("src/a");
	put_file("src/\xff");
	assert_int_equal(mkfifo(at("src/fifo"), 0600), 0);
	put_socket("src/sock");
	make_folder("src/folder", 0755);
	mirror(false);
	check_list("", "a/100 b/100 fifo/10 folder/40 sock/140 \xff/100");
	check_list("folder", "");
	assert_int_equal(tree_list(tree, "none", &list, NULL), -ENOENT);
	assert_int_equal(tree_list(tree, "a", &list, NULL), -ENOTDIR);
	assert_int_equal(tree_list(tree, "..", &list, NULL), -EINVAL);
	assert_int_equal(tree_list(tree, "", &list, NULL), 0);
	assert_int_equal(stat(at("src/a"), &st), 0);
	assert_int_equal(list.names[0].ino, st.st_ino);
	tree_list_finish(&list);
}

static int count_one(void *arg, const char *path)
{
	int *count = arg;

	(void)path;
	++*count;
	return 0;
}

static int walk(void *arg)
{
	return tree_walk(tree, SIZE_MAX, count_one, arg);
}

struct stop {
	int calls, answer;
};

static int stop_at_second(void *arg, const char *path)
{
	struct stop *stop = arg;

	(void)path;
	return ++stop->calls == 2 ? stop->answer : 0;
}

/* What a walk calls ends it, wherever it is by then. */
static void test_walk_ends(void **state)
{
	static const int answers[] = {1, -ENOENT, -EACCES, -EIO, -ENOSPC, -ENOMEM};
	static const char *const folders[] = {"", "folder/", "folder/deeper/"};

	(void)state;
	make_folder("src/folder", 0755);
	make_folder("src/folder/deeper", 0755);
	for (size_t i = 0; i < COUNT(folders); i++) {
		for (int n = 0; n < 3; n++)
			put_database(at("src/%sdb%d", folders[i], n) + strlen(scratch.path) + 1);
		mirror(false);
		for (size_t k = 0; k < COUNT(answers); k++) {
			struct stop stop = {.answer = answers[k]};
			int rc = tree_walk(tree, SIZE_MAX, stop_at_second, &stop);

			if (rc != answers[k] || stop.calls != 2)
				fail_msg("in \"%s\" %d becomes %d after %d calls", folders[i], answers[k], rc,
					 stop.calls);
		}
		for (int n = 0; n < 3; n++)
			assert_int_equal(unlink(at("src/%sdb%d", folders[i], n)), 0);
	}
}

static int look_wal(void *arg)
{
	struct tree_found found;
	int rc = tree_look(tree, "db-wal", &found, NULL);

	*(bool *)arg = rc == 0 && found.attr.kind != SNAP_SIDECAR;
	tree_found_finish(&found);
	return rc;
}

static int list_all(void *arg)
{
	struct tree_list list;
	int rc = tree_list(tree, "", &list, NULL);

	for (size_t i = 0; rc == 0 && i < list.count; i++)
		*(bool *)arg |= strcmp(list.names[i].name, "db-wal") == 0;
	if (rc == 0)
		tree_list_finish(&list);
	return rc;
}

/* A live WAL is shown to nobody, whichever call fails: it would be backed up beside a database of another
 * moment. */
static void test_no_raw_wal(void **state)
{
	int (*const looks[])(void *) = {look_wal, list_all};

	(void)state;
	put_database("src/db");
	put_text("src/db-wal", "frames");
	for (size_t i = 0; i < COUNT(looks); i++) {
		unsigned n = 0, failures = 0;
		bool failed, raw;
		int rc;

		do {
			mirror(false); /* which knows nothing of them yet */
			raw = false;
			failed = run_failing(++n, EIO, looks[i], &raw, &rc);
			failures += failed;
			assert_false(raw);
		} while (failed);
		assert_int_equal(rc, 0);
		assert_true(failures > 3);
	}
}

/* What is kept of all databases leaves none out without a word, whichever call fails. */
static void test_walk_tells_what_it_does_not_know(void **state)
{
	unsigned n = 0;
	bool failed;
	int rc;

	(void)state;
	put_database("src/a");
	make_folder("src/folder", 0755);
	put_database("src/folder/b");
	make_link("folder/b", "src/folder/link");
	mirror(false);
	do {
		int count = 0;

		failed = run_failing(++n, EIO, walk, &count, &rc);
		if (rc == 0)
			assert_int_equal(count, 2);
		else
			assert_int_equal(rc, -EIO);
	} while (failed);
	assert_int_equal(rc, 0);
	assert_true(n > 5);
}

static void test_large_folder(void **state)
{
	struct timespec start, end;
	struct tree_list list;
	char name[32];
	int before = count_fds();

	(void)state;
	for (int i = 0; i < 10000; i++) {
		snprintf(name, sizeof(name), i % 2 ? "src/%d-wal" : "src/%d", i - i % 2);
		if (i % 4 == 0)
			put_database(name);
		else
			put_file(name);
	}
	mirror(false);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
	assert_int_equal(tree_list(tree, "", &list, NULL), 0);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
	assert_int_equal(list.count, 7500);
	tree_list_finish(&list);
	assert_between(end.tv_sec - start.tv_sec, 0, 2);
	assert_int_equal(count(100000), 2500);
	assert_int_equal(count(7), 7);
	assert_int_equal(count_fds(), before + 1); /* the root's */
}

static void test_deep_tree(void **state)
{
	char path[PATH_MAX];
	int dir = open(at("src"), O_PATH | O_DIRECTORY | O_CLOEXEC);
	size_t len = 0;

	(void)state;
	mirror(false);
	for (int i = 0; i < 1000; i++) {
		int next;

		assert_int_equal(mkdirat(dir, "d", 0755), 0);
		next = openat(dir, "d", O_PATH | O_DIRECTORY | O_CLOEXEC);
		close(dir);
		dir = next;
		len += (size_t)snprintf(path + len, sizeof(path) - len, "%sd", i ? "/" : "");
	}
	close(dir);
	assert_int_equal(look(path).kind, SNAP_FOLDER);
	assert_int_equal(count(100), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(test_databases_only), test(test_unlisted),
		test(test_list),	   test(test_walk_tells_what_it_does_not_know),
		test(test_no_raw_wal),	   test(test_large_folder),
		test(test_deep_tree),	   test(test_walk_ends),
	};

	return cmocka_run_group_tests(tests, scratch_namespace, NULL);
}
