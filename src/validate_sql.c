/* SPDX-License-Identifier: MIT */
/*
 * validate_sql.c - what SQLite is asked about a file, in the child.
 *
 * What must stay true: nothing here runs a view, a trigger or a statement from the file. Expressions from it
 * do run in the check itself (generated columns, and with FULL those of indexes): they may be slow, which the
 * parent's deadline covers, or fail, which is no sign of damage. CHECK constraints do not run: a read-only
 * connection does not even keep them (sqlite3AddCheckConstraint()), VACUUM ignores them, and a row that
 * breaks one is no damage either.
 *
 * A database may use collations and functions of its application. SQLite then refuses the whole check with an
 * error, though nothing is damaged. The check is then repeated without what needs them, in the end table by
 * table, and the report's note says what was left out. From 3.44 on, the index of FTS is checked too, which
 * may be over a view or need functions: that it cannot be checked is reported as a complaint among others.
 */
#include "validate_private.h"

#include <errno.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"

#define HEAP_MAX ((sqlite3_int64)1 << 30) /* bytes; below the jail's limit, so that SQLite can report it */

struct limit {
	int what;
	int value;
};

/* ---- errors -------------------------------------------------------------------------------------------- */

static int refuse_io(struct validate_answer *answer)
{
	int sys = validate_vfs_errno();

	if (sys == EFBIG)
		return validate_answer_refuse(answer, -EFBIG, "grows out of all proportion");
	return validate_answer_refuse(answer, -EIO, "cannot be read: %s", strerror(sys ? sys : EIO));
}

/* The schema of a later SQLite may be sound and yet unknown to this one. */
static int refuse_damaged(struct validate_answer *answer, const char *text)
{
	int ours = sqlite3_libversion_number();
	uint8_t at[4] = {0};
	uint32_t version = 0;

	if (pread(VALIDATE_FD_FILE, at, sizeof(at), 96) == sizeof(at)) /* who wrote it last */
		version = load_be32(at);
	if (strstr(text, "malformed database schema") && version > (uint32_t)ours)
		return validate_answer_refuse(answer, -EUCLEAN,
					      "%s (written by SQLite %" PRIu32 ".%" PRIu32 ".%" PRIu32
					      ", whose schemas this one, %s, may not know)",
					      text, version / 1000000, version / 1000 % 1000, version % 1000,
					      sqlite3_libversion());
	return validate_answer_refuse(answer, -EUCLEAN, "damaged: %s", text);
}

int validate_sql_refuse(struct validate_answer *answer, struct sqlite3 *db, int rc, int otherwise)
{
	const char *text = db ? sqlite3_errmsg(db) : sqlite3_errstr(rc);

	if (rc == SQLITE_IOERR_NOMEM || (rc & 0xff) == SQLITE_NOMEM)
		return validate_answer_refuse(answer, -ENOMEM, "needs too much memory to be checked");
	switch (rc & 0xff) {
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return refuse_damaged(answer, text);
	case SQLITE_IOERR:
		return refuse_io(answer);
	case SQLITE_FULL:
		return validate_answer_refuse(answer, -ENOSPC, "no room left");
	default:
		return validate_answer_refuse(answer, otherwise, "%s", text);
	}
}

/* An error that says nothing about the file: something is unknown here, or an expression of its schema
 * failed. */
static bool is_blocked(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_NOMEM:
	case SQLITE_IOERR:
	case SQLITE_FULL:
		return false;
	default:
		return true;
	}
}

/* ---- SQLite's own check -------------------------------------------------------------------------------- */

bool validate_sql_lacks(const char *complaint)
{
	static const char prefix[] = "unable to validate the inverted index";
	size_t length = strlen(complaint);

	if (strncmp(complaint, prefix, strlen(prefix)) != 0)
		return false;
	for (int rc = SQLITE_ERROR; rc <= SQLITE_NOTADB; rc++) {
		const char *error = sqlite3_errstr(rc);
		size_t size = strlen(error);

		if (is_blocked(rc) && length > size + 2 && strcmp(complaint + length - size, error) == 0 &&
		    strncmp(complaint + length - size - 2, ": ", 2) == 0)
			return true;
	}
	return false;
}

/* The complaint in a row of a check; NULL: none. */
static const char *complaint(sqlite3_stmt *stmt)
{
	static const char prefix[] = "*** in database main ***\n";
	const char *text = (const char *)sqlite3_column_text(stmt, 0);

	if (!text)
		return "?";
	if (strncmp(text, prefix, strlen(prefix)) == 0)
		text += strlen(prefix);
	return strcmp(text, "ok") == 0 ? NULL : *text ? text : "?";
}

static void take_line(char *line, size_t size, const char *text)
{
	snprintf(line, size, "%.*s", (int)strcspn(text, "\n"), text);
}

struct findings {
	char damage[sizeof(((struct validate_verdict *)0)->text)]; /* the first; "": none */
	char lack[128]; /* what kept the first virtual table from being checked; "": nothing */
};

/* SQLite's result code. Virtual tables come last: by then everything else is sound, and after the first that
 * cannot be checked SQLite looks at a hundred of them. */
static int run_check(sqlite3 *db, const char *sql, struct findings *out)
{
	sqlite3_stmt *stmt;
	unsigned rows = 0;
	int rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);

	*out = (struct findings){.damage = ""};
	if (rc != SQLITE_OK)
		return rc;
	while (!*out->damage && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		const char *text = complaint(stmt);

		rows++;
		if (text && !validate_sql_lacks(text))
			take_line(out->damage, sizeof(out->damage), text);
		else if (text && !*out->lack)
			take_line(out->lack, sizeof(out->lack), text);
	}
	if (rc == SQLITE_DONE && rows == 0)
		take_line(out->damage, sizeof(out->damage), "the check says nothing");
	sqlite3_finalize(stmt);
	return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* Stands in for a collation that is unknown here. quick_check opens an index with it, but compares
 * nothing. */
static int compare_bytes(void *arg, int size_a, const void *a, int size_b, const void *b)
{
	int order = memcmp(a, b, (size_t)(size_a < size_b ? size_a : size_b));

	(void)arg;
	return order ? order : size_a - size_b;
}

static void stand_in(void *arg, sqlite3 *db, int encoding, const char *name)
{
	(void)arg;
	sqlite3_create_collation_v2(db, name, encoding, NULL, compare_bytes, NULL);
}

/* Table by table, so that those that can be checked are. */
static int check_tables(sqlite3 *db, const char *why, struct findings *out, char *note, size_t note_size)
{
	unsigned tables = 0, blocked = 0;
	sqlite3_stmt *names;
	int rc =
		sqlite3_prepare_v2(db, "SELECT name FROM sqlite_schema WHERE type='table'", -1, &names, NULL);

	*out = (struct findings){.damage = ""};
	if (rc != SQLITE_OK)
		return rc;
	while (!*out->damage && (rc = sqlite3_step(names)) == SQLITE_ROW) {
		char *sql = sqlite3_mprintf("PRAGMA quick_check(%Q)", sqlite3_column_text(names, 0));

		rc = sql ? run_check(db, sql, out) : SQLITE_NOMEM;
		sqlite3_free(sql);
		if (rc != SQLITE_OK && !is_blocked(rc))
			break;
		tables++;
		blocked += rc != SQLITE_OK || *out->lack;
	}
	sqlite3_finalize(names);
	snprintf(note, note_size, "%u of %u tables not checked: %s", blocked, tables, why);
	return rc == SQLITE_DONE || *out->damage ? SQLITE_OK : rc;
}

static int check(sqlite3 *db, bool full, struct validate_answer *answer)
{
	char *note = answer->verdict.note;
	size_t note_size = sizeof(answer->verdict.note);
	struct findings found;
	char why[128];
	int rc;

	/* SQLite 3.40 leaves the free list out of the whole check when the first root page that it meets is
	 * that of a view, which is 0 (sqlite3BtreeIntegrityCheck(), bPartial). Together with the schema's
	 * tree it is always checked. */
	rc = run_check(db, "PRAGMA quick_check(sqlite_schema)", &found);
	if (rc == SQLITE_OK && !*found.damage)
		rc = run_check(db, full ? "PRAGMA integrity_check" : "PRAGMA quick_check", &found);
	if (is_blocked(rc)) {
		snprintf(why, sizeof(why), "%s", sqlite3_errmsg(db));
		if (full)
			snprintf(note, note_size, "only quick_check was possible: %s", why);
		sqlite3_collation_needed(db, NULL, stand_in);
		rc = run_check(db, "PRAGMA quick_check", &found);
		if (is_blocked(rc))
			rc = check_tables(db, why, &found, note, note_size);
	}
	if (rc != SQLITE_OK)
		return validate_sql_refuse(answer, db, rc, -EUCLEAN);
	if (*found.lack && !*note)
		snprintf(note, note_size, "%s", found.lack);
	return *found.damage ? refuse_damaged(answer, found.damage) : 0;
}

/* ---- names --------------------------------------------------------------------------------------------- */

/* Appends the next name, as long as it fits. */
static void add_name(struct validate_answer *answer, const char *name)
{
	struct validate_verdict *verdict = &answer->verdict;
	size_t length = name ? strlen(name) + 1 : VALIDATE_NAMES_MAX + 1;

	if (verdict->tables < UINT32_MAX)
		verdict->tables++;
	if (length > VALIDATE_NAMES_MAX - verdict->names_size) {
		verdict->names_cut = true;
		return;
	}
	/* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): NULL is longer than what is left */
	memcpy(answer->names + verdict->names_size, name, length);
	verdict->names_size += (uint32_t)length;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* SQLite's own ORDER BY would sort by the file's encoding. */
static int sort_names(struct validate_answer *answer)
{
	size_t size = answer->verdict.names_size, count = 0, used = 0;
	autofree char *sorted = malloc(VALIDATE_NAMES_MAX);
	autofree char **names = calloc(size + 1, sizeof(*names)); /* a name has at least one byte */

	if (!sorted || !names)
		return -ENOMEM;
	for (size_t at = 0; at < size; at += strlen(answer->names + at) + 1)
		names[count++] = answer->names + at;
	qsort(names, count, sizeof(*names), compare_names);
	for (size_t i = 0; i < count; i++) {
		size_t length = strlen(names[i]) + 1;

		memcpy(sorted + used, names[i], length);
		used += length;
	}
	free(answer->names);
	answer->names = steal_ptr(&sorted);
	return 0;
}

static int read_names(sqlite3 *db, struct validate_answer *answer)
{
	static const char sql[] = "SELECT name FROM sqlite_schema"
				  " WHERE type='table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
	sqlite3_stmt *stmt;
	int rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);

	answer->names = malloc(VALIDATE_NAMES_MAX);
	if (rc == SQLITE_OK && !answer->names)
		rc = SQLITE_NOMEM;
	while (rc == SQLITE_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		add_name(answer, (const char *)sqlite3_column_text(stmt, 0));
		rc = SQLITE_OK;
	}
	sqlite3_finalize(stmt);
	if (rc == SQLITE_DONE && sort_names(answer) < 0)
		rc = SQLITE_NOMEM;
	return rc == SQLITE_DONE ? 0 : validate_sql_refuse(answer, db, rc, -EUCLEAN);
}

/* ---- the connection ------------------------------------------------------------------------------------ */

static int harden(sqlite3 *db, bool fit)
{
	const struct limit settings[] = {
		{SQLITE_DBCONFIG_DEFENSIVE, 1},
		/* With 0, 3.40 would not read a schema with json_extract(), which it calls unsafe. What 0
		 * would keep from running does not exist here: there are no functions or virtual tables but
		 * SQLite's own. */
		{SQLITE_DBCONFIG_TRUSTED_SCHEMA, 1},
		{SQLITE_DBCONFIG_ENABLE_TRIGGER, 0},
		{SQLITE_DBCONFIG_ENABLE_VIEW, 0},
		{SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0},
		{SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, 0},
	};
	const struct limit limits[] = {
		{SQLITE_LIMIT_ATTACHED, fit ? 1 : 0},
		{SQLITE_LIMIT_TRIGGER_DEPTH, 1},
		{SQLITE_LIMIT_WORKER_THREADS, 0},
	};
	int rc = SQLITE_OK;

	for (size_t i = 0; i < sizeof(settings) / sizeof(*settings) && rc == SQLITE_OK; i++)
		rc = sqlite3_db_config(db, settings[i].what, settings[i].value, NULL);
	for (size_t i = 0; i < sizeof(limits) / sizeof(*limits); i++)
		sqlite3_limit(db, limits[i].what, limits[i].value);
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(db, "PRAGMA cell_size_check=ON; PRAGMA temp_store=MEMORY", NULL, NULL,
				  NULL);
	return rc;
}

static int ask_verdict(sqlite3 *db, const struct validate_task *task, struct validate_answer *answer)
{
	int rc = read_names(db, answer);

	return rc == 0 ? check(db, task->full, answer) : rc;
}

/*
 * Asks on a connection of its own. READONLY makes SQLite 3.40 forget the CHECKs of the file's tables
 * (sqlite3AddCheckConstraint()): for VACUUM they then differ from the tables that it creates from the same
 * SQL, and it copies them row by row, under new rowids (xferOptimization()). So the connection that VACUUMs
 * must not be READONLY; VALIDATE_VFS refuses its writes to the file.
 */
static int ask(const struct validate_task *task, struct validate_answer *answer, bool fit)
{
	const int flags = (fit ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY) | SQLITE_OPEN_PRIVATECACHE |
			  SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
	sqlite3 *db = NULL;
	int rc = sqlite3_open_v2(VALIDATE_FILE, &db, flags, VALIDATE_VFS);

	if (rc == SQLITE_OK)
		rc = harden(db, fit);
	if (rc == SQLITE_OK)
		rc = fit ? validate_fit_make(db, task, answer) : ask_verdict(db, task, answer);
	else
		rc = validate_sql_refuse(answer, db, rc, -EUCLEAN);
	sqlite3_close(db);
	return rc;
}

int validate_sql_run(const struct validate_task *task, struct validate_answer *answer)
{
	int rc = validate_vfs_register(task->size);

	sqlite3_hard_heap_limit64(HEAP_MAX);
	if (rc != SQLITE_OK)
		return validate_sql_refuse(answer, NULL, rc, -EIO);
	if (!task->fit_only)
		rc = ask(task, answer, false);
	/* On another connection: collations that stand in for unknown ones must not order its indexes. */
	if (rc == 0 && task->fit_page_size)
		rc = ask(task, answer, true);
	return rc;
}
