/* SPDX-License-Identifier: MIT */
/* test_tree_links.c - symlinks in a tree: which are followed, and what is told of those that leave it. */
#include "mirror.h"

static void test_links_inside(void **state)
{
	struct tree_found found;
	struct snap_err err;

	(void)state;
	make_folder("src/data", 0755);
	make_folder("src/x", 0755);
	put_database("src/data/real");
	make_link("data/real", "src/link");
	make_link(at("src/data/real"), "src/absolute");
	make_link("../src/x/../data/./real", "src/escaping");
	make_link("../../src/data/real", "src/x/up");
	make_link("data", "src/folder-link");
	make_link("../folder-link/real", "src/x/through");
	make_link("x/through", "src/chain");
	mirror(false);
	check_place("link", "data", "real");
	check_place("absolute", "data", "real");
	check_place("escaping", "data", "real");
	check_place("x/up", "data", "real");
	check_place("x/through", "data", "real");
	check_place("chain", "data", "real");
	assert_false(tree_take_notice(tree, &err));
	assert_int_equal(look("link").ino, look("data/real").ino);
	assert_int_equal(look("folder-link").kind, SNAP_SYMLINK);
	check_list("", "absolute/100 chain/100 data/40 escaping/100 folder-link/120 link/100 x/40");
	assert_int_equal(count(100), 1);

	/* Who reads the link passes the root, not the folder that the file is in. */
	assert_int_equal(chmod(at("src/data"), 0700), 0);
	assert_int_equal(chmod(at("src"), 0700), 0);
	assert_int_equal(look("link").mode, S_IFREG | 0600);
	assert_int_equal(chmod(at("src/data"), 0755), 0);
	assert_int_equal(look("link").mode, S_IFREG | 0644);
	/* It is looked at anew each time. */
	assert_int_equal(unlink(at("src/data/real")), 0);
	assert_int_equal(look("link").kind, SNAP_SYMLINK);
	put_file("src/data/real");
	assert_int_equal(look("link").kind, SNAP_SYMLINK);
	assert_int_equal(tree_look(tree, "link", &found, NULL), 0);
	assert_true(S_ISLNK(found.attr.mode));
	assert_int_equal(found.attr.size, strlen("data/real"));
}

static void test_links_outside(void **state)
{
	struct snap_err notice = {""};

	(void)state;
	make_folder("away", 0755);
	put_database("away/real");
	assert_int_equal(chown(at("away/real"), 10, 20), 0);
	make_link("../away/real", "src/out");
	make_link("out", "src/out2");
	mirror(false);
	check_place("out", at("away"), "real");
	check_place("out", at("away"), "real");
	assert_int_equal(look("out").mode, S_IFREG | 0644);
	assert_true(tree_take_notice(tree, &notice));
	assert_non_null(strstr(notice.text, "\"out\""));
	assert_non_null(strstr(notice.text, at("away/real")));
	assert_false(tree_take_notice(tree, &notice));
	check_list("", "out/100 out2/100");
	assert_true(tree_take_notice(tree, &notice));
	assert_non_null(strstr(notice.text, "\"out2\""));
	assert_int_equal(count(100), 2);
	assert_false(tree_take_notice(tree, &notice));

	assert_int_equal(chown(at("away"), 10, 20), 0);
	assert_int_equal(chmod(at("away"), 0700), 0);
	assert_int_equal(look("out").mode, S_IFREG | 0600);
	assert_int_equal(chown(at("away"), 0, 0), 0);
	assert_int_equal(look("out").mode, S_IFREG);
}

/* A tree of LINKS links to one database outside. */
static void mirror_links(int links)
{
	char name[32];

	put_database("real");
	for (int i = 0; i < links; i++) {
		snprintf(name, sizeof(name), "src/%d", i);
		make_link("../real", name);
	}
	mirror(false);
}

static void look_at_link(int i)
{
	char name[32];

	snprintf(name, sizeof(name), "%d", i);
	look(name);
}

/* More links than notices wait for: none is lost. */
static void test_many_notices(void **state)
{
	struct snap_err notice;
	int told = 0;

	(void)state;
	mirror_links(20);
	for (int round = 0; round < 4; round++) {
		for (int i = 0; i < 20; i++)
			look_at_link(i);
		while (tree_take_notice(tree, &notice))
			told++;
	}
	assert_int_equal(told, 20);
}

/* Of 1024 links it is remembered that they were told; there is room for no more. */
static void test_end_of_notices(void **state)
{
	struct snap_err notice;
	int told = 0;

	(void)state;
	mirror_links(1030);
	for (int i = 0; i < 1030; i++) {
		look_at_link(i);
		told += tree_take_notice(tree, &notice);
	}
	assert_int_equal(told, 1024);
}

static void test_links_to_nothing(void **state)
{
	static const char *const targets[] = {
		"loop", "loop2", ".",	     "..",	"/",	  "db/",
		"db/x", "fifo",	 "db/../db", "nowhere", "deep41", "socket",
	};
	char name[32], target[32], through[128], many[3001], *longer;

	(void)state;
	put_database("src/db");
	assert_int_equal(mkfifo(at("src/fifo"), 0600), 0);
	put_socket("src/socket");
	make_link("loop2", "src/loop");
	make_link("loop", "src/loop2");
	make_link("db", "src/deep1");
	for (int i = 2; i <= 41; i++) {
		snprintf(name, sizeof(name), "src/deep%d", i);
		snprintf(target, sizeof(target), "deep%d", i - 1);
		make_link(target, name);
	}
	for (size_t i = 0; i < COUNT(targets); i++) {
		snprintf(name, sizeof(name), "src/to%zu", i);
		make_link(targets[i], name);
	}
	snprintf(through, sizeof(through), "/proc/self/root%s", at("src/db"));
	make_link(through, "src/proc");
	longer = malloc(4001);
	memset(longer, '/', 4000);
	longer[4000] = '\0';
	make_link(longer, "src/slashes");
	for (int i = 0; i < 4000; i++)
		longer[i] = i % 2 ? '/' : '.';
	make_link(longer, "src/dots");
	free(longer);
	make_link("dots/dots/dots/db", "src/roundabout");
	make_link("dots/././././././././././././././././././././././././././././././././././././././././././"
		  "././././././db",
		  "src/too-long");
	/* One that leads through many folders: too much work. */
	make_folder("src/d", 0755);
	for (size_t i = 0; i + 5 < sizeof(many); i += 5)
		memcpy(many + i, "d/../", 6);
	make_link(many, "src/busy");
	memcpy(many + 1000, "db", 3);
	make_link(many, "src/patient");
	mirror(false);
	assert_int_equal(look("busy").kind, SNAP_SYMLINK);
	assert_int_equal(look("patient").kind, SNAP_SYMLINK);
	for (size_t i = 0; i < COUNT(targets); i++) {
		snprintf(name, sizeof(name), "to%zu", i);
		if (look(name).kind != SNAP_SYMLINK)
			fail_msg("\"%s\" is followed", targets[i]);
	}
	assert_int_equal(look("proc").kind, SNAP_SYMLINK);
	assert_int_equal(look("slashes").kind, SNAP_SYMLINK);
	assert_int_equal(look("dots").kind, SNAP_SYMLINK);
	assert_int_equal(look("roundabout").kind, SNAP_DATABASE);
	assert_int_equal(look("too-long").kind, SNAP_SYMLINK);
	assert_int_equal(look("deep40").kind, SNAP_DATABASE);
	assert_int_equal(look("deep41").kind, SNAP_SYMLINK);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(test_links_inside),   test(test_links_outside),	test(test_many_notices),
		test(test_end_of_notices), test(test_links_to_nothing),
	};

	return cmocka_run_group_tests(tests, scratch_namespace, NULL);
}
