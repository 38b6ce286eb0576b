/* SPDX-License-Identifier: MIT */
/*
 * validate_fit.c - the same content with another page size, in the child. A restore cannot change the page
 * size of a WAL database, so the upload must be converted to it beforehand.
 *
 * VACUUM INTO keeps user_version, application_id, encoding, auto_vacuum and reserved bytes; and rowids, as
 * long as it copies a table as it is (xferOptimization() of insert.c). Where the new table differs from the
 * old one, as with a descending index in the schema format from before 2012, it silently does not. An
 * application's index over those rowids, such as that of FTS, would then lead to other rows: such a fit is
 * refused.
 */
#include "validate_private.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

/* For each table of the user whose rows could silently get new rowids: its name, and the name of its rowid;
 * NULL where columns have taken all three names. A primary key that is no index is the rowid itself. */
static const char tables_sql[] =
	"WITH names(n) AS (VALUES('rowid'),('oid'),('_rowid_'))"
	" SELECT t.name, (SELECT n FROM names WHERE n COLLATE NOCASE NOT IN"
	" (SELECT name FROM pragma_table_xinfo(t.name,'main')))"
	" FROM main.sqlite_schema AS t"
	" WHERE t.type='table' AND t.rootpage>0 AND t.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
	" AND (NOT EXISTS(SELECT 1 FROM pragma_table_xinfo(t.name,'main') WHERE pk)"
	" OR EXISTS(SELECT 1 FROM pragma_index_list(t.name,'main') WHERE origin='pk'))";

static int prepare_rowids(sqlite3 *db, const char *schema, const char *table, const char *rowid,
			  sqlite3_stmt **out)
{
	char *sql = sqlite3_mprintf("SELECT t.%s FROM %s.\"%w\" AS t NOT INDEXED ORDER BY 1", rowid, schema,
				    table);
	int rc = sql ? sqlite3_prepare_v2(db, sql, -1, out, NULL) : SQLITE_NOMEM;

	sqlite3_free(sql);
	return rc;
}

/* Reads both from end to end. SQLite's result code. */
static int compare_rowids(sqlite3 *db, const char *table, const char *rowid, bool *same)
{
	sqlite3_stmt *old = NULL, *new = NULL;
	int rc = prepare_rowids(db, "main", table, rowid, &old), new_rc;

	*same = true;
	if (rc == SQLITE_ERROR && strncmp(sqlite3_errmsg(db), "no such column", 14) == 0)
		return SQLITE_OK; /* WITHOUT ROWID */
	if (rc == SQLITE_OK)
		rc = prepare_rowids(db, "fit", table, rowid, &new);
	while (rc == SQLITE_OK && *same) {
		rc = sqlite3_step(old);
		new_rc = sqlite3_step(new);
		if (rc == SQLITE_DONE && new_rc == SQLITE_DONE)
			break;
		if ((rc != SQLITE_ROW && rc != SQLITE_DONE) ||
		    (new_rc != SQLITE_ROW && new_rc != SQLITE_DONE)) {
			rc = rc == SQLITE_ROW || rc == SQLITE_DONE ? new_rc : rc;
			break;
		}
		*same = rc == new_rc && sqlite3_column_int64(old, 0) == sqlite3_column_int64(new, 0);
		rc = SQLITE_OK;
	}
	sqlite3_finalize(old);
	sqlite3_finalize(new);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int check_rowids(sqlite3 *db, struct validate_answer *answer)
{
	sqlite3_stmt *tables = NULL;
	bool same = true;
	int rc = sqlite3_exec(db, "ATTACH '" VALIDATE_FIT "' AS fit", NULL, NULL, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_prepare_v2(db, tables_sql, -1, &tables, NULL);
	while (rc == SQLITE_OK && (rc = sqlite3_step(tables)) == SQLITE_ROW) {
		const char *table = (const char *)sqlite3_column_text(tables, 0);
		const char *rowid = (const char *)sqlite3_column_text(tables, 1);

		rc = SQLITE_OK;
		if (table && rowid)
			rc = compare_rowids(db, table, rowid, &same);
		if (!same) {
			validate_answer_refuse(answer, -EOPNOTSUPP,
					       "rows of table \"%s\" would get other rowids", table);
			break;
		}
	}
	if (same && rc != SQLITE_DONE)
		validate_sql_refuse(answer, db, rc, -EOPNOTSUPP);
	sqlite3_finalize(tables);
	return answer->verdict.code;
}

int validate_fit_make(struct sqlite3 *db, const struct validate_task *task, struct validate_answer *answer)
{
	char sql[64];
	int rc;

	snprintf(sql, sizeof(sql), "PRAGMA page_size=%u", (unsigned)task->fit_page_size);
	rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(db, "VACUUM INTO '" VALIDATE_FIT "'", NULL, NULL, NULL);
	return rc == SQLITE_OK ? check_rowids(db, answer) : validate_sql_refuse(answer, db, rc, -EOPNOTSUPP);
}
