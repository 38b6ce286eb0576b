/* SPDX-License-Identifier: MIT */
/* gens.h - what the tests of sources share: a folder with an application's database "db", and its generations
 * through the contract of sqlsnap.h. */
#ifndef SQLSNAP_TEST_GENS_H
#define SQLSNAP_TEST_GENS_H

#include <stdbool.h>
#include <time.h>

#include "app.h"

#include "../../src/sqlsnap.h"
#include "looks.h"

struct fixture {
	struct folder folder, store;
	struct snap *snap;
	struct app app;
};

static inline void quiet(void *arg, enum snap_level level, const char *text)
{
	(void)arg;
	(void)level;
	(void)text;
}

/* Without a janitor, so that nothing happens but what the test does. */
static inline void snap_up_still(struct fixture *f)
{
	struct snap_config config = {
		.wal_limit = 1 << 20, .wal_max = 64 << 20, .store = f->store.path, .event = quiet};

	assert_int_equal(snap_create(&f->snap, &config, NULL), 0);
	assert_int_equal(snap_add_folder(f->snap, f->folder.path, NULL), 0);
}

static inline void snap_up(struct fixture *f)
{
	snap_up_still(f);
	assert_int_equal(snap_start(f->snap, NULL), 0);
}

/* The application is started first: SQLite's list of open inodes is inherited by fork(2). */
static inline void app_up(struct fixture *f, const char *sql)
{
	folder_make(&f->folder);
	folder_make(&f->store);
	app_start(&f->app, &f->folder, "db");
	if (sql)
		app_do(&f->app, sql);
}

static inline void up(struct fixture *f, const char *sql)
{
	app_up(f, sql);
	snap_up(f);
}

static inline void down(struct fixture *f)
{
	snap_destroy(f->snap);
	folder_remove(&f->folder);
	folder_remove(&f->store);
}

/* The database "new" replaces "db"; SIDECARS: it is open, and its -wal and -shm replace the others too. */
static inline void replace(struct fixture *f, bool sidecars)
{
	static const char *const names[][2] = {{"new", "db"}, {"new-wal", "db-wal"}, {"new-shm", "db-shm"}};

	for (int i = 0; i < (sidecars ? 3 : 1); i++)
		assert_int_equal(renameat(f->folder.fd, names[i][0], f->folder.fd, names[i][1]), 0);
}

/* Waits until the janitor, which runs by itself, has made CHECK true. */
static inline void await(bool (*check)(struct fixture *f), struct fixture *f)
{
	for (int i = 0; i < 6000; i++) {
		if (check(f))
			return;
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	}
	fail_msg("nothing happened in a minute");
}

static inline struct snap_gen *look(struct fixture *f, struct snap_attr *attr)
{
	struct snap_gen *gen = NULL;
	struct snap_attr ignored;

	assert_int_equal(snap_lookup(f->snap, "db", attr ? attr : &ignored, &gen, NULL), 0);
	return gen;
}

/* A look at a database in WAL mode that has seen what is in the WAL. */
static inline struct snap_gen *look_connected(struct fixture *f)
{
	struct snap_gen *gen = look(f, NULL);

	while (looked_too_soon(gen)) {
		snap_gen_unref(gen);
		gen = look(f, NULL);
	}
	return gen;
}

/* What open(2) does through the kernel: a lookup and an open, which is repeated on SNAP_MOVED. *OUT is a
 * reference. */
static inline int try_open(struct fixture *f, struct snap_gen **out)
{
	struct snap_gen *gen = look(f, NULL), *moved = NULL;
	int rc = snap_gen_open(gen, 0, &moved, NULL);

	if (rc == SNAP_MOVED) {
		snap_gen_unref(gen);
		gen = moved;
		rc = snap_gen_open(gen, 0, &moved, NULL);
		snap_gen_arrived(gen);
	}
	if (rc)
		snap_gen_unref(gen);
	else
		*out = gen;
	return rc;
}

static inline struct snap_gen *open_now(struct fixture *f)
{
	struct snap_gen *gen = NULL;

	assert_int_equal(try_open(f, &gen), 0);
	return gen;
}

static inline void close_gen(struct snap_gen *gen)
{
	snap_gen_close(gen);
	snap_gen_unref(gen);
}

static inline uint64_t size_of(struct snap_gen *gen)
{
	struct snap_attr attr;

	snap_gen_stat(gen, &attr);
	return attr.size;
}

/* The generation's bytes, to be freed. */
static inline unsigned char *bytes_of(struct snap_gen *gen)
{
	uint64_t size = size_of(gen);
	unsigned char *buf = malloc(size + 1);

	assert_non_null(buf);
	assert_int_equal(snap_gen_read(gen, buf, size + 1, 0, NULL), size);
	return buf;
}

/* SELECT over the generation's bytes. */
static inline int64_t ask(struct snap_gen *gen, const char *sql)
{
	unsigned char *buf = bytes_of(gen);
	int64_t value = ask_bytes(buf, size_of(gen), sql);

	free(buf);
	return value;
}

static inline void assert_same_bytes(struct snap_gen *gen, const unsigned char *before)
{
	unsigned char *now = bytes_of(gen);

	assert_memory_equal(now, before, size_of(gen));
	free(now);
}

#endif
