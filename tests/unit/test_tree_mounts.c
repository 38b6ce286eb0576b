/* SPDX-License-Identifier: MIT */
/* test_tree_mounts.c - mounts in a tree: our own, which nobody may ask while it waits for us, and others. */
#include "mirror.h"

#include "../../src/opath.h"

/* Our own mount has a server that answers nobody: a request to it would end this program by the alarm. */
static void test_own_mount(void **state)
{
	static const struct expected before[] = {{"sub/mnt", SNAP_MOUNTPOINT}, {"sub", SNAP_FOLDER}};
	static const struct expected after[] = {
		{"sub/mnt", SNAP_MOUNTPOINT}, {"sub/mnt/db", -EXDEV},	{"sub/mnt/a/b", -EXDEV},
		{"mnt", SNAP_FOLDER},	      {"in", SNAP_SYMLINK},	{"in2", SNAP_SYMLINK},
		{"bound", SNAP_SYMLINK},      {"sub/mnt-wal", -ENOENT}, {"sub/fine", SNAP_DATABASE},
		{"self", SNAP_SYMLINK},
	};
	struct snap_attr covered;
	struct tree_list list;
	int server;

	(void)state;
	make_folder("src/sub", 0755);
	make_folder("src/mnt", 0755);
	make_folder("src/sub/mnt", 0711);
	make_folder("elsewhere", 0755);
	put_database("src/sub/mnt/hidden");
	put_database("src/db");
	make_link("sub/mnt/db", "src/in");
	make_link(at("src/sub/mnt/x/../../db"), "src/in2");
	make_link("sub/mnt", "src/self");
	make_link(at("elsewhere/db"), "src/bound");
	make_link("../db", "src/sub/fine");
	mirror(false);
	assert_int_equal(tree_note_mounted(tree), -EINVAL);
	assert_int_equal(tree_set_mountpoint(tree, at("src/sub/../sub/mnt/"), NULL), 0);
	assert_int_equal(tree_note_mounted(tree), -ENOENT);
	check_looks(before, COUNT(before));
	check_list("sub/mnt", "");
	covered = look("sub/mnt");
	server = mount_silent("src/sub/mnt");
	mount_bind("src/sub/mnt", "elsewhere");
	assert_int_equal(tree_note_mounted(tree), 0);

	check_looks(after, COUNT(after));
	assert_int_equal(look("sub/mnt").mode, S_IFDIR | 0711);
	assert_int_equal(look("sub/mnt").key_ino, covered.key_ino);
	check_list("sub/mnt", "");
	assert_int_equal(tree_list(tree, "sub/mnt/x", &list, NULL), -EXDEV);
	check_list("sub", "fine/100 mnt/40");
	check_list("", "bound/120 db/100 in/120 in2/120 mnt/40 self/120 sub/40");
	assert_int_equal(look("").mode, S_IFDIR | 0755);
	assert_int_equal(count(100), 1);
	close(server);
}

static void test_mountpoint_elsewhere(void **state)
{
	int server;

	(void)state;
	make_folder("src/mnt", 0755);
	make_folder("mnt", 0755);
	put_database("src/mnt/db");
	make_link("../mnt/db", "src/link");
	mirror(false);
	assert_int_equal(tree_set_mountpoint(tree, at("none"), NULL), -ENOENT);
	assert_int_equal(tree_set_mountpoint(tree, "/", NULL), -EINVAL);
	assert_int_equal(tree_set_mountpoint(tree, at("mnt"), NULL), 0);
	server = mount_silent("mnt");
	assert_int_equal(tree_note_mounted(tree), 0);
	assert_int_equal(look("mnt").kind, SNAP_FOLDER);
	assert_int_equal(look("mnt/db").kind, SNAP_DATABASE);
	assert_int_equal(look("link").kind, SNAP_SYMLINK);
	close(server);
}

static void test_other_mounts(void **state)
{
	static const struct expected cases[] = {
		{"mnt", SNAP_MOUNTPOINT},    {"mnt/db", -EXDEV},   {"bound", SNAP_MOUNTPOINT},
		{"silent", SNAP_MOUNTPOINT}, {"silent/x", -EXDEV}, {"link", SNAP_DATABASE},
	};
	struct tree_list list;
	struct snap_err err = {""};
	int server;

	(void)state;
	make_folder("src/mnt", 0755);
	make_folder("src/silent", 0755);
	mount_tmpfs("src/mnt");
	put_database("src/mnt/db");
	put_database("db");
	put_text("src/bound", "");
	mount_bind("db", "src/bound");
	make_link("mnt/db", "src/link");
	mirror(false);
	server = mount_silent("src/silent");
	check_looks(cases, COUNT(cases));
	check_place("link", at("src/mnt"), "db");
	assert_true(tree_take_notice(tree, &err));
	assert_int_equal(tree_list(tree, "mnt", &list, &err), -EXDEV);
	assert_non_null(strstr(err.text, "\"mnt\""));
	assert_int_equal(tree_list(tree, "silent", &list, NULL), -EXDEV);
	check_list("", "bound/100 link/100 mnt/40 silent/40");
	assert_int_equal(look("mnt").ino, opath_mix(look("mnt").key_dev, look("mnt").key_ino));
	assert_int_equal(count(100), 1);
	close(server);
}

/* Links into mounts whose server may be waiting for us: it is asked nothing. */
static void test_links_into_servers(void **state)
{
	int server;

	(void)state;
	make_folder("silent", 0755);
	make_folder("memory", 0755);
	mount_tmpfs("memory");
	put_database("memory/db");
	make_link("../silent/db", "src/in");
	make_link(at("silent/sub/../../memory/db"), "src/through");
	make_link("../memory/db", "src/other");
	mirror(false);
	server = mount_silent("silent");
	assert_int_equal(look("in").kind, SNAP_SYMLINK);
	assert_int_equal(look("through").kind, SNAP_SYMLINK);
	assert_int_equal(look("other").kind, SNAP_DATABASE);
	check_list("", "in/120 other/100 through/120");
	close(server);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(test_own_mount),
		test(test_mountpoint_elsewhere),
		test(test_other_mounts),
		test(test_links_into_servers),
	};

	return cmocka_run_group_tests(tests, scratch_namespace, NULL);
}
