/* SPDX-License-Identifier: MIT */
/* reader.h - what the tests of pins and of the shim share: an application, and a connection beside it. */
#ifndef SQLSNAP_TEST_READER_H
#define SQLSNAP_TEST_READER_H

#include <stdbool.h>

#include "app.h"
#include "fault.h"

#include "../../src/clock.h"
#include "../../src/pin.h"

#define NAME "db"

struct fixture {
	struct folder folder;
	struct app app;
	struct db db;
	struct wal_header start; /* of the last pin */
	struct snap_err err;
};

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	folder_make(&f->folder);
	app_start(&f->app, &f->folder, NAME);
	app_do(&f->app, "SELECT 1"); /* it has made the file */
	f->db = DB_INIT;
	*state = f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	db_close(&f->db);
	if (f->app.pid)
		app_stop(&f->app);
	folder_remove(&f->folder);
	free(f);
	return 0;
}

static inline void open_reader(struct fixture *f)
{
	assert_int_equal(db_open(&f->db, f->folder.fd, NAME, DB_READER, NULL), 0);
}

static inline int pin(struct fixture *f, int64_t patience_ms)
{
	f->err.text[0] = '\0';
	return pin_begin(&f->db, monotonic_ns() + patience_ms * NS_PER_MS, &f->start, &f->err);
}

static inline bool in_transaction(struct fixture *f)
{
	return !sqlite3_get_autocommit(f->db.handle);
}

/* Asserts that nothing is held, whatever went wrong. */
static inline void assert_nothing_held(struct fixture *f)
{
	assert_false(in_transaction(f));
	assert_int_equal(vfs_read_slot(f->db.vfs), -1);
}

static inline int begin(struct db *db)
{
	int rc = db_exec(db, "BEGIN");

	return rc == SQLITE_OK ? db_exec(db, "PRAGMA user_version") : rc;
}

/* An open reader in a transaction, over a WAL of ROWS. */
static inline void begin_reader(struct fixture *f, const char *rows)
{
	app_do(&f->app, APP_WAL);
	app_do(&f->app, rows);
	open_reader(f);
	assert_int_equal(begin(&f->db), SQLITE_OK);
}

static inline sqlite3_file *raw_file(struct db *db, int op)
{
	sqlite3_file *file = NULL;

	assert_int_equal(sqlite3_file_control(db->handle, "main", op, &file), SQLITE_OK);
	assert_non_null(file);
	assert_non_null(file->pMethods);
	return file;
}

/* Puts an empty database "e" beside the WAL of another; returns what that WAL looks like. */
static inline struct file_look put_empty_beside_wal(struct fixture *f)
{
	char from[PATH_MAX], to[PATH_MAX];

	app_do(&f->app, APP_WAL);
	app_do(&f->app, APP_ROWS(50));
	assert_int_equal(
		link(folder_file(&f->folder, NAME "-wal", from), folder_file(&f->folder, "e-wal", to)), 0);
	assert_int_equal(close(openat(f->folder.fd, "e", O_CREAT | O_WRONLY | O_CLOEXEC, 0600)), 0);
	return file_look(&f->folder, "e-wal");
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
