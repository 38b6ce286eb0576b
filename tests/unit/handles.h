/* SPDX-License-Identifier: MIT */
/* handles.h - what the tests of handles share: a tree with everything that it can hold, without a mount, and
 * what the kernel does with it. */
#ifndef SQLSNAP_TEST_HANDLES_H
#define SQLSNAP_TEST_HANDLES_H

#include <stdbool.h>

#include "app.h"

#include <errno.h>

#include "../../fs/handle.h"
#include "looks.h"
#include "no_uploads.h"

/* An open that was led elsewhere has five seconds, whatever a disk needs for a commit. */
#define ROWS                                                                                      \
	"PRAGMA synchronous=OFF; PRAGMA journal_mode=WAL; CREATE TABLE t(a INTEGER PRIMARY KEY, " \
	"b); " APP_ROWS(500)
#define TEXT "plain text, of no interest to SQLite"

struct fixture {
	struct folder folder, store;
	struct app app;
	struct snap *snap;
	struct nodes nodes;
	struct handles handles;
	struct snap_err err;
};

static inline void put(struct fixture *f, const char *name, const char *text)
{
	int fd = openat(f->folder.fd, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

/* The application is started before anything else that would be inherited. */
static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct snap_config config = {.wal_limit = 1 << 26, .wal_max = 1 << 30};

	assert_non_null(f);
	folder_make(&f->folder);
	folder_make(&f->store);
	app_start(&f->app, &f->folder, "db");
	app_do(&f->app, ROWS);
	put(f, "plain", TEXT);
	assert_int_equal(mkdirat(f->folder.fd, "sub", 0755), 0);
	put(f, "sub/inner", "inner");
	assert_int_equal(symlinkat("plain", f->folder.fd, "link"), 0);
	assert_int_equal(mkfifoat(f->folder.fd, "fifo", 0600), 0);
	config.store = f->store.path;
	assert_int_equal(snap_create(&f->snap, &config, NULL), 0);
	assert_int_equal(snap_add_folder(f->snap, f->folder.path, NULL), 0);
	assert_int_equal(snap_start(f->snap, NULL), 0);
	assert_int_equal(nodes_init(&f->nodes), 0);
	handles_init(&f->handles, f->snap, &f->nodes);
	*state = f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	handles_finish(&f->handles);
	nodes_finish(&f->nodes);
	snap_destroy(f->snap);
	app_stop(&f->app);
	folder_remove(&f->folder);
	folder_remove(&f->store);
	free(f);
	return 0;
}

/* ---- what the kernel does --------------------------------------------------------------------------- */

/* LOOKUP: the node of NAME in PARENT, with a lookup and no reference. */
static inline uint64_t look_in(struct fixture *f, uint64_t parent_id, const char *name)
{
	struct node *parent = node_get(&f->nodes, parent_id);
	struct snap_gen *gen = NULL;
	struct snap_attr attr;
	char path[PATH_MAX];
	uint64_t id = 0;

	assert_non_null(parent);
	assert_int_equal(node_path(parent, name, path, sizeof(path)), 0);
	do {
		snap_gen_unref(gen);
		assert_int_equal(snap_lookup(f->snap, path, &attr, &gen, &f->err), 0);
	} while (gen && looked_too_soon(gen));
	assert_int_equal(node_enter(&f->nodes, parent, name, &attr, gen, &id), 0);
	snap_gen_unref(gen);
	node_put(&f->nodes, parent);
	return id;
}

static inline uint64_t look(struct fixture *f, const char *name)
{
	return look_in(f, NODE_ROOT, name);
}

static inline int try_open(struct fixture *f, uint64_t id, bool may_wait, struct handle **out,
			   struct snap_gen **moved)
{
	struct node *node = node_get(&f->nodes, id);
	int rc;

	assert_non_null(node);
	*out = NULL;
	f->err.text[0] = '\0';
	rc = handle_open(out, &f->handles, node, may_wait, moved, &f->err);
	node_put(&f->nodes, node);
	assert_int_equal(*out != NULL, rc == 0);
	return rc;
}

static inline struct handle *open_id(struct fixture *f, uint64_t id)
{
	struct snap_gen *moved = NULL;
	struct handle *h;

	assert_int_equal(try_open(f, id, true, &h, &moved), 0);
	assert_null(moved);
	return h;
}

static inline struct handle *open_folder(struct fixture *f, uint64_t id)
{
	struct node *node = node_get(&f->nodes, id);
	struct handle *h = NULL;

	assert_int_equal(handle_open_folder(&h, &f->handles, node, &f->err), 0);
	assert_non_null(h);
	node_put(&f->nodes, node);
	return h;
}

static inline bool is_there(struct fixture *f, uint64_t id)
{
	struct node *n = node_get(&f->nodes, id);

	node_put(&f->nodes, n);
	return n != NULL;
}

/* The kernel forgets the node ID. Whether the node still exists here. */
static inline bool outlives_forget(struct fixture *f, uint64_t id)
{
	node_forget(&f->nodes, id, 1000);
	return is_there(f, id);
}

static inline unsigned char *read_all(struct fixture *f, struct handle *h, size_t *size)
{
	unsigned char *buf = malloc(1 << 22);
	ssize_t got;

	assert_non_null(buf);
	got = handle_read(h, buf, 1 << 22, 0, &f->err);
	assert_between(got, 512, (1 << 22) - 1);
	*size = (size_t)got;
	return buf;
}

/* The number of rows in the handle's bytes. */
static inline int64_t count_rows(struct fixture *f, struct handle *h)
{
	size_t size;
	unsigned char *buf = read_all(f, h, &size);
	int64_t value = ask_bytes(buf, size, "SELECT count(*) FROM t");

	free(buf);
	return value;
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
