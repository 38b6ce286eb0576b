/* SPDX-License-Identifier: MIT */
/* test_source_tend.c - the rounds of the janitor, one at a time: whose reader a WAL that is too long ends,
 * and what is written when it could not be. */
#include "gens.h"

#include <errno.h>

#include "../../src/clock.h"
#include "../../src/image.h"
#include "../../src/snap_private.h"
#include "../../src/source_private.h"

/* ---- a WAL that is too long ---------------------------------------------------------------------------- */

/* Who reads a file that was replaced holds back nothing of the WAL that came with the new one. */
static void test_ends_the_right_reader(void **state)
{
	struct fixture f;
	struct app other;
	unsigned char byte;

	(void)state;
	app_up(&f, APP_WAL ";" APP_ROWS(300));
	app_start(&other, &f.folder, "new");
	app_do(&other, APP_WAL ";" APP_ROWS(300));
	snap_up_still(&f);
	struct snap_gen *before = open_now(&f);
	unsigned char *bytes = bytes_of(before);
	replace(&f, true);
	struct snap_gen *now = open_now(&f);
	struct source *s = now->source;

	f.snap->core.config.wal_max = 1 << 20;
	pthread_mutex_lock(&s->lock);
	s->no_spool_until = INT64_MAX;
	pthread_mutex_unlock(&s->lock);
	for (int i = 0; i < 200 && !image_is_dead(now->image); i++) {
		app_do(&other, "UPDATE t SET b=randomblob(300)");
		source_tend(s, monotonic_ns());
		assert_false(image_is_dead(before->image));
	}
	assert_int_equal(snap_gen_read(now, &byte, 1, 0, NULL), -EIO);
	assert_same_bytes(before, bytes);
	free(bytes);
	close_gen(before);
	close_gen(now);
	app_stop(&f.app);
	app_stop(&other);
	down(&f);
}

/* ---- what could not be written ------------------------------------------------------------------------- */

int __real_store_save_seen(struct store *s, const char *source, const struct store_seen *seen,
			   struct snap_err *err);
int __wrap_store_save_seen(struct store *s, const char *source, const struct store_seen *seen,
			   struct snap_err *err);

static bool full;
static int saves;

int __wrap_store_save_seen(struct store *s, const char *source, const struct store_seen *seen,
			   struct snap_err *err)
{
	saves++;
	return full ? -ENOSPC : __real_store_save_seen(s, source, seen, err);
}

static void test_saved_later(void **state)
{
	struct store_seen seen;
	struct fixture f;

	(void)state;
	app_up(&f, APP_WAL ";" APP_ROWS(3));
	snap_up_still(&f);
	struct snap_gen *gen = open_now(&f);
	int64_t now = monotonic_ns();

	saves = 0;
	full = true;
	source_tend(gen->source, now);
	source_tend(gen->source, now + NS_PER_S / 10);
	assert_int_equal(saves, 1); /* not at every round */
	full = false;
	source_tend(gen->source, now + 60 * NS_PER_S);
	assert_int_equal(saves, 2);
	assert_int_equal(store_load_seen(f.snap->core.store, gen->source->path, &seen), 0);
	source_tend(gen->source, now + 120 * NS_PER_S);
	assert_int_equal(saves, 2);
	close_gen(gen);
	app_stop(&f.app);
	down(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ends_the_right_reader),
		cmocka_unit_test(test_saved_later),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
