/* SPDX-License-Identifier: MIT */
/* memory: many threads allocate, and malloc has few arenas for them. */
#include "memory.h"

#include "unit.h"

#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS 32

static pthread_barrier_t all;

/* Every thread has a block while the others ask for one. */
static void *allocate(void *arg)
{
	char *volatile block = malloc(4000);

	(void)arg;
	pthread_barrier_wait(&all);
	free(block);
	return NULL;
}

static unsigned arenas(void)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);
	unsigned n = 0;

	assert_non_null(f);
	assert_int_equal(malloc_info(0, f), 0);
	assert_int_equal(fclose(f), 0);
	for (const char *at = text; (at = strstr(at, "<heap nr=")); at++)
		n++;
	free(text);
	return n;
}

static void test_threads_share_arenas(void **state)
{
	pthread_t threads[THREADS];

	(void)state;
	memory_init();
	assert_int_equal(pthread_barrier_init(&all, NULL, THREADS), 0);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, allocate, NULL), 0);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_between(arenas(), 1, 2);
	pthread_barrier_destroy(&all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads_share_arenas),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
