/* SPDX-License-Identifier: MIT */
/*
 * diff_engine.c - compares what the mount shows with what SQLite's own backup says, byte for byte.
 *
 *   diff_engine SOURCE MOUNT [--quick]
 *
 * For each page size, auto_vacuum mode and journal mode it makes a database in the folder SOURCE, takes it
 * through a list of states, and in each, with the writer at rest, reads the file through MOUNT. That must be
 * sqlite3_backup() of the same transaction; masked are only the header fields that a backup sets anew: the
 * change counter (24..27, 92..95), the page count where the live one is stale (28..31), the schema cookie
 * (40..43) and the library's version (96..99). A WAL database is then fully checkpointed and compared with
 * its own file, unmasked. Rows, freelist, leftover pages past the end and dead frames of rolled-back
 * transactions all differ if a wrong frame is taken.
 */
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "copy.h"

struct run {
	const char *source, *mount;
	int page_size, auto_vacuum;
	bool wal;
	char name[64], live[512], seen[512];
	sqlite3 *db;
	unsigned compared, refused;
};

/* What is done to the database one after the other; after each the two sides are compared. */
static const struct {
	const char *what, *sql;
	bool only_wal;
} states[] = {
	{"one table", "CREATE TABLE t(id INTEGER PRIMARY KEY, x BLOB); CREATE INDEX i ON t(x);", false},
	{"rows",
	 "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)"
	 " INSERT INTO t SELECT i, randomblob(i % 97) FROM n;",
	 false},
	{"an overflow chain", "INSERT INTO t VALUES(1000, randomblob(200000));", false},
	{"a partial checkpoint",
	 "PRAGMA wal_checkpoint(PASSIVE); INSERT INTO t VALUES(1001, randomblob(50));", true},
	{"rewritten rows", "UPDATE t SET x = randomblob(length(x)) WHERE id % 3 = 0;", false},
	{"a rolled-back transaction that spilled",
	 "PRAGMA cache_size=4; BEGIN; UPDATE t SET x = randomblob(400); DELETE FROM t WHERE id > 20; "
	 "ROLLBACK;"
	 "PRAGMA cache_size=-2000;",
	 false},
	{"a savepoint rolled back",
	 "BEGIN; INSERT INTO t VALUES(2000, 'a'); SAVEPOINT s; UPDATE t SET x = randomblob(300); ROLLBACK TO "
	 "s;"
	 " INSERT INTO t VALUES(2001, 'b'); COMMIT;",
	 false},
	{"deleted rows", "DELETE FROM t WHERE id BETWEEN 50 AND 250 OR id = 1000;", false},
	{"an incremental vacuum", "PRAGMA incremental_vacuum;", false},
	{"the WAL used from its start again",
	 "PRAGMA wal_checkpoint(RESTART); INSERT INTO t VALUES(3000, randomblob(10));", true},
	{"a changed schema",
	 "ALTER TABLE t ADD COLUMN y DEFAULT 7; CREATE TABLE u(a PRIMARY KEY) WITHOUT ROWID;", true},
	{"a vacuum", "VACUUM;", false},
	{"growth",
	 "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400)"
	 " INSERT INTO t(x) SELECT randomblob(900) FROM n;",
	 false},
	{"user_version", "PRAGMA user_version=42;", false},
	{"everything dropped", "DROP TABLE t;", false},
	{"shrunk", "VACUUM;", false},
};

static int complain(struct run *r, const char *state, const char *why)
{
	fprintf(stderr, "diff_engine: %s: %s: %s\n", r->name, state, why);
	r->refused++;
	return -1;
}

/* The backup of what the connection sees, in memory; to be freed with sqlite3_free(). */
static unsigned char *backup_image(struct run *r, sqlite3_int64 *size)
{
	sqlite3 *copy = NULL;
	sqlite3_backup *backup;
	unsigned char *image = NULL;

	if (sqlite3_open(":memory:", &copy) == SQLITE_OK) {
		backup = sqlite3_backup_init(copy, "main", r->db, "main");
		if (backup && sqlite3_backup_step(backup, -1) == SQLITE_DONE &&
		    sqlite3_backup_finish(backup) == SQLITE_OK)
			image = sqlite3_serialize(copy, "main", size, 0);
	}
	sqlite3_close(copy);
	return image;
}

/* The database file itself, through SQLite's own handle: another descriptor's close would drop SQLite's
 * locks. */
static unsigned char *live_image(struct run *r, sqlite3_int64 *size)
{
	sqlite3_file *file = NULL;
	unsigned char *image = NULL;

	sqlite3_file_control(r->db, "main", SQLITE_FCNTL_FILE_POINTER, &file);
	if (!file || file->pMethods->xFileSize(file, size) != SQLITE_OK)
		return NULL;
	image = sqlite3_malloc64((sqlite3_uint64)*size + 1);
	if (image && file->pMethods->xRead(file, image, (int)*size, 0) != SQLITE_OK) {
		sqlite3_free(image);
		return NULL;
	}
	return image;
}

static void mask(unsigned char *a, unsigned char *b)
{
	static const struct {
		int from, to;
	} fields[] = {{24, 27}, {40, 43}, {92, 99}};
	bool stale = memcmp(a + 24, a + 92, 4) != 0 || memcmp(b + 24, b + 92, 4) != 0;

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		memset(a + fields[i].from, 0, (size_t)(fields[i].to - fields[i].from + 1));
		memset(b + fields[i].from, 0, (size_t)(fields[i].to - fields[i].from + 1));
	}
	if (stale) {
		memset(a + 28, 0, 4);
		memset(b + 28, 0, 4);
	}
}

static int same(struct run *r, const char *state, const struct copy *seen, const unsigned char *other,
		size_t size)
{
	char why[128];

	r->compared++;
	if (seen->size != size) {
		snprintf(why, sizeof(why), "%zu bytes in the mount, %zu expected", seen->size, size);
		return complain(r, state, why);
	}
	for (size_t i = 0; i < size; i++) {
		if (seen->bytes[i] != other[i]) {
			snprintf(why, sizeof(why), "byte %zu of page %zu differs", i % (size_t)r->page_size,
				 i / (size_t)r->page_size + 1);
			return complain(r, state, why);
		}
	}
	return 0;
}

static int compare_backup(struct run *r, const char *state, enum copy_style style)
{
	sqlite3_int64 size = 0;
	unsigned char *backup;
	struct copy seen;
	int rc;

	if (!copy_file(&seen, r->seen, style, r->compared, 10)) {
		copy_finish(&seen);
		return complain(r, state, seen.why);
	}
	backup = backup_image(r, &size);
	if (!backup)
		rc = complain(r, state, "no backup");
	else if (size >= 100 && seen.size >= 100) {
		mask(seen.bytes, backup);
		rc = same(r, state, &seen, backup, (size_t)size);
	} else {
		rc = same(r, state, &seen, backup, (size_t)size);
	}
	sqlite3_free(backup);
	copy_finish(&seen);
	return rc;
}

/* Reads first, then checkpoints: the file must become exactly what was read. */
static int compare_checkpointed(struct run *r, const char *state)
{
	sqlite3_int64 size = 0;
	unsigned char *live = NULL;
	struct copy seen;
	int rc = 0;

	sqlite3_busy_timeout(r->db, 10000);
	if (!copy_file(&seen, r->seen, COPY_READ, 1, 0))
		rc = complain(r, state, seen.why);
	else if (sqlite3_wal_checkpoint_v2(r->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL) != SQLITE_OK)
		rc = complain(r, state, "cannot checkpoint after the reader has gone");
	else if (!(live = live_image(r, &size)))
		rc = complain(r, state, "cannot read the live file");
	else
		rc = same(r, state, &seen, live, (size_t)size);
	sqlite3_free(live);
	copy_finish(&seen);
	return rc;
}

static int exec(struct run *r, const char *state, const char *sql)
{
	return sqlite3_exec(r->db, sql, NULL, NULL, NULL) == SQLITE_OK
		       ? 0
		       : complain(r, state, sqlite3_errmsg(r->db));
}

static int open_db(struct run *r)
{
	char sql[200];

	snprintf(r->name, sizeof(r->name), "p%d-av%d-%s.db", r->page_size, r->auto_vacuum,
		 r->wal ? "wal" : "delete");
	snprintf(r->live, sizeof(r->live), "%s/%s", r->source, r->name);
	snprintf(r->seen, sizeof(r->seen), "%s/%s", r->mount, r->name);
	if (sqlite3_open(r->live, &r->db) != SQLITE_OK)
		return complain(r, "open", sqlite3_errmsg(r->db));
	sqlite3_busy_timeout(r->db, 5000);
	snprintf(sql, sizeof(sql),
		 "PRAGMA page_size=%d; PRAGMA auto_vacuum=%d; PRAGMA journal_mode=%s; PRAGMA synchronous=OFF;"
		 "PRAGMA wal_autocheckpoint=0;",
		 r->page_size, r->auto_vacuum, r->wal ? "wal" : "delete");
	return exec(r, "open", sql);
}

static void one_database(struct run *r)
{
	if (open_db(r) == 0) {
		for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
			if (states[i].only_wal && !r->wal)
				continue;
			if (exec(r, states[i].what, states[i].sql) ||
			    compare_backup(r, states[i].what, i % COPY_N))
				break;
			if (r->wal && i % 4 == 2 && compare_checkpointed(r, states[i].what))
				break;
		}
	}
	sqlite3_close(r->db);
	r->db = NULL;
}

int main(int argc, char **argv)
{
	static const int page_sizes[] = {512, 1024, 2048, 4096, 8192, 16384, 32768, 65536};
	struct run r = {0};

	if (argc < 3) {
		fputs("usage: diff_engine SOURCE MOUNT [--quick]\n", stderr);
		return 2;
	}
	r.source = argv[1];
	r.mount = argv[2];
	for (size_t i = 0; i<sizeof(page_sizes) / sizeof(page_sizes[0]); i += argc> 3 ? 3 : 1) {
		for (int mode = 0; mode < 6; mode++) {
			r.page_size = page_sizes[i];
			r.auto_vacuum = mode % 3;
			r.wal = mode < 3;
			one_database(&r);
		}
	}
	printf("{\"compared\": %u, \"refused\": %u}\n", r.compared, r.refused);
	return r.refused || !r.compared ? 1 : 0;
}
