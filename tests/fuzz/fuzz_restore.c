/* SPDX-License-Identifier: MIT */
/*
 * fuzz_restore.c - an upload that has passed the gate, or has not, over a live database of some kind, through
 * the contract of sqlsnap.h; somebody may be reading the old one.
 *
 * Afterwards the live database is what was uploaded or what it was, as the answer says; it is in order, and
 * the application that has it open sees the same as one that opens it.
 */
#include "fuzz.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../src/snap_private.h"
#include "gate.h"

enum {
	KIND = 7,   /* of the live database */
	FORCE = 8,  /* accept what cannot be meant */
	READER = 16 /* somebody reads the old one meanwhile */
};

enum kind {
	WAL,
	WAL_OTHER_PAGE, /* pages of another size than most uploads have */
	ROLLBACK,
	EMPTY,
	GARBAGE,
	KINDS,
};

struct ground {
	enum kind kind;
	struct snap *snap;
	struct snap_gen *gen; /* of before, open; NULL */
	uint8_t *before;      /* owned: its bytes */
	size_t before_size;
};

static void take_event(void *arg, enum snap_level level, const char *text)
{
	(void)arg;
	(void)level;
	must(fuzz_is_line(text, sizeof(struct snap_err)));
}

/* ---- what stands there --------------------------------------------------------------------------------- */

static void make_live(enum kind kind)
{
	sqlite3 *db;
	char sql[200];

	fuzz_folder_clear();
	must(mkdir(fuzz_path("live"), 0755) == 0);
	if (kind == EMPTY || kind == GARBAGE) {
		fuzz_put("live/db", "no database at all", kind == EMPTY ? 0 : 18);
		return;
	}
	must(sqlite3_open(fuzz_path("live/db"), &db) == SQLITE_OK);
	snprintf(sql, sizeof(sql),
		 "PRAGMA page_size=%d; PRAGMA journal_mode=%s; CREATE TABLE t(a, b); INSERT INTO t VALUES(7, "
		 "'live')",
		 kind == WAL_OTHER_PAGE ? 1024 : 512, kind == ROLLBACK ? "DELETE" : "WAL");
	must(sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK);
	sqlite3_close(db);
}

static void start(struct ground *g)
{
	struct snap_config config = {.wal_limit = 1 << 20,
				     .wal_max = 64 << 20,
				     .busy_timeout_ms = 1000,
				     .keep = 2,
				     .shared_locks = true,
				     .event = take_event};
	struct snap_err err = {""};

	config.store = fuzz_path("store");
	must(snap_create(&g->snap, &config, &err) == 0);
	must(snap_add_file(g->snap, "db", fuzz_path("live/db"), &err) == 0);
}

/* Opens what the name shows now; its bytes are the caller's. NULL: it cannot be read. */
static struct snap_gen *open_now(struct ground *g, uint8_t **bytes, size_t *size)
{
	struct snap_gen *gen = NULL, *moved = NULL;
	struct snap_attr attr;
	int rc = snap_lookup(g->snap, "db", &attr, &gen, NULL);

	must(rc == 0 && gen);
	for (int i = 0; i < 3 && (rc = snap_gen_open(gen, 0, &moved, NULL)) == SNAP_MOVED; i++) {
		snap_gen_unref(gen);
		gen = moved;
	}
	if (rc) {
		snap_gen_unref(gen);
		return NULL;
	}
	snap_gen_stat(gen, &attr);
	*size = (size_t)attr.size;
	*bytes = malloc(*size + 1);
	must(*bytes != NULL && snap_gen_read(gen, *bytes, *size, 0, NULL) == (ssize_t)*size);
	return gen;
}

static void close_gen(struct snap_gen *gen)
{
	snap_gen_close(gen);
	snap_gen_unref(gen);
}

/* ---- afterwards ---------------------------------------------------------------------------------------- */

static void mask(uint8_t *bytes, size_t size)
{
	if (size < HEADER_SIZE)
		return;
	bytes[18] = bytes[19] = 1;
	memset(bytes + 24, 0, 8); /* a count of pages that nobody believes is made right */
	memset(bytes + 40, 0, 4);
	memset(bytes + 92, 0, 8);
}

/* The file that is there, by SQLite alone; its WAL goes into it. NULL: it is no database. */
static uint8_t *find(size_t *size)
{
	sqlite3 *db;
	int rc;

	must(sqlite3_open(fuzz_path("live/db"), &db) == SQLITE_OK);
	rc = sqlite3_exec(db, "PRAGMA user_version; PRAGMA wal_checkpoint(TRUNCATE)", NULL, NULL, NULL);
	sqlite3_close(db);
	return rc == SQLITE_OK ? fuzz_get("live/db", size) : NULL;
}

static void must_be(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size)
{
	uint8_t *x = bytes_copy(a, a_size), *y = bytes_copy(b, b_size);

	mask(x, a_size);
	mask(y, b_size);
	must(a_size == b_size && memcmp(x, y, a_size) == 0);
	free(x);
	free(y);
}

/* What the name shows is what was uploaded, byte by byte, up to where the database ends. */
static void must_show(struct ground *g, const uint8_t *upload, size_t size)
{
	uint8_t *bytes = NULL;
	size_t shown = 0;
	struct snap_gen *gen = open_now(g, &bytes, &shown);

	must(gen != NULL && shown <= size);
	must_be(bytes, shown, upload, shown);
	free(bytes);
	close_gen(gen);
}

static void restore(struct ground *g, const uint8_t *data, size_t size)
{
	struct snap_restore order = {.path = "db"};
	struct snap_restored done = {.committed = false};
	struct snap_upload *upload;
	struct snap_err err = {""};
	int rc;

	must(snap_upload_create(g->snap, &upload, &err) == 0);
	must(snap_upload_truncate(upload, 0, &err) == 0);
	must(size == 0 || snap_upload_write(upload, data, size, 0, &err) == (ssize_t)size);
	gate_was_stopped();
	rc = snap_upload_restore(upload, &order, &done, &err);
	fuzz_note(rc ? err.text : done.undo[0] ? "restored" : "restored, nothing kept");
	must(rc <= 0 && (rc == 0 || fuzz_is_line(err.text, sizeof(err.text))));
	must(rc != 0 || done.committed);
	must(rc == 0 || !done.committed || rc == -EIO); /* nothing fails after the commit here */
	if (done.committed)
		must_show(g, data, size);
	snap_upload_destroy(upload);
	if (g->gen) { /* whoever began to read the old one goes on */
		uint8_t *again = malloc(g->before_size + 1);

		must(again != NULL);
		must(snap_gen_read(g->gen, again, g->before_size, 0, &err) == (ssize_t)g->before_size);
		must(memcmp(again, g->before, g->before_size) == 0);
		free(again);
		close_gen(g->gen);
	}
	snap_destroy(g->snap);
	if (!done.committed && g->before) {
		size_t found_size;
		uint8_t *found = find(&found_size);

		must(found != NULL);
		must_be(found, found_size, g->before, g->before_size);
		free(found);
	}
	if (done.committed) {
		size_t found_size;
		uint8_t *found = find(&found_size);

		must(found != NULL && found_size >= HEADER_SIZE);
		/* Pages of another size hold the same rows elsewhere. */
		if (size >= HEADER_SIZE && memcmp(found + 16, data + 16, 2) == 0)
			must_be(found, found_size, data, found_size < size ? found_size : size);
		free(found);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t how = size ? data[size - 1] : 0;
	struct ground g = {.kind = (enum kind)((how & KIND) % KINDS)};
	int fd;

	make_live(g.kind);
	fd = fuzz_free_fd();
	start(&g);
	g.snap->core.config.force = how & FORCE;
	if (g.kind <= ROLLBACK) {
		g.gen = open_now(&g, &g.before, &g.before_size);
		must(g.gen != NULL);
		if (!(how & READER)) {
			close_gen(g.gen);
			g.gen = NULL;
		}
	}
	restore(&g, data, size ? size - 1 : 0);
	must(fuzz_free_fd() == fd);
	free(g.before);
	return 0;
}
