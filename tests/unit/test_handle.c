/* SPDX-License-Identifier: MIT */
/* test_handle.c - opening and reading everything that a tree can show. */
#include "handles.h"

#include <stdatomic.h>

/* ---- databases -------------------------------------------------------------------------------------- */

/* In rollback mode it has to be copied. */
static void test_database_that_is_waited_for(void **state)
{
	struct fixture *f = *state;
	struct snap_gen *moved = NULL;
	struct handle *h;
	uint64_t id;

	app_do(&f->app, "PRAGMA journal_mode=DELETE");
	id = look(f, "db");
	assert_int_equal(try_open(f, id, false, &h, &moved), SNAP_WOULD_WAIT);
	assert_null(moved);
	h = open_id(f, id);
	assert_int_equal(count_rows(f, h), 500);
	handle_close(h, &f->handles);
}

static void test_database(void **state)
{
	struct fixture *f = *state;
	uint64_t id = look(f, "db");
	struct snap_gen *moved = NULL;
	struct handle *h, *second;
	unsigned char *buf, part[5000];
	size_t size;

	assert_int_equal(try_open(f, id, false, &h, &moved), 0);
	assert_null(moved);
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
	assert_int_equal(try_open(f, id, true, &h, &moved), SNAP_MOVED);
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

/* What it is can be asked as long as it is open; of a database that has come to be in it nothing is told. */
static void test_plain_stat(void **state)
{
	struct fixture *f = *state;
	uint64_t id = look(f, "plain");
	struct node *node = node_get(&f->nodes, id);
	struct snap_gen *moved = NULL;
	struct snap_attr attr;
	struct handle *h;
	int fd = openat(f->folder.fd, "plain", O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(handle_stat(&f->handles, node, &attr), -ENOENT);
	assert_int_equal(try_open(f, id, false, &h, &moved), 0);
	assert_int_equal(handle_stat(&f->handles, node, &attr), 0);
	assert_int_equal(attr.nlink, 1);
	put(f, "new", "another file");
	assert_int_equal(renameat(f->folder.fd, "new", f->folder.fd, "plain"), 0);
	assert_int_equal(write(fd, TEXT TEXT, 2 * strlen(TEXT)), 2 * strlen(TEXT));
	assert_int_equal(handle_stat(&f->handles, node, &attr), 0);
	assert_int_equal(attr.kind, SNAP_PLAIN);
	assert_int_equal(attr.key_dev, node->key[0]);
	assert_int_equal(attr.key_ino, node->key[1]);
	assert_int_equal(attr.mode, S_IFREG | 0644);
	assert_int_equal(attr.nlink, 0);
	assert_int_equal(attr.size, 2 * strlen(TEXT));
	assert_int_equal(pwrite(fd, "SQLite format 3", 16, 0), 16);
	assert_int_equal(ftruncate(fd, 4096), 0);
	assert_int_equal(handle_stat(&f->handles, node, &attr), -ESTALE);
	close(fd);
	handle_close(h, &f->handles);
	node_put(&f->nodes, node);
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
	/* As it was when it was opened, until it is read from the beginning for the second time. */
	assert_int_equal(unlinkat(f->folder.fd, "sub/inner", 0), 0);
	assert_true(lists(h, "inner"));
	assert_int_equal(handle_begin_list(h, &f->handles, &f->err), 0);
	assert_true(lists(h, "inner"));
	put(f, "sub/later", "later");
	assert_int_equal(handle_begin_list(h, &f->handles, &f->err), 0);
	assert_true(lists(h, "later") && !lists(h, "inner"));
	/* Another folder's entries are not shown. */
	assert_int_equal(renameat(f->folder.fd, "sub", f->folder.fd, "was"), 0);
	assert_int_equal(mkdirat(f->folder.fd, "sub", 0755), 0);
	assert_int_equal(handle_begin_list(h, &f->handles, &f->err), -ESTALE);
	assert_true(lists(h, "later"));
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

/* A text of our own, in parts. */
static void test_text(void **state)
{
	const size_t size = strlen(TEXT);
	const struct {
		size_t size;
		uint64_t offset;
		const char *got;
	} cases[] = {
		{100, 0, TEXT}, {size, 0, TEXT},      {4, 6, "text"},	{0, 0, ""},
		{1, size, ""},	{100, size - 1, "e"}, {1, 1000000, ""}, {1, UINT64_MAX, ""},
	};
	struct fixture *f = *state;
	struct node *root = node_get(&f->nodes, NODE_ROOT);
	struct handle *h = NULL;
	char buf[101];

	assert_int_equal(handle_open_text(&h, &f->handles, root, strdup(TEXT), &f->err), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t length = strlen(cases[i].got);

		memset(buf, 'x', sizeof(buf));
		assert_int_equal(handle_read(h, buf, cases[i].size, cases[i].offset, &f->err), length);
		assert_memory_equal(buf, cases[i].got, length);
		assert_int_equal(buf[length], 'x');
	}
	handle_close(h, &f->handles);
	assert_int_equal(handle_open_text(&h, &f->handles, root, NULL, &f->err), -ENOMEM);
	assert_null(f->handles.first);
	node_put(&f->nodes, root);
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

	assert_between(open_without_memory(f, "plain", false), 1, 100);
	assert_between(open_without_memory(f, "db-wal", false), 1, 100);
	assert_between(open_without_memory(f, "sub", true), 1, 100);
	assert_between(open_without_memory(f, "db", false), 1, 100);
	h = open_id(f, look(f, "db"));
	assert_int_equal(count_rows(f, h), 500);
	handle_close(h, &f->handles);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(test_database_that_is_waited_for),
		test(test_database),
		test(test_moved),
		test(test_broken_database),
		test(test_plain),
		test(test_plain_stat),
		test(test_plain_replaced),
		test(test_sidecars),
		test(test_folders),
		test(test_not_to_be_opened),
		test(test_inner),
		test(test_path_too_long),
		test(test_text),
		test(test_out_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
