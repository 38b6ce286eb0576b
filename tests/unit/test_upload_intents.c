/* SPDX-License-Identifier: MIT */
/* test_upload_intents.c - who is on his way to an upload, from the lookup to the open: once, or never. */
#include "upload_table.h"

static bool led_to(pid_t tid, const struct upload *u)
{
	return found(upload_led(&all, tid, FOLDER, "db"), u);
}

static void test_intent(void **state)
{
	struct upload *u = make_upload(UPLOAD_DATABASE, "db", getpid());

	(void)state;
	assert_true(led_to(5, NULL));
	assert_int_equal(upload_lead(u, 5), 0);
	upload_unref(u); /* the intent keeps it */
	assert_false(is_empty());
	assert_true(led_to(5, u));
	assert_true(led_to(5, u)); /* the kernel looks twice */
	assert_true(led_to(6, NULL));
	assert_true(led_to(0, NULL));
	assert_true(found(upload_led(&all, 5, FOLDER + 1, "db"), NULL));
	assert_true(found(upload_led(&all, 5, FOLDER, "db2"), NULL));
	upload_opened(u, 6); /* through /proc/self/fd: not who was led */
	assert_true(led_to(5, u));
	upload_opened(u, 5);
	assert_true(led_to(5, NULL)); /* the next open(2) is another */
	upload_closed(u);
	upload_closed(u);
	assert_true(is_empty());
}

/* Threads that share an upload, and are on their way to it at once. */
static void test_intents(void **state)
{
	struct upload *u = make_upload(UPLOAD_DATABASE, "db", getpid());

	(void)state;
	for (pid_t tid = 1; tid < 50; tid++)
		assert_int_equal(upload_lead(u, tid), 0);
	upload_unref(u);
	for (pid_t tid = 1; tid < 50; tid++)
		assert_true(led_to(tid, u));
	for (pid_t tid = 1; tid < 50; tid += 2) {
		upload_opened(u, tid);
		assert_true(led_to(tid, NULL));
		assert_true(led_to(tid + 1, tid + 1 < 50 ? u : NULL));
	}
	uploads_tend(&all, monotonic_ns() + UPLOAD_INTENT_NS + 1000000000);
	assert_true(led_to(2, NULL));
	for (pid_t tid = 1; tid < 50; tid += 2)
		upload_closed(u);
	assert_true(is_empty());
}

/* Who asks again without having come has given up what he was led to. */
static void test_intent_again(void **state)
{
	struct upload *u, *v;

	(void)state;
	u = make_upload(UPLOAD_DATABASE, "db", getpid());
	assert_int_equal(upload_lead(u, 5), 0);
	assert_int_equal(upload_lead(u, 5), UPLOAD_NOT_FOLLOWED);
	assert_true(led_to(5, u));
	upload_unref(u);
	v = make_upload(UPLOAD_DATABASE, "db", getpid());
	assert_int_equal(upload_lead(v, 5), 0);
	upload_unref(v);
	assert_true(led_to(5, v));
	assert_ptr_equal(all.first, v);
	assert_null(v->next); /* the first is gone */
	assert_int_equal(upload_lead(v, 6), 0);
	assert_true(led_to(5, v));
	assert_true(led_to(6, v));
	upload_opened(v, 6);
	upload_opened(v, 5);
	upload_closed(v);
	upload_closed(v);
	assert_true(is_empty());
}

/* Whether a reader keeps the WAL from starting over. */
static bool is_read(void)
{
	return app_ask(&f.app, "PRAGMA wal_checkpoint(TRUNCATE)").value != 0;
}

/* Who never comes (he was killed) leaves nothing behind, above all no reader of the live database. */
static void test_intent_lost(void **state)
{
	const struct timespec step = {.tv_nsec = 10000000};
	struct upload *u = make_upload(UPLOAD_DATABASE, "db", getpid());
	struct snap_gen *gen = look(&f, NULL);

	(void)state;
	assert_int_equal(snap_upload_begin_with(u->data, gen, true, NULL), 0);
	snap_gen_unref(gen);
	assert_int_equal(upload_lead(u, 5), 0);
	app_do(&f.app, APP_ROWS(5));
	assert_true(is_read());
	uploads_tend(&all, monotonic_ns() + UPLOAD_INTENT_NS / 2);
	assert_true(led_to(5, u));
	uploads_tend(&all, monotonic_ns() + UPLOAD_INTENT_NS + 1000000000);
	assert_true(led_to(5, NULL));
	for (int i = 0; i < 6000 && is_read(); i++)
		nanosleep(&step, NULL);
	assert_false(is_read()); /* although the kernel still knows its nodeid */
	assert_int_equal(upload_opened(u, 5), -ESTALE);
	assert_int_equal(u->opens, 0);
	assert_int_equal(upload_lead(u, 5), -ESTALE); /* nor is anybody led there again */
	assert_true(led_to(5, NULL));
	upload_unref(u);
	assert_true(is_empty());
}

/* What its last close has thrown away is not opened again by who still has its nodeid. */
static void test_closed_for_good(void **state)
{
	struct upload *u = open_cut(), *pending = open_cut();

	(void)state;
	upload_ref(u);
	upload_ref(pending);
	write_part(u, OWNER, &image, 0, image.size / 2);
	upload_closed(u);
	assert_int_equal(upload_opened(u, gettid()), -ESTALE);
	upload_unref(u);
	/* What is still to come is. */
	truncate_to(pending, 10000);
	write_part(pending, OWNER, &image, 0, 5000);
	assert_int_equal(flush(pending), 0);
	upload_closed(pending);
	assert_int_equal(upload_opened(pending, gettid()), 0);
	upload_unname(pending);
	upload_closed(pending);
	assert_int_equal(upload_opened(pending, gettid()), -ESTALE);
	upload_unref(pending);
	assert_true(is_empty());
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		test(test_intent),	test(test_intents),	    test(test_intent_again),
		test(test_intent_lost), test(test_closed_for_good),
	};

	if (argc > 1 && strcmp(argv[1], SNAP_CHILD_ARGUMENT) == 0)
		return snap_validate_child(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
