/* SPDX-License-Identifier: MIT */
/* test_restore_turns.c - restores of one database at the same time: one at a time, and what each leaves to be
 * done later is done. */
#include "restores.h"

#include <pthread.h>
#include <stdatomic.h>

#include "../../src/source_private.h"

#define WAL_OLD "PRAGMA journal_mode=WAL;" TABLE APP_ROWS(200)
#define NEW TABLE APP_ROWS(20000)
#define PATIENCE_NS (20 * NS_PER_S)

struct rival {
	struct fixture *f;
	struct upload u;
	struct restoring how;
	int rc;
};

static void *restore_too(void *arg)
{
	struct rival *r = arg;

	r->rc = restore(r->f, &r->u, &r->how);
	return NULL;
}

static void test_several_take_turns(void **state)
{
	struct rival rivals[4];
	pthread_t threads[4];
	struct fixture f;
	int64_t rows;

	(void)state;
	up(&f, WAL_OLD);
	source_unref(source_of(&f));
	for (int i = 0; i < 4; i++) {
		char sql[300];

		snprintf(sql, sizeof(sql), TABLE APP_ROWS(1000) "; DELETE FROM t WHERE a>%d", 100 * (i + 1));
		rivals[i] = (struct rival){.f = &f, .how = RESTORING, .rc = -1};
		upload_make(&rivals[i].u, f.snap, 4096, sql);
	}
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, restore_too, &rivals[i]), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	rows = app_get(&f.app, COUNT_T);
	assert_int_equal(rows % 100, 0);
	assert_between(rows, 100, 400);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(rivals[i].rc, 0);
		if (rows == 100 * (i + 1))
			assert_shows_upload(&f, &rivals[i].u);
		upload_finish(&rivals[i].u);
	}
	assert_int_equal(count_kept(&f), 4);
	app_stop(&f.app);
	down(&f);
}

static struct {
	_Atomic(struct fixture *) f; /* not NULL: the next turn waits for another restore */
	struct upload u;
	atomic_bool done;
} other;

int __real_source_restore_begin(struct source *s, bool (*cancelled)(void *arg), void *arg);
int __wrap_source_restore_begin(struct source *s, bool (*cancelled)(void *arg), void *arg);

int __wrap_source_restore_begin(struct source *s, bool (*cancelled)(void *arg), void *arg)
{
	struct fixture *f = atomic_exchange(&other.f, NULL);

	if (f) {
		struct restoring how = RESTORING;

		replace(f, true);
		assert_restored(f, &other.u, &how);
		atomic_store(&other.done, true);
	}
	return __real_source_restore_begin(s, cancelled, arg);
}

/* What is left to do after a restore has to wait for another one, over a database that has taken the place of
 * the first: what is left after that one is done, too. */
static void test_wal_is_cut_after_another_restore(void **state)
{
	struct restoring how = RESTORING;
	struct app reader;
	int64_t end;
	struct upload u;
	struct fixture f;

	(void)state;
	restore_up(&f, &u, WAL_OLD, NEW);
	upload_make(&other.u, f.snap, 4096, NEW);
	app_start(&reader, &f.folder, "new");
	app_do(&reader, WAL_OLD "; BEGIN; " COUNT_T);
	app_do(&f.app, "BEGIN; " COUNT_T);
	assert_restored(&f, &u, &how);
	atomic_store(&other.f, &f);
	end = monotonic_ns() + PATIENCE_NS;
	while (!atomic_load(&other.done)) {
		assert_true(monotonic_ns() < end);
		nanosleep(&(struct timespec){.tv_nsec = 10 * NS_PER_MS}, NULL);
	}
	assert_true(file_bytes(&f, "db-wal") > 0);
	app_do(&reader, "ROLLBACK");
	end = monotonic_ns() + PATIENCE_NS;
	while (file_bytes(&f, "db-wal") > 0) {
		assert_true(monotonic_ns() < end);
		nanosleep(&(struct timespec){.tv_nsec = 10 * NS_PER_MS}, NULL);
	}
	assert_shows_upload(&f, &other.u);
	app_stop(&reader);
	upload_finish(&other.u);
	restore_down(&f, &u);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_several_take_turns),
		cmocka_unit_test(test_wal_is_cut_after_another_restore),
	};

	if (argc == 5 && strcmp(argv[1], LOOK) == 0)
		return look_main(argv);
	return cmocka_run_group_tests(tests, own_tmp, NULL);
}
