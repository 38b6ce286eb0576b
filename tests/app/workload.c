/* SPDX-License-Identifier: MIT */
/*
 * workload.c - the tables and transactions of the writing application; see workload.h for what stays true.
 *
 * Plain SQLite as any application uses it: nothing here knows of sqlsnapfs. Every result code is looked at;
 * an error is reported once and the transaction rolled back. Decides nothing about pace, that is writer.c.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "workload.h"

#define BALANCE 1000
#define PAYLOAD_MAX 1800

struct workload_ack *workload_ack_map(const char *path, bool create)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | (create ? O_CREAT : 0), 0600);
	void *map = MAP_FAILED;

	if (fd >= 0 && (!create || ftruncate(fd, sizeof(struct workload_ack)) == 0))
		map = mmap(NULL, sizeof(struct workload_ack), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		perror(path);
	if (fd >= 0)
		close(fd);
	return map == MAP_FAILED ? NULL : map;
}

void workload_age_before(struct workload_age *age, const struct workload_ack *ack)
{
	*age = (struct workload_age){0};
	if (!ack)
		return;
	age->epoch = ack->epoch;
	age->acked = ack->acked;
}

void workload_age_after(struct workload_age *age, const struct workload_ack *ack)
{
	uint64_t begun = ack ? ack->begun : UINT64_MAX, upload = ack ? ack->upload : 0;

	begun = begun > upload ? begun : upload;
	age->begun = !ack || (age->epoch % 2 == 0 && ack->epoch == age->epoch) ? begun : 0;
}

uint64_t workload_checksum(uint64_t seq, const unsigned char *bytes, size_t size)
{
	uint64_t hash = 0xcbf29ce484222325u ^ seq;

	for (size_t i = 0; i < size; i++)
		hash = (hash ^ bytes[i]) * 0x100000001b3u;
	return hash;
}

/* xorshift64*: the same seed writes the same database. */
static uint64_t next_random(struct workload *w)
{
	w->random ^= w->random >> 12;
	w->random ^= w->random << 25;
	w->random ^= w->random >> 27;
	return w->random * 0x2545f4914f6cdd1du;
}

static int complain(struct workload *w, const char *what, int rc)
{
	fprintf(stderr, "writer: %s: %s (%d)\n", what, sqlite3_errmsg(w->db),
		sqlite3_extended_errcode(w->db));
	return rc;
}

int workload_exec(struct workload *w, const char *sql)
{
	int rc = sqlite3_exec(w->db, sql, NULL, NULL, NULL);

	return rc == SQLITE_OK ? rc : complain(w, sql, rc);
}

static int exec_format(struct workload *w, const char *format, ...)
{
	va_list args;
	char *sql;
	int rc;

	va_start(args, format);
	sql = sqlite3_vmprintf(format, args);
	va_end(args);
	rc = sql ? workload_exec(w, sql) : SQLITE_NOMEM;
	sqlite3_free(sql);
	return rc;
}

/* What has to be said before the first page is written. */
static int configure(struct workload *w)
{
	const struct workload_options *o = w->options;
	int rc;

	sqlite3_busy_timeout(w->db, o->busy_timeout);
	rc = exec_format(w, "PRAGMA page_size=%d; PRAGMA auto_vacuum=%d;", o->page_size, o->auto_vacuum);
	if (!rc && o->exclusive)
		rc = workload_exec(w, "PRAGMA locking_mode=EXCLUSIVE");
	if (!rc)
		rc = exec_format(w, "PRAGMA journal_mode=%s; PRAGMA synchronous=%s;", o->journal, o->sync);
	if (!rc && o->cache_size)
		rc = exec_format(w, "PRAGMA cache_size=%d", o->cache_size);
	if (!rc && o->autocheckpoint >= 0)
		rc = exec_format(w, "PRAGMA wal_autocheckpoint=%d", o->autocheckpoint);
	return rc;
}

static int make_tables(struct workload *w)
{
	const struct workload_options *o = w->options;

	return exec_format(
		w,
		"BEGIN IMMEDIATE;"
		"CREATE TABLE IF NOT EXISTS accounts(id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);"
		"CREATE TABLE IF NOT EXISTS log(seq INTEGER PRIMARY KEY, sum INTEGER NOT NULL, payload BLOB);"
		"CREATE TABLE IF NOT EXISTS meta(id INTEGER PRIMARY KEY CHECK(id = 1), commits INTEGER NOT "
		"NULL,"
		" total INTEGER NOT NULL);"
		"CREATE INDEX IF NOT EXISTS log_by_sum ON log(sum);"
		"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)"
		" INSERT OR IGNORE INTO accounts SELECT i, %d FROM n;"
		"INSERT OR IGNORE INTO meta SELECT 1, %llu, %d * count(*) FROM accounts;"
		"COMMIT;",
		o->rows, BALANCE, (unsigned long long)o->base, BALANCE);
}

static bool has_tables(struct workload *w)
{
	return sqlite3_table_column_metadata(w->db, "main", "meta", "commits", NULL, NULL, NULL, NULL,
					     NULL) == SQLITE_OK;
}

static int prepare(struct workload *w)
{
	static const char *const move = "UPDATE accounts SET balance = balance + ?2 WHERE id = ?1";
	static const char *const append = "INSERT INTO log VALUES(?1, ?2, ?3)";
	static const char *const prune = "DELETE FROM log WHERE seq <= ?1";
	static const char *const meta = "UPDATE meta SET commits = ?1";
	int rc = sqlite3_prepare_v2(w->db, move, -1, &w->move, NULL);

	if (!rc)
		rc = sqlite3_prepare_v2(w->db, append, -1, &w->append, NULL);
	if (!rc)
		rc = sqlite3_prepare_v2(w->db, prune, -1, &w->prune, NULL);
	if (!rc)
		rc = sqlite3_prepare_v2(w->db, meta, -1, &w->meta, NULL);
	return rc ? complain(w, "prepare", rc) : 0;
}

int workload_open(struct workload *w, const struct workload_options *options)
{
	size_t room = options->big_size > PAYLOAD_MAX ? (size_t)options->big_size : PAYLOAD_MAX;
	int rc;

	*w = (struct workload){.options = options, .random = options->seed * 2 + 1, .payload = malloc(room)};
	if (!w->payload)
		return SQLITE_NOMEM;
	rc = sqlite3_open_v2(options->path, &w->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
	if (rc)
		return complain(w, options->path, rc);
	rc = configure(w);
	if (!rc && !has_tables(w))
		rc = make_tables(w);
	return rc ? rc : prepare(w);
}

int workload_close(struct workload *w)
{
	int rc;

	sqlite3_finalize(w->move);
	sqlite3_finalize(w->append);
	sqlite3_finalize(w->prune);
	sqlite3_finalize(w->meta);
	rc = sqlite3_close(w->db);
	free(w->payload);
	*w = (struct workload){0};
	return rc;
}

int workload_last(struct workload *w, uint64_t *commits)
{
	sqlite3_stmt *stmt = NULL;
	int rc = sqlite3_prepare_v2(w->db, "SELECT commits FROM meta", -1, &stmt, NULL);

	if (!rc)
		rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW) {
		*commits = (uint64_t)sqlite3_column_int64(stmt, 0);
		rc = SQLITE_OK;
	}
	sqlite3_finalize(stmt);
	return rc ? complain(w, "commits", rc) : 0;
}

static int step_once(struct workload *w, sqlite3_stmt *stmt, const char *what)
{
	int rc = sqlite3_step(stmt);

	if (rc != SQLITE_DONE)
		complain(w, what, rc);
	sqlite3_reset(stmt);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int move_money(struct workload *w, int64_t amount)
{
	sqlite3_bind_int64(w->move, 1, 1 + (int64_t)(next_random(w) % (uint64_t)w->options->rows));
	sqlite3_bind_int64(w->move, 2, amount);
	return step_once(w, w->move, "update");
}

static int append_log(struct workload *w, uint64_t seq)
{
	const struct workload_options *o = w->options;
	bool big = o->big_every > 0 && o->big_size > 0 && seq % (uint64_t)o->big_every == 0;
	size_t size = big ? (size_t)o->big_size : next_random(w) % PAYLOAD_MAX;

	for (size_t i = 0; i < size; i++)
		w->payload[i] = (unsigned char)(i % 8 ? w->payload[i - 1] + 1u : next_random(w));
	sqlite3_bind_int64(w->append, 1, (int64_t)seq);
	sqlite3_bind_int64(w->append, 2, (int64_t)workload_checksum(seq, w->payload, size));
	sqlite3_bind_blob(w->append, 3, w->payload, (int)size, SQLITE_STATIC);
	return step_once(w, w->append, "insert");
}

static int change(struct workload *w, uint64_t seq)
{
	int64_t amount = (int64_t)(next_random(w) % 100);
	int rc = move_money(w, -amount);

	if (!rc)
		rc = append_log(w, seq);
	if (!rc)
		rc = move_money(w, amount);
	if (!rc) {
		sqlite3_bind_int64(w->prune, 1, (int64_t)seq - w->options->keep);
		rc = step_once(w, w->prune, "delete");
	}
	if (!rc) {
		sqlite3_bind_int64(w->meta, 1, (int64_t)seq);
		rc = step_once(w, w->meta, "meta");
	}
	return rc;
}

int workload_commit(struct workload *w, uint64_t seq, bool keep_it, struct workload_ack *ack)
{
	int rc = workload_exec(w, "BEGIN IMMEDIATE");

	if (rc)
		return rc;
	if (w->options->follow) {
		rc = workload_last(w, &seq);
		seq++;
	}
	w->seq = seq;
	rc = rc ? rc : change(w, seq);
	if (!rc && keep_it) {
		if (ack)
			ack->begun = seq;
		rc = workload_exec(w, "COMMIT");
		if (!rc && ack)
			ack->acked = seq;
	}
	if (!sqlite3_get_autocommit(w->db) && workload_exec(w, "ROLLBACK") && !rc)
		rc = SQLITE_ERROR;
	return rc;
}

int workload_leave_open(struct workload *w)
{
	int rc = workload_exec(w, "PRAGMA cache_size=5; PRAGMA cache_spill=5; BEGIN IMMEDIATE;");

	if (!rc)
		rc = workload_exec(
			w, "UPDATE accounts SET balance = balance + 1; UPDATE log SET sum = sum + 1;");
	if (!rc)
		rc = exec_format(w, "UPDATE log SET payload = randomblob(%d)", PAYLOAD_MAX);
	if (!rc)
		rc = sqlite3_db_cacheflush(w->db);
	return rc == SQLITE_BUSY ? SQLITE_OK : rc;
}
