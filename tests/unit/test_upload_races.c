/* SPDX-License-Identifier: MIT */
/* test_upload_races.c - what comes at the same time as a restore. */
#include "upload_gate.h"

/* ---- at the same time ---------------------------------------------------------------------------------- */

static struct upload *shared;
static pthread_t other;
static int other_rc;

static void *flush_shared(void *arg)
{
	(void)arg;
	other_rc = flush(shared);
	return NULL;
}

static void flush_meanwhile(void)
{
	assert_int_equal(pthread_create(&other, NULL, flush_shared, NULL), 0);
}

/* Two threads close two descriptors: one verdict, and both hear it. */
static void test_two_closes(void **state)
{
	(void)state;
	for (int good = 0; good < 2; good++) {
		shared = open_cut();
		if (!good)
			damage(&image);
		write_all(shared, OWNER, &image);
		other_rc = 1;
		at_check = flush_meanwhile;
		assert_int_equal(flush(shared), good ? 0 : -EUCLEAN);
		assert_int_equal(pthread_join(other, NULL), 0);
		assert_int_equal(other_rc, good ? 0 : -EUCLEAN);
		assert_int_equal(checks, good + 1);
		assert_int_equal(logged(good ? RESTORED : REFUSED), 1);
		upload_closed(shared);
		sqlite3_free(image.bytes);
		image = image_of(IMAGE_ROWS);
	}
	assert_int_equal(live_rows(), IMAGE_ROWS);
}

static ssize_t written;

static void write_meanwhile(void)
{
	struct snap_err err;

	written = upload_write(shared, "xxxx", 4, 5000, OWNER, &err);
}

/* What the verdict is about does not change while it is made; who wants that hears so. */
static void test_write_meanwhile(void **state)
{
	(void)state;
	shared = open_cut();
	write_all(shared, OWNER, &image);
	at_check = write_meanwhile;
	assert_int_equal(flush(shared), 0);
	assert_int_equal(written, -EBUSY);
	upload_closed(shared);
	assert_restored();
}

static void test_write_in_rename(void **state)
{
	(void)state;
	shared = open_scratch(".x");
	write_all(shared, OWNER, &image);
	at_check = write_meanwhile;
	assert_int_equal(become(shared), 0);
	assert_int_equal(written, -EIO);
	upload_closed(shared);
	assert_restored();
}

/* The writer is answered before everything is over; he closes, and the kernel lets go of it. */
static void close_meanwhile(void)
{
	upload_closed(shared);
}

static void test_closed_when_answered(void **state)
{
	(void)state;
	shared = open_cut();
	upload_ref(shared); /* the request's */
	write_all(shared, OWNER, &image);
	assert_int_equal(flush_as(shared, (struct closing){.answered = close_meanwhile}), 0);
	assert_restored();
	assert_int_equal(shared->refs, 1);
	upload_unref(shared);
}

/* He has written something else before that, which no FLUSH has seen: decided about all the same. */
static struct image later;

static void write_and_close_meanwhile(void)
{
	truncate_to(shared, 0);
	write_all(shared, OWNER, &later);
	upload_closed(shared);
}

static void test_written_when_answered(void **state)
{
	(void)state;
	later = image_of(33);
	shared = open_cut();
	upload_ref(shared);
	write_all(shared, OWNER, &image);
	assert_int_equal(flush_as(shared, (struct closing){.answered = write_and_close_meanwhile}), 0);
	upload_unref(shared);
	assert_int_equal(live_rows(), 33);
	assert_int_equal(logged(RESTORED), 2);
	assert_int_equal(stored(), 0);
	sqlite3_free(later.bytes);
}

/* The next one's length is announced, and a part of it has come. */
static void announce_meanwhile(void)
{
	truncate_to(shared, 0);
	truncate_to(shared, image.size);
	write_part(shared, OWNER, &image, 0, 4096);
	assert_int_equal(close_upload(shared), 0);
}

/* What follows the answer takes nothing from him: he finds what he has begun, and goes on with it. */
static void test_announced_when_answered(void **state)
{
	(void)state;
	shared = open_cut();
	upload_ref(shared);
	write_all(shared, OWNER, &image);
	assert_int_equal(flush_as(shared, (struct closing){.answered = announce_meanwhile}), 0);
	upload_unref(shared);
	assert_ptr_equal(pending(), shared);
	opened(shared);
	write_part(shared, OWNER, &image, 4096, image.size - 4096);
	assert_int_equal(close_upload(shared), 0);
	assert_null(pending());
	assert_int_equal(logged("thrown away"), 0);
	assert_int_equal(logged("nothing was changed"), 1);
	assert_restored();
}

/* What is written once it is over is not what was decided about, known or not. */
static void write_part_meanwhile(void)
{
	write_part(shared, OWNER, &image, 4096, 4096);
}

static void test_not_swallowed(void **state)
{
	(void)state;
	shared = open_cut();
	write_all(shared, OWNER, &image);
	assert_int_equal(flush_as(shared, (struct closing){.answered = write_part_meanwhile}), 0);
	assert_int_equal(flush(shared), -EIO);
	truncate_to(shared, 0);
	write_all(shared, OWNER, &image);
	at_end = write_part_meanwhile;
	assert_int_equal(flush(shared), 0);
	assert_int_equal(flush(shared), -EIO);
	upload_closed(shared);
	assert_int_equal(live_rows(), IMAGE_ROWS);
}

/* The answer is what is true: it is restored, and not safe. */
static void test_not_durable(void **state)
{
	struct upload *u = open_cut(), *scratch = open_scratch(".x");

	(void)state;
	disk_refuses = true;
	write_all(u, OWNER, &image);
	assert_int_equal(flush(u), -EIO);
	assert_int_equal(flush(u), -EIO);
	upload_closed(u);
	assert_int_equal(live_rows(), IMAGE_ROWS);
	assert_int_equal(logged("unchanged"), 0);
	assert_int_equal(logged("the disk refused to make it durable"), 1);
	write_all(scratch, OWNER, &image);
	assert_int_equal(become(scratch), -EIO);
	assert_int_equal(logged("live database unchanged"), 0);
	upload_unname(scratch);
	upload_closed(scratch);
	assert_int_equal(stored(), 0);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		gate_test(test_two_closes),
		gate_test(test_write_meanwhile),
		gate_test(test_write_in_rename),
		gate_test(test_closed_when_answered),
		gate_test(test_written_when_answered),
		gate_test(test_announced_when_answered),
		gate_test(test_not_swallowed),
		gate_test(test_not_durable),
	};

	if (argc > 1 && strcmp(argv[1], SNAP_CHILD_ARGUMENT) == 0)
		return snap_validate_child(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
