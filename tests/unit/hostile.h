/* SPDX-License-Identifier: MIT */
/* hostile.h - what the tests of the gate share: files that are made by code, and the gate applied to them. */
#ifndef SQLSNAP_TEST_HOSTILE_H
#define SQLSNAP_TEST_HOSTILE_H

#include "scratch.h"

#include <sqlite3.h>
#include <sys/wait.h>

#include "../../src/validate.h"

#define PATIENCE_MS 50000 /* for checks that must not take long */

#define BYTES(literal) sizeof(literal) - 1, literal

/* ---- databases ----------------------------------------------------------------------------------------- */

static inline int compare_reversed(void *arg, int size_a, const void *a, int size_b, const void *b)
{
	int order = memcmp(b, a, (size_t)(size_a < size_b ? size_a : size_b));

	(void)arg;
	return order ? order : size_b - size_a;
}

static inline void return_one(sqlite3_context *context, int argc, sqlite3_value **argv)
{
	(void)argc;
	(void)argv;
	sqlite3_result_int(context, 1);
}

/* A connection of the application that knows a collation and a function that nobody else does. */
static inline sqlite3 *open_app(const char *name)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(at("%s", name), &db), SQLITE_OK);
	sqlite3_create_collation(db, "reversed", SQLITE_UTF8, NULL, compare_reversed);
	sqlite3_create_function(db, "one", -1, SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS, NULL,
				return_one, NULL, NULL);
	return db;
}

static inline void run_sql(sqlite3 *db, const char *sql)
{
	char *text = NULL;

	if (sqlite3_exec(db, sql, NULL, NULL, &text) != SQLITE_OK)
		fail_msg("%s: %s", sql, text);
}

/* The database NAME, made by SQL, closed. */
static inline void make_db(const char *name, const char *sql)
{
	sqlite3 *db = open_app(name);

	run_sql(db, sql);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static inline sqlite3_int64 number(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *stmt;
	sqlite3_int64 value;

	assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	value = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	return value;
}

static inline sqlite3_int64 query(const char *name, const char *sql)
{
	sqlite3 *db = open_app(name);
	sqlite3_int64 value = number(db, sql);

	sqlite3_close(db);
	return value;
}

/* Two tables with a few pages each, an index and a view. */
#define SAMPLE                                                                      \
	"CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT);"                            \
	"CREATE TABLE u(c);"                                                        \
	"CREATE INDEX i ON t(b);"                                                   \
	"CREATE VIEW v AS SELECT a FROM t;"                                         \
	"WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n WHERE x<500)" \
	" INSERT INTO t SELECT x, 'row number ' || x FROM n;"                       \
	"INSERT INTO u SELECT randomblob(700) FROM t LIMIT 20;"                     \
	"PRAGMA user_version=-3; PRAGMA application_id=77;"

/* A table with a value that takes a twentieth of a second to compute, a hundred thousand times; quick_check
 * looks at its type. */
#define SLOW_VALUE "length(hex(zeroblob(20000000+a)))"
#define SLOW                                                                                   \
	"CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT AS (a));"                                \
	"WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n WHERE x<100000)"         \
	" INSERT INTO t SELECT x FROM n; PRAGMA writable_schema=ON; UPDATE sqlite_schema SET " \
	"sql='CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT AS (" SLOW_VALUE "))'"

/* ---- bytes --------------------------------------------------------------------------------------------- */

static inline void patch(const char *name, off_t offset, const void *bytes, size_t size)
{
	int fd = open(at("%s", name), O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, bytes, size, offset), (ssize_t)size);
	close(fd);
}

static inline off_t size_of(const char *name)
{
	struct stat st;

	assert_int_equal(stat(at("%s", name), &st), 0);
	return st.st_size;
}

static inline void cut(const char *name, off_t size)
{
	assert_int_equal(truncate(at("%s", name), size), 0);
}

static inline void copy_file(const char *from, const char *to)
{
	static char buf[1 << 20];
	int in = open(at("%s", from), O_RDONLY | O_CLOEXEC);
	int out = open(at("%s", to), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	ssize_t n;

	assert_true(in >= 0 && out >= 0);
	while ((n = read(in, buf, sizeof(buf))) > 0)
		assert_int_equal(write(out, buf, (size_t)n), n);
	assert_int_equal(n, 0);
	close(in);
	close(out);
}

/* ---- the gate ------------------------------------------------------------------------------------------ */

static inline int open_order(struct validate_order *order, const char *name, bool full)
{
	*order = VALIDATE_ORDER_INIT;
	order->fd = open(at("%s", name), O_RDONLY | O_CLOEXEC);
	assert_true(order->fd >= 0);
	order->size = (uint64_t)size_of(name);
	order->full = full;
	order->timeout_ms = PATIENCE_MS;
	return order->fd;
}

static inline int check_file(const char *name, bool full, struct validate_report *report,
			     struct snap_err *err)
{
	struct validate_order order;
	int fd = open_order(&order, name, full), rc;

	err->text[0] = '\0';
	rc = validate_file(&order, report, err);
	close(fd);
	return rc;
}

static inline void assert_accepted(const char *name, bool full, struct validate_report *report)
{
	struct snap_err err;

	if (check_file(name, full, report, &err) != 0)
		fail_msg("%s: %s", name, err.text);
}

/* And no report. */
static inline void assert_refused(const char *name, bool full, int code, const char *words)
{
	struct validate_report report = {.tables = 12345};
	struct snap_err err;
	int rc = check_file(name, full, &report, &err);

	if (rc != code || !strstr(err.text, words))
		fail_msg("%s: %d \"%s\" instead of %d \"%s\"", name, rc, err.text, code, words);
	assert_int_equal(report.tables, 12345);
}

static inline void assert_no_child(void)
{
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

#endif
