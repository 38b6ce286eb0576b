/* SPDX-License-Identifier: MIT */
/*
 * invariant.c - the judge of copies; see invariant.h, and workload.h for what a good copy keeps true.
 *
 * Uses plain SQLite over an image in memory, so that hundreds of copies a minute can be judged. Every rule
 * answers with its reason in words. Never looks at the live database.
 */
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "../app/workload.h"
#include "invariant.h"

__attribute__((format(printf, 2, 3))) static bool refuse(struct verdict *v, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(v->why, sizeof(v->why), format, args);
	va_end(args);
	return false;
}

static uint32_t be32(const unsigned char *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

bool invariant_check_size(struct verdict *v, const unsigned char *image, size_t size)
{
	size_t page_size;

	if (size < 512 || memcmp(image, "SQLite format 3", 16) != 0)
		return refuse(v, "not a database: %zu bytes", size);
	page_size = (size_t)image[16] << 8 | image[17];
	page_size = page_size == 1 ? 65536 : page_size;
	if (page_size < 512 || size % page_size)
		return refuse(v, "%zu bytes are no whole number of pages of %zu", size, page_size);
	if (be32(image + 24) == be32(image + 92) && be32(image + 28) != size / page_size)
		return refuse(v, "%zu pages, but its header says %u", size / page_size, be32(image + 28));
	return true;
}

/* Runs a query whose first row holds N integers. */
static bool query(struct verdict *v, sqlite3 *db, const char *sql, int64_t *values, int n)
{
	sqlite3_stmt *stmt = NULL;
	int rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	for (int i = 0; rc == SQLITE_ROW && i < n; i++)
		values[i] = sqlite3_column_int64(stmt, i);
	sqlite3_finalize(stmt);
	return rc == SQLITE_ROW ? true : refuse(v, "%s: %s", sql, sqlite3_errmsg(db));
}

static bool check_integrity(struct verdict *v, sqlite3 *db)
{
	sqlite3_stmt *stmt = NULL;
	bool ok = false;
	int rc = sqlite3_prepare_v2(db, "PRAGMA integrity_check(3)", -1, &stmt, NULL);

	if (rc == SQLITE_OK && sqlite3_step(stmt) == SQLITE_ROW) {
		const char *text = (const char *)sqlite3_column_text(stmt, 0);

		ok = text && strcmp(text, "ok") == 0;
		if (!ok)
			refuse(v, "integrity_check: %s", text ? text : "(null)");
	} else {
		refuse(v, "integrity_check: %s", sqlite3_errmsg(db));
	}
	sqlite3_finalize(stmt);
	return ok;
}

static bool check_log(struct verdict *v, sqlite3 *db)
{
	sqlite3_stmt *stmt = NULL;
	int64_t expected = -1;
	bool ok = true;
	int rc = sqlite3_prepare_v2(db, "SELECT seq, sum, payload FROM log ORDER BY seq", -1, &stmt, NULL);

	while (ok && rc == SQLITE_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		int64_t seq = sqlite3_column_int64(stmt, 0);
		const unsigned char *bytes = sqlite3_column_blob(stmt, 2);
		size_t size = (size_t)sqlite3_column_bytes(stmt, 2);

		if (expected >= 0 && seq != expected)
			ok = refuse(v, "log has a gap: %lld after %lld", (long long)seq,
				    (long long)expected - 1);
		else if (workload_checksum((uint64_t)seq, bytes, size) !=
			 (uint64_t)sqlite3_column_int64(stmt, 1))
			ok = refuse(v, "payload of row %lld is not the one that was written", (long long)seq);
		expected = seq + 1;
		rc = SQLITE_OK;
	}
	if (ok && rc != SQLITE_DONE)
		ok = refuse(v, "log: %s", sqlite3_errmsg(db));
	sqlite3_finalize(stmt);
	return ok;
}

bool invariant_check_db(struct verdict *v, sqlite3 *db)
{
	int64_t meta[3], sum[1], last[1];

	if (!query(v, db, "SELECT commits, total, count(*) FROM meta", meta, 3))
		return false;
	v->commits = (uint64_t)meta[0];
	if (meta[2] != 1)
		return refuse(v, "meta has %lld rows", (long long)meta[2]);
	if (!query(v, db, "SELECT sum(balance) FROM accounts", sum, 1) ||
	    !query(v, db, "SELECT coalesce(max(seq), 0) FROM log", last, 1))
		return false;
	if (sum[0] != meta[1])
		return refuse(v, "balances add up to %lld, not to %lld", (long long)sum[0],
			      (long long)meta[1]);
	if (last[0] != meta[0])
		return refuse(v, "meta says commit %lld, log says %lld", (long long)meta[0],
			      (long long)last[0]);
	return check_log(v, db) && check_integrity(v, db);
}

bool invariant_check_image(struct verdict *v, unsigned char *image, size_t size)
{
	unsigned char versions[2];
	sqlite3 *db = NULL;
	bool ok = false;

	*v = (struct verdict){0};
	if (!invariant_check_size(v, image, size))
		return false;
	memcpy(versions, image + 18, 2);
	memset(image + 18, 1, 2);
	if (sqlite3_open_v2(":memory:", &db, SQLITE_OPEN_READWRITE, NULL) ||
	    sqlite3_deserialize(db, "main", image, (sqlite3_int64)size, (sqlite3_int64)size,
				SQLITE_DESERIALIZE_READONLY))
		refuse(v, "cannot open: %s", sqlite3_errmsg(db));
	else
		ok = invariant_check_db(v, db);
	sqlite3_close(db);
	memcpy(image + 18, versions, 2);
	return ok;
}
