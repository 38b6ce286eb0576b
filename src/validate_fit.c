/* SPDX-License-Identifier: MIT */
/*
 * validate_fit.c - the same content with another page size, in the child. A WAL database's page size cannot
 * be changed by what is restored into it, so that the upload has to be brought to it before.
 *
 * VACUUM INTO keeps user_version, application_id, encoding, auto_vacuum and reserved bytes; and rowids, as
 * long as it copies a table as it is (xferOptimization() of insert.c).
 */
#include "validate_private.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>

int validate_fit_make(struct sqlite3 *db, const struct validate_task *task, struct validate_answer *answer)
{
	char sql[64];
	int rc;

	snprintf(sql, sizeof(sql), "PRAGMA page_size=%u", (unsigned)task->fit_page_size);
	rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(db, "VACUUM INTO '" VALIDATE_FIT "'", NULL, NULL, NULL);
	return rc == SQLITE_OK ? 0 : validate_sql_refuse(answer, db, rc, -EOPNOTSUPP);
}
