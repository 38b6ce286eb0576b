/* SPDX-License-Identifier: MIT */
/* test_validate_forms.c - every form that a sound database has, and what the report says of it; what stands
 * beside it; the copy with another page size. */
#include "hostile.h"

/* ---- forms --------------------------------------------------------------------------------------------- */

struct form {
	const char *sql; /* before the sample */
	uint32_t page_size;
	uint32_t encoding;
	bool wal;
};

static const struct form forms[] = {
	{"PRAGMA page_size=512", 512, 1, false},
	{"PRAGMA page_size=1024", 1024, 1, false},
	{"PRAGMA page_size=2048", 2048, 1, false},
	{"PRAGMA page_size=8192", 8192, 1, false},
	{"PRAGMA page_size=16384", 16384, 1, false},
	{"PRAGMA page_size=32768", 32768, 1, false},
	{"PRAGMA page_size=65536", 65536, 1, false},
	{"PRAGMA page_size=65536; PRAGMA journal_mode=WAL", 65536, 1, true},
	{"PRAGMA journal_mode=WAL", 4096, 1, true},
	{"PRAGMA encoding='UTF-16le'", 4096, 2, false},
	{"PRAGMA encoding='UTF-16be'; PRAGMA page_size=512", 512, 3, false},
	{"PRAGMA auto_vacuum=FULL", 4096, 1, false},
	{"PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=WAL", 4096, 1, true},
};

static void assert_sample(const char *name, const struct form *form)
{
	static const char names[] = "t\0u";
	struct validate_report report;

	for (int full = 0; full < 2; full++) {
		assert_accepted(name, full, &report);
		assert_int_equal(report.size, size_of(name));
		assert_int_equal(report.header.page_size, form->page_size);
		assert_int_equal(report.pages, size_of(name) / form->page_size);
		assert_int_equal(report.header.text_encoding, form->encoding);
		assert_int_equal(header_is_wal(&report.header), form->wal);
		assert_int_equal((int32_t)report.header.user_version, -3);
		assert_int_equal(report.header.application_id, 77);
		assert_int_equal(report.tables, 2);
		assert_int_equal(report.names_size, sizeof(names));
		assert_memory_equal(report.names, names, sizeof(names));
		assert_false(report.names_cut);
		assert_string_equal(report.note, "");
		validate_report_finish(&report);
	}
}

static void make_form(const char *name, const struct form *form)
{
	sqlite3 *db;

	unlink(at("%s", name));
	db = open_app(name);
	run_sql(db, form->sql);
	run_sql(db, SAMPLE);
	sqlite3_close(db);
}

static void test_forms(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(forms); i++) {
		print_message("# %s\n", forms[i].sql);
		make_form("db", &forms[i]);
		assert_sample("db", &forms[i]);
	}
	assert_no_child();
}

static void test_reserved_bytes(void **state)
{
	struct validate_report report;
	int reserved = 32;
	sqlite3 *db;

	(void)state;
	db = open_app("db");
	run_sql(db, "PRAGMA page_size=512");
	assert_int_equal(sqlite3_file_control(db, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserved), SQLITE_OK);
	run_sql(db, SAMPLE);
	sqlite3_close(db);
	assert_accepted("db", true, &report);
	assert_int_equal(report.header.reserved, 32);
	validate_report_finish(&report);
}

/* What lies behind the last page is no part of the image. */
static void test_trailing(void **state)
{
	static const off_t more[] = {1, 4095, 4096, 1 << 20};
	struct validate_report report;
	off_t size;

	(void)state;
	for (size_t i = 0; i < COUNT(more); i++) {
		make_form("db", &(struct form){.sql = "PRAGMA page_size=4096"});
		size = size_of("db");
		cut("db", size + more[i]);
		assert_accepted("db", true, &report);
		assert_int_equal(report.size, size);
		assert_int_equal(report.pages, size / 4096);
		validate_report_finish(&report);
	}
}

static void test_no_tables(void **state)
{
	struct validate_report report;

	(void)state;
	make_db("db", "PRAGMA user_version=5"); /* no schema format, no encoding yet */
	assert_accepted("db", false, &report);
	assert_int_equal(report.tables, 0);
	assert_null(report.names);
	assert_int_equal(report.names_size, 0);
	assert_int_equal(report.header.user_version, 5);
	assert_int_equal(report.header.text_encoding, 0);
	validate_report_finish(&report);
	make_db("db", "CREATE TABLE t(a INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO t VALUES(1);"
		      "CREATE INDEX i ON t(a); ANALYZE; DROP TABLE t");
	assert_accepted("db", false, &report);
	assert_int_equal(report.tables, 0); /* sqlite_sequence and sqlite_stat1 are */
	assert_null(report.names);
	validate_report_finish(&report);
}

/* ---- names --------------------------------------------------------------------------------------------- */

static void test_names(void **state)
{
	/* In the order of their bytes in UTF-8, which is not that of UTF-16. */
	static const char names[] = "A\0sqlitex\0\xee\x80\x80\0\xf0\x9f\x92\xbe";
	struct validate_report report;

	(void)state;
	make_db("db",
		"PRAGMA encoding='UTF-16'; CREATE TABLE \"\xf0\x9f\x92\xbe\"(a); CREATE TABLE sqlitex(a);"
		"CREATE TABLE \"\xee\x80\x80\"(a); CREATE TABLE A(a)");
	assert_accepted("db", false, &report);
	assert_int_equal(report.tables, 4);
	assert_int_equal(report.names_size, sizeof(names));
	assert_memory_equal(report.names, names, sizeof(names));
	validate_report_finish(&report);
	assert_null(report.names);
	validate_report_finish(&report);
}

static void test_many_names(void **state)
{
	struct validate_report report;
	const char *last = "";
	unsigned count = 0;
	char sql[200];
	sqlite3 *db;

	(void)state;
	db = open_app("db");
	run_sql(db, "PRAGMA page_size=512; BEGIN");
	for (int i = 0; i < 3000; i++) {
		snprintf(sql, sizeof(sql), "CREATE TABLE t%0100d(a)", (i * 7) % 3000);
		run_sql(db, sql);
	}
	run_sql(db, "COMMIT");
	sqlite3_close(db);
	assert_accepted("db", false, &report);
	assert_int_equal(report.tables, 3000);
	assert_true(report.names_cut);
	assert_between(report.names_size, VALIDATE_NAMES_MAX - 102, VALIDATE_NAMES_MAX);
	for (size_t i = 0; i < report.names_size; i += strlen(report.names + i) + 1, count++) {
		assert_true(strcmp(last, report.names + i) < 0);
		last = report.names + i;
	}
	assert_int_equal(count, VALIDATE_NAMES_MAX / 102);
	validate_report_finish(&report);
}

/* ---- what stands beside it ----------------------------------------------------------------------------- */

static int count_entries(void)
{
	DIR *dir = opendir(at("."));
	int count = -2;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static void assert_same_file(const char *a, const char *b)
{
	static char one[1 << 20], other[1 << 20];
	int fds[] = {open(at("%s", a), O_RDONLY | O_CLOEXEC), open(at("%s", b), O_RDONLY | O_CLOEXEC)};
	ssize_t n = read(fds[0], one, sizeof(one));

	assert_between(n, 1, sizeof(one) - 1);
	assert_int_equal(read(fds[1], other, sizeof(other)), n);
	assert_memory_equal(one, other, (size_t)n);
	close(fds[0]);
	close(fds[1]);
}

/* Both would change what the database is: they are ignored, and left alone. */
static void test_sidecars(void **state)
{
	struct validate_report report;
	sqlite3 *db;
	int entries;

	(void)state;
	make_db("live", "CREATE TABLE t(a); INSERT INTO t SELECT randomblob(100000)");
	db = open_app("live");
	run_sql(db, "PRAGMA cache_size=1; BEGIN; CREATE TABLE more(b); UPDATE t SET a=randomblob(100000)");
	assert_true(size_of("live-journal") > 4096);
	copy_file("live-journal", "kept-journal");
	run_sql(db, "COMMIT");
	copy_file("live", "db");
	copy_file("live", "same");
	copy_file("kept-journal", "db-journal");
	run_sql(db, "PRAGMA journal_mode=WAL; CREATE TABLE third(c)");
	assert_true(size_of("live-wal") > 0);
	copy_file("live-wal", "wal.db-wal");
	copy_file("live", "wal.db");
	sqlite3_close(db);

	assert_accepted("db", true, &report);
	assert_int_equal(report.tables, 2);
	validate_report_finish(&report);
	assert_same_file("db", "same");
	assert_same_file("db-journal", "kept-journal");
	assert_int_equal(query("db", "SELECT count(*) FROM sqlite_schema"), 1); /* it is a hot one */

	copy_file("wal.db", "same");
	entries = count_entries();
	assert_accepted("wal.db", true, &report);
	assert_true(header_is_wal(&report.header));
	assert_int_equal(report.tables, 2);
	validate_report_finish(&report);
	assert_same_file("wal.db", "same");
	assert_int_equal(count_entries(), entries);
	assert_int_equal(query("wal.db", "SELECT count(*) FROM sqlite_schema"), 3);
}

/* ---- another page size --------------------------------------------------------------------------------- */

static int fit(const char *from, const char *to, uint32_t page_size, bool only,
	       struct validate_report *report, struct snap_err *err)
{
	struct validate_order order;
	int fd = open_order(&order, from, false), rc;

	order.fit_fd = open(at("%s", to), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(order.fit_fd >= 0);
	order.fit_page_size = page_size;
	order.fit_only = only;
	err->text[0] = '\0';
	rc = validate_file(&order, report, err);
	close(order.fit_fd);
	close(fd);
	return rc;
}

static void assert_same_rows(const char *a, const char *b)
{
	sqlite3 *db = open_app(a);
	char *sql = sqlite3_mprintf("ATTACH %Q AS fit", at("%s", b));

	run_sql(db, sql);
	sqlite3_free(sql);
	run_sql(db, "CREATE TEMP TABLE same(n CHECK(n=0));"
		    "INSERT INTO same SELECT count(*) FROM (SELECT * FROM main.t EXCEPT SELECT * FROM fit.t);"
		    "INSERT INTO same SELECT count(*) FROM (SELECT * FROM main.u EXCEPT SELECT * FROM fit.u);"
		    "INSERT INTO same SELECT count(*)-500 FROM fit.t;"
		    "INSERT INTO same SELECT count(*)-20 FROM fit.u;");
	sqlite3_close(db);
}

static void test_fit(void **state)
{
	static const uint32_t sizes[] = {512, 1024, 4096, 65536};
	struct validate_report report;
	struct snap_err err;

	(void)state;
	for (size_t i = 0; i < COUNT(forms); i++) {
		struct form form = forms[i];

		make_form("db", &form);
		form.page_size = sizes[i % COUNT(sizes)];
		form.wal = false;
		print_message("# %s to %u\n", form.sql, form.page_size);
		assert_int_equal(fit("db", "fit", form.page_size, false, &report, &err), 0);
		/* The report is about the first. */
		assert_int_equal(report.header.page_size, forms[i].page_size);
		assert_int_equal(report.tables, 2);
		validate_report_finish(&report);
		assert_sample("fit", &form);
		assert_int_equal(query("fit", "PRAGMA auto_vacuum"), query("db", "PRAGMA auto_vacuum"));
		assert_same_rows("db", "fit");
	}
	assert_int_equal(fit("db", "fit", 1024, true, &report, &err), 0);
	assert_null(report.names);
	assert_int_equal(query("fit", "SELECT count(*) FROM t"), 500);
	validate_report_finish(&report);
}

/* Rows of every length up to three of the new pages, each that is the worst for its kind of tree among them.
 */
static void test_fit_grows(void **state)
{
	static const struct {
		uint32_t from, to;
		int reserved;
		int length, rows; /* of the rows */
	} cases[] = {
		{4096, 1024, 0, 225, 20000}, {4096, 1024, 80, 206, 20000},   {65536, 512, 0, 96, 40000},
		{65536, 512, 32, 88, 40000}, {65536, 1024, 255, 160, 30000}, {1024, 512, 0, 96, 30000},
		{512, 65536, 0, 96, 30000},  {512, 65536, 32, 20, 30000},    {1024, 4096, 0, 1000, 5000},
	};
	struct validate_report report;
	struct snap_err err;
	double most = 0;
	char sql[640];
	sqlite3 *db;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		int reserved = cases[i].reserved;

		unlink(at("db"));
		db = open_app("db");
		snprintf(sql, sizeof(sql), "PRAGMA page_size=%u", (unsigned)cases[i].from);
		run_sql(db, sql);
		if (reserved)
			sqlite3_file_control(db, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserved);
		snprintf(sql, sizeof(sql),
			 "CREATE TABLE w(a PRIMARY KEY, b) WITHOUT ROWID; CREATE TABLE t(a);"
			 "WITH RECURSIVE n(x) AS (SELECT 100000 UNION ALL SELECT x+1 FROM n LIMIT %d)"
			 " INSERT INTO w SELECT x, randomblob(%d) FROM n; VACUUM",
			 cases[i].rows, cases[i].length);
		run_sql(db, sql);
		sqlite3_close(db);
		if (fit("db", "fit", cases[i].to, true, &report, &err) != 0)
			fail_msg("%zu: %s", i, err.text);
		print_message("# %u to %u, %d reserved: %jd bytes to %jd\n", (unsigned)cases[i].from,
			      (unsigned)cases[i].to, reserved, (intmax_t)size_of("db"),
			      (intmax_t)size_of("fit"));
		validate_report_finish(&report);
		if ((double)size_of("fit") / (double)size_of("db") > most)
			most = (double)size_of("fit") / (double)size_of("db");
	}
	assert_true(most > 4 && most < 8);
}

/* The rowids of a table without INTEGER PRIMARY KEY are what FTS and foreign tables of the application know
 * its rows by. */
static void test_fit_rowids(void **state)
{
	static const char *const tables[] = {
		"CREATE TABLE t(a)",
		"CREATE TABLE t(a CHECK(length(a)>0))",
		"CREATE TABLE t(a UNIQUE, CHECK(a<>'x'))",
		"CREATE TABLE t(a, b AS (a||'x') STORED)",
		"CREATE TABLE t(a, b AS (a||'x') STORED, d INT CHECK(d>0))",
		"CREATE TABLE t(a, b AS (a||'x'), d INT CHECK(d>0)); CREATE INDEX i ON t(b) WHERE d",
		"CREATE TABLE t(a DEFAULT \"it\" CHECK(a<>\"x\")); CREATE INDEX i ON t(a) WHERE a<>\"y\"",
		"CREATE TABLE t(rowid, oid, a CHECK(a>0))",
	};
	struct validate_report report;
	struct snap_err err;

	(void)state;
	for (size_t i = 0; i < COUNT(tables); i++) {
		print_message("# %s\n", tables[i]);
		unlink(at("db"));
		make_db("db", tables[i]);
		make_db("db", "INSERT INTO t(a) VALUES('one'),('two'),('three'),('four');"
			      "DELETE FROM t WHERE _rowid_ IN (1,3)");
		copy_file("db", "before");
		if (fit("db", "fit", 1024, i % 2, &report, &err) != 0)
			fail_msg("%s", err.text);
		validate_report_finish(&report);
		assert_same_file("db", "before");
		assert_int_equal(query("fit", "SELECT count(*)=2 AND sum(_rowid_)=6 AND sum(a='four')=1"
					      " FROM t"),
				 1);
		assert_int_equal(query("fit", "SELECT integrity_check='ok' FROM pragma_integrity_check"), 1);
	}
}

/* To a file of the first format an index has no order, in the copy of it it has: the two tables differ, and
 * SQLite copies row by row. */
static void test_fit_renumbers(void **state)
{
	static const char *const tables[] = {
		"CREATE TABLE t(a); CREATE INDEX i ON t(a DESC)",
		"CREATE TABLE t(a TEXT PRIMARY KEY, rowid, b); CREATE INDEX i ON t(a DESC)",
		"CREATE TABLE t(a INTEGER PRIMARY KEY DESC, b); CREATE INDEX i ON t(b DESC)",
	};
	struct validate_report report;
	struct snap_err err;
	sqlite3 *db;

	(void)state;
	for (size_t i = 0; i < COUNT(tables); i++) {
		print_message("# %s\n", tables[i]);
		unlink(at("db"));
		db = open_app("db");
		sqlite3_db_config(db, SQLITE_DBCONFIG_LEGACY_FILE_FORMAT, 1, NULL);
		run_sql(db, tables[i]);
		run_sql(db, "INSERT INTO t(a) VALUES(1),(2),(3),(4)");
		sqlite3_close(db);
		assert_int_equal(fit("db", "fit", 1024, false, &report, &err), 0);
		validate_report_finish(&report);
		make_db("db", "DELETE FROM t WHERE a=2");
		assert_int_equal(fit("db", "fit", 1024, false, &report, &err), -EOPNOTSUPP);
		assert_string_equal(err.text, "rows of table \"t\" would get other rowids");
	}
	/* What keeps its rowids, or has none, is not in the way. */
	make_db("db", "DROP TABLE t; CREATE TABLE k(a INTEGER PRIMARY KEY, b); CREATE INDEX i ON k(b DESC);"
		      "CREATE TABLE w(a, b, PRIMARY KEY(a)) WITHOUT ROWID; CREATE INDEX j ON w(b DESC);"
		      "CREATE TABLE n(rowid, oid, _rowid_);"
		      "INSERT INTO k VALUES(5,1),(7,2); INSERT INTO w SELECT * FROM k;"
		      "INSERT INTO n VALUES(1,1,1)");
	assert_int_equal(fit("db", "fit", 1024, false, &report, &err), 0);
	assert_int_equal(query("fit", "SELECT sum(a) FROM k"), 12);
	validate_report_finish(&report);
}

static void test_fit_fails(void **state)
{
	struct validate_report report = {.tables = 12345};
	struct snap_err err;

	(void)state;
	make_db("db", "CREATE TABLE t(a COLLATE reversed); CREATE INDEX i ON t(a);"
		      "INSERT INTO t VALUES('a'),('c'),('b')");
	for (int only = 0; only < 2; only++) {
		assert_int_equal(fit("db", "fit", 1024, only, &report, &err), -EOPNOTSUPP);
		assert_string_equal(err.text, "no such collation sequence: reversed");
	}
	unlink(at("db"));
	make_db("db", SAMPLE);
	make_folder("small", 0755);
	assert_int_equal(mount("test", at("small"), "tmpfs", 0, "size=32k"), 0);
	mounted(at("small"));
	assert_int_equal(fit("db", "small/fit", 1024, false, &report, &err), -ENOSPC);
	/* Damage comes first. */
	patch("db", (query("db", "SELECT rootpage FROM sqlite_schema WHERE name='u'") - 1) * 4096, "\0", 1);
	assert_int_equal(fit("db", "fit", 1024, false, &report, &err), -EUCLEAN);
	assert_int_equal(fit("db", "fit", 1024, true, &report, &err), -EUCLEAN);
	assert_int_equal(report.tables, 12345);
	assert_no_child();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_forms, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_reserved_bytes, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_trailing, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_no_tables, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_names, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_many_names, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_sidecars, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_fit, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_fit_grows, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_fit_rowids, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_fit_renumbers, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_fit_fails, scratch_setup, scratch_teardown),
	};

	if (argc > 1 && strcmp(argv[1], VALIDATE_ARGUMENT) == 0)
		return validate_child_main(argc, argv);
	return cmocka_run_group_tests(tests, scratch_namespace, NULL);
}
