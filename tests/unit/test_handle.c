/* SPDX-License-Identifier: MIT */
/* test_handle.c - open descriptors of everything that a tree can show, on a real one, without a mount. */
#include <stdbool.h>

#include "app.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "../../fs/handle.h"
#include "no_uploads.h"

#define ROWS "PRAGMA journal_mode=WAL; CREATE TABLE t(a INTEGER PRIMARY KEY, b); " APP_ROWS(500)
#define TEXT "plain text, of no interest to SQLite"

struct fixture {
	struct folder folder, store;
	struct app app;
	struct snap *snap;
	struct nodes nodes;
	struct handles handles;
	struct snap_err err;
};

static void put(struct fixture *f, const char *name, const char *text)
{
	int fd = openat(f->folder.fd, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

/* The application is started before anything else that would be inherited. */
static int setup(void **state)
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

static int teardown(void **state)
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
static uint64_t look_in(struct fixture *f, uint64_t parent_id, const char *name)
{
	struct node *parent = node_get(&f->nodes, parent_id);
	struct snap_gen *gen = NULL;
	struct snap_attr attr;
	char path[PATH_MAX];
	uint64_t id = 0;

	assert_non_null(parent);
	assert_int_equal(node_path(parent, name, path, sizeof(path)), 0);
	assert_int_equal(snap_lookup(f->snap, path, &attr, &gen, &f->err), 0);
	assert_int_equal(node_enter(&f->nodes, parent, name, &attr, gen, &id), 0);
	snap_gen_unref(gen);
	node_put(&f->nodes, parent);
	return id;
}

static uint64_t look(struct fixture *f, const char *name)
{
	return look_in(f, NODE_ROOT, name);
}

static int try_open(struct fixture *f, uint64_t id, bool may_wait, struct handle **out,
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

static struct handle *open_id(struct fixture *f, uint64_t id)
{
	struct snap_gen *moved = NULL;
	struct handle *h;

	assert_int_equal(try_open(f, id, true, &h, &moved), 0);
	assert_null(moved);
	return h;
}

static struct handle *open_folder(struct fixture *f, uint64_t id)
{
	struct node *node = node_get(&f->nodes, id);
	struct handle *h = NULL;

	assert_int_equal(handle_open_folder(&h, &f->handles, node, &f->err), 0);
	assert_non_null(h);
	node_put(&f->nodes, node);
	return h;
}

static bool is_there(struct fixture *f, uint64_t id)
{
	struct node *n = node_get(&f->nodes, id);

	node_put(&f->nodes, n);
	return n != NULL;
}

/* The kernel forgets it; whether somebody here still knows it. */
static bool outlives_forget(struct fixture *f, uint64_t id)
{
	node_forget(&f->nodes, id, 1000);
	return is_there(f, id);
}

/* ---- databases -------------------------------------------------------------------------------------- */

static unsigned char *read_all(struct fixture *f, struct handle *h, size_t *size)
{
	unsigned char *buf = malloc(1 << 22);
	ssize_t got;

	assert_non_null(buf);
	got = handle_read(h, buf, 1 << 22, 0, &f->err);
	assert_in_range(got, 512, (1 << 22) - 1);
	*size = (size_t)got;
	return buf;
}

/* The number of rows in the handle's bytes. */
static int64_t count_rows(struct fixture *f, struct handle *h)
{
	struct app_reply reply = {0};
	size_t size;
	unsigned char *buf = read_all(f, h, &size);
	sqlite3 *db;

	buf[18] = buf[19] = 1; /* memory has no WAL */
	assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
	assert_int_equal(sqlite3_deserialize(db, "main", buf, (sqlite3_int64)size, (sqlite3_int64)size, 0),
			 SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "SELECT count(*) FROM t", app_row, &reply, NULL), SQLITE_OK);
	sqlite3_close(db);
	free(buf);
	return reply.value;
}

static void test_database(void **state)
{
	struct fixture *f = *state;
	uint64_t id = look(f, "db");
	struct snap_gen *moved = NULL;
	struct handle *h, *second;
	unsigned char *buf, part[5000];
	size_t size;

	/* Nothing is pinned yet. */
	assert_int_equal(try_open(f, id, false, &h, &moved), HANDLE_WOULD_WAIT);
	assert_null(moved);
	h = open_id(f, id);
	assert_int_equal(h->kind, HANDLE_GENERATION);
	assert_false(atomic_load(&h->failed));
	assert_int_equal(h->node->id, id);
	assert_int_equal(try_open(f, id, false, &second, &moved), 0);
	assert_ptr_not_equal(second, h);
	assert_int_equal(count_rows(f, h), 500);
	/* Others come later, and are not for these. */
	app_do(&f->app, "UPDATE t SET b=randomblob(300); " APP_ROWS(100));
	buf = read_all(f, second, &size);
	for (size_t at = 0; at < size; at += 4999) {
		size_t want = size - at < sizeof(part) ? size - at : sizeof(part);

		assert_int_equal(handle_read(h, part, sizeof(part), at, &f->err), want);
		assert_memory_equal(part, buf + at, want);
	}
	assert_int_equal(handle_read(h, part, 1, size, &f->err), 0);
	assert_int_equal(handle_read(h, part, 1, size + 1000000, &f->err), 0);
	free(buf);
	assert_int_equal(count_rows(f, h), 500);
	handle_close(second, &f->handles);
	assert_int_equal(count_rows(f, h), 500);
	assert_true(outlives_forget(f, id));
	assert_int_equal(count_rows(f, h), 500);
	handle_close(h, &f->handles);
	assert_false(is_there(f, id));
}

/* The database has grown since the look: what was looked at cannot be had, another is. */
static void test_moved(void **state)
{
	struct fixture *f = *state;
	struct snap_attr attr = {.kind = SNAP_DATABASE};
	struct snap_gen *moved = NULL, *none = NULL;
	uint64_t id = look(f, "db"), next;
	struct node *root = node_get(&f->nodes, NODE_ROOT);
	struct handle *h;

	app_do(&f->app, APP_ROWS(500));
	assert_int_equal(try_open(f, id, true, &h, &moved), HANDLE_MOVED);
	assert_non_null(moved);
	assert_false(outlives_forget(f, id));
	/* It stays openable for a while, whatever comes next. */
	app_do(&f->app, APP_ROWS(500));
	assert_int_equal(node_enter(&f->nodes, root, "db", &attr, moved, &next), 0);
	assert_true(next != id);
	assert_int_equal(try_open(f, next, false, &h, &none), 0);
	assert_null(none);
	snap_gen_unref(moved);
	assert_int_equal(count_rows(f, h), 1000);
	handle_close(h, &f->handles);
	node_put(&f->nodes, root);
}

static void test_broken_database(void **state)
{
	struct fixture *f = *state;
	struct snap_gen *moved = NULL;
	struct handle *h;
	char path[PATH_MAX];
	uint64_t id;

	/* The magic, with its zero, and nothing that SQLite would write. */
	put(f, "broken", "SQLite format 3");
	assert_int_equal(truncate(folder_file(&f->folder, "broken", path), 4096), 0);
	id = look(f, "broken");
	assert_int_equal(try_open(f, id, true, &h, &moved), -EIO);
	assert_true(strlen(f->err.text) > 0);
	assert_null(moved);
	assert_false(outlives_forget(f, id));
}

/* ---- everything else -------------------------------------------------------------------------------- */

static void test_plain(void **state)
{
	struct fixture *f = *state;
	uint64_t id = look(f, "plain");
	struct snap_gen *moved = NULL;
	struct handle *h;
	char buf[100];

	assert_int_equal(try_open(f, id, false, &h, &moved), 0); /* never waits */
	assert_int_equal(h->kind, HANDLE_FILE);
	assert_int_equal(handle_read(h, buf, sizeof(buf), 0, &f->err), strlen(TEXT));
	assert_memory_equal(buf, TEXT, strlen(TEXT));
	assert_int_equal(handle_read(h, buf, 4, 6, &f->err), 4);
	assert_memory_equal(buf, "text", 4);
	assert_int_equal(handle_read(h, buf, 4, 1000, &f->err), 0);
	/* It may lose its name, and its node. */
	assert_int_equal(unlinkat(f->folder.fd, "plain", 0), 0);
	assert_true(outlives_forget(f, id));
	assert_int_equal(handle_read(h, buf, sizeof(buf), 0, &f->err), strlen(TEXT));
	handle_close(h, &f->handles);
	assert_false(is_there(f, id));
}

static void test_plain_replaced(void **state)
{
	struct fixture *f = *state;
	uint64_t id = look(f, "plain");
	struct snap_gen *moved = NULL;
	struct handle *h;

	put(f, "new", "another file");
	assert_int_equal(renameat(f->folder.fd, "new", f->folder.fd, "plain"), 0);
	assert_int_equal(try_open(f, id, true, &h, &moved), -ESTALE);
	assert_true(strlen(f->err.text) > 0);
	assert_int_equal(unlinkat(f->folder.fd, "plain", 0), 0);
	assert_int_equal(try_open(f, id, true, &h, &moved), -ENOENT);
	assert_true(strlen(f->err.text) > 0);
	assert_false(outlives_forget(f, id));
}

static void test_sidecars(void **state)
{
	static const char *const names[] = {"db-wal", "db-shm"};
	struct fixture *f = *state;
	struct snap_gen *moved = NULL;
	struct handle *h;
	char byte;

	for (int i = 0; i < 2; i++) {
		uint64_t id = look(f, names[i]);

		assert_int_equal(try_open(f, id, false, &h, &moved), 0);
		assert_int_equal(h->kind, HANDLE_EMPTY);
		assert_int_equal(handle_read(h, &byte, 1, 0, &f->err), 0);
		assert_int_equal(handle_read(h, &byte, 1, 12345, &f->err), 0);
		handle_close(h, &f->handles);
	}
}

static bool lists(struct handle *h, const char *wanted)
{
	const char *name;
	uint64_t ino;
	mode_t type;

	for (size_t i = 0; snap_list_get(h->list, i, &name, &ino, &type); i++) {
		if (strcmp(name, wanted) == 0)
			return true;
	}
	return false;
}

static void test_folders(void **state)
{
	struct fixture *f = *state;
	uint64_t sub = look(f, "sub"), plain = look(f, "plain");
	struct handle *root = open_folder(f, NODE_ROOT), *h = open_folder(f, sub), *none = NULL;
	struct node *node;
	char byte;

	assert_int_equal(root->kind, HANDLE_FOLDER);
	assert_true(lists(root, "db") && lists(root, "plain") && lists(root, "sub"));
	assert_false(lists(root, "db-wal") || lists(root, "inner"));
	assert_true(lists(h, "inner"));
	/* As it was when it was opened. */
	assert_int_equal(unlinkat(f->folder.fd, "sub/inner", 0), 0);
	assert_true(lists(h, "inner"));
	assert_int_equal(handle_read(h, &byte, 1, 0, &f->err), -EISDIR);
	assert_true(outlives_forget(f, sub));
	handle_close(root, &f->handles);
	handle_close(h, &f->handles);
	assert_false(is_there(f, sub));

	node = node_get(&f->nodes, plain);
	f->err.text[0] = '\0';
	assert_int_equal(handle_open_folder(&none, &f->handles, node, &f->err), -ENOTDIR);
	assert_null(none);
	node_put(&f->nodes, node);
	assert_false(outlives_forget(f, plain));
}

/* The kernel opens these by itself, or not at all. */
static void test_not_to_be_opened(void **state)
{
	static const char *const names[] = {"sub", "link", "fifo"};
	struct fixture *f = *state;
	struct snap_gen *moved = NULL;
	struct handle *h;

	for (int i = 0; i < 3; i++) {
		uint64_t id = look(f, names[i]);

		assert_int_equal(try_open(f, id, true, &h, &moved), -EXDEV);
		assert_true(strlen(f->err.text) > 0);
		assert_false(outlives_forget(f, id));
	}
}

static void test_inner(void **state)
{
	struct fixture *f = *state;
	uint64_t sub = look(f, "sub"), inner = look_in(f, sub, "inner");
	struct handle *h;
	char buf[8];

	/* The folder lives for the file that is open in it. */
	h = open_id(f, inner);
	node_forget(&f->nodes, sub, 1);
	node_forget(&f->nodes, inner, 1);
	assert_true(is_there(f, sub));
	assert_int_equal(handle_read(h, buf, sizeof(buf), 0, &f->err), 5);
	handle_close(h, &f->handles);
	assert_false(is_there(f, sub));
}

static void test_path_too_long(void **state)
{
	struct fixture *f = *state;
	struct snap_attr folder = {.kind = SNAP_FOLDER}, plain = {.kind = SNAP_PLAIN};
	struct node *n = node_get(&f->nodes, NODE_ROOT), *below;
	struct snap_gen *moved = NULL;
	struct handle *h = NULL;
	char name[NAME_MAX + 1];
	uint64_t id;

	memset(name, 'n', NAME_MAX);
	name[NAME_MAX] = '\0';
	for (int i = 0; i < 17; i++) {
		assert_int_equal(node_enter(&f->nodes, n, name, &folder, NULL, &id), 0);
		below = node_get(&f->nodes, id);
		node_put(&f->nodes, n);
		n = below;
	}
	assert_int_equal(handle_open_folder(&h, &f->handles, n, &f->err), -ENAMETOOLONG);
	assert_true(strlen(f->err.text) > 0);
	assert_int_equal(node_enter(&f->nodes, n, name, &plain, NULL, &id), 0);
	assert_int_equal(try_open(f, id, true, &h, &moved), -ENAMETOOLONG);
	assert_true(strlen(f->err.text) > 0);
	assert_null(h);
	node_put(&f->nodes, n);
}

/* ---- out of memory ---------------------------------------------------------------------------------- */

static _Thread_local int calls_left; /* of calloc(3) by this thread until one fails; 0: none does */

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);

void *__wrap_calloc(size_t n, size_t size)
{
	if (calls_left > 0 && --calls_left == 0)
		return NULL;
	return __real_calloc(n, size);
}

/* Opens NAME with one allocation failing after the other: the number of those that failed. */
static int open_without_memory(struct fixture *f, const char *name, bool folder)
{
	for (int n = 1;; n++) {
		struct node *node = node_get(&f->nodes, look(f, name));
		struct snap_gen *moved = NULL;
		struct handle *h = NULL;
		int rc;

		f->err.text[0] = '\0';
		calls_left = n;
		rc = folder ? handle_open_folder(&h, &f->handles, node, &f->err)
			    : handle_open(&h, &f->handles, node, true, &moved, &f->err);
		calls_left = 0;
		node_put(&f->nodes, node);
		assert_null(moved);
		if (rc == 0) {
			handle_close(h, &f->handles);
			return n - 1;
		}
		assert_null(h);
		assert_int_equal(rc, -ENOMEM);
		assert_true(strlen(f->err.text) > 0);
		assert_null(f->handles.first);
	}
}

static void test_out_of_memory(void **state)
{
	struct fixture *f = *state;
	struct handle *h;

	assert_in_range(open_without_memory(f, "plain", false), 1, 100);
	assert_in_range(open_without_memory(f, "db-wal", false), 1, 100);
	assert_in_range(open_without_memory(f, "sub", true), 1, 100);
	assert_in_range(open_without_memory(f, "db", false), 1, 100);
	h = open_id(f, look(f, "db"));
	assert_int_equal(count_rows(f, h), 500);
	handle_close(h, &f->handles);
}

/* ---- all that is open ------------------------------------------------------------------------------- */

#define OPEN 7

static void assert_list(struct fixture *f, struct handle *const *open, size_t n)
{
	size_t count = 0, known = 0;
	struct handle *prev = NULL;

	for (struct handle *h = f->handles.first; h; prev = h, h = h->next) {
		assert_ptr_equal(h->prev, prev);
		count++;
		for (size_t i = 0; i < n; i++)
			known += h == open[i];
	}
	assert_int_equal(count, n);
	assert_int_equal(known, n);
}

static size_t open_some(struct fixture *f, struct handle *open[OPEN])
{
	uint64_t db = look(f, "db");

	open[0] = open_id(f, db);
	open[1] = open_id(f, db);
	open[2] = open_id(f, look(f, "plain"));
	open[3] = open_folder(f, NODE_ROOT);
	open[4] = open_id(f, look(f, "db-shm"));
	open[5] = open_folder(f, look(f, "sub"));
	open[6] = open_id(f, look_in(f, look(f, "sub"), "inner"));
	return OPEN;
}

static void test_closed_in_any_order(void **state)
{
	struct fixture *f = *state;

	for (size_t step = 1; step < OPEN; step++) {
		struct handle *open[OPEN];
		size_t n = open_some(f, open);

		assert_list(f, open, n);
		for (size_t at = 0; n > 0; at += step) {
			at %= n;
			handle_close(open[at], &f->handles);
			open[at] = open[--n];
			assert_list(f, open, n);
		}
		assert_null(f->handles.first);
	}
}

static int count_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* After a session that ended by force: no RELEASE came, and no FORGET. */
static void test_finish_closes_the_rest(void **state)
{
	struct fixture *f = *state;
	struct handle *open[OPEN];
	int before = count_fds();
	uint64_t plain;

	open_some(f, open);
	plain = look(f, "plain");
	assert_true(count_fds() > before + 2);
	handles_finish(&f->handles);
	assert_null(f->handles.first);
	assert_true(count_fds() < before + OPEN + 3); /* SQLite's stay for two seconds */
	assert_false(outlives_forget(f, plain));
	handles_init(&f->handles, f->snap, &f->nodes);
	assert_int_equal(count_rows(f, open_id(f, look(f, "db"))), 500);
}

/* ---- threads ---------------------------------------------------------------------------------------- */

#define THREADS 4
#define ROUNDS 300

struct opener {
	struct fixture *f;
	struct node *db, *plain;
	struct handle *shared; /* of the database */
	const unsigned char *bytes;
	size_t size;
	pthread_t thread;
	unsigned seed;
	int failures;
};

static bool reads_right(struct opener *o, struct handle *h, unsigned *random)
{
	unsigned char buf[10000];
	size_t at;

	*random = *random * 1103515245u + 12345u;
	at = (*random >> 8) % (o->size - sizeof(buf));
	return handle_read(h, buf, sizeof(buf), at, NULL) == sizeof(buf) &&
	       memcmp(buf, o->bytes + at, sizeof(buf)) == 0;
}

/* Opens, reads, also what others read, and closes. */
static void *open_and_close(void *arg)
{
	struct opener *o = arg;
	unsigned random = o->seed;
	char buf[64];

	for (int i = 0; i < ROUNDS; i++) {
		struct snap_gen *moved = NULL;
		struct handle *db = NULL, *plain = NULL;

		if (handle_open(&db, &o->f->handles, o->db, false, &moved, NULL) ||
		    handle_open(&plain, &o->f->handles, o->plain, false, &moved, NULL) || moved) {
			o->failures++;
			break;
		}
		o->failures += !reads_right(o, db, &random) || !reads_right(o, o->shared, &random);
		o->failures += handle_read(plain, buf, sizeof(buf), 0, NULL) != (ssize_t)strlen(TEXT);
		handle_close(db, &o->f->handles);
		handle_close(plain, &o->f->handles);
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct fixture *f = *state;
	uint64_t db = look(f, "db"), plain = look(f, "plain");
	struct node *db_node = node_get(&f->nodes, db), *plain_node = node_get(&f->nodes, plain);
	struct opener openers[THREADS];
	struct handle *shared = open_id(f, db);
	size_t size;
	unsigned char *bytes = read_all(f, shared, &size);

	for (int i = 0; i < THREADS; i++) {
		openers[i] = (struct opener){.f = f,
					     .db = db_node,
					     .plain = plain_node,
					     .shared = shared,
					     .bytes = bytes,
					     .size = size,
					     .seed = (unsigned)i + 1};
		assert_int_equal(pthread_create(&openers[i].thread, NULL, open_and_close, &openers[i]), 0);
	}
	for (int i = 0; i < 10; i++)
		app_do(&f->app, "UPDATE t SET b=randomblob(300)");
	for (int i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(openers[i].thread, NULL), 0);
		assert_int_equal(openers[i].failures, 0);
	}
	assert_list(f, &shared, 1);
	handle_close(shared, &f->handles);
	node_put(&f->nodes, db_node);
	node_put(&f->nodes, plain_node);
	assert_false(outlives_forget(f, db));
	free(bytes);
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(test_database),
		test(test_moved),
		test(test_broken_database),
		test(test_plain),
		test(test_plain_replaced),
		test(test_sidecars),
		test(test_folders),
		test(test_not_to_be_opened),
		test(test_inner),
		test(test_path_too_long),
		test(test_out_of_memory),
		test(test_closed_in_any_order),
		test(test_finish_closes_the_rest),
		test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
