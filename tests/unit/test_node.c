/* SPDX-License-Identifier: MIT */
/* test_node.c - names and nodeids. */
#include "../../fs/node.h"

#include "unit.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "counted_gens.h"
#include "no_uploads.h"

uint64_t snap_gen_id(const struct snap_gen *gen)
{
	return gen->id;
}

static struct nodes nodes;
static struct snap_gen gens[2]; /* outlive a test, as the nodes do */

static int setup(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < 2; i++)
		gens[i] = (struct snap_gen){.refs = 1, .id = 11 + i};
	return nodes_init(&nodes);
}

static int teardown(void **state)
{
	(void)state;
	nodes_finish(&nodes);
	return gens[0].refs != 1 || gens[1].refs != 1;
}

/* As after a LOOKUP that found INO of KIND. */
static uint64_t enter_kind(uint64_t parent_id, const char *name, enum snap_kind kind, uint64_t ino)
{
	struct snap_attr attr = {.kind = kind, .key_dev = 7, .key_ino = ino};
	struct node *parent = node_get(&nodes, parent_id);
	uint64_t id = 0;

	assert_non_null(parent);
	assert_int_equal(node_enter(&nodes, parent, name, &attr, NULL, &id), 0);
	node_put(&nodes, parent);
	assert_true(id > NODE_ROOT);
	return id;
}

static uint64_t enter(uint64_t parent, const char *name, uint64_t ino)
{
	return enter_kind(parent, name, SNAP_PLAIN, ino);
}

static uint64_t enter_folder(uint64_t parent, const char *name, uint64_t ino)
{
	return enter_kind(parent, name, SNAP_FOLDER, ino);
}

static uint64_t enter_database(uint64_t parent_id, const char *name, struct snap_gen *gen)
{
	struct snap_attr attr = {.kind = SNAP_DATABASE, .key_dev = 7, .key_ino = 1};
	struct node *parent = node_get(&nodes, parent_id);
	uint64_t id = 0;

	assert_int_equal(node_enter(&nodes, parent, name, &attr, gen, &id), 0);
	node_put(&nodes, parent);
	return id;
}

static bool is_there(uint64_t id)
{
	struct node *n = node_get(&nodes, id);

	node_put(&nodes, n);
	return n != NULL;
}

static void assert_path(uint64_t id, const char *name, const char *expected)
{
	struct node *n = node_get(&nodes, id);
	char path[PATH_MAX];

	assert_non_null(n);
	assert_int_equal(node_path(n, name, path, sizeof(path)), 0);
	assert_string_equal(path, expected);
	node_put(&nodes, n);
}

/* ---- identity --------------------------------------------------------------------------------------- */

static void test_root(void **state)
{
	struct node *root = node_get(&nodes, NODE_ROOT);

	(void)state;
	assert_non_null(root);
	assert_int_equal(root->id, NODE_ROOT);
	assert_int_equal(root->kind, SNAP_FOLDER);
	assert_null(root->parent);
	/* The kernel never looks it up, and forgets it all the same when it unmounts. */
	node_forget(&nodes, NODE_ROOT, 1);
	node_forget(&nodes, NODE_ROOT, UINT64_MAX);
	node_put(&nodes, root);
	assert_true(is_there(NODE_ROOT));
	node_put(&nodes, NULL);
}

static void test_same_look_same_node(void **state)
{
	struct snap_gen *one = &gens[0], *two = &gens[1];
	uint64_t folder, ids[9];

	(void)state;
	folder = enter_folder(NODE_ROOT, "d", 1);
	ids[0] = enter(NODE_ROOT, "a", 5);
	ids[1] = enter(NODE_ROOT, "b", 5);		      /* another name */
	ids[2] = enter(folder, "a", 5);			      /* another folder */
	ids[3] = enter(NODE_ROOT, "a", 6);		      /* another inode */
	ids[4] = enter_kind(NODE_ROOT, "a", SNAP_SYMLINK, 5); /* another kind */
	ids[5] = enter_database(NODE_ROOT, "a", one);
	ids[6] = enter_database(NODE_ROOT, "a", two); /* another generation */
	ids[7] = enter_database(NODE_ROOT, "b", one);
	ids[8] = folder;
	for (int i = 0; i < 9; i++) {
		for (int k = 0; k < i; k++)
			assert_true(ids[i] != ids[k]);
	}
	assert_true(enter(NODE_ROOT, "a", 5) == ids[0]);
	assert_true(enter(folder, "a", 5) == ids[2]);
	assert_true(enter_kind(NODE_ROOT, "a", SNAP_SYMLINK, 5) == ids[4]);
	assert_true(enter_database(NODE_ROOT, "a", one) == ids[5]);
	assert_true(enter_database(NODE_ROOT, "a", two) == ids[6]);
	/* One reference for each node, however often it is looked up. */
	assert_int_equal(one->refs, 3);
	assert_int_equal(two->refs, 2);
	node_forget(&nodes, ids[7], 1);
	assert_int_equal(one->refs, 2);
}

/* Of a database it is the generation alone that makes the node. */
static void test_database_key(void **state)
{
	struct snap_attr attr = {.kind = SNAP_DATABASE, .key_dev = 1, .key_ino = 1};
	struct node *root = node_get(&nodes, NODE_ROOT), *n;
	struct snap_gen *gen = &gens[0];
	uint64_t a, b;

	(void)state;
	assert_int_equal(node_enter(&nodes, root, "db", &attr, gen, &a), 0);
	attr.key_ino = 2;
	assert_int_equal(node_enter(&nodes, root, "db", &attr, gen, &b), 0);
	assert_true(a == b);
	n = node_get(&nodes, a);
	assert_ptr_equal(n->gen, gen);
	assert_int_equal(n->kind, SNAP_DATABASE);
	assert_ptr_equal(n->parent, root);
	assert_string_equal(n->name, "db");
	node_put(&nodes, n);
	node_put(&nodes, root);
}

static void test_ids_are_never_used_again(void **state)
{
	uint64_t last = NODE_ROOT;

	(void)state;
	for (int i = 0; i < 20000; i++) {
		uint64_t id = enter(NODE_ROOT, "same", 5);

		assert_true(id > last);
		last = id;
		node_forget(&nodes, id, 1);
		assert_false(is_there(id));
	}
}

/* ---- counts ----------------------------------------------------------------------------------------- */

static void test_forget_counts(void **state)
{
	struct snap_gen *gen = &gens[0];
	uint64_t id = 0;

	(void)state;
	for (int i = 0; i < 5; i++)
		id = enter_database(NODE_ROOT, "a", gen);
	node_forget(&nodes, id, 0);
	node_forget(&nodes, id, 3);
	assert_true(is_there(id));
	node_forget(&nodes, id, 1);
	assert_true(is_there(id));
	assert_int_equal(gen->refs, 2);
	node_forget(&nodes, id, 1);
	assert_false(is_there(id));
	assert_int_equal(gen->refs, 1);
	/* What is not there, and more than there was. */
	node_forget(&nodes, id, 1);
	node_forget(&nodes, id + 100, 1);
	id = enter_database(NODE_ROOT, "a", gen);
	node_forget(&nodes, id, UINT64_MAX);
	assert_false(is_there(id));
	assert_int_equal(gen->refs, 1);
}

static void test_reference_outlives_forget(void **state)
{
	struct snap_gen *gen = &gens[0];
	uint64_t id = enter_database(NODE_ROOT, "a", gen);
	struct node *n = node_get(&nodes, id);

	(void)state;
	assert_ptr_equal(node_ref(&nodes, n), n);
	node_forget(&nodes, id, 1);
	assert_int_equal(gen->refs, 2);
	assert_true(is_there(id));
	node_put(&nodes, n);
	assert_true(is_there(id));
	/* Found again while somebody holds it: the same node, with a lookup of its own. */
	assert_true(enter_database(NODE_ROOT, "a", gen) == id);
	node_put(&nodes, n);
	assert_true(is_there(id));
	assert_int_equal(gen->refs, 2);
	node_forget(&nodes, id, 1);
	assert_false(is_there(id));
	assert_int_equal(gen->refs, 1);
}

static void test_parents_are_kept(void **state)
{
	uint64_t ids[40];
	char path[PATH_MAX] = "", name[16];

	(void)state;
	for (int i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "%s%d", i ? "/f" : "f", i);
		strcat(path, name);
		ids[i] = enter_folder(i ? ids[i - 1] : NODE_ROOT, name + (i ? 1 : 0), (uint64_t)i);
	}
	/* The kernel forgets in an order of its own. */
	for (int i = 0; i < 39; i++)
		node_forget(&nodes, ids[i], 1);
	for (int i = 0; i < 40; i++)
		assert_true(is_there(ids[i]));
	assert_path(ids[39], NULL, path);
	/* A second child in the middle keeps what is above it, and no more. */
	uint64_t other = enter(ids[19], "other", 5);

	node_forget(&nodes, ids[39], 1);
	for (int i = 0; i < 40; i++)
		assert_int_equal(is_there(ids[i]), i <= 19);
	node_forget(&nodes, other, 1);
	for (int i = 0; i < 40; i++)
		assert_false(is_there(ids[i]));
	assert_true(is_there(NODE_ROOT));
}

/* More nodes than buckets, taken out in another order than they came. */
static void test_many(void **state)
{
	enum { N = 3 * NODE_BUCKETS + 1 };
	static uint64_t ids[N];
	char name[16];

	(void)state;
	for (uint32_t i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		ids[i] = enter(NODE_ROOT, name, i);
	}
	for (uint32_t step = 0; step < 2; step++) {
		/* First the odd ones go, from the end, then the even ones. */
		for (uint32_t i = N; i-- > 0;) {
			if (i % 2 != step)
				node_forget(&nodes, ids[i], 1);
		}
		for (uint32_t i = 0; i < N; i++) {
			assert_int_equal(is_there(ids[i]), step == 0 && i % 2 == 0);
			if (!is_there(ids[i]))
				continue;
			snprintf(name, sizeof(name), "n%u", i);
			assert_path(ids[i], NULL, name);
			assert_true(enter(NODE_ROOT, name, i) == ids[i]);
			node_forget(&nodes, ids[i], 1);
		}
	}
}

/* What is being written in a folder is known by its nodeid. */
static void test_held_folder(void **state)
{
	uint64_t outer = enter_folder(NODE_ROOT, "a", 1), inner = enter_folder(outer, "b", 2);

	(void)state;
	node_hold(&nodes, inner, true);
	node_hold(&nodes, inner, true);
	node_forget(&nodes, inner, 1);
	node_forget(&nodes, outer, 1);
	assert_true(enter_folder(NODE_ROOT, "a", 1) == outer);
	assert_true(enter_folder(outer, "b", 2) == inner);
	node_forget(&nodes, inner, 1);
	node_forget(&nodes, outer, 1);
	node_hold(&nodes, inner, false);
	assert_true(is_there(inner));
	assert_path(inner, "c", "a/b/c");
	node_hold(&nodes, inner, false);
	assert_false(is_there(inner));
	assert_false(is_there(outer));
	/* What is gone cannot be held. */
	node_hold(&nodes, inner, true);
	node_hold(&nodes, inner, false);
	node_hold(&nodes, NODE_ROOT, true);
	node_hold(&nodes, NODE_ROOT, false);
	assert_true(is_there(NODE_ROOT));
}

static void test_finish_drops_everything(void **state)
{
	struct snap_gen *gen = &gens[0];
	struct nodes own;
	struct snap_attr folder = {.kind = SNAP_FOLDER, .key_ino = 1}, db = {.kind = SNAP_DATABASE};
	struct node *root, *sub;
	uint64_t id;

	(void)state;
	assert_int_equal(nodes_init(&own), 0);
	root = node_get(&own, NODE_ROOT);
	assert_int_equal(node_enter(&own, root, "d", &folder, NULL, &id), 0);
	sub = node_get(&own, id);
	assert_int_equal(node_enter(&own, sub, "db", &db, gen, &id), 0);
	assert_int_equal(node_enter(&own, sub, "db", &db, gen, &id), 0);
	assert_int_equal(node_enter(&own, root, "db", &db, gen, &id), 0);
	assert_int_equal(gen->refs, 3);
	node_put(&own, sub);
	node_put(&own, root);
	nodes_finish(&own);
	assert_int_equal(gen->refs, 1);
}

/* One generation under several names, as a symlink or a second mount of its folder makes it. */
static void test_nodes_of_gen(void **state)
{
	uint64_t ids[NODE_NAMES_MAX + 2], found[NODE_NAMES_MAX];
	char name[2] = "a";

	(void)state;
	assert_int_equal(nodes_of_gen(&nodes, 11, found, NODE_NAMES_MAX), 0);
	enter(NODE_ROOT, "plain", 11); /* an inode of that number is something else */
	enter_database(NODE_ROOT, "other", &gens[1]);
	assert_int_equal(nodes_of_gen(&nodes, 11, found, NODE_NAMES_MAX), 0);
	for (size_t n = 1; n <= NODE_NAMES_MAX + 2; n++, name[0]++) {
		size_t expected = n < NODE_NAMES_MAX ? n : NODE_NAMES_MAX;

		ids[n - 1] = enter_database(NODE_ROOT, name, &gens[0]);
		assert_int_equal(nodes_of_gen(&nodes, 11, found, NODE_NAMES_MAX), expected);
		assert_int_equal(nodes_of_gen(&nodes, 11, found, 1), 1);
		assert_int_equal(nodes_of_gen(&nodes, 11, found, 0), 0);
	}
	for (size_t n = NODE_NAMES_MAX + 2; n > 2; n--)
		node_forget(&nodes, ids[n - 1], 1);
	assert_int_equal(nodes_of_gen(&nodes, 11, found, NODE_NAMES_MAX), 2);
	assert_true((found[0] == ids[0] && found[1] == ids[1]) || (found[0] == ids[1] && found[1] == ids[0]));
	node_forget(&nodes, ids[0], 1);
	node_forget(&nodes, ids[1], 1);
	assert_int_equal(nodes_of_gen(&nodes, 11, found, NODE_NAMES_MAX), 0);
}

/* ---- paths ------------------------------------------------------------------------------------------ */

static void test_paths(void **state)
{
	uint64_t a = enter_folder(NODE_ROOT, "a", 1);
	uint64_t b = enter_folder(a, "b c", 2);

	(void)state;
	assert_path(NODE_ROOT, NULL, "");
	assert_path(NODE_ROOT, "db", "db");
	assert_path(a, NULL, "a");
	assert_path(a, "db", "a/db");
	assert_path(b, NULL, "a/b c");
	assert_path(b, "db-wal", "a/b c/db-wal");
}

/* Every size: exactly what fits is given, never a byte past the end. */
static void test_path_sizes(void **state)
{
	static const struct {
		const char *folder, *sub, *name, *path;
	} cases[] = {
		{NULL, NULL, NULL, ""},	    {NULL, NULL, "x", "x"},	    {NULL, NULL, "name", "name"},
		{"ab", NULL, NULL, "ab"},   {"ab", NULL, "cd", "ab/cd"},    {"ab", "c", NULL, "ab/c"},
		{"ab", "c", "d", "ab/c/d"}, {"a", "bc", "def", "a/bc/def"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t id = cases[i].folder ? enter_folder(NODE_ROOT, cases[i].folder, 1) : NODE_ROOT;
		size_t need = strlen(cases[i].path) + 1;
		char path[32];
		struct node *n;

		if (cases[i].sub)
			id = enter_folder(id, cases[i].sub, 2);
		n = node_get(&nodes, id);
		for (size_t size = 0; size < sizeof(path) - 1; size++) {
			memset(path, '#', sizeof(path));
			int rc = node_path(n, cases[i].name, path, size);

			assert_int_equal(rc, size < need ? -ENAMETOOLONG : 0);
			if (rc == 0)
				assert_string_equal(path, cases[i].path);
			for (size_t k = size; k < sizeof(path); k++)
				assert_int_equal(path[k], '#');
		}
		node_put(&nodes, n);
	}
}

static void test_longest_path(void **state)
{
	char name[NAME_MAX + 1], path[PATH_MAX];
	uint64_t id = NODE_ROOT;
	struct node *n;

	(void)state;
	memset(name, 'n', NAME_MAX);
	name[NAME_MAX] = '\0';
	/* 16 names of 255 bytes and their slashes: one byte less than PATH_MAX, and its end. */
	for (uint64_t i = 0; i < 16; i++)
		id = enter_folder(id, name, i);
	n = node_get(&nodes, id);
	assert_int_equal(node_path(n, NULL, path, sizeof(path)), 0);
	assert_int_equal(strlen(path), PATH_MAX - 1);
	assert_int_equal(node_path(n, "x", path, sizeof(path)), -ENAMETOOLONG);
	assert_int_equal(node_path(n, name, path, sizeof(path)), -ENAMETOOLONG);
	node_put(&nodes, n);
	/* Deeper still: nothing but the path is a failure. */
	for (uint64_t i = 0; i < 100; i++)
		id = enter_folder(id, name, i);
	n = node_get(&nodes, id);
	assert_int_equal(node_path(n, NULL, path, sizeof(path)), -ENAMETOOLONG);
	node_put(&nodes, n);
}

/* ---- threads ---------------------------------------------------------------------------------------- */

#define THREADS 4
#define NAMES 5
#define ROUNDS 20000

static struct snap_gen shared_gens[NAMES];
static atomic_int failures;

/* What the kernel does from several threads at once: looks up, opens, forgets, closes. */
static void look_and_forget(unsigned which, struct node *root)
{
	static const char *const names[NAMES] = {"a", "b", "c", "d", "e"};
	struct snap_attr folder = {.kind = SNAP_FOLDER, .key_ino = which}, db = {.kind = SNAP_DATABASE};
	struct node *sub, *n;
	uint64_t id, folder_id;
	char path[16];

	if (node_enter(&nodes, root, names[which], &folder, NULL, &folder_id) != 0)
		atomic_fetch_add(&failures, 1);
	sub = node_get(&nodes, folder_id);
	if (!sub || node_enter(&nodes, sub, "db", &db, &shared_gens[which], &id) != 0) {
		atomic_fetch_add(&failures, 1);
		return;
	}
	n = node_get(&nodes, id);
	node_put(&nodes, sub);
	node_forget(&nodes, folder_id, 1);
	node_forget(&nodes, id, 1);
	if (!n || n->gen != &shared_gens[which] || node_path(n, NULL, path, sizeof(path)) != 0 ||
	    path[0] != names[which][0] || strcmp(path + 1, "/db") != 0)
		atomic_fetch_add(&failures, 1);
	node_put(&nodes, n);
}

static void *run(void *arg)
{
	unsigned random = *(unsigned *)arg;
	struct node *root = node_get(&nodes, NODE_ROOT);

	for (int i = 0; i < ROUNDS; i++) {
		random = random * 1103515245u + 12345u;
		look_and_forget((random >> 16) % NAMES, root);
	}
	node_put(&nodes, root);
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t threads[THREADS];
	unsigned seeds[THREADS];

	(void)state;
	for (uint64_t i = 0; i < NAMES; i++)
		shared_gens[i] = (struct snap_gen){.refs = 1, .id = i};
	for (unsigned i = 0; i < THREADS; i++) {
		seeds[i] = i + 1;
		assert_int_equal(pthread_create(&threads[i], NULL, run, &seeds[i]), 0);
	}
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(atomic_load(&failures), 0);
	/* All were forgotten and closed. */
	for (int i = 0; i < NAMES; i++)
		assert_int_equal(shared_gens[i].refs, 1);
	for (unsigned i = 0; i < NODE_BUCKETS; i++) {
		if (nodes.by_id[i])
			assert_int_equal(nodes.by_id[i]->id, NODE_ROOT);
	}
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(test_root),
		test(test_same_look_same_node),
		test(test_database_key),
		test(test_ids_are_never_used_again),
		test(test_forget_counts),
		test(test_reference_outlives_forget),
		test(test_parents_are_kept),
		test(test_many),
		test(test_held_folder),
		test(test_finish_drops_everything),
		test(test_nodes_of_gen),
		test(test_paths),
		test(test_path_sizes),
		test(test_longest_path),
		test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
