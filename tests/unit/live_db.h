/* SPDX-License-Identifier: MIT */
/*
 * live_db.h - what the tests of images and spools share: a live database on a file system of its own, a
 * store, and connections that pin it. Needs root: the mounts are real.
 */
#ifndef SQLSNAP_TEST_LIVE_DB_H
#define SQLSNAP_TEST_LIVE_DB_H

#include <stdbool.h>

#include "app.h"
#include "copy.h"
#include "fault.h"
#include "writer.h"

#include <errno.h>

#include "../../src/clock.h"
#include "../../src/live.h"
#include "../check/own_mounts.h"

#define NAME "db"

struct fixture {
	struct folder folder, store;
	bool available; /* the file system that the test is about */
	struct app app;
	struct core core;
	struct place place;
	struct live *live;
	struct snap_err err;
	struct writer writer;
};

/* ---- file systems -------------------------------------------------------------------------------------- */

/* Mounts are seen by this process and its children alone, and end with it. */
static inline int own_mounts(void **state)
{
	(void)state;
	return take_own_mounts();
}

/* Fails while anything there is open. */
static inline void unmount(struct folder *folder)
{
	close(folder->fd);
	assert_int_equal(umount2(folder->path, 0), 0);
	folder->fd = open(folder->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_true(folder->fd >= 0);
}

/* A file system that clones, in a file of the store's folder. False: its tools or its module are not there.
 */
static inline bool mount_cloning(struct fixture *f, const char *kind)
{
	char command[600], image[80];

	snprintf(image, sizeof(image), "%s/image", f->store.path);
	snprintf(command, sizeof(command),
		 "command -v mkfs.%s >/dev/null && truncate -s 512M %s && mkfs.%s -q %s >/dev/null && mount "
		 "-o loop %s %s",
		 kind, image, kind, image, image, f->folder.path);
	if (system(command) != 0) {
		print_message("no %s can be made here\n", kind);
		return false;
	}
	folder_reopen(&f->folder);
	return true;
}

/* *STATE: NULL, or the name of a file system that clones. */
static inline int setup(void **state)
{
	const char *kind = *state;
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	*state = f;
	folder_make(&f->folder);
	folder_make(&f->store);
	if (!kind) /* cannot clone, wherever the test runs */
		folder_mount_tmpfs(&f->folder, NULL);
	f->available = !kind || mount_cloning(f, kind);
	f->place = (struct place){.root = f->folder.fd, .dir = strdup(""), .name = strdup(NAME)};
	assert_int_equal(rawfd_table_create(&f->core.raw), 0);
	assert_int_equal(proclocks_create(&f->core.locks), 0);
	assert_int_equal(foldertimes_create(&f->core.folders), 0);
	assert_int_equal(store_create(&f->core.store, f->store.path, NULL), 0);
	if (f->available) {
		app_start(&f->app, &f->folder, NAME);
		app_do(&f->app, "PRAGMA synchronous=OFF");
	}
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	writer_stop(&f->writer);
	live_unref(f->live);
	if (f->app.pid)
		app_stop(&f->app);
	place_finish(&f->place);
	store_destroy(f->core.store);
	foldertimes_destroy(f->core.folders);
	rawfd_table_destroy(f->core.raw);
	proclocks_destroy(f->core.locks);
	folder_remove(&f->folder);
	folder_remove(&f->store);
	free(f);
	return 0;
}

/* ---- the database -------------------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static inline void app_run(struct fixture *f, const char *format, ...)
{
	char sql[512];
	va_list args;

	va_start(args, format);
	vsnprintf(sql, sizeof(sql), format, args);
	va_end(args);
	app_do(&f->app, sql);
}

/* ROWS rows of BYTES bytes; the sum of n is never changed. */
static inline void make_database(struct fixture *f, const char *journal_mode, uint32_t page_size,
				 unsigned rows, unsigned bytes)
{
	app_run(f, "PRAGMA page_size=%u; PRAGMA journal_mode=%s", page_size, journal_mode);
	app_do(&f->app, "PRAGMA wal_autocheckpoint=0; CREATE TABLE t(a INTEGER PRIMARY KEY, n, b)");
	app_run(f,
		"WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<%u) "
		"INSERT INTO t(n, b) SELECT 100, randomblob(%u) FROM c",
		rows, bytes);
}

static inline void connect_live(struct fixture *f)
{
	struct stat st;

	assert_int_equal(place_stat(&f->place, "", &st), 0);
	assert_int_equal(
		live_create(&f->live, &f->core, &f->place, &st, monotonic_ns() + 5 * NS_PER_S, &f->err), 0);
}

static inline void disconnect_live(struct fixture *f)
{
	live_unref(f->live);
	f->live = NULL;
}

static inline struct conn *pin(struct fixture *f, int answer)
{
	struct conn *conn = NULL;

	assert_int_equal(live_pin(f->live, monotonic_ns() + 5 * NS_PER_S, &conn, &f->err), answer);
	return conn;
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
/* On a file system of KIND, which clones. */
#define test_on(name, kind) cmocka_unit_test_prestate_setup_teardown(name, setup, teardown, kind)

#endif
