/* SPDX-License-Identifier: MIT */
/* test_source_look.c - what a look shows before anybody has opened: the time and the size, also after a
 * remount. */
#include "gens.h"

#include <time.h>

#include "../../src/clock.h"
#include "../../src/source_private.h"
#include "../../src/version.h"

/* What is not in the database file yet is in its -wal: the later of the two is the time of the content. */
static void test_mtime_is_that_of_the_wal(void **state)
{
	static const struct timespec db[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	static const struct timespec wal[2] = {{.tv_sec = 2000, .tv_nsec = 5},
					       {.tv_sec = 2000, .tv_nsec = 5}};
	struct fixture f;
	struct snap_attr attr;

	(void)state;
	up(&f, APP_WAL);
	assert_int_equal(utimensat(f.folder.fd, "db", db, 0), 0);
	assert_int_equal(utimensat(f.folder.fd, "db-wal", wal, 0), 0);
	snap_gen_unref(look(&f, &attr));
	assert_int_equal(timespec_ns(attr.mtime), timespec_ns(wal[0]));
	app_stop(&f.app);
	down(&f);
}

static void test_mtime_tells_generations_apart(void **state)
{
	struct fixture f;
	struct snap_attr attr;
	struct timespec now;
	int64_t last = 0;

	(void)state;
	up(&f, APP_WAL);
	for (int i = 0; i < 5; i++) {
		app_do(&f.app, "INSERT INTO t(b) VALUES(1)");
		struct snap_gen *gen = open_now(&f);
		snap_gen_stat(gen, &attr);
		assert_true(timespec_ns(attr.mtime) > last);
		clock_gettime(CLOCK_REALTIME, &now); /* time(2) may lag behind by some milliseconds */
		assert_true(timespec_ns(attr.mtime) <= (int64_t)(now.tv_sec + 2) * 1000000000);
		last = timespec_ns(attr.mtime);
		close_gen(gen);
		/* A remount neither goes back nor repeats. */
		snap_destroy(f.snap);
		snap_up(&f);
		gen = open_now(&f);
		snap_gen_stat(gen, &attr);
		assert_true(timespec_ns(attr.mtime) >= last);
		last = timespec_ns(attr.mtime);
		close_gen(gen);
	}
	app_stop(&f.app);
	down(&f);
}

static bool slow; /* no look connects in time */

int __real_source_connect(struct source *s, const struct stat *st, int64_t deadline, bool here,
			  struct live **out, struct snap_err *err);
int __wrap_source_connect(struct source *s, const struct stat *st, int64_t deadline, bool here,
			  struct live **out, struct snap_err *err);

int __wrap_source_connect(struct source *s, const struct stat *st, int64_t deadline, bool here,
			  struct live **out, struct snap_err *err)
{
	if (!slow || here)
		return __real_source_connect(s, st, deadline, here, out, err);
	*out = NULL;
	return 0;
}

/* After a remount, too, what nobody has changed has the size that it had, however long it takes to connect.
 */
static void test_size_after_a_remount(void **state)
{
	struct snap_attr before, after;
	struct fixture f;

	(void)state;
	up(&f, APP_WAL ";" APP_ROWS(500));
	nanosleep(&(struct timespec){.tv_nsec = 2 * VERSION_RACY_NS}, NULL); /* a change would show */
	struct snap_gen *gen = open_now(&f);
	snap_gen_stat(gen, &before);
	close_gen(gen);
	snap_destroy(f.snap);
	slow = true;
	snap_up(&f);
	gen = look(&f, &after);
	assert_int_equal(after.size, before.size);
	assert_int_equal(timespec_ns(after.mtime), timespec_ns(before.mtime));
	snap_gen_unref(gen);
	/* What is changed is opened as it is. */
	app_do(&f.app, APP_ROWS(500));
	gen = open_now(&f);
	slow = false;
	snap_gen_stat(gen, &after);
	assert_true(after.size > before.size);
	assert_int_equal(ask(gen, "SELECT count(*) FROM t"), 1000);
	close_gen(gen);
	app_stop(&f.app);
	down(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mtime_is_that_of_the_wal),
		cmocka_unit_test(test_mtime_tells_generations_apart),
		cmocka_unit_test(test_size_after_a_remount),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
