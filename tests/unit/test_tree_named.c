/* SPDX-License-Identifier: MIT */
/* test_tree_named.c - trees of named databases, and what is refused as one. */
#include "mirror.h"

static void test_named(void **state)
{
	static const struct expected cases[] = {
		{"", SNAP_FOLDER},	    {"one", SNAP_DATABASE},    {"two.db", SNAP_DATABASE},
		{"garbage", SNAP_DATABASE}, {"one-wal", SNAP_SIDECAR}, {"one-shm", SNAP_SIDECAR},
		{"one-journal", -ENOENT},   {"three", -ENOENT},	       {"three-wal", -ENOENT},
		{"one/x", -ENOENT},	    {"..", -EINVAL},
	};
	struct snap_attr a;
	struct tree_list list;
	struct stat st;
	char target[8];

	(void)state;
	make_folder("x", 0755);
	put_database("src/db");
	put_database("x/real");
	put_file("x/garbage");
	make_link("../x/real", "src/link");
	assert_int_equal(tree_add_file(tree, "one", at("src/db"), NULL), 0);
	assert_int_equal(tree_add_file(tree, "two.db", at("src/link"), NULL), 0);
	assert_int_equal(tree_add_file(tree, "garbage", at("x/garbage"), NULL), 0);
	check_looks(cases, COUNT(cases));
	check_place("one", "", "db");
	check_place("two.db", at("x"), "real");
	check_list("", "one/100 two.db/100 garbage/100");
	assert_int_equal(tree_list(tree, "one", &list, NULL), -ENOTDIR);
	assert_int_equal(count(100), 3);
	assert_int_equal(count(2), 2);
	assert_int_equal(tree_readlink(tree, "one", target, sizeof(target)), -EINVAL);
	assert_int_equal(tree_readlink(tree, "none", target, sizeof(target)), -ENOENT);

	assert_int_equal(stat(at("src/db"), &st), 0);
	assert_int_equal(look("one").ino, st.st_ino);
	/* Names are made and taken away there by who may do so in the folder of each. */
	assert_int_equal(chmod(at("src"), 0775), 0);
	assert_int_equal(look("").mode, S_IFDIR | 0755);
	assert_int_equal(chmod(at("x"), 0777), 0);
	assert_int_equal(look("").mode, S_IFDIR | 0775);
	assert_int_equal(chmod(at("x"), 01777), 0);
	assert_int_equal(look("").mode, S_IFDIR | 0555);
	assert_int_equal(chmod(at("x"), 0700), 0);
	assert_int_equal(look("").mode, S_IFDIR | 0700);
	assert_int_equal(look("two.db").mode, S_IFREG | 0600);
	assert_int_equal(chmod(at("x"), 0755), 0);
	assert_int_equal(chown(at("src"), 0, 20), 0);
	assert_int_equal(look("").mode, S_IFDIR | 0555);
	assert_int_equal(chmod(at("x"), 0700), 0);
	assert_int_equal(chown(at("src"), 10, 20), 0);
	a = look("");
	assert_int_equal(a.uid, 10);
	assert_int_equal(a.gid, 20);
	assert_int_equal(a.mode, S_IFDIR);
}

static void test_named_missing(void **state)
{
	struct tree_found found;
	uint64_t ino;

	(void)state;
	put_database("src/db");
	put_database("src/real");
	make_link("real", "src/link");
	assert_int_equal(tree_add_file(tree, "db", at("src/db"), NULL), 0);
	assert_int_equal(tree_add_file(tree, "link", at("src/link"), NULL), 0);
	assert_int_equal(chmod(at("src/db"), 0640), 0);
	ino = look("db").ino;
	assert_int_equal(unlink(at("src/db")), 0);
	assert_int_equal(tree_look(tree, "db", &found, NULL), 0);
	assert_true(found.missing);
	assert_false(found.has_header);
	assert_int_equal(found.attr.kind, SNAP_DATABASE);
	assert_int_equal(found.attr.mode, S_IFREG | 0640);
	assert_int_equal(found.attr.ino, ino);
	assert_string_equal(found.place.name, "db");
	tree_found_finish(&found);
	assert_int_equal(look("db-wal").mode, S_IFREG | 0440);
	check_list("", "db/100 link/100");

	assert_int_equal(unlink(at("src/real")), 0);
	assert_int_equal(tree_look(tree, "link", &found, NULL), 0);
	assert_true(found.missing);
	tree_found_finish(&found);

	put_database("src/db");
	assert_int_equal(tree_look(tree, "db", &found, NULL), 0);
	assert_false(found.missing);
	tree_found_finish(&found);
	assert_int_equal(link(at("src/db"), at("src/db2")), 0);
	assert_int_equal(tree_look(tree, "db", &found, NULL), -EMLINK);
	assert_int_equal(unlink(at("src/db")), 0);
	make_folder("src/db", 0755);
	assert_int_equal(tree_look(tree, "db", &found, NULL), -EINVAL);
}

static void test_refused_sources(void **state)
{
	const struct {
		const char *name, *path;
		int code;
		const char *words;
	} cases[] = {
		{"none", "none", -ENOENT, "no such file (to bring back a database that is gone: cp BACKUP "},
		{"none", "none/db", -ENOENT, "no such file"},
		{"none", "dangling", -ENOENT, "no such file"},
		{"folder", "src", -EINVAL, "not a regular file"},
		{"fifo", "fifo", -EINVAL, "not a regular file"},
		{"bound", "bound", -EXDEV, "mount"},
		{"taken", "db", -EEXIST, "\"taken\""},
		{"taken-wal", "db", -EEXIST, "\"taken-wal\""},
		{"a/b", "db", -EINVAL, "\"a/b\""},
		{"", "db", -EINVAL, NULL},
		{".", "db", -EINVAL, NULL},
		{"..", "db", -EINVAL, NULL},
		{"db", "db/", -ENOTDIR, NULL},
		{"log", "db-wal", -EINVAL, "name that"},
	};
	struct snap_err err;
	int before;

	(void)state;
	put_database("db");
	put_text("db-wal", "");
	put_database("lone-wal");
	put_text("bound", "");
	mount_bind("db", "bound");
	make_link("nowhere", "dangling");
	assert_int_equal(mkfifo(at("fifo"), 0600), 0);
	assert_int_equal(tree_add_file(tree, "taken", at("db"), NULL), 0);
	before = count_fds();
	for (size_t i = 0; i < COUNT(cases); i++) {
		int rc;

		err.text[0] = '\0';
		rc = tree_add_file(tree, cases[i].name, at("%s", cases[i].path), &err);
		if (rc != cases[i].code || err.text[0] == '\0' ||
		    (cases[i].words && !strstr(err.text, cases[i].words)))
			fail_msg("%s=%s: %d: %s", cases[i].name, cases[i].path, rc, err.text);
	}
	assert_int_equal(tree_set_folder(tree, at("src"), &err), -EINVAL);
	assert_int_equal(count_fds(), before);
	assert_int_equal(tree_add_file(tree, "lone-wal", at("lone-wal"), &err), 0); /* of no database */
	mirror(false);
	assert_int_equal(tree_add_file(tree, "db", at("db"), &err), -EINVAL);
	tree_destroy(tree);
	assert_int_equal(tree_create(&tree, table, false), 0);
	assert_int_equal(tree_set_folder(tree, at("none"), &err), -ENOENT);
	assert_int_equal(tree_set_folder(tree, at("db"), &err), -ENOTDIR);
}

/* As empty or no database it would be shown to be restored. */
static void test_named_unreadable(void **state)
{
	struct snap_err err = {""};

	(void)state;
	put_database("secret");
	assert_int_equal(chmod(at("secret"), 0600), 0);
	become(NOBODY);
	assert_int_equal(tree_add_file(tree, "secret", at("secret"), &err), -EACCES);
	assert_non_null(strstr(err.text, "may not be read"));
}

/* It would be mounted, and nobody could enter the mount. */
static void test_folder_closed(void **state)
{
	struct snap_err err = {""};

	(void)state;
	assert_int_equal(chmod(at("src"), 0700), 0);
	become(NOBODY);
	assert_int_equal(tree_set_folder(tree, at("src"), &err), -EACCES);
	assert_non_null(strstr(err.text, "may not be entered: mount as its owner, or as root"));
	become(0);
	assert_int_equal(chmod(at("src"), 0711), 0); /* what it holds can be opened by name */
	become(NOBODY);
	assert_int_equal(tree_set_folder(tree, at("src"), &err), 0);
}

/* A path without a folder, and a folder that is moved away after the start. */
static void test_named_stays_in_its_folder(void **state)
{
	(void)state;
	put_database("src/db");
	assert_int_equal(chdir(at("src")), 0);
	assert_int_equal(tree_add_file(tree, "db", "db", NULL), 0);
	assert_int_equal(chdir("/"), 0);
	assert_int_equal(rename(at("src"), at("moved")), 0);
	make_link("/etc", "src");
	check_place("db", "", "db");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(test_named),
		test(test_named_missing),
		test(test_refused_sources),
		test(test_named_stays_in_its_folder),
		test(test_named_unreadable),
		test(test_folder_closed),
	};

	return cmocka_run_group_tests(tests, scratch_namespace, NULL);
}
