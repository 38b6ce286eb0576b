/* SPDX-License-Identifier: MIT */
/*
 * copy.h - databases in memory: as sqlite3_backup gives them, masked where two copies of one version may
 * differ, and looked at through SQLite.
 */
#ifndef SQLSNAP_TEST_COPY_H
#define SQLSNAP_TEST_COPY_H

#include "unit.h"

#include <sqlite3.h>

#include "../../src/header.h"

struct copy {
	unsigned char *bytes; /* sqlite3_malloc'ed */
	size_t size;
};

/* Clears what differs between copies, in SIZE bytes from OFFSET: change counter, schema cookie, version. */
static inline void mask(unsigned char *bytes, size_t size, uint64_t offset)
{
	for (size_t i = 0; i < size && offset + i < HEADER_SIZE; i++) {
		uint64_t at = offset + i;

		if ((at >= 24 && at < 28) || (at >= 40 && at < 44) || at >= 92)
			bytes[i] = 0;
	}
}

/* What DB's transaction reads, masked. */
static inline struct copy copy_of(sqlite3 *db)
{
	sqlite3_backup *backup;
	sqlite3_int64 size;
	struct copy copy;
	sqlite3 *to;

	assert_int_equal(sqlite3_open(":memory:", &to), SQLITE_OK);
	backup = sqlite3_backup_init(to, "main", db, "main");
	assert_non_null(backup);
	assert_int_equal(sqlite3_backup_step(backup, -1), SQLITE_DONE);
	assert_int_equal(sqlite3_backup_finish(backup), SQLITE_OK);
	copy.bytes = sqlite3_serialize(to, "main", &size, 0);
	assert_non_null(copy.bytes);
	copy.size = (size_t)size;
	sqlite3_close(to);
	mask(copy.bytes, copy.size, 0);
	return copy;
}

/* A connection to the copy, which it takes over. */
static inline sqlite3 *copy_open(struct copy copy)
{
	sqlite3_int64 size = (sqlite3_int64)copy.size;
	sqlite3 *db;

	copy.bytes[18] = copy.bytes[19] = 1; /* a database in memory has no WAL */
	assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
	assert_int_equal(
		sqlite3_deserialize(db, "main", copy.bytes, size, size, SQLITE_DESERIALIZE_FREEONCLOSE),
		SQLITE_OK);
	return db;
}

static inline int64_t copy_ask(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *stmt;
	int64_t value;

	assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	value = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	return value;
}

/* Asserts that DB's whole database is in order, and closes DB. */
static inline void assert_whole(sqlite3 *db)
{
	assert_int_equal(
		copy_ask(db, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"), 0);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

#endif
