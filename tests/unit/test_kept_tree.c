/* SPDX-License-Identifier: MIT */
/* test_kept_tree.c - which folders .sqlsnapfs/snapshots shows, and of whom. */
#include "kept_view.h"

/* ---- what is there ------------------------------------------------------------------------------------- */

static void test_dispatch(void **state)
{
	static const struct {
		const char *path;
		bool has;
	} cases[] = {
		{"", false},	       {TOP, true},	      {ALL, true},	 {TOP "/x", true},
		{TOP "x", false},      {TOP ".", false},      {"x/" TOP, false}, {".sqlsnapf", false},
		{ALL "/one/db", true}, {"db.sqlite3", false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		assert_int_equal(kept_tree_has(cases[i].path), cases[i].has);
}

static void assert_folder(const char *path, int64_t time_ns)
{
	struct snap_attr attr;

	assert_int_equal(look(path, &attr), 0);
	assert_int_equal(attr.kind, SNAP_FOLDER);
	assert_int_equal(attr.mode, S_IFDIR | 0700);
	assert_int_equal(attr.uid, geteuid());
	assert_int_equal(attr.gid, getegid());
	assert_int_equal(attr.nlink, 2);
	assert_int_equal(attr.key_dev, 0);
	assert_true(attr.ino != 0 && attr.key_ino == attr.ino);
	if (time_ns)
		assert_int_equal(attr.mtime.tv_sec * 1000000000ll + attr.mtime.tv_nsec, time_ns);
	assert_memory_equal(&attr.mtime, &attr.ctime, sizeof(attr.mtime));
	assert_memory_equal(&attr.mtime, &attr.atime, sizeof(attr.mtime));
}

static void test_empty(void **state)
{
	struct tree_list entries;

	(void)state;
	show_app();
	assert_folder(TOP, 0);
	assert_folder(ALL, 0);
	assert_string_equal(list(TOP), "snapshots/ ");
	assert_string_equal(list(ALL), "");
	assert_nothing_at(TOP "/other");
	assert_nothing_at(ALL "/one");
	assert_int_equal(kept_tree_list(tree, ALL "/one", &entries), -ENOENT);
	assert_int_equal(kept_tree_list(tree, TOP "/other", &entries), -ENOENT);
	assert_int_equal(kept_tree_drop(tree, "one", &err), -ENOENT);
	assert_false(exists(at("store"))); /* looking makes nothing */
}

static void test_owner(void **state)
{
	(void)state;
	show_app();
	keep_at("app/db", "one", "x", 5);
	assert_int_equal(chmod(at("store"), 0755), 0);
	assert_int_equal(setegid(NOBODY), 0);
	assert_int_equal(seteuid(NOBODY), 0);
	assert_folder(TOP, 0);
	assert_folder(ALL, 0);
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(setegid(0), 0);
	assert_folder(ALL "/one", 5);
}

static void test_folder_tree(void **state)
{
	(void)state;
	show_app();
	keep_at("app/a.db", "one", "a", 5);
	keep_at("app/sub/b.db", "one", "bb", 5);
	keep_at("app/sub/deep/er/c.db", "one", "ccc", 5);
	keep_at("app/sub/b.db", "two", "later", 6);
	assert_string_equal(list(ALL), "one/ two/ ");
	assert_string_equal(list(ALL "/one"), "a.db sub/ ");
	assert_string_equal(list(ALL "/one/sub"), "b.db deep/ ");
	assert_string_equal(list(ALL "/one/sub/deep"), "er/ ");
	assert_string_equal(list(ALL "/one/sub/deep/er"), "c.db ");
	assert_string_equal(list(ALL "/two"), "sub/ ");
	assert_bytes(ALL "/one/a.db", "a");
	assert_bytes(ALL "/one/sub/b.db", "bb");
	assert_bytes(ALL "/one/sub/deep/er/c.db", "ccc");
	assert_bytes(ALL "/two/sub/b.db", "later");
	assert_folder(ALL "/one", 5);
	assert_folder(ALL "/two", 6);
	assert_folder(ALL "/one/sub/deep", 5);
	assert_nothing_at(ALL "/two/a.db");
	assert_nothing_at(ALL "/two/sub/deep");
	assert_nothing_at(ALL "/one/su");
	assert_nothing_at(ALL "/one/sub/b.d");
	assert_nothing_at(ALL "/one/a.db/x");
	assert_nothing_at(ALL "/one/sub/../a.db");
	assert_nothing_at(ALL "/one/./a.db");
	assert_nothing_at(ALL "/one//a.db");
	assert_nothing_at(ALL "/one/");
	assert_nothing_at(ALL "/.one");
	assert_nothing_at(ALL "/..");
}

static void test_not_a_folder(void **state)
{
	struct tree_list entries;

	(void)state;
	show_app();
	keep_at("app/a.db", "one", "a", 5);
	assert_int_equal(kept_tree_list(tree, ALL "/one/a.db", &entries), -ENOTDIR);
	/* A database stood where a folder is now: the file is what is found. */
	keep_at("app/a.db/below", "one", "b", 5);
	assert_string_equal(list(ALL "/one"), "a.db ");
	assert_int_equal(kind_of(ALL "/one/a.db"), SNAP_PLAIN);
}

/* Beside the tree there are others in the store. */
static void test_other_mounts(void **state)
{
	(void)state;
	show_app();
	keep_at("app/a.db", "one", "a", 5);
	keep_at("application/x.db", "one", "x", 5);
	keep_at("app2", "one", "x", 5);
	keep_at("app", "one", "x", 5); /* a file where the folder is now */
	keep("/x.db", "one", "x", 5);
	keep_at("application/x.db", "other", "x", 5);
	assert_string_equal(list(ALL), "one/ ");
	assert_string_equal(list(ALL "/one"), "a.db ");
	assert_nothing_at(ALL "/other");
	assert_nothing_at(ALL "/one/../application/x.db");
	assert_int_equal(kept_tree_drop(tree, "other", &err), -ENOENT);
	assert_words("\"other\"");
	assert_int_equal(kept_tree_drop(tree, "one", &err), 0);
	assert_string_equal(list(ALL), "");
	assert_string_equal(kept(at("app2")), "one ");
	assert_string_equal(kept(at("application/x.db")), "one other ");
}

static void test_root(void **state)
{
	(void)state;
	assert_int_equal(kept_tree_set_folder(tree, "/"), 0);
	keep("/a.db", "one", "a", 5);
	keep("/srv/b.db", "one", "b", 5);
	assert_string_equal(list(ALL "/one"), "a.db srv/ ");
	assert_bytes(ALL "/one/a.db", "a");
	assert_bytes(ALL "/one/srv/b.db", "b");
}

/* The folder is what its path leads to. */
static void test_linked_folder(void **state)
{
	(void)state;
	make_link("app", "link");
	assert_int_equal(kept_tree_set_folder(tree, at("link")), 0);
	keep_at("app/a.db", "one", "a", 5);
	assert_bytes(ALL "/one/a.db", "a");
	assert_int_equal(kept_tree_set_folder(tree, at("nowhere")), -ENOENT);
	assert_bytes(ALL "/one/a.db", "a");
}

static void test_named(void **state)
{
	struct tree_list entries;

	(void)state;
	put_database("app/a.db");
	put_database("app/b.db");
	make_link("app/b.db", "link.db");
	assert_int_equal(kept_tree_add_file(tree, "first", at("app/a.db")), 0);
	assert_int_equal(kept_tree_add_file(tree, "second.db", at("link.db")), 0);
	assert_int_equal(kept_tree_add_file(tree, "third", at("nowhere")), -ENOENT);
	assert_string_equal(list(ALL), "");
	keep_at("app/a.db", "one", "a", 5);
	keep_at("app/b.db", "one", "bb", 5);
	keep_at("app/b.db", "two", "later", 6);
	keep_at("app/c.db", "three", "not shown", 5);
	assert_string_equal(list(ALL), "one/ two/ ");
	assert_string_equal(list(ALL "/one"), "first second.db ");
	assert_string_equal(list(ALL "/two"), "second.db ");
	assert_bytes(ALL "/one/first", "a");
	assert_bytes(ALL "/one/second.db", "bb");
	assert_nothing_at(ALL "/one/a.db");
	assert_nothing_at(ALL "/one/app");
	assert_nothing_at(ALL "/two/first");
	assert_int_equal(kept_tree_list(tree, ALL "/three", &entries), -ENOENT);
	assert_int_equal(kept_tree_drop(tree, "three", &err), -ENOENT);
	assert_int_equal(kept_tree_drop(tree, "one", &err), 0);
	assert_string_equal(list(ALL), "two/ ");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test_tree(test_dispatch),    test_tree(test_empty),	    test_tree(test_owner),
		test_tree(test_folder_tree), test_tree(test_not_a_folder),  test_tree(test_other_mounts),
		test_tree(test_root),	     test_tree(test_linked_folder), test_tree(test_named),
	};

	return cmocka_run_group_tests(tests, scratch_namespace, NULL);
}
