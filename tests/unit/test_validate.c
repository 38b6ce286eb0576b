/* SPDX-License-Identifier: MIT */
/* test_validate.c - what the gate refuses once SQLite has looked, each file with the reason for which it must
 * be refused; what it accepts all the same; what it never runs. */
#include "hostile.h"

#include <stdatomic.h>

#include "../../src/validate_private.h"

/* ---- damage -------------------------------------------------------------------------------------------- */

static void test_damage(void **state)
{
	static const struct {
		off_t offset; /* in the table's root page */
		size_t size;
		const char *bytes;
	} cases[] = {
		{0, BYTES("\0")},		/* no kind of page */
		{0, BYTES("\x0a")},		/* an index */
		{3, BYTES("\xff\xff")},		/* cells */
		{5, BYTES("\0\x08")},		/* their content begins in the header */
		{8, BYTES("\xff\xff\xff\x7f")}, /* the right child */
		{12, BYTES("\0\1")},		/* a cell is in the header */
	};
	off_t root;

	(void)state;
	make_db("base", SAMPLE);
	root = (query("base", "SELECT rootpage FROM sqlite_schema WHERE name='t'") - 1) * 4096;
	for (size_t i = 0; i < COUNT(cases); i++) {
		copy_file("base", "db");
		patch("db", root + cases[i].offset, cases[i].bytes, cases[i].size);
		print_message("# case %zu\n", i);
		assert_refused("db", false, -EUCLEAN, "damaged: ");
		assert_refused("db", true, -EUCLEAN, "damaged: ");
	}
	/* SQLite's own words, without its heading; with a view in the schema SQLite may forget the free list.
	 */
	copy_file("base", "db");
	patch("db", 32, "\0\0\0\1\0\0\0\1", 8); /* the free list begins with page 1 */
	assert_refused("db", false, -EUCLEAN, "reelist: ");
	copy_file("base", "db");
	patch("db", 36, "\0\0\0\1", 4); /* a free page that there is not */
	assert_refused("db", true, -EUCLEAN, "reelist: ");
	/* Pages behind the last one are no part of it, but one that nobody refers to is damage. */
	make_db("base", "DROP VIEW v");
	copy_file("base", "db");
	cut("db", size_of("db") + 4096);
	patch("db", 31, (const char[]){(char)(size_of("db") / 4096)}, 1);
	assert_refused("db", false, -EUCLEAN, "never used");
}

/* What SQLite itself says here, in this process, about the same bytes. */
static bool is_sound(const char *name)
{
	char uri[PATH_MAX + 32];
	sqlite3_stmt *stmt;
	bool sound = false;
	sqlite3 *db;

	snprintf(uri, sizeof(uri), "file:%s?immutable=1", at("%s", name));
	assert_int_equal(sqlite3_open_v2(uri, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, NULL), SQLITE_OK);
	run_sql(db, "PRAGMA cell_size_check=ON");
	if (sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &stmt, NULL) == SQLITE_OK &&
	    sqlite3_step(stmt) == SQLITE_ROW)
		sound = strcmp((const char *)sqlite3_column_text(stmt, 0), "ok") == 0;
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	return sound;
}

/* Bits that flip anywhere behind the header: never another verdict than SQLite's. */
static void test_flipped_bits(void **state)
{
	unsigned seed = 1, sound = 0, damaged = 0;
	struct validate_report report;
	struct snap_err err;
	off_t size;

	(void)state;
	make_db("base", SAMPLE);
	size = size_of("base");
	for (int i = 0; i < 60; i++) {
		off_t offset;
		char byte;
		int fd, rc;

		copy_file("base", "db");
		/* Every other time in what is not content: the beginning of a page. */
		offset = (off_t)rand_r(&seed) % (size - 100) + 100;
		if (i % 2)
			offset = offset / 4096 * 4096 + 100 + offset % 16;
		fd = open(at("db"), O_RDWR | O_CLOEXEC);
		assert_int_equal(pread(fd, &byte, 1, offset), 1);
		byte = (char)(byte ^ 1 << rand_r(&seed) % 8);
		assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
		close(fd);
		rc = check_file("db", false, &report, &err);
		if (rc == 0)
			validate_report_finish(&report);
		assert_int_equal(rc, is_sound("db") ? 0 : -EUCLEAN);
		sound += rc == 0;
		damaged += rc != 0;
	}
	assert_true(sound > 5 && damaged > 5);
	assert_no_child();
}

static void test_index(void **state)
{
	struct validate_report report;

	(void)state;
	make_db("db", SAMPLE);
	/* Its entries are those of another column. */
	make_db("db", "PRAGMA writable_schema=ON;"
		      "UPDATE sqlite_schema SET sql='CREATE INDEX i ON t(a)' WHERE name='i'");
	assert_accepted("db", false, &report);
	validate_report_finish(&report);
	assert_refused("db", true, -EUCLEAN, "damaged: row 1 missing from index i");
}

static void test_schema(void **state)
{
	(void)state;
	make_db("db", SAMPLE);
	make_db("db", "PRAGMA writable_schema=ON;"
		      "UPDATE sqlite_schema SET sql='CREATE TABLE t(' WHERE name='t'");
	assert_refused("db", false, -EUCLEAN, "damaged: malformed database schema (t)");
	/* As a later SQLite leaves it. */
	patch("db", 96,
	      (const uint8_t[]){9006003 >> 24, 9006003 >> 16 & 255, 9006003 >> 8 & 255, 9006003 & 255}, 4);
	assert_refused("db", false, -EUCLEAN, "written by SQLite 9.6.3");

	unlink(at("db"));
	make_db("db", SAMPLE);
	make_db("db", "PRAGMA writable_schema=ON;"
		      "UPDATE sqlite_schema SET rootpage=100000 WHERE name='t'");
	assert_refused("db", false, -EUCLEAN, "damaged: ");
}

/* ---- what the application knows, and SQLite here does not ---------------------------------------------- */

struct unknown_case {
	const char *sql;
	bool full;
	const char *note;   /* "": everything can be checked */
	const char *damage; /* the b-tree of which damage is found all the same */
};

#define NOBODY_HAS_IT                                                             \
	"CREATE TABLE c(a); PRAGMA writable_schema=ON; INSERT INTO sqlite_schema" \
	" VALUES('table','x','x',0,'CREATE VIRTUAL TABLE x USING nobody_has_it(y)')"
#define COLLATION "only quick_check was possible: no such collation sequence: reversed"
#define FUNCTION "only quick_check was possible: unknown function: one()"

static const struct unknown_case unknown_cases[] = {
	{"CREATE TABLE c(a COLLATE reversed); CREATE INDEX ci ON c(a); INSERT INTO c VALUES('x'),('y')",
	 false, "", "ci"},
	{"CREATE TABLE c(a COLLATE reversed); CREATE INDEX ci ON c(a); INSERT INTO c VALUES('x'),('y')", true,
	 COLLATION, "ci"},
	{"CREATE TABLE c(a PRIMARY KEY COLLATE reversed) WITHOUT ROWID; INSERT INTO c VALUES('x'),('y')",
	 false, "", "c"},
	{"CREATE TABLE c(a PRIMARY KEY COLLATE reversed) WITHOUT ROWID; INSERT INTO c VALUES('x'),('y')",
	 true, COLLATION, "c"},
	{"CREATE TABLE c(a CHECK(one(a))); INSERT INTO c VALUES(1)", false, "", "c"},
	{"CREATE TABLE c(a CHECK(one(a))); INSERT INTO c VALUES(1)", true, "", "c"},
	{"CREATE TABLE c(a); CREATE INDEX ci ON c(one(a)); INSERT INTO c VALUES(1)", false, "", "ci"},
	{"CREATE TABLE c(a); CREATE INDEX ci ON c(one(a)); INSERT INTO c VALUES(1)", true, FUNCTION, "ci"},
	{"CREATE TABLE c(a); CREATE INDEX ci ON c(a) WHERE one(a); INSERT INTO c VALUES(1)", true, FUNCTION,
	 "ci"},
	{"CREATE TABLE c(a, b NOT NULL AS (one(a))); INSERT INTO c VALUES(1)", false,
	 "1 of 3 tables not checked: unknown function: one()", "u"},
	{"CREATE TABLE c(a, b NOT NULL AS (one(a))); INSERT INTO c VALUES(1)", true,
	 "1 of 3 tables not checked: unknown function: one()", "u"},
	/* It fails when it runs, behind the check of the pages. */
	{"CREATE TABLE c(a, b TEXT AS (a)); INSERT INTO c VALUES('{{{'); PRAGMA writable_schema=ON;"
	 "UPDATE sqlite_schema SET sql='CREATE TABLE c(a, b TEXT AS (json_extract(a,''$.x'')))' WHERE "
	 "name='c'",
	 false, "1 of 3 tables not checked: malformed JSON", "c"},
	/* Which SQLite 3.40 calls unsafe. */
	{"CREATE TABLE c(a, b AS (json_extract(a,'$.x'))); CREATE INDEX ci ON c(json_extract(a,'$.y'));"
	 "INSERT INTO c VALUES('{}')",
	 true, "", "ci"},
	/* A value that breaks a constraint is no damage. */
	{"CREATE TABLE c(a CHECK(a>5)); PRAGMA ignore_check_constraints=ON; INSERT INTO c VALUES(1)", true,
	 "", "c"},
	{NOBODY_HAS_IT, false, "", "c"},
	{NOBODY_HAS_IT, true, "", "c"},
};

static void test_unknown(void **state)
{
	struct validate_report report;
	char *sql;
	off_t root;

	(void)state;
	for (size_t i = 0; i < COUNT(unknown_cases); i++) {
		const struct unknown_case *c = &unknown_cases[i];

		print_message("# case %zu\n", i);
		unlink(at("db"));
		make_db("db", SAMPLE);
		make_db("db", c->sql);
		assert_accepted("db", c->full, &report);
		assert_string_equal(report.note, c->note);
		assert_between(report.tables, 3, 4);
		validate_report_finish(&report);

		sql = sqlite3_mprintf("SELECT rootpage FROM sqlite_schema WHERE name=%Q", c->damage);
		root = (query("db", sql) - 1) * 4096;
		sqlite3_free(sql);
		patch("db", root + 3, "\xff\xff", 2);
		assert_refused("db", c->full, -EUCLEAN, "damaged: ");
	}
}

/* What SQLite 3.44 and later say of a virtual table. */
static void test_lacks(void **state)
{
	static const struct {
		const char *complaint;
		bool lacks;
	} cases[] = {
		{"unable to validate the inverted index for FTS4 table main.f: SQL logic error", true},
		{"unable to validate the inverted index for FTS3 table main.: SQL logic error: SQL logic "
		 "error",
		 true},
		{"unable to validate the inverted index for FTS5 table main.a\nb: SQL logic error", true},
		{"unable to validate the inverted index for FTS5 table main.f: attempt to write a readonly "
		 "database",
		 true},
		{"unable to validate the inverted index for FTS4 table main.f: database disk image is "
		 "malformed",
		 false},
		{"unable to validate the inverted index for FTS4 table main.: SQL logic error: database disk "
		 "image is "
		 "malformed",
		 false},
		{"unable to validate the inverted index for FTS5 table main.f: disk I/O error", false},
		{"unable to validate the inverted index for FTS5 table main.f: out of memory", false},
		{"unable to validate the inverted index for FTS5 table main.f", false},
		{"unable to validate the inverted index", false},
		{"malformed inverted index for FTS4 table main.f", false},
		{"malformed inverted index for FTS5 table main.f: SQL logic error", false},
		{"In RTree main.unable to validate the inverted index:\n: SQL logic error", false},
		{"SQL logic error", false},
		{"", false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		print_message("# text %zu\n", i); /* some have newlines */
		assert_int_equal(validate_sql_lacks(cases[i].complaint), cases[i].lacks);
	}
}

/* Indexes that this program cannot look into: over a view, by functions and by a tokenizer of the
 * application. Damage behind them is found, whatever SQLite checks them. */
static void test_virtual(void **state)
{
	static const char *const tables[] = {
		"CREATE TABLE d(i INTEGER PRIMARY KEY, x); INSERT INTO d(x) VALUES('hello world'),('foo');"
		"CREATE VIEW dv AS SELECT i AS rowid, i, x FROM d;"
		"CREATE VIRTUAL TABLE f USING fts4(x, content='dv'); INSERT INTO f(docid, x) SELECT i, x "
		"FROM d",
		"CREATE VIRTUAL TABLE f USING fts4(x, compress=one, uncompress=one); INSERT INTO f "
		"VALUES('foo')",
		"CREATE VIRTUAL TABLE f USING fts4(x); INSERT INTO f VALUES('foo'); PRAGMA "
		"writable_schema=ON;"
		"UPDATE sqlite_schema SET sql='CREATE VIRTUAL TABLE f USING fts4(x, tokenize=nobody_has_it)'"
		" WHERE name='f'",
		"CREATE VIRTUAL TABLE f USING fts5(x); INSERT INTO f VALUES('foo'); PRAGMA "
		"writable_schema=ON;"
		"UPDATE sqlite_schema SET sql='CREATE VIRTUAL TABLE f USING fts5(x, tokenize=nobody_has_it)'"
		" WHERE name='f'",
	};
	struct validate_report report;

	(void)state;
	if (!sqlite3_compileoption_used("ENABLE_FTS4") || !sqlite3_compileoption_used("ENABLE_FTS5"))
		return;
	for (size_t i = 0; i < COUNT(tables); i++) {
		print_message("# %s\n", tables[i]);
		unlink(at("db"));
		make_db("db", SAMPLE);
		make_db("db", tables[i]);
		for (int full = 0; full < 2; full++) {
			assert_accepted("db", full, &report);
			/* Before 3.44 it is not looked at, and nothing is missing. */
			if (sqlite3_libversion_number() >= 3044000)
				assert_string_not_equal(report.note, "");
			print_message("# note: %s\n", report.note);
			validate_report_finish(&report);
		}
		patch("db", (query("db", "SELECT rootpage FROM sqlite_schema WHERE name='i'") - 1) * 4096 + 3,
		      "\xff\xff", 2);
		assert_refused("db", false, -EUCLEAN, "damaged: ");
		assert_refused("db", true, -EUCLEAN, "damaged: ");
	}
}

/* ---- hostile SQL --------------------------------------------------------------------------------------- */

/* None of it may run: each would never end. */
static void test_dormant(void **state)
{
	static const char sql[] =
		"CREATE VIEW endless AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n)"
		" SELECT count(*) FROM n;"
		"CREATE VIEW bomb1 AS SELECT zeroblob(1000000000) AS a UNION ALL SELECT a FROM endless;"
		"CREATE VIEW bomb2 AS SELECT a.a FROM bomb1 a, bomb1 b, bomb1 c;"
		"CREATE TRIGGER tr AFTER INSERT ON t BEGIN DELETE FROM t; SELECT * FROM endless; END;"
		"CREATE TRIGGER tv INSTEAD OF INSERT ON endless BEGIN SELECT load_extension('x'); END;";
	struct validate_report report;

	(void)state;
	make_db("db", SAMPLE);
	make_db("db", sql);
	for (int full = 0; full < 2; full++) {
		assert_accepted("db", full, &report);
		assert_string_equal(report.note, "");
		assert_int_equal(report.tables, 2);
		validate_report_finish(&report);
	}
	/* A view of itself. */
	make_db("db", "PRAGMA writable_schema=ON; INSERT INTO sqlite_schema"
		      " VALUES('view','w','w',0,'CREATE VIEW w AS SELECT * FROM w')");
	assert_accepted("db", true, &report);
	validate_report_finish(&report);
}

/* More memory than there may be: 1.2 GB for one value. */
static void test_memory(void **state)
{
	(void)state;
	make_db("db", "CREATE TABLE t(a, b TEXT AS (hex(zeroblob(400000000+a)))); INSERT INTO t VALUES(1)");
	assert_refused("db", false, -ENOMEM, "needs too much memory to be checked");
	assert_no_child();
}

static void assert_too_slow(const char *name, bool full)
{
	struct validate_report report = {.tables = 12345};
	struct validate_order order;
	struct snap_err err;
	int fd = open_order(&order, name, full);

	order.timeout_ms = 1000;
	assert_int_equal(validate_file(&order, &report, &err), -ETIMEDOUT);
	assert_string_equal(err.text, "could not be checked within 1 s");
	assert_int_equal(report.tables, 12345);
	close(fd);
	assert_no_child();
}

/* The time limit holds for expressions of the file, wherever SQLite computes them. */
static void test_slow(void **state)
{
	struct validate_report report;

	(void)state;
	make_db("db", SLOW);
	assert_too_slow("db", false);
	make_db("indexed",
		"CREATE TABLE t(a); CREATE INDEX i ON t(1+a);"
		"WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n WHERE x<100000)"
		" INSERT INTO t SELECT x FROM n; PRAGMA writable_schema=ON;"
		"UPDATE sqlite_schema SET sql='CREATE INDEX i ON t(" SLOW_VALUE ")' WHERE name='i'");
	assert_accepted("indexed", false, &report);
	validate_report_finish(&report);
	assert_refused("indexed", true, -EUCLEAN, "missing from index i"); /* at the first row */
	make_db("partial",
		"CREATE TABLE t(a); CREATE INDEX i ON t(a) WHERE a;"
		"WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n WHERE x<100000)"
		" INSERT INTO t SELECT x FROM n; PRAGMA writable_schema=ON;"
		"UPDATE sqlite_schema SET sql='CREATE INDEX i ON t(a) WHERE " SLOW_VALUE "' WHERE name='i'");
	assert_too_slow("partial", true);
}

/* ---- how far it is --------------------------------------------------------------------------------------
 */

struct look {
	struct snap_progress progress;
	uint64_t done; /* when asked for the first time */
};

static bool look_and_cancel(void *arg)
{
	struct look *look = arg;

	look->done = atomic_load(&look->progress.done);
	return true;
}

/* Another check of the same file begins at its beginning. */
static void test_progress_of_another_check(void **state)
{
	struct look look = {.done = 0};
	struct validate_report report;
	struct validate_order order;
	int fd;

	(void)state;
	make_db("db", SLOW);
	fd = open_order(&order, "db", false);
	order.cancelled = look_and_cancel;
	order.arg = &look;
	order.progress = &look.progress;
	assert_true(lseek(fd, 2 * (off_t)order.size, SEEK_SET) > 0); /* where a check leaves it */
	assert_int_equal(validate_file(&order, &report, NULL), -ECANCELED);
	assert_true(look.done < 2 * order.size);
	close(fd);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_damage, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_flipped_bits, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_index, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_schema, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_unknown, scratch_setup, scratch_teardown),
		cmocka_unit_test(test_lacks),
		cmocka_unit_test_setup_teardown(test_virtual, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_dormant, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_memory, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_slow, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_progress_of_another_check, scratch_setup,
						scratch_teardown),
	};

	if (argc > 1 && strcmp(argv[1], VALIDATE_ARGUMENT) == 0)
		return validate_child_main(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
