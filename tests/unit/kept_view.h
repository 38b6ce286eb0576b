/* SPDX-License-Identifier: MIT */
/* kept_view.h - what the tests of kept_tree.h share: one mount's view of the store. */
#ifndef SQLSNAP_TEST_KEPT_VIEW_H
#define SQLSNAP_TEST_KEPT_VIEW_H

#include "../../src/kept_tree.h"

#include "keeps.h"

#define TOP ".sqlsnapfs"
#define ALL TOP "/snapshots"

static struct rawfd_table *table;
static struct kept_tree *tree;

static inline int setup_tree(void **state)
{
	if (setup(state) || rawfd_table_create(&table))
		return -1;
	make_folder("app", 0755);
	return kept_tree_create(&tree, store, table);
}

static inline int teardown_tree(void **state)
{
	kept_tree_destroy(tree);
	rawfd_table_destroy(table);
	return teardown(state);
}

/* Keeps a snapshot whose source is REST in the scratch folder. */
static inline void keep_at(const char *rest, const char *name, const char *content, int64_t made_ns)
{
	keep(at("%s", rest), name, content, made_ns);
}

static inline void show_app(void)
{
	assert_int_equal(kept_tree_set_folder(tree, at("app")), 0);
}

static inline int look(const char *path, struct snap_attr *attr)
{
	memset(attr, 0xee, sizeof(*attr));
	return kept_tree_look(tree, path, attr);
}

static inline enum snap_kind kind_of(const char *path)
{
	struct snap_attr attr;

	assert_int_equal(look(path, &attr), 0);
	return attr.kind;
}

static inline void assert_nothing_at(const char *path)
{
	struct snap_attr attr;
	struct rawfd raw = RAWFD_INIT;
	int rc = look(path, &attr);

	if (rc != -ENOENT)
		fail_msg("\"%s\" answers %d", path, rc);
	assert_int_equal(kept_tree_open(tree, path, 0, 0, &raw) < 0, 1);
	assert_int_equal(raw.fd, -1);
}

/* The entries of a folder, each checked against its lookup, with a slash after folders and a space after
 * all. */
static inline const char *list(const char *path)
{
	static char names[4096];
	struct tree_list entries;

	names[0] = '\0';
	assert_int_equal(kept_tree_list(tree, path, &entries), 0);
	for (size_t i = 0; i < entries.count; i++) {
		const struct tree_name *e = &entries.names[i];
		size_t used = strlen(names);
		struct snap_attr attr;
		char full[PATH_MAX];

		snprintf(full, sizeof(full), "%s/%s", path, e->name);
		assert_int_equal(look(full, &attr), 0);
		assert_true(attr.ino == e->ino);
		assert_int_equal(attr.mode & S_IFMT, e->type);
		snprintf(names + used, sizeof(names) - used, "%s%s ", e->name, e->type == S_IFDIR ? "/" : "");
	}
	tree_list_finish(&entries);
	return names;
}

static inline void assert_bytes(const char *path, const char *expected)
{
	struct rawfd raw = RAWFD_INIT;
	struct snap_attr attr;
	char bytes[64] = "";

	assert_int_equal(look(path, &attr), 0);
	assert_int_equal(attr.kind, SNAP_PLAIN);
	assert_int_equal(attr.size, strlen(expected));
	assert_int_equal(kept_tree_open(tree, path, attr.key_dev, attr.key_ino, &raw), 0);
	assert_int_equal(pread(raw.fd, bytes, sizeof(bytes), 0), (ssize_t)strlen(expected));
	assert_string_equal(bytes, expected);
	assert_int_equal(fcntl(raw.fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	rawfd_close(table, &raw);
}

#define test_tree(name) cmocka_unit_test_setup_teardown(name, setup_tree, teardown_tree)

#endif
