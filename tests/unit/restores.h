/* SPDX-License-Identifier: MIT */
/*
 * restores.h - what the tests of restores share: uploads, restores of them, and looks at what became of the
 * live database, by an application that has it open and by one that opens it afterwards.
 */
#ifndef SQLSNAP_TEST_RESTORES_H
#define SQLSNAP_TEST_RESTORES_H

#include "copy.h"
#include "gens.h"
#include "kept_file.h"
#include "locks_now.h"

#include <errno.h>
#include <time.h>

#include "../../src/clock.h"
#include "../../src/keep.h"
#include "../../src/restore.h"
#include "../../src/snap_private.h"
#include "../check/own_mounts.h"

#define UPLOADED_AT 1500000000123456789ll /* an mtime, as cp -p gives it */

#define TABLE "CREATE TABLE t(a INTEGER PRIMARY KEY, b);"
#define WAL_TABLE "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;" TABLE
#define ROLLBACK_TABLE "PRAGMA journal_mode=DELETE;" TABLE
#define COUNT_T "SELECT count(*) FROM t"

/* A database that somebody wants back. */
struct upload {
	struct staging *staging;
	struct validate_report report;
	unsigned char *bytes; /* sqlite3_malloc'ed */
	size_t size;
};

/* The whole of a database that SQL makes, in memory. */
static inline struct copy database_of(uint32_t page_size, const char *sql)
{
	sqlite3_int64 size;
	struct copy copy;
	char pragma[64];
	sqlite3 *db;

	assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
	snprintf(pragma, sizeof(pragma), "PRAGMA page_size=%u", page_size);
	assert_int_equal(sqlite3_exec(db, pragma, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	copy.bytes = sqlite3_serialize(db, "main", &size, 0);
	assert_non_null(copy.bytes);
	copy.size = (size_t)size;
	sqlite3_close(db);
	return copy;
}

/* The names of the tables, as validate_file() reports them. */
static inline void report_tables(struct validate_report *report, const struct copy *copy)
{
	struct copy own = {sqlite3_malloc64(copy->size), copy->size};
	sqlite3_stmt *stmt;
	sqlite3 *db;

	memcpy(own.bytes, copy->bytes, copy->size);
	db = copy_open(own);
	assert_int_equal(sqlite3_prepare_v2(db,
					    "SELECT name FROM sqlite_schema WHERE type='table' AND "
					    "name NOT LIKE 'sqlite_%' ORDER BY name",
					    -1, &stmt, NULL),
			 SQLITE_OK);
	while (sqlite3_step(stmt) == SQLITE_ROW) {
		const char *name = (const char *)sqlite3_column_text(stmt, 0);
		size_t size = strlen(name) + 1;

		report->names = realloc(report->names, report->names_size + size);
		assert_non_null(report->names);
		memcpy(report->names + report->names_size, name, size);
		report->names_size += size;
		report->tables++;
	}
	sqlite3_finalize(stmt);
	sqlite3_close(db);
}

/* Takes ownership of COPY. */
static inline void upload_bytes(struct upload *u, struct snap *snap, struct copy copy)
{
	*u = (struct upload){.bytes = copy.bytes, .size = copy.size};
	assert_int_equal(staging_create(&u->staging, snap->core.store, NULL), 0);
	assert_int_equal(staging_truncate(u->staging, 0, NULL), 0);
	assert_int_equal(staging_write(u->staging, copy.bytes, copy.size, 0, NULL), copy.size);
	assert_int_equal(header_decode(&u->report.header, copy.bytes, copy.size), 0);
	u->report.pages = (uint32_t)(copy.size / u->report.header.page_size);
	u->report.size = (uint64_t)u->report.pages * u->report.header.page_size;
	report_tables(&u->report, &copy);
}

static inline void upload_make(struct upload *u, struct snap *snap, uint32_t page_size, const char *sql)
{
	upload_bytes(u, snap, database_of(page_size, sql));
}

static inline void upload_finish(struct upload *u)
{
	staging_destroy(u->staging);
	validate_report_finish(&u->report);
	sqlite3_free(u->bytes);
}

/* A live database that OLD makes, and an upload with the content that NEW makes. */
static inline void restore_up(struct fixture *f, struct upload *u, const char *old, const char *new)
{
	up(f, old);
	upload_make(u, f->snap, 4096, new);
}

/* The application ends as well. */
static inline void restore_down(struct fixture *f, struct upload *u)
{
	upload_finish(u);
	app_stop(&f->app);
	down(f);
}

/* ---- an application that waits for readers ------------------------------------------------------------ */

#define BUSY_CHECKPOINT "PRAGMA busy_timeout=20000; PRAGMA wal_checkpoint(TRUNCATE)"

static inline bool awaits_readers(struct fixture *f)
{
	struct proclocks_seen seen;
	struct stat st;

	return fstatat(f->folder.fd, "db-shm", &st, 0) == 0 &&
	       locks_now(st.st_dev, st.st_ino, getpid(), &seen) == 0 &&
	       proclocks_readers_awaited(&seen, getpid());
}

/* The application begins SQL, whose checkpoint at the end waits for a pin of ours. */
static inline void begin_checkpoint(struct fixture *f, const char *sql)
{
	uint32_t size = (uint32_t)strlen(sql);
	int64_t end = monotonic_ns() + 20 * NS_PER_S;

	assert_int_equal(write(f->app.sock, &size, sizeof(size)), sizeof(size));
	assert_int_equal(write(f->app.sock, sql, size), size);
	while (!awaits_readers(f)) {
		assert_true(monotonic_ns() < end);
		nanosleep(&(struct timespec){.tv_nsec = NS_PER_MS}, NULL);
	}
}

/* The checkpoint has succeeded. */
static inline void end_checkpoint(struct fixture *f)
{
	struct app_reply reply;

	assert_int_equal(read(f->app.sock, &reply, sizeof(reply)), sizeof(reply));
	assert_int_equal(reply.rc, SQLITE_OK);
	assert_int_equal(reply.value, 0); /* not busy */
}

/* ---- restoring ----------------------------------------------------------------------------------------- */

struct restoring {
	struct snap_restored result;
	struct snap_err err;
	bool force;
	unsigned keep;
	int busy_timeout_ms;
	struct headstart *headstart; /* borrowed */
	struct snap_inode file, folder;
	bool (*cancelled)(void *arg);
	void (*durable)(void *arg);
	vfs_fault_fn fault;
	void *arg; /* of all three */
};

#define RESTORING ((struct restoring){.keep = 3, .busy_timeout_ms = 5000})

static inline void put_bytes(struct fixture *f, const char *name, const struct copy *copy)
{
	int fd = openat(f->folder.fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, copy->bytes, copy->size), copy->size);
	close(fd);
}

/* The source of "db", whatever file that is, without a look at it: by way of another database. A
 * reference. */
static inline struct source *source_of(struct fixture *f)
{
	struct source *source = NULL;
	struct snap_attr attr;
	struct snap_gen *gen;
	struct place place;

	if (!file_exists(&f->folder, "other")) {
		struct copy other = database_of(512, "CREATE TABLE o(x)");

		put_bytes(f, "other", &other);
		sqlite3_free(other.bytes);
	}
	assert_int_equal(snap_lookup(f->snap, "other", &attr, &gen, NULL), 0);
	place = (struct place){
		.root = gen->source->place.root, .dir = gen->source->place.dir, .name = (char[]){"db"}};
	assert_int_equal(sources_get(f->snap->core.sources, &place, &source), 0);
	snap_gen_unref(gen);
	return source;
}

static inline int restore(struct fixture *f, struct upload *u, struct restoring *how)
{
	struct source *source = source_of(f);
	struct restore_order order = {.source = source,
				      .staging = u->staging,
				      .report = &u->report,
				      .force = how->force,
				      .keep = how->keep,
				      .headstart = how->headstart,
				      .file = how->file,
				      .folder = how->folder,
				      .busy_timeout_ms = how->busy_timeout_ms,
				      .mtime_ns = UPLOADED_AT,
				      .cancelled = how->cancelled,
				      .durable = how->durable,
				      .arg = how->arg,
				      .fault = how->fault,
				      .fault_arg = how->arg};
	int rc = restore_run(&order, &how->result, &how->err);

	source_unref(source);
	return rc;
}

static inline void assert_restored(struct fixture *f, struct upload *u, struct restoring *how)
{
	int rc = restore(f, u, how);

	if (rc)
		fail_msg("%d: %s", rc, how->err.text);
	assert_true(how->result.committed);
}

/* Makes the live database one that SQLite cannot read. */
static inline void damage_header(struct fixture *f)
{
	char path[PATH_MAX];
	int fd = open(folder_file(&f->folder, "db", path), O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, "\1\2\3", 3, 21), 3);
	close(fd);
}

/* ---- what became of it --------------------------------------------------------------------------------- */

/* The name shows exactly what was uploaded. */
static inline void assert_shows_upload(struct fixture *f, const struct upload *u)
{
	struct snap_attr attr;
	struct snap_gen *gen = look(f, &attr), *moved = NULL;
	unsigned char *bytes;

	assert_int_equal(attr.size, u->size);
	assert_int_equal(attr.mtime.tv_sec, UPLOADED_AT / 1000000000);
	assert_int_equal(attr.mtime.tv_nsec, UPLOADED_AT % 1000000000);
	assert_int_equal(snap_gen_open(gen, 0, &moved, NULL), 0);
	bytes = bytes_of(gen);
	assert_memory_equal(bytes, u->bytes, u->size);
	free(bytes);
	close_gen(gen);
}

#define LOOK "--look"

/* The number that SQL answers; -1: none. */
static inline int64_t look_number(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *stmt = NULL;
	int64_t value = -1;

	if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) == SQLITE_OK && sqlite3_step(stmt) == SQLITE_ROW)
		value = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	return value;
}

/* What main() does first: argv is LOOK, a database, SQL and the number that it must answer. */
static inline int look_main(char **argv)
{
	static const char check[] =
		"SELECT count(*)=1 AND max(integrity_check)='ok' FROM pragma_integrity_check";
	sqlite3 *db = NULL;
	int rc = 0;

	if (sqlite3_open_v2(argv[2], &db, SQLITE_OPEN_READWRITE, "unix") != SQLITE_OK)
		rc = 2;
	sqlite3_busy_timeout(db, 5000);
	sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	if (!rc && look_number(db, argv[3]) != atoll(argv[4]))
		rc = 3;
	if (!rc && look_number(db, check) != 1)
		rc = 4;
	sqlite3_close(db);
	return rc;
}

/* 0 if a process that opens the database now finds VALUE, and everything in order. It executes this program
 * again, because a forked child inherits this one's list of open files. */
static inline int look_afresh(struct fixture *f, const char *sql, int64_t value)
{
	char path[PATH_MAX], text[32];
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		snprintf(text, sizeof(text), "%lld", (long long)value);
		execl("/proc/self/exe", "look", LOOK, folder_file(&f->folder, "db", path), sql, text, NULL);
		_exit(9);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

static inline void assert_afresh(struct fixture *f, const char *sql, int64_t value)
{
	assert_int_equal(look_afresh(f, sql, value), 0);
}

/* Group setup: folders of tests are in memory, because a disk's fsync(2) would take most of their time. Needs
 * root. */
static inline int own_tmp(void **state)
{
	(void)state;
	return take_own_mounts() || mount("test", "/tmp", "tmpfs", 0, "mode=1777");
}

/* Bytes of the file NAME in the folder; -1: it is not there. */
static inline int64_t file_bytes(struct fixture *f, const char *name)
{
	struct stat st;

	return fstatat(f->folder.fd, name, &st, AT_SYMLINK_NOFOLLOW) ? -1 : (int64_t)st.st_size;
}

/* ---- what was kept ------------------------------------------------------------------------------------- */

static inline size_t count_kept(struct fixture *f)
{
	struct keep_entry *entries;
	size_t count;
	char path[PATH_MAX];

	assert_int_equal(
		keep_list(f->snap->core.store, folder_file(&f->folder, "db", path), &entries, &count), 0);
	keep_list_free(entries, count);
	return count;
}

/* What the kept snapshot NAME answers to SQL. */
static inline int64_t ask_kept(struct fixture *f, const char *name, const char *sql)
{
	struct app_reply reply = {0};
	struct keep_meta meta = {.size = 0};
	struct header header;
	struct copy copy;
	char path[PATH_MAX];
	sqlite3 *db;
	int fd = kept_file_open(f->snap->core.store, folder_file(&f->folder, "db", path), name, "", &meta);

	assert_true(fd >= 0);
	copy.size = meta.size;
	copy.bytes = sqlite3_malloc64(copy.size);
	assert_int_equal(pread(fd, copy.bytes, copy.size, 0), copy.size);
	close(fd);
	assert_int_equal(header_decode(&header, copy.bytes, copy.size), 0);
	assert_int_equal(copy.size, (uint64_t)header.page_count * header.page_size);
	db = copy_open(copy);
	assert_int_equal(sqlite3_exec(db, sql, app_row, &reply, NULL), SQLITE_OK);
	assert_whole(db);
	return reply.value;
}

/* Asserts that the restore of U is refused with CODE, and that nothing happened. */
static inline void assert_refused(struct fixture *f, struct upload *u, struct restoring *how, int code)
{
	struct file_look db = file_look(&f->folder, "db"), wal = file_look(&f->folder, "db-wal");
	int rc = restore(f, u, how);

	if (rc != code)
		fail_msg("%d instead of %d: %s", rc, code, how->err.text);
	assert_true(strlen(how->err.text) > 0);
	assert_false(how->result.committed);
	assert_string_equal(how->result.undo, "");
	assert_same_file(file_look(&f->folder, "db"), db);
	assert_same_file(file_look(&f->folder, "db-wal"), wal);
	assert_int_equal(count_kept(f), 0);
}

#endif
