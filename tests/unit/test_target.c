/* SPDX-License-Identifier: MIT */
/* test_target.c - what writing to a name would be: databases that stand there or stood there, temporary
 * names, sidecars, and all the others. */
#include "mirror.h"

#include "../../src/target.h"

static struct store *store;

static int store_setup(void **state)
{
	return setup(state) || mkdir(at("store"), 0700) || store_create(&store, at("store"), NULL);
}

static int store_teardown(void **state)
{
	store_destroy(store);
	return teardown(state);
}

/* A database of this path was once opened through a mount. */
static void remember(const char *path)
{
	struct store_seen seen = {.mtime_ns = 1};

	assert_int_equal(store_save_seen(store, path, &seen), 0);
}

struct target_case {
	const char *path;
	int kind; /* or -errno */
};

static void check_targets(const struct target_case *cases, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct snap_err err = {""};
		struct target target;
		int rc = target_find(tree, store, cases[i].path, &target, &err);
		int got = rc ? rc : (int)target.kind;

		if (got != cases[i].kind)
			fail_msg("\"%s\": %d instead of %d: %s", cases[i].path, got, cases[i].kind, err.text);
		if (rc == 0)
			assert_true((target.kind == SNAP_NAME_DATABASE) == (target.place.name != NULL));
		/* Only those that cannot be written say what can. */
		if (rc == 0)
			assert_true((target.kind == SNAP_NAME_OTHER || target.kind == SNAP_NAME_SIDECAR) ==
				    (err.text[0] != '\0'));
		target_finish(&target);
		/* Nobody has to listen. */
		assert_int_equal(target_find(tree, store, cases[i].path, &target, NULL), rc);
		target_finish(&target);
	}
}

static void check_target_place(const char *path, const char *dir, const char *name)
{
	struct target target;

	assert_int_equal(target_find(tree, store, path, &target, NULL), 0);
	assert_int_equal(target.kind, SNAP_NAME_DATABASE);
	assert_string_equal(target.place.dir, dir);
	assert_string_equal(target.place.name, name);
	target_finish(&target);
}

/* Why PATH is no target. */
static const char *reason(const char *path)
{
	static struct snap_err err;
	struct target target;

	err.text[0] = '\0';
	assert_int_equal(target_find(tree, store, path, &target, &err), 0);
	target_finish(&target);
	return err.text;
}

/* ---- names --------------------------------------------------------------------------------------------- */

static void test_temporary(void **state)
{
	static const struct {
		const char *name;
		bool is;
	} cases[] = {
		{".db.sqlite3.XyZ123", true},
		{".x", true},
		{".", false},
		{"..", false},
		{"...", true},
		{"sedAbC123", true},
		{"sedAbC12", false},
		{"sedAbC1234", false},
		{"SEDAbC123", false},
		{"xsedAbC12", false},
		{"tmp", true},
		{"tmpabc_12", true},
		{"tm", false},
		{"xtmp", false},
		{"x.tmp", true},
		{".tmp", true},
		{"x.tmp2", false},
		{"xtmp.", false},
		{"x.partial", true},
		{"db.sqlite3.0a1b.partial", true},
		{"partial", false},
		{"x.partially", false},
		{"", false},
		{"db.sqlite3", false},
		{"backup.sqlite3", false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		if (target_is_temporary(cases[i].name) != cases[i].is)
			fail_msg("\"%s\"", cases[i].name);
	}
}

/* ---- a folder ------------------------------------------------------------------------------------------ */

static void test_folder(void **state)
{
	static const struct target_case cases[] = {
		{"db.sqlite3", SNAP_NAME_DATABASE},
		{"sub/inner", SNAP_NAME_DATABASE},
		{"alias", SNAP_NAME_DATABASE},
		{"db.sqlite3-wal", SNAP_NAME_SIDECAR},
		{"db.sqlite3-shm", SNAP_NAME_SIDECAR},
		{"db.sqlite3-journal", SNAP_NAME_SIDECAR},
		{"alias-wal", SNAP_NAME_SIDECAR},
		{"sub/inner-journal", SNAP_NAME_SIDECAR},
		/* A database's name and something behind it. */
		{"db.sqlite3.1234", SNAP_NAME_SCRATCH},
		{"db.sqlite3-x", SNAP_NAME_SCRATCH},
		{"db.sqlite3-wal2", SNAP_NAME_SCRATCH},
		{"db.sqlite3.a.b.c", SNAP_NAME_SCRATCH},
		{"db.sqlite3.20", SNAP_NAME_OTHER},
		{"db.sqlite3.2026112", SNAP_NAME_SCRATCH},
		{"sub/inner.new", SNAP_NAME_SCRATCH},
		{"db.sqlite3.27369.9~", SNAP_NAME_SCRATCH}, /* lighttpd's */
		/* What somebody wants to keep. */
		{"db.sqlite3~", SNAP_NAME_OTHER},
		{"db.sqlite3.~1~", SNAP_NAME_OTHER},
		{"db.sqlite3.1234~", SNAP_NAME_OTHER},
		{"db.sqlite3.bak", SNAP_NAME_OTHER},
		{"db.sqlite3.BAK", SNAP_NAME_OTHER},
		{"db.sqlite3.bak.gz", SNAP_NAME_OTHER},
		{"db.sqlite3-backup", SNAP_NAME_OTHER},
		{"db.sqlite3 (copy)", SNAP_NAME_OTHER},
		{"db.sqlite3.1", SNAP_NAME_OTHER},
		{"db.sqlite3.2026-11-29", SNAP_NAME_OTHER},
		{"db.sqlite3-20261129T031500Z", SNAP_NAME_OTHER},
		{"db.sqlite3.bakery", SNAP_NAME_SCRATCH},
		{"db.sqlite3x", SNAP_NAME_OTHER},
		{"db.sqlite", SNAP_NAME_OTHER},
		{"inner.new", SNAP_NAME_OTHER}, /* of another folder */
		{"sub/db.sqlite3.new", SNAP_NAME_OTHER},
		{"notes.txt.bak", SNAP_NAME_OTHER}, /* of no database */
		{"notes.txt-wal", SNAP_NAME_OTHER},
		/* Temporary names. */
		{".db.sqlite3.XyZ123", SNAP_NAME_SCRATCH},
		{".hidden", SNAP_NAME_SCRATCH},
		{"sub/tmpabc", SNAP_NAME_SCRATCH},
		{"sedAbC123", SNAP_NAME_SCRATCH},
		/* Others. */
		{"backup.sqlite3", SNAP_NAME_OTHER},
		{"sub/backup.sqlite3", SNAP_NAME_OTHER},
		{"none/x", SNAP_NAME_OTHER},
		/* What stands there. */
		{"notes.txt", SNAP_NAME_TAKEN},
		{"sub", SNAP_NAME_TAKEN},
		{".standing", SNAP_NAME_TAKEN},
		{"db.sqlite3.old", SNAP_NAME_TAKEN},
		{"dangling", SNAP_NAME_TAKEN},
		{"plain_alias", SNAP_NAME_TAKEN},
		{"pipe", SNAP_NAME_TAKEN},
		{"linked", -EMLINK},
		{"linked_too", -EMLINK},
	};

	(void)state;
	make_folder("src/sub", 0755);
	put_database("src/db.sqlite3");
	put_database("src/sub/inner");
	put_database("src/linked");
	assert_int_equal(link(at("src/linked"), at("src/linked_too")), 0);
	make_link("sub/inner", "src/alias");
	make_link("nothing", "src/dangling");
	make_link("notes.txt", "src/plain_alias");
	put_file("src/notes.txt");
	put_file("src/.standing");
	put_file("src/db.sqlite3.old");
	assert_int_equal(mkfifo(at("src/pipe"), 0600), 0);
	mirror(false);
	check_targets(cases, COUNT(cases));
	check_target_place("db.sqlite3", "", "db.sqlite3");
	check_target_place("sub/inner", "sub", "inner");
	check_target_place("alias", "sub", "inner"); /* what it leads to, and not the link */
}

/* A link that leaves the folder leads to where the database is. */
static void test_link_outside(void **state)
{
	static const struct target_case cases[] = {
		{"alias", SNAP_NAME_DATABASE},
		{"alias-wal", SNAP_NAME_SIDECAR},
		{"alias.new", SNAP_NAME_SCRATCH},
	};

	(void)state;
	make_folder("x", 0755);
	put_database("x/real");
	make_link("../x/real", "src/alias");
	mirror(false);
	check_targets(cases, COUNT(cases));
	check_target_place("alias", at("x"), "real");
}

/* ---- what stood there ---------------------------------------------------------------------------------- */

static void test_stood_there(void **state)
{
	static const struct target_case cases[] = {
		/* deleted, empty, garbage */
		{"deleted", SNAP_NAME_DATABASE},
		{"empty", SNAP_NAME_DATABASE},
		{"sub/garbage", SNAP_NAME_DATABASE},
		{"deleted-wal", SNAP_NAME_SIDECAR}, /* what is left would hide what is restored */
		{"deleted-journal", SNAP_NAME_SIDECAR},
		{"empty-shm", SNAP_NAME_SIDECAR},
		{"deleted.tmp2", SNAP_NAME_SCRATCH},
		{"sub/garbage.new", SNAP_NAME_SCRATCH},
		/* something else by now */
		{"folder", SNAP_NAME_TAKEN},
		{"link", SNAP_NAME_TAKEN},
		/* in another folder, or alike */
		{"sub/deleted", SNAP_NAME_OTHER},
		{"garbage", SNAP_NAME_OTHER},
		{"sub/empty", SNAP_NAME_TAKEN},
		{"delete", SNAP_NAME_OTHER},
		{"gone/db", SNAP_NAME_OTHER}, /* its folder went, too */
	};

	(void)state;
	make_folder("src/sub", 0755);
	put("src/empty", "", 0);
	put("src/sub/empty", "", 0);
	put_file("src/sub/garbage");
	make_folder("src/folder", 0755);
	make_link("nothing", "src/link");
	remember(at("src/deleted"));
	remember(at("src/empty"));
	remember(at("src/sub/garbage"));
	remember(at("src/folder"));
	remember(at("src/link"));
	remember(at("src/gone/db"));
	mirror(false);
	check_targets(cases, COUNT(cases));
	check_target_place("deleted", "", "deleted");
	check_target_place("sub/garbage", "sub", "garbage");
	/* The same folder by another name. */
	make_link("src", "other_name");
	tree_destroy(tree);
	assert_int_equal(tree_create(&tree, table, false), 0);
	assert_int_equal(tree_set_folder(tree, at("other_name"), NULL), 0);
	check_target_place("deleted", "", "deleted");
	/* A folder that was renamed has no past. */
	assert_int_equal(rename(at("src"), at("moved")), 0);
	check_targets(&(struct target_case){"deleted", SNAP_NAME_OTHER}, 1);
}

/* What is not shown is not made over either. */
static void test_databases_only(void **state)
{
	static const struct target_case cases[] = {
		{"db", SNAP_NAME_DATABASE},
		{"db-wal", SNAP_NAME_SIDECAR},
		{"garbage", SNAP_NAME_DATABASE},
		{".new", SNAP_NAME_SCRATCH},
	};

	(void)state;
	put_database("src/db");
	put_file("src/garbage");
	remember(at("src/garbage"));
	mirror(true);
	check_targets(cases, COUNT(cases));
}

/* ---- named databases ----------------------------------------------------------------------------------- */

static void test_named(void **state)
{
	static const struct target_case cases[] = {
		{"one", SNAP_NAME_DATABASE},
		{"two.db", SNAP_NAME_DATABASE},
		{"garbage", SNAP_NAME_DATABASE},
		{"missing", SNAP_NAME_DATABASE},
		{"one-wal", SNAP_NAME_SIDECAR},
		{"missing-wal", SNAP_NAME_SIDECAR},
		{"two.db-journal", SNAP_NAME_SIDECAR},
		{"two.db.new", SNAP_NAME_SCRATCH},
		{".one.XyZ123", SNAP_NAME_SCRATCH},
		{"tmpx", SNAP_NAME_SCRATCH},
		{"three", SNAP_NAME_OTHER},
		{"db", SNAP_NAME_OTHER}, /* its name is "one" here */
		{"stood", SNAP_NAME_OTHER},
		{"one/x", SNAP_NAME_OTHER},
	};

	(void)state;
	make_folder("x", 0755);
	put_database("src/db");
	put_database("x/real");
	put_database("src/missing");
	put_file("x/garbage");
	make_link("../x/real", "src/link");
	remember(at("src/stood"));
	assert_int_equal(tree_add_file(tree, "one", at("src/db"), NULL), 0);
	assert_int_equal(tree_add_file(tree, "two.db", at("src/link"), NULL), 0);
	assert_int_equal(tree_add_file(tree, "garbage", at("x/garbage"), NULL), 0);
	assert_int_equal(tree_add_file(tree, "missing", at("src/missing"), NULL), 0);
	assert_int_equal(unlink(at("src/missing")), 0);
	check_targets(cases, COUNT(cases));
	check_target_place("one", "", "db");
	check_target_place("two.db", at("x"), "real");
	check_target_place("missing", "", "missing");
}

/* ---- words --------------------------------------------------------------------------------------------- */

static void has_words(const char *text, const char *words)
{
	if (!strstr(text, words))
		fail_msg("\"%s\" does not say \"%s\"", text, words);
}

static void test_reasons(void **state)
{
	char name[32];

	(void)state;
	make_folder("src/sub", 0755);
	put_file("src/notes.txt");
	mirror(false);
	has_words(reason("backup"), "\"backup\" is no database here: copy other files into the source");
	put_database("src/db.sqlite3");
	put_database("src/other.sqlite3");
	has_words(reason("backup"), ": db.sqlite3, other.sqlite3");
	has_words(reason("sub/backup"), "copy other files into the source");
	has_words(reason("db.sqlite3-wal"), "wal_checkpoint(TRUNCATE)");
	has_words(reason("db.sqlite3-journal"), "may be half a transaction");
	has_words(reason("db.sqlite3-shm"), "holds nothing");
	/* Not all of many, and not at the price of looking at everything. */
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "src/a%02d", i);
		put_database(name);
	}
	has_words(reason("backup"), ": a00, a01, a02, a03, a04");
	assert_null(strstr(reason("backup"), "a05"));
}

#define with_store(name) cmocka_unit_test_setup_teardown(name, store_setup, store_teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_temporary), with_store(test_folder),
		with_store(test_link_outside),	  with_store(test_stood_there),
		with_store(test_databases_only),  with_store(test_named),
		with_store(test_reasons),
	};

	return cmocka_run_group_tests(tests, scratch_namespace, NULL);
}
