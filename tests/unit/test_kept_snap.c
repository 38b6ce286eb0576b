/* SPDX-License-Identifier: MIT */
/* test_kept_snap.c - kept snapshots as the other half of the program sees them: through sqlsnap.h. */
#include "keeps.h"

#define TOP ".sqlsnapfs"
#define ALL TOP "/snapshots"

static struct snap *snap;

static int setup_snap(void **state)
{
	struct snap_config config = {.wal_limit = 1 << 20, .wal_max = 1 << 24, .shared_locks = true};

	if (setup(state))
		return -1;
	make_folder("app", 0755);
	put_database("app/a.db");
	put_text("app/plain", "text");
	config.store = at("store");
	return snap_create(&snap, &config, &err);
}

static int teardown_snap(void **state)
{
	snap_destroy(snap);
	return teardown(state);
}

/* The names in a folder, with a space behind each. */
static const char *list(const char *path)
{
	static char names[4096];
	struct snap_list *entries;
	const char *name;
	uint64_t ino;
	mode_t type;

	names[0] = '\0';
	assert_int_equal(snap_list_create(snap, NULL, path, &entries, &err), 0);
	for (size_t i = 0; snap_list_get(entries, i, &name, &ino, &type); i++) {
		size_t used = strlen(names);

		snprintf(names + used, sizeof(names) - used, "%s ", name);
	}
	snap_list_destroy(entries);
	return names;
}

static int look(const char *path, struct snap_attr *attr)
{
	struct snap_gen *gen = NULL;
	int rc = snap_lookup(snap, path, attr, &gen, &err);

	if (gen)
		snap_gen_unref(gen);
	return rc;
}

static void assert_bytes(const char *path, const char *expected)
{
	struct snap_file *file;
	struct snap_attr attr;
	char bytes[64] = "";

	assert_int_equal(look(path, &attr), 0);
	assert_int_equal(attr.kind, SNAP_PLAIN);
	assert_int_equal(snap_file_open(snap, path, attr.key_dev, attr.key_ino, &file, &err), 0);
	assert_int_equal(snap_file_read(file, bytes, sizeof(bytes), 0), (ssize_t)strlen(expected));
	assert_string_equal(bytes, expected);
	snap_file_close(file);
}

static void test_folder(void **state)
{
	struct snap_attr attr, live;
	struct snap_file *file = NULL;
	char target[64];

	(void)state;
	assert_int_equal(snap_add_folder(snap, at("app"), &err), 0);
	assert_string_equal(list(""), "a.db plain "); /* ours is not listed, */
	assert_int_equal(look(TOP, &attr), 0);	      /* but there */
	assert_int_equal(attr.kind, SNAP_FOLDER);
	assert_int_equal(attr.mode, S_IFDIR | 0700);
	assert_string_equal(list(TOP), "snapshots ");
	assert_string_equal(list(ALL), "");
	assert_int_equal(look(ALL "/one", &attr), -ENOENT);
	keep(at("app/a.db"), "one", "kept", 5);
	assert_string_equal(list(ALL), "one ");
	assert_string_equal(list(ALL "/one"), "a.db ");
	assert_int_equal(look(ALL "/one", &attr), 0);
	assert_int_equal(attr.kind, SNAP_FOLDER);
	assert_bytes(ALL "/one/a.db", "kept");
	assert_bytes("plain", "text");
	assert_int_equal(look("a.db", &live), 0);
	assert_int_equal(live.kind, SNAP_DATABASE);
	assert_int_equal(look(ALL "/one/a.db", &attr), 0);
	assert_true(attr.ino != live.ino);
	assert_int_equal(snap_readlink(snap, ALL "/one", target, sizeof(target)), -EINVAL);
	assert_int_equal(snap_file_open(snap, ALL "/one/a.db", live.key_dev, live.key_ino, &file, &err),
			 -ESTALE);
	assert_words(strerror(ESTALE));
	assert_null(file);
}

static void test_drop(void **state)
{
	struct snap_attr attr;

	(void)state;
	assert_int_equal(snap_add_folder(snap, at("app"), &err), 0);
	assert_int_equal(snap_kept_drop(snap, "one", &err), -ENOENT);
	keep(at("app/a.db"), "one", "kept", 5);
	assert_int_equal(snap_kept_drop(snap, "one", &err), 0);
	assert_int_equal(look(ALL "/one", &attr), -ENOENT);
	assert_int_equal(snap_kept_drop(snap, "..", &err), -EINVAL);
	assert_words("\"..\"");
}

/* An entry of the source that has our name is hidden, and all below it. */
static void test_real_entry(void **state)
{
	struct snap_list *entries = NULL;
	struct snap_attr attr;

	(void)state;
	make_folder("app/" TOP, 0755);
	make_folder("app/" TOP "/snapshots", 0755);
	put_text("app/" TOP "/secret", "x");
	put_text("app/" TOP "/snapshots/fake", "x");
	make_folder("app/sub", 0755);
	make_folder("app/sub/" TOP, 0755);
	put_text("app/" TOP "x", "x");
	assert_int_equal(snap_add_folder(snap, at("app"), &err), 0);
	assert_string_equal(list(""), ".sqlsnapfsx a.db plain sub ");
	assert_string_equal(list(TOP), "snapshots ");
	assert_string_equal(list(ALL), "");
	assert_int_equal(look(TOP, &attr), 0);
	assert_int_equal(attr.mode, S_IFDIR | 0700);
	assert_int_equal(look(TOP "/secret", &attr), -ENOENT);
	assert_int_equal(look(ALL "/fake", &attr), -ENOENT);
	assert_int_equal(snap_list_create(snap, NULL, ALL "/fake", &entries, &err), -ENOENT);
	assert_null(entries);
	assert_string_equal(list("sub"), TOP " "); /* only in the root it is ours */
	assert_int_equal(look("sub/" TOP, &attr), 0);
	assert_int_equal(attr.mode, S_IFDIR | 0755);
}

static void test_named(void **state)
{
	(void)state;
	assert_int_equal(snap_add_file(snap, "shown.db", at("app/a.db"), &err), 0);
	assert_string_equal(list(""), "shown.db ");
	keep(at("app/a.db"), "one", "kept", 5);
	keep(at("app/other.db"), "two", "not shown", 5);
	assert_string_equal(list(ALL), "one ");
	assert_bytes(ALL "/one/shown.db", "kept");
}

/* What a killed daemon left goes when the next one starts. */
static void test_start_cleans(void **state)
{
	int partial;

	(void)state;
	assert_int_equal(snap_add_folder(snap, at("app"), &err), 0);
	keep(at("app/a.db"), "one", "kept", 5);
	partial = mkdir(in_source(at("app/a.db"), "kept/.two-0123456789abcdef.partial"), 0700);
	assert_int_equal(partial, 0);
	assert_int_equal(mkdir(at("store/.work-0123456789abcdef"), 0700), 0);
	assert_int_equal(snap_start(snap, &err), 0);
	snap_stop(snap, SNAP_PATIENCE_MS); /* waits for what it has begun */
	assert_string_equal(names_in(in_source(at("app/a.db"), "kept")), "one ");
	assert_false(exists(at("store/.work-0123456789abcdef")));
}

#define test_snap(name) cmocka_unit_test_setup_teardown(name, setup_snap, teardown_snap)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test_snap(test_folder), test_snap(test_drop),	      test_snap(test_real_entry),
		test_snap(test_named),	test_snap(test_start_cleans),
	};

	return cmocka_run_group_tests(tests, scratch_namespace, NULL);
}
