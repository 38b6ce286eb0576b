/* SPDX-License-Identifier: MIT */
/* test_status_facts.c - what the library says of its sources, beside what really goes on. */
#include "status_view.h"

#include <errno.h>

#include "../../src/source_private.h"

static void test_looking_touches_nothing(void **state)
{
	struct fixture f;

	(void)state;
	up(&f, "PRAGMA page_size=1024; " APP_WAL ";" APP_ROWS(10));
	app_stop(&f.app); /* its last close leaves no -wal */
	for (int i = 0; i < 3; i++) {
		struct snap_source_facts facts = facts_of(&f);

		assert_int_equal(facts.journal, SNAP_JOURNAL_WAL);
		assert_int_equal(facts.page_size, 1024);
		assert_int_equal(facts.size, file_look(&f.folder, "db").size);
		assert_false(facts.connected);
		assert_int_equal(facts.generation, 0);
		assert_int_equal(facts.readers, 0);
		assert_int_equal(facts.pin_count, 0);
		assert_int_equal(facts.opened.time_ns, 0);
		assert_int_equal(facts.error_ns, 0);
		assert_false(file_exists(&f.folder, "db-wal"));
		assert_false(file_exists(&f.folder, "db-shm"));
	}
	down(&f);
}

static void test_kinds(void **state)
{
	struct fixture f;
	int fd;

	(void)state;
	up(&f, "CREATE TABLE t(a, b);" APP_ROWS(10));
	assert_int_equal(facts_of(&f).journal, SNAP_JOURNAL_ROLLBACK);
	struct snap_gen *gen = open_now(&f); /* a connection hides the header from a look */
	struct snap_source_facts facts = facts_of(&f);
	assert_true(facts.connected);
	assert_int_equal(facts.journal, SNAP_JOURNAL_ROLLBACK);
	assert_int_equal(facts.page_size, 4096);
	assert_int_equal(facts.size, size_of(gen));
	close_gen(gen);
	app_stop(&f.app);
	fd = openat(f.folder.fd, "broken", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, (char[200]){"SQLite format 3"}, 200), 200);
	close(fd);
	struct found found = look_for(&f, "broken");
	assert_true(found.found);
	assert_int_equal(found.facts.journal, SNAP_JOURNAL_UNKNOWN);
	assert_int_equal(found.facts.page_size, 0);
	assert_int_equal(found.count, 2);
	down(&f);
}

static void test_pins_and_what_they_hold_back(void **state)
{
	struct snap_gen *first, *again, *second;
	struct snap_source_facts facts;
	struct fixture f;
	int64_t frames;

	(void)state;
	app_up(&f, "PRAGMA page_size=4096; " APP_WAL ";" APP_ROWS(10));
	snap_up_still(&f);
	first = open_now(&f);
	again = open_now(&f);
	facts = facts_of(&f);
	assert_true(facts.connected);
	assert_int_equal(facts.readers, 2);
	assert_int_equal(facts.pin_count, 1);
	assert_int_equal(facts.pins[0].wal_bytes, 0);
	assert_int_equal(facts.generation, snap_gen_id(first));
	/* More than a quarter of the limit: the next open takes a pin of its own. */
	app_do(&f.app, APP_ROWS(2000));
	frames = app_get(&f.app, "PRAGMA wal_checkpoint(PASSIVE)") == 0
			 ? (file_look(&f.folder, "db-wal").size - 32) / 4120
			 : 0;
	second = open_now(&f);
	app_do(&f.app, "INSERT INTO t(b) VALUES(1)");
	facts = facts_of(&f);
	assert_int_equal(facts.wal_bytes, file_look(&f.folder, "db-wal").size - 32);
	assert_int_equal(facts.readers, 3);
	assert_int_equal(facts.pin_count, 2);
	assert_true(facts.pins[0].age_ns > facts.pins[1].age_ns);
	assert_true(facts.pins[1].age_ns >= 0);
	assert_int_equal(facts.pins[1].wal_bytes, facts.wal_bytes - (uint64_t)frames * 4120);
	assert_between(facts.pins[0].wal_bytes, 2000 * 300, facts.wal_bytes - 1);
	assert_int_equal(facts.held_bytes, facts.pins[0].wal_bytes);
	assert_int_equal(facts.spool_bytes, 0);
	close_gen(first);
	close_gen(again);
	facts = facts_of(&f);
	assert_int_equal(facts.readers, 1);
	assert_int_equal(facts.pin_count, 1);
	close_gen(second);
	assert_int_equal(facts_of(&f).pin_count, 0);
	app_stop(&f.app);
	down(&f);
}

static bool nothing_is_pinned(struct fixture *f)
{
	return facts_of(f).pin_count == 0;
}

static void test_a_spool_counts_once(void **state)
{
	struct snap_gen *first, *second;
	struct snap_source_facts facts;
	struct fixture f;
	uint64_t bytes;

	(void)state;
	app_up(&f, APP_WAL ";" APP_ROWS(10));
	snap_up_still(&f); /* a pin that is a second old is spooled by itself */
	first = open_now(&f);
	app_do(&f.app, APP_ROWS(1000));
	second = open_now(&f);
	app_do(&f.app, APP_ROWS(10000)); /* over the limit: both are spooled, into one */
	assert_int_equal(snap_start(f.snap, NULL), 0);
	await(nothing_is_pinned, &f);
	facts = facts_of(&f);
	bytes = (uint64_t)file_look(&f.folder, "db").size + (uint64_t)file_look(&f.folder, "db-wal").size;
	assert_int_equal(facts.readers, 2);
	assert_between(facts.spool_bytes, size_of(second), bytes);
	assert_true(image_covers(second->image, second->max_frame));
	assert_true(first->image != second->image);
	close_gen(first);
	assert_between(facts_of(&f).spool_bytes, facts.spool_bytes, facts.spool_bytes);
	close_gen(second);
	app_stop(&f.app);
	down(&f);
}

static void test_copies_of_rollback_databases(void **state)
{
	struct fixture f;

	(void)state;
	app_up(&f, "CREATE TABLE t(a, b);" APP_ROWS(100));
	snap_up_still(&f);
	struct snap_gen *gen = open_now(&f);
	assert_int_equal(facts_of(&f).spool_bytes, size_of(gen));
	app_do(&f.app, APP_ROWS(100));
	struct snap_gen *next = open_now(&f);
	assert_int_equal(facts_of(&f).spool_bytes, size_of(gen) + size_of(next));
	assert_int_equal(facts_of(&f).readers, 2);
	close_gen(next);
	close_gen(gen);
	app_stop(&f.app);
	down(&f);
}

static void test_the_last_error_stays(void **state)
{
	struct snap_gen *gen = NULL;
	struct fixture f;

	(void)state;
	app_up(&f, "CREATE TABLE t(a, b);" APP_ROWS(10));
	snap_up_still(&f);
	app_do(&f.app, "BEGIN EXCLUSIVE");
	assert_int_equal(try_open(&f, &gen), -EBUSY);
	app_do(&f.app, "COMMIT");
	struct snap_source_facts facts = facts_of(&f);
	assert_true(facts.error_ns > 0);
	assert_non_null(strstr(facts.error.text, "locked"));
	assert_true(facts.failing);
	close_gen(open_now(&f));
	assert_int_equal(facts_of(&f).error_ns, facts.error_ns);
	assert_true(facts_of(&f).failing); /* whoever opened has to say so */
	app_stop(&f.app);
	down(&f);
}

static void test_a_reader_that_is_given_up(void **state)
{
	struct snap_gen *gen;
	struct fixture f;
	char byte;

	(void)state;
	app_up(&f, APP_WAL ";" APP_ROWS(10));
	snap_up_still(&f);
	gen = open_now(&f);
	source_event(source_of(gen), SNAP_DEBUG, "it is %s", "well");
	assert_int_equal(facts_of(&f).error_ns, 0);
	image_kill(gen->image);
	source_event(source_of(gen), SNAP_ERROR, "given up for %d reasons", 3);
	assert_int_equal(snap_gen_read(gen, &byte, 1, 0, NULL), -EIO);
	assert_string_equal(facts_of(&f).error.text, "given up for 3 reasons");
	close_gen(gen);
	app_stop(&f.app);
	down(&f);
}

/* ---- the walk ------------------------------------------------------------------------------------------ */

static void test_what_has_gone_is_shown_while_it_is_read(void **state)
{
	struct found found;
	struct fixture f;
	char path[PATH_MAX];

	(void)state;
	app_up(&f, APP_WAL ";" APP_ROWS(10));
	snap_up_still(&f);
	struct snap_gen *gen = open_now(&f);
	app_stop(&f.app);
	assert_int_equal(unlink(folder_file(&f.folder, "db", path)), 0);
	found = look_for(&f, NULL);
	assert_true(found.found);
	assert_string_equal(found.facts.file, path);
	assert_int_equal(found.facts.readers, 1);
	assert_int_equal(found.facts.pin_count, 1);
	close_gen(gen);
	assert_false(look_for(&f, NULL).found);
	down(&f);
}

static void test_a_replaced_file_keeps_its_pin_in_sight(void **state)
{
	struct snap_source_facts facts;
	struct fixture f;
	char path[PATH_MAX], command[3 * PATH_MAX + 64];

	(void)state;
	app_up(&f, APP_WAL ";" APP_ROWS(10));
	snap_up_still(&f);
	struct snap_gen *old = open_now(&f), *again = open_now(&f);
	app_stop(&f.app);
	folder_file(&f.folder, "db", path);
	snprintf(command, sizeof(command), "sqlite3 %s.new 'CREATE TABLE t(a, b)' && mv %s.new %s", path,
		 path, path);
	assert_int_equal(system(command), 0);
	snap_gen_unref(look(&f, NULL));
	facts = facts_of(&f);
	assert_int_equal(facts.readers, 2);
	assert_int_equal(facts.pin_count, 1);
	assert_int_equal(facts.pins[0].wal_bytes, 0);
	close_gen(old);
	close_gen(again);
	down(&f);
}

static int stop_at_once(void *arg, const struct snap_source_facts *facts)
{
	(void)facts;
	++*(int *)arg;
	return -ECANCELED;
}

static int count_path(void *arg, const char *path)
{
	(void)path;
	++*(size_t *)arg;
	return 0;
}

static void test_a_walk_has_a_limit(void **state)
{
	char command[PATH_MAX];
	struct fixture f;
	size_t n = 0;

	(void)state;
	app_up(&f, "CREATE TABLE t(a, b)");
	snap_up_still(&f);
	snprintf(
		command, sizeof(command),
		"cd %s && for i in 1 2 3 4 5 6 7 8 9; do mkdir -p $i/x && cp db $i/db && cp db $i/x/db; done",
		f.folder.path);
	assert_int_equal(system(command), 0);
	assert_int_equal(tree_walk(f.snap->tree, 1000, count_path, &n), 0);
	assert_int_equal(n, 19);
	n = 0;
	assert_int_equal(tree_walk(f.snap->tree, 14, count_path, &n), TREE_WALK_CUT);
	assert_between(n, 2, 18);
	assert_int_equal(tree_count(f.snap->tree, 1000, 5, &n), TREE_WALK_CUT);
	assert_int_equal(n, 5);
	assert_int_equal(tree_count(f.snap->tree, 14, 1000, &n), TREE_WALK_CUT);
	assert_between(n, 2, 18);
	assert_int_equal(tree_count(f.snap->tree, 1000, 1000, &n), 0);
	assert_int_equal(n, 19);
	app_stop(&f.app);
	down(&f);
}

static void test_the_first_refusal_ends_it(void **state)
{
	struct fixture f;
	bool complete;
	int calls = 0;

	(void)state;
	app_up(&f, "CREATE TABLE t(a, b)");
	snap_up_still(&f);
	assert_int_equal(snap_each_source(f.snap, stop_at_once, &calls, &complete), -ECANCELED);
	assert_int_equal(calls, 1);
	app_stop(&f.app);
	down(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_looking_touches_nothing),
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_pins_and_what_they_hold_back),
		cmocka_unit_test(test_a_spool_counts_once),
		cmocka_unit_test(test_copies_of_rollback_databases),
		cmocka_unit_test(test_the_last_error_stays),
		cmocka_unit_test(test_a_reader_that_is_given_up),
		cmocka_unit_test(test_what_has_gone_is_shown_while_it_is_read),
		cmocka_unit_test(test_a_replaced_file_keeps_its_pin_in_sight),
		cmocka_unit_test(test_a_walk_has_a_limit),
		cmocka_unit_test(test_the_first_refusal_ends_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
