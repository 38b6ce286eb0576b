/* SPDX-License-Identifier: MIT */
/* test_status_kept.c - what the library says of kept snapshots, and of who reads them. */
#include "status_view.h"

#include "../../src/keep.h"

static void keep_db(struct fixture *f, const char *name, int64_t made_ns)
{
	struct keep_meta meta = {.made_ns = made_ns, .mtime_ns = made_ns, .mode = 0600, .why = "a test"};
	struct keep *keep;
	char path[PATH_MAX];

	assert_int_equal(
		keep_begin(&keep, f->snap->core.store, folder_file(&f->folder, "db", path), name, NULL), 0);
	assert_int_equal(write(keep_fd(keep), "12345", 5), 5);
	assert_int_equal(keep_commit(keep, &meta, NULL), 0);
	keep_destroy(keep);
}

static int see_kept(void *arg, const struct snap_kept_facts *facts)
{
	char *text = arg;
	size_t used = strlen(text);

	snprintf(text + used, 256 - used, "%s/%s:%s:%d:%d ", facts->name, facts->path, facts->why,
		 (int)facts->size, (int)facts->made_ns);
	return 0;
}

static void test_kept_snapshots(void **state)
{
	struct snap_actor who = {.command = "cp"};
	char text[256] = "";
	struct fixture f;

	(void)state;
	app_up(&f, APP_WAL);
	snap_up_still(&f);
	assert_int_equal(snap_each_kept(f.snap, see_kept, text), 0);
	assert_string_equal(text, "");
	keep_db(&f, "one", 1000);
	assert_int_equal(snap_each_kept(f.snap, see_kept, text), 0);
	assert_string_equal(text, "one/db:a test:5:1000 ");
	/* Read before anything else is known of the source, and by paths that are none. */
	snap_kept_opened(f.snap, "db", &who);
	snap_kept_opened(f.snap, ".sqlsnapfs/snapshots/two/db", &who);
	snap_kept_opened(f.snap, ".sqlsnapfs/snapshots/one/other", &who);
	snap_kept_opened(f.snap, ".sqlsnapfs/snapshots/one", &who);
	assert_int_equal(facts_of(&f).opened.time_ns, 0);
	snap_kept_opened(f.snap, ".sqlsnapfs/snapshots/one/db", &who);
	assert_int_equal(facts_of(&f).opened.time_ns, 1000);
	assert_string_equal(facts_of(&f).opened.snapshot, "one");
	keep_db(&f, "older", 900);
	snap_kept_opened(f.snap, ".sqlsnapfs/snapshots/older/db", &who);
	assert_string_equal(facts_of(&f).opened.snapshot, "one");
	app_stop(&f.app);
	down(&f);
}

static void test_a_snapshot_of_a_source_that_nobody_looked_at(void **state)
{
	struct snap_actor who = {.command = "cp"};
	struct fixture f;

	(void)state;
	app_up(&f, APP_WAL);
	snap_up_still(&f);
	keep_db(&f, "one", 1000);
	keep_db(&f, "older", 900);
	snap_kept_opened(f.snap, ".sqlsnapfs/snapshots/one/db", &who);
	snap_kept_opened(f.snap, ".sqlsnapfs/snapshots/older/db", &who);
	assert_int_equal(facts_of(&f).opened.time_ns, 1000);
	app_stop(&f.app);
	down(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kept_snapshots),
		cmocka_unit_test(test_a_snapshot_of_a_source_that_nobody_looked_at),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
