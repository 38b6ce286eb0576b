/* SPDX-License-Identifier: MIT */
/* mirror.h - what the tests of the tree share: the tree of the scratch folder "src", and what it shows. */
#ifndef SQLSNAP_TEST_MIRROR_H
#define SQLSNAP_TEST_MIRROR_H

#include "../../src/tree.h"

#include <sys/socket.h>
#include <sys/un.h>

#include "scratch.h"

static struct rawfd_table *table;
static struct tree *tree;

static inline int setup(void **state)
{
	return scratch_setup(state) || mkdir(at("src"), 0755) || rawfd_table_create(&table) ||
	       tree_create(&tree, table, false);
}

static inline int teardown(void **state)
{
	tree_destroy(tree);
	rawfd_table_destroy(table);
	alarm(0);
	return scratch_teardown(state);
}

/* Recreates the tree, of the folder "src". */
static inline void mirror(bool databases_only)
{
	tree_destroy(tree);
	assert_int_equal(tree_create(&tree, table, databases_only), 0);
	assert_int_equal(tree_set_folder(tree, at("src"), NULL), 0);
}

static inline void put_file(const char *name)
{
	put_text(name, "plain");
}

static inline void put_socket(const char *name)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", at("%s", name));
	assert_int_equal(bind(sock, (struct sockaddr *)&sun, sizeof(sun)), 0);
	close(sock);
}

static inline struct snap_attr look(const char *path)
{
	struct tree_found found;
	struct snap_err err = {""};
	int rc = tree_look(tree, path, &found, &err);

	if (rc)
		fail_msg("\"%s\": %d, %s", path, rc, err.text);
	tree_found_finish(&found);
	return found.attr;
}

struct expected {
	const char *path;
	int code; /* or the kind */
};

static inline void check_looks(const struct expected *cases, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct tree_found found;
		int rc = tree_look(tree, cases[i].path, &found, NULL);
		int answer = rc ? rc : (int)found.attr.kind;

		if (answer != cases[i].code)
			fail_msg("\"%s\": %d instead of %d", cases[i].path, answer, cases[i].code);
		assert_true((rc == 0 && found.attr.kind == SNAP_DATABASE) == (found.place.name != NULL));
		tree_found_finish(&found);
	}
}

/* The place of the database at PATH is NAME in DIR below the root, or in the absolute folder DIR. */
static inline void check_place(const char *path, const char *dir, const char *name)
{
	struct tree_found found;
	struct stat st;

	assert_int_equal(tree_look(tree, path, &found, NULL), 0);
	assert_int_equal(found.attr.kind, SNAP_DATABASE);
	assert_string_equal(found.place.dir, dir);
	assert_string_equal(found.place.name, name);
	assert_true((found.place.root == AT_FDCWD) == (dir[0] == '/'));
	assert_int_equal(place_stat(&found.place, "", &st), 0);
	assert_int_equal(st.st_ino, found.attr.key_ino);
	tree_found_finish(&found);
}

/* "name/type name/type ...", where the type is the kernel's, in octal and thousands: 100 is a regular file.
 */
static inline void check_list(const char *path, const char *expected)
{
	struct tree_list list;
	struct snap_err err = {""};
	char text[2048] = "";
	int rc = tree_list_of(tree, NULL, path, &list, &err);

	if (rc)
		fail_msg("\"%s\": %d, %s", path, rc, err.text);
	for (size_t i = 0; i < list.count; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s/%o", i ? " " : "",
			 list.names[i].name, (unsigned)list.names[i].type >> 9);
	assert_string_equal(text, expected);
	tree_list_finish(&list);
	tree_list_finish(&list);
}

static inline size_t count(size_t limit)
{
	size_t databases = 99;
	int rc = tree_count(tree, SIZE_MAX, limit, &databases);

	assert_int_equal(rc, databases == limit ? TREE_WALK_CUT : 0);
	return databases;
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
