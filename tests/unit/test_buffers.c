/* SPDX-License-Identifier: MIT */
/* test_buffers.c - buffers that are kept: whole, each one's own, and no more of them than promised. */
#include "../../fs/buffers.h"

#include "unit.h"

#include <stdlib.h>
#include <string.h>

#define MANY (3 * BUFFERS_KEPT)

/* A buffer that was just given back is the one that comes next: its pages are there already. */
static void test_comes_again(void **state)
{
	struct buffers b;
	void *buffer;

	(void)state;
	buffers_init(&b);
	buffer = buffer_get(&b);
	assert_non_null(buffer);
	for (int i = 0; i < 10; i++) {
		buffer_put(&b, buffer);
		assert_int_equal(b.count, 1);
		assert_ptr_equal(buffer_get(&b), buffer);
		assert_int_equal(b.count, 0);
	}
	buffer_put(&b, buffer);
	buffers_finish(&b);
}

static void test_each_ones_own(void **state)
{
	unsigned char *got[MANY];
	struct buffers b;

	(void)state;
	buffers_init(&b);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < MANY; i++) {
			got[i] = buffer_get(&b);
			assert_non_null(got[i]);
			memset(got[i], i + round, BUFFER_SIZE);
		}
		for (int i = 0; i < MANY; i++) {
			for (size_t at = 0; at < BUFFER_SIZE; at += 4096)
				assert_int_equal(got[i][at], i + round);
			assert_int_equal(got[i][BUFFER_SIZE - 1], i + round);
		}
		for (int i = 0; i < MANY; i++)
			buffer_put(&b, got[i]);
		/* The rest is not kept, which the leak checker would see. */
		assert_int_equal(b.count, BUFFERS_KEPT);
	}
	buffers_finish(&b);
	assert_int_equal(b.count, 0);
}

struct user {
	struct buffers *buffers;
	unsigned char mine;
	pthread_t thread;
};

static void *get_and_put(void *arg)
{
	const struct user *u = arg;
	unsigned char mine = u->mine;
	intptr_t wrong = 0;

	for (int i = 0; i < 2000; i++) {
		volatile unsigned char *buffer = buffer_get(u->buffers);

		if (!buffer)
			return (void *)1;
		buffer[0] = buffer[BUFFER_SIZE - 1] = mine;
		wrong += buffer[0] != mine || buffer[BUFFER_SIZE - 1] != mine;
		buffer_put(u->buffers, (void *)buffer);
	}
	return (void *)wrong;
}

static void test_threads(void **state)
{
	struct user users[2 * BUFFERS_KEPT];
	struct buffers b;
	void *wrong;

	(void)state;
	buffers_init(&b);
	for (int i = 0; i < 2 * BUFFERS_KEPT; i++) {
		users[i] = (struct user){.buffers = &b, .mine = (unsigned char)(i + 1)};
		assert_int_equal(pthread_create(&users[i].thread, NULL, get_and_put, &users[i]), 0);
	}
	for (int i = 0; i < 2 * BUFFERS_KEPT; i++) {
		assert_int_equal(pthread_join(users[i].thread, &wrong), 0);
		assert_null(wrong);
	}
	assert_between(b.count, 1, BUFFERS_KEPT);
	buffers_finish(&b);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_comes_again),
		cmocka_unit_test(test_each_ones_own),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
