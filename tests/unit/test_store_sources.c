/* SPDX-License-Identifier: MIT */
/* test_store_sources.c - what the store knows of whom: paths, hashes that two of them share, older stores. */
#include "keeps.h"

#define OTHER "/srv/app/other.sqlite3"

static void save(const char *source, int64_t mtime_ns)
{
	struct store_seen seen = {.mtime_ns = mtime_ns};

	assert_int_equal(store_save_seen(store, source, &seen), 0);
}

/* What was saved, 0 for nothing. */
static int64_t saved(const char *source)
{
	struct store_seen seen;

	return store_load_seen(store, source, &seen) == 0 ? seen.mtime_ns : 0;
}

static int add_source(void *arg, const char *source)
{
	char *all = arg;
	size_t used = strlen(all);

	snprintf(all + used, 4096 - used, "%s;", source);
	return 0;
}

/* All sources, sorted, with a semicolon behind each. */
static const char *sources(void)
{
	static char sorted[4096];
	char all[4096] = "", *names[64], *rest = NULL;
	size_t n = 0;

	assert_int_equal(keep_sources(store, add_source, all), 0);
	for (char *p = strtok_r(all, ";", &rest); p; p = strtok_r(NULL, ";", &rest)) {
		size_t i = n++;

		assert_true(n <= COUNT(names));
		for (; i > 0 && strcmp(names[i - 1], p) > 0; i--)
			names[i] = names[i - 1];
		names[i] = p;
	}
	sorted[0] = '\0';
	for (size_t i = 0; i < n; i++)
		add_source(sorted, names[i]);
	return sorted;
}

static int stop_at_second(void *arg, const char *source)
{
	(void)source;
	return ++*(int *)arg == 2 ? 42 : 0;
}

static void test_sources(void **state)
{
	char longest[PATH_MAX];
	int calls = 0;

	(void)state;
	memset(longest, 'l', sizeof(longest));
	longest[0] = '/';
	longest[PATH_MAX - 1] = '\0';
	assert_string_equal(sources(), "");
	assert_false(store_knows(store, DB));
	assert_int_equal(store_open_source(store, DB, false, NULL), -ENOENT);
	assert_false(exists(at("store")));
	save(DB, 1);
	save(OTHER, 2);
	keep("/only/kept", "one", "x", 1);
	assert_string_equal(sources(), "/only/kept;" DB ";" OTHER ";");
	assert_true(store_knows(store, DB) && store_knows(store, OTHER) && store_knows(store, "/only/kept"));
	assert_false(store_knows(store, "/srv/app/db"));
	assert_false(store_knows(store, "/srv/app/db.sqlite3 "));
	save("/with\nnewline\n", 3);
	assert_true(store_knows(store, "/with\nnewline\n"));
	assert_false(store_knows(store, "/with\nnewline"));
	save(longest, 4);
	assert_true(store_knows(store, longest));
	assert_int_equal(saved(longest), 4);
	assert_int_equal(keep_sources(store, stop_at_second, &calls), 42);
	assert_int_equal(calls, 2);
}

/* There is room for the folder of a source, and none for its path. */
static void test_no_room(void **state)
{
	(void)state;
	mount_store("nr_inodes=2,mode=700");
	assert_int_equal(store_open_source(store, DB, true, &err), -ENOSPC);
	assert_words("store=DIR");
}

static void test_what_is_not_ours(void **state)
{
	(void)state;
	save(DB, 1);
	make_folder("store/lost+found", 0700);
	make_folder("store/0123456789ABCDEF", 0700);
	put_text("store/0123456789ABCDEF/source", "/capitals\n");
	make_folder("store/0123456789abcde", 0700);
	put_text("store/0123456789abcde/source", "/short\n");
	put_text("store/0123456789abcdef", "a file");
	make_link(source_folder(DB), "store/fedcba9876543210");
	make_folder("store/0000000000000000", 0700); /* without a path */
	make_folder("store/0000000000000001", 0700);
	put_text("store/0000000000000001/source", "relative\n");
	make_folder("store/0000000000000002", 0700);
	put_text("store/0000000000000002/source", "/cut/sho");
	make_folder("store/0000000000000003", 0700);
	make_folder("store/0000000000000003/source", 0700);
	make_folder("store/0000000000000004", 0700);
	make_link("../../etc/passwd", "store/0000000000000004/source");
	make_folder("store/0000000000000005", 0700);
	assert_int_equal(mkfifo(at("store/0000000000000005/source"), 0600), 0);
	make_folder("store/0000000000000006", 0700);
	put("store/0000000000000006/source", "/nul\0l\n", 7);
	assert_string_equal(sources(), DB ";");
	assert_int_equal(keep_clean(store, NULL, NULL, NULL, &err), 0);
	assert_true(exists(at("store/lost+found")) && exists(at("store/0123456789abcdef")));
	assert_int_equal(saved(DB), 1);
}

/* Root keeps something in a user's store, say. */
static void test_another_users(void **state)
{
	(void)state;
	assert_int_equal(chmod(at("."), 0755), 0);
	save(DB, 1);
	assert_int_equal(chown(at("store"), NOBODY, NOBODY), 0);
	assert_int_equal(seteuid(NOBODY), 0);
	save("/home/user/db", 2);
	assert_string_equal(sources(), "/home/user/db;");
	assert_int_equal(keep_clean(store, NULL, NULL, NULL, &err), 0);
	assert_int_equal(try_keep("/home/user/db", "one", "x", 1, NULL), 0);
	assert_true(try_keep(DB, "one", "x", 1, NULL) < 0);
	assert_int_equal(seteuid(0), 0);
}

/* ---- two of one hash ----------------------------------------------------------------------------------- */

/* Makes the folder where DB belongs OTHER's, as if both had one hash. */
static void let_other_be_first(char folder[256])
{
	save(DB, 9);
	snprintf(folder, 256, "%s", source_folder(DB));
	assert_int_equal(unlink(in_source(DB, "seen")), 0);
	assert_int_equal(unlink(in_source(DB, "source")), 0);
	assert_int_equal(rmdir(folder), 0);
	save(OTHER, 1);
	keep(OTHER, "one", "other's", 1);
	assert_int_equal(rename(source_folder(OTHER), folder), 0);
}

static void test_same_hash(void **state)
{
	char first[256], mine[256];

	(void)state;
	let_other_be_first(first);
	/* What is OTHER's is not shown as DB's. */
	assert_false(store_knows(store, DB));
	assert_int_equal(saved(DB), 0);
	assert_string_equal(kept(DB), "");
	assert_int_equal(kept_file_open(store, DB, "one", "", NULL), -ENOENT);
	assert_int_equal(keep_drop(store, DB, "one", &err), -ENOENT);
	assert_string_equal(sources(), OTHER ";");
	/* And DB gets a folder of its own. */
	save(DB, 2);
	keep(DB, "one", "db's", 1);
	assert_string_equal(sources(), DB ";" OTHER ";");
	assert_int_equal(saved(DB), 2);
	assert_content(DB, "one", "", "db's");
	assert_true(store_knows(store, DB));
	save(DB, 3);
	assert_int_equal(saved(DB), 3);
	assert_string_equal(sources(), DB ";" OTHER ";");
	/* Which stays its own when the other's is removed by hand. */
	snprintf(mine, sizeof(mine), "%s", source_folder(DB));
	assert_string_not_equal(mine, first);
	assert_int_equal(nftw(first, remove_one, 32, FTW_DEPTH | FTW_PHYS), 0);
	assert_string_equal(source_folder(DB), mine);
	save(DB, 4);
	assert_string_equal(source_folder(DB), mine);
	assert_content(DB, "one", "", "db's");
}

/* As many as there are hashes: then no folder is left, and that is said. */
static void test_all_hashes_taken(void **state)
{
	struct store_seen seen = {.mtime_ns = 5};
	int taken;

	(void)state;
	for (taken = 0; store_save_seen(store, DB, &seen) == 0; taken++) {
		char path[300];

		assert_true(taken < 16);
		snprintf(path, sizeof(path), "/other/%d\n", taken);
		write_file(in_source(DB, "source"), path, strlen(path));
		assert_int_equal(saved(DB), 0);
		assert_false(store_knows(store, DB));
	}
	assert_true(taken > 1);
	assert_true(store_open_source(store, DB, true, &err) < 0);
	assert_words(store_dir(store));
	assert_int_equal(try_keep(DB, "one", "x", 1, NULL), -EBUSY);
	assert_int_equal(saved(DB), 0);
}

/* ---- older stores, and cut ones ------------------------------------------------------------------------ */

static void test_old_store(void **state)
{
	(void)state;
	save(DB, 1);
	save(OTHER, 2);
	assert_int_equal(unlink(in_source(DB, "source")), 0);
	assert_int_equal(saved(DB), 1);
	assert_false(store_knows(store, DB));
	assert_string_equal(sources(), OTHER ";");
	save(DB, 3);
	assert_int_equal(saved(DB), 3);
	assert_true(store_knows(store, DB));
	assert_string_equal(sources(), DB ";" OTHER ";");
	assert_string_equal(names_in(source_folder(DB)), "seen source ");
}

/* A power failure may leave the path empty or cut: it is nobody's until somebody claims it. */
static void test_cut_path(void **state)
{
	static const char *const cuts[] = {"", "/", "\n", "/srv/ap", "garbage\n"};

	(void)state;
	for (size_t i = 0; i < COUNT(cuts); i++) {
		char folder[256];

		save(DB, 1);
		snprintf(folder, sizeof(folder), "%s", source_folder(DB));
		write_file(in_source(DB, "source"), cuts[i], strlen(cuts[i]));
		assert_string_equal(sources(), "");
		save(DB, 2);
		assert_string_equal(source_folder(DB), folder);
		assert_string_equal(sources(), DB ";");
		assert_string_equal(names_in(folder), "seen source ");
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(test_another_users),    test(test_sources),   test(test_no_room),
		test(test_what_is_not_ours), test(test_same_hash), test(test_all_hashes_taken),
		test(test_old_store),	     test(test_cut_path),
	};

	return cmocka_run_group_tests(tests, scratch_namespace, NULL);
}
