/* SPDX-License-Identifier: MIT */
/* test_image_readers.c - readers of an image that is swapped for a spool, takes in commits, or ends. */
#include "images.h"

#include <pthread.h>
#include <stdatomic.h>

#define READERS 3

struct reader {
	struct group *group;
	atomic_int reads, wrong, failed;
	pthread_t thread;
	uint32_t random;
};

/* Who reads one image, as of two commits. */
struct group {
	struct image *image;
	struct copy copies[2];
	uint32_t max_frames[2];
	atomic_bool enough;
	struct reader readers[READERS];
};

static void *keep_reading(void *arg)
{
	struct reader *r = arg;
	const struct group *g = r->group;
	unsigned char *buf = malloc(100002);

	while (buf && !atomic_load(&g->enough)) {
		uint32_t which = next_random(&r->random) % 2;
		const struct copy *copy = &g->copies[which];
		uint64_t at = next_random(&r->random) % copy->size;
		size_t size = 1 + next_random(&r->random) % 100000;
		int rc;

		if (size > copy->size - at)
			size = copy->size - at;
		rc = read_and_compare(g->image, g->max_frames[which], copy, buf, size, at);
		atomic_fetch_add(rc < 0 ? &r->failed : rc > 0 ? &r->wrong : &r->reads, 1);
		if (rc < 0)
			break;
	}
	free(buf);
	return NULL;
}

/* Readers of an image in which frames and file hold pages in turn, as of two commits. */
static void start_readers(struct fixture *f, struct group *g)
{
	struct wal_header now;

	memset(g, 0, sizeof(*g));
	assert_true(app_can_truncate(f));
	app_do(&f->app, "UPDATE t SET b=randomblob(length(b)) WHERE a%3=0");
	g->image = pin_image(f, &g->max_frames[0], &g->copies[0]);
	app_do(&f->app, "UPDATE t SET b=randomblob(length(b)) WHERE a%4=0");
	assert_int_equal(live_sample(f->live, &now), 0);
	assert_true(image_accepts(g->image, &now, PLENTY));
	g->max_frames[1] = now.max_frame;
	g->copies[1] = copy_now(f);
	for (uint32_t i = 0; i < READERS; i++) {
		g->readers[i] = (struct reader){.group = g, .random = i + 1};
		assert_int_equal(pthread_create(&g->readers[i].thread, NULL, keep_reading, &g->readers[i]),
				 0);
	}
}

/* Until every reader has read N times more; they have all ended, or are alive. */
static void await_reads(struct group *g, int n)
{
	for (int i = 0; i < READERS; i++) {
		int from = atomic_load(&g->readers[i].reads);

		while (atomic_load(&g->readers[i].reads) < from + n && !atomic_load(&g->readers[i].failed))
			sched_yield();
	}
}

/* None has read anything wrong, and of each FAILED reads have failed. */
static void join_readers(struct group *g, int failed)
{
	for (int i = 0; i < READERS; i++) {
		assert_int_equal(pthread_join(g->readers[i].thread, NULL), 0);
		assert_int_equal(atomic_load(&g->readers[i].wrong), 0);
		assert_int_equal(atomic_load(&g->readers[i].failed), failed);
	}
}

static void drop_image(struct group *g)
{
	image_unref(g->image);
	sqlite3_free(g->copies[0].bytes);
	sqlite3_free(g->copies[1].bytes);
}

static void test_swap_below_readers(void **state)
{
	struct fixture *f = *state;
	struct group g;

	make_database(f, "WAL", 1024, 800, 700);
	connect_live(f);
	for (int round = 0; round < 5; round++) {
		start_readers(f, &g);
		await_reads(&g, 10);
		go_on(f);
		assert_int_equal(
			spool(g.image, g.max_frames[1],
			      g.copies[0].size > g.copies[1].size ? g.copies[0].size : g.copies[1].size,
			      false, &f->err),
			0);
		go_on(f);
		await_reads(&g, 20);
		/* Whoever began on the pin is done with it. */
		assert_true(app_can_truncate(f));
		go_on(f);
		await_reads(&g, 20);
		atomic_store(&g.enough, true);
		join_readers(&g, 0);
		drop_image(&g);
	}
}

/* New commits are taken in while others read older ones. */
static void test_accept_below_readers(void **state)
{
	struct fixture *f = *state;
	struct group g;

	make_database(f, "WAL", 1024, 300, 700);
	connect_live(f);
	start_readers(f, &g);
	for (int i = 0; i < 20; i++) {
		struct wal_header now;
		struct copy copy;

		go_on(f);
		assert_int_equal(live_sample(f->live, &now), 0);
		assert_true(image_accepts(g.image, &now, PLENTY));
		copy = copy_now(f);
		assert_reads_all(g.image, now.max_frame, &copy);
		sqlite3_free(copy.bytes);
	}
	await_reads(&g, 5);
	atomic_store(&g.enough, true);
	join_readers(&g, 0);
	drop_image(&g);
}

static void test_kill_below_readers(void **state)
{
	struct fixture *f = *state;
	struct group g;

	make_database(f, "WAL", 1024, 300, 700);
	connect_live(f);
	for (int round = 0; round < 10; round++) {
		start_readers(f, &g);
		await_reads(&g, 5);
		if (round % 2)
			assert_int_equal(spool(g.image, g.max_frames[1], g.copies[1].size, false, &f->err),
					 0);
		image_kill(g.image);
		join_readers(&g, 1);
		assert_true(app_can_truncate(f));
		assert_dead(f, g.image, g.max_frames[0]);
		drop_image(&g);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(test_swap_below_readers),
		test(test_accept_below_readers),
		test(test_kill_below_readers),
	};

	return cmocka_run_group_tests(tests, own_mounts, NULL);
}
