/* SPDX-License-Identifier: MIT */
/*
 * uploads.h - what the tests of uploads share: a live database "db" of an application's, a store, images to
 * upload, and what the kernel does between open(2) and close(2).
 */
#ifndef SQLSNAP_TEST_UPLOADS_H
#define SQLSNAP_TEST_UPLOADS_H

#include "gens.h"
#include "process.h"

#include <errno.h>
#include <ftw.h>
#include <sys/wait.h>
#include <time.h>

#include "../../fs/log.h"
#include "../../fs/log_ring.h"
#include "../../fs/upload_private.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define FOLDER 1 /* a nodeid */
#define LIVE_ROWS 5
#define OWNER 77

struct image {
	unsigned char *bytes; /* sqlite3_malloc'ed */
	size_t size;
};

static struct fixture f;
static struct uploads all;
static struct image image; /* 400 rows */

/* A database with the live one's table and ROWS rows. */
static inline struct image image_of(int rows)
{
	struct image made;
	sqlite3_int64 size;
	char sql[300];
	sqlite3 *db;

	snprintf(sql, sizeof(sql),
		 "CREATE TABLE t(a INTEGER PRIMARY KEY, b); "
		 "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<%d) "
		 "INSERT INTO t(b) SELECT randomblob(300) FROM c",
		 rows);
	assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	made.bytes = sqlite3_serialize(db, "main", &size, 0);
	assert_non_null(made.bytes);
	made.size = (size_t)size;
	sqlite3_close(db);
	return made;
}

#define IMAGE_ROWS 400
#define BEGINS "a test begins" /* in the log */

static inline int setup(void **state)
{
	struct snap_config config = {.wal_limit = 64 << 20,
				     .wal_max = 1 << 30,
				     .busy_timeout_ms = 10000,
				     .keep = 0,
				     .event = quiet};

	(void)state;
	log_set_level(SNAP_INFO);
	log_line(SNAP_INFO, "test", BEGINS);
	app_up(&f, APP_WAL);
	app_do(&f.app, APP_ROWS(5));
	config.store = f.store.path;
	assert_int_equal(snap_create(&f.snap, &config, NULL), 0);
	assert_int_equal(snap_add_folder(f.snap, f.folder.path, NULL), 0);
	assert_int_equal(snap_start(f.snap, NULL), 0);
	uploads_init(&all, f.snap);
	image = image_of(IMAGE_ROWS);
	return 0;
}

static inline int teardown(void **state)
{
	(void)state;
	snap_stop(f.snap, SNAP_PATIENCE_MS);
	uploads_finish(&all);
	app_stop(&f.app);
	down(&f);
	sqlite3_free(image.bytes);
	return 0;
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* ---- what became of it --------------------------------------------------------------------------------- */

static inline int64_t live_rows(void)
{
	return app_get(&f.app, "SELECT count(*) FROM t");
}

static int stored_folders;

static inline int count_stored(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	stored_folders += type == FTW_D && strncmp(path + ftw->base, ".work-", 6) == 0;
	return 0;
}

/* Uploads that the store holds. */
static inline int stored(void)
{
	stored_folders = 0;
	nftw(f.store.path, count_stored, 16, FTW_PHYS);
	return stored_folders;
}

/* How often the log says WORDS in this test. */
static inline int logged(const char *words)
{
	char *text = log_recent(), *at = text;
	int count = 0;

	assert_non_null(text);
	for (char *begin = text; (begin = strstr(begin, BEGINS)) != NULL; begin++)
		at = begin;
	for (; (at = strstr(at, words)) != NULL; at++)
		count++;
	free(text);
	return count;
}

/* ---- processes ----------------------------------------------------------------------------------------- */

static inline void reap(pid_t pid)
{
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* A process that has ended by SIG (0: by itself) and is not reaped yet: what it looks like while it closes
 * its files. */
static inline pid_t ended_process(int sig)
{
	siginfo_t info;
	pid_t pid = sig ? process_start(NULL) : fork();

	if (pid == 0)
		_exit(0);
	if (sig)
		assert_int_equal(kill(pid, sig), 0);
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	return pid;
}

/* ---- what the kernel does ------------------------------------------------------------------------------ */

static inline struct upload *make_upload(enum upload_kind kind, const char *name, pid_t creator)
{
	struct upload_order order = {.kind = kind,
				     .parent = FOLDER,
				     .name = name,
				     .path = name,
				     .mode = S_IFREG | 0640,
				     .creator = creator};
	struct snap_err err = {""};
	struct upload *u = NULL;
	int rc = upload_create(&u, &all, &order, &err);

	if (rc)
		fail_msg("%d: %s", rc, err.text);
	return u;
}

/* Opens U and drops the reference that it was made with, as the operations do. */
static inline struct upload *opened(struct upload *u)
{
	upload_opened(u, gettid());
	upload_unref(u);
	return u;
}

/* open("db", O_WRONLY | O_TRUNC) */
static inline struct upload *open_cut(void)
{
	struct upload *u = opened(make_upload(UPLOAD_DATABASE, "db", getpid()));
	struct snap_err err;

	assert_int_equal(upload_truncate(u, 0, &err), 0);
	return u;
}

/* open("db", O_RDWR): over what is there */
static inline struct upload *open_over(void)
{
	struct upload *u = opened(make_upload(UPLOAD_DATABASE, "db", getpid()));
	struct snap_gen *gen = look(&f, NULL);

	assert_int_equal(snap_upload_begin_with(u->data, gen, true, NULL), 0);
	snap_gen_unref(gen);
	return u;
}

/* open(NAME, O_CREAT | O_WRONLY), under a temporary name */
static inline struct upload *open_scratch(const char *name)
{
	struct upload *u = opened(make_upload(UPLOAD_SCRATCH, name, getpid()));
	struct snap_err err;

	assert_int_equal(upload_truncate(u, 0, &err), 0);
	return u;
}

static inline void write_part(struct upload *u, uint64_t owner, const struct image *from, size_t offset,
			      size_t size)
{
	struct snap_err err = {""};

	if (upload_write(u, from->bytes + offset, size, offset, owner, &err) != (ssize_t)size)
		fail_msg("%s", err.text);
}

static inline void write_all(struct upload *u, uint64_t owner, const struct image *from)
{
	write_part(u, owner, from, 0, from->size);
}

static inline void truncate_to(struct upload *u, uint64_t size)
{
	struct snap_err err = {""};

	if (upload_truncate(u, size, &err))
		fail_msg("%s", err.text);
}

/* Who closes, and what the kernel says of it. */
struct closing {
	pid_t tid;    /* 0: this thread */
	bool unknown; /* the process cannot be looked at */
	bool interrupted;
	uid_t uid;
	uint64_t owner;		/* 0: OWNER */
	void (*answered)(void); /* called when the answer is early */
	int answers;
};

static inline bool closing_interrupted(void *arg)
{
	const struct closing *c = arg;

	return c->interrupted;
}

static inline void closing_answered(void *arg)
{
	struct closing *c = arg;

	c->answers++;
	if (c->answered)
		c->answered();
}

static inline struct upload_flush closing_flush(struct closing *c)
{
	return (struct upload_flush){
		.who = {.uid = c->uid,
			.gid = c->uid,
			.tid = c->unknown ? 0
			       : c->tid	  ? c->tid
					  : gettid()},
		.owner = c->owner ? c->owner : OWNER,
		.restored = closing_answered,
		.interrupted = closing_interrupted,
		.arg = c,
	};
}

/* FLUSH, as op_flush() does it. */
static inline int flush_as(struct upload *u, struct closing c)
{
	struct upload_flush flush = closing_flush(&c);
	int rc;

	if (!upload_flush_idle(u, &flush, &rc))
		rc = upload_flush(u, &flush);
	assert_between(c.answers, 0, rc == 0);
	return rc;
}

static inline int flush(struct upload *u)
{
	return flush_as(u, (struct closing){.tid = 0});
}

/* RENAME of U to "db" */
static inline int become_as(struct upload *u, struct closing c)
{
	struct upload_flush flush = closing_flush(&c);

	return upload_become(u, "db", &flush);
}

static inline int become(struct upload *u)
{
	return become_as(u, (struct closing){.tid = 0});
}

/* close(2): FLUSH and RELEASE */
static inline int close_upload(struct upload *u)
{
	int rc = flush(u);

	upload_closed(u);
	return rc;
}

#endif
