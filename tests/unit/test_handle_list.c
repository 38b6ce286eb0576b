/* SPDX-License-Identifier: MIT */
/* test_handle_list.c - all that is open: the list of it, its end, threads that open and close. */
#include "handles.h"

#include <pthread.h>

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

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(test_closed_in_any_order),
		test(test_finish_closes_the_rest),
		test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
