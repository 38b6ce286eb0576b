/* SPDX-License-Identifier: MIT */
/* test_status_facts.c - what the library says of its sources, beside what really goes on. */
#include "gens.h"

#include <errno.h>
#include <time.h>

#include "../../src/facts.h"
#include "../../src/keep.h"
#include "../../src/snap_private.h"

/* ---- looking ------------------------------------------------------------------------------------------- */

struct found {
	const char *path; /* that is looked for; NULL: of what has gone */
	struct snap_source_facts facts;
	bool found;
	size_t count;
};

static int find(void *arg, const struct snap_source_facts *facts)
{
	struct found *f = arg;

	f->count++;
	if (f->path ? facts->path && strcmp(facts->path, f->path) == 0 : !facts->path) {
		f->found = true;
		f->facts = *facts;
	}
	return 0;
}

static struct found look_for(struct fixture *f, const char *path)
{
	struct found found = {.path = path};
	bool complete = false;

	assert_int_equal(snap_each_source(f->snap, find, &found, &complete), 0);
	assert_true(complete);
	return found;
}

static struct snap_source_facts facts_of(struct fixture *f)
{
	struct found found = look_for(f, "db");

	assert_true(found.found);
	return found.facts;
}

static struct source *source_of(struct snap_gen *gen)
{
	return gen->source;
}

static void await(bool (*check)(struct fixture *f), struct fixture *f)
{
	for (int i = 0; i < 1000; i++) {
		if (check(f))
			return;
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	}
	fail_msg("nothing happened in ten seconds");
}

/* ---- */

static void test_bug_versions(void **state)
{
	static const struct {
		int number;
		bool bug;
	} cases[] = {
		{3006023, false}, {3007000, true},  {3007001, true},  {3040001, true},	{3044005, true},
		{3044006, false}, {3046001, true},  {3050006, true},  {3050007, false}, {3051000, true},
		{3051002, true},  {3051003, false}, {3053000, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(facts_wal_reset_bug(cases[i].number), cases[i].bug);
	assert_int_equal(snap_sqlite_has_wal_reset_bug(), facts_wal_reset_bug(sqlite3_libversion_number()));
}

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
	assert_in_range(facts.pins[0].wal_bytes, 2000 * 300, facts.wal_bytes - 1);
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
	up(&f, APP_WAL ";" APP_ROWS(10));
	first = open_now(&f);
	app_do(&f.app, APP_ROWS(1000));
	second = open_now(&f);
	app_do(&f.app, APP_ROWS(10000)); /* over the limit: both are spooled, into one */
	await(nothing_is_pinned, &f);
	facts = facts_of(&f);
	bytes = (uint64_t)file_look(&f.folder, "db").size + (uint64_t)file_look(&f.folder, "db-wal").size;
	assert_int_equal(facts.readers, 2);
	assert_in_range(facts.spool_bytes, size_of(second), bytes);
	assert_true(image_covers(second->image, second->max_frame));
	assert_true(first->image != second->image);
	close_gen(first);
	assert_in_range(facts_of(&f).spool_bytes, facts.spool_bytes, facts.spool_bytes);
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
	close_gen(open_now(&f));
	assert_int_equal(facts_of(&f).error_ns, facts.error_ns);
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

/* ---- who has opened it --------------------------------------------------------------------------------- */

static void test_the_newest_state_that_was_opened(void **state)
{
	struct snap_actor cp = {.uid = 7, .pid = 42, .command = "cp"},
			  sh = {.uid = 8, .pid = 43, .command = "sh"};
	struct snap_source_facts facts;
	struct snap_opened old;
	struct fixture f;

	(void)state;
	app_up(&f, APP_WAL);
	snap_up_still(&f);
	struct snap_gen *gen = open_now(&f);
	assert_int_equal(facts_of(&f).opened.time_ns, 0); /* whoever opened has to say so */
	snap_gen_opened(gen, &cp);
	facts = facts_of(&f);
	assert_true(facts.opened.time_ns > 0);
	assert_string_equal(facts.opened.who.command, "cp");
	assert_int_equal(facts.opened.who.uid, 7);
	assert_int_equal(facts.opened.who.pid, 42);
	old = (struct snap_opened){.time_ns = facts.opened.time_ns - 1, .who = sh, .snapshot = "then"};
	source_note_opened(source_of(gen), &old);
	assert_string_equal(facts_of(&f).opened.who.command, "cp");
	old.time_ns = facts.opened.time_ns + 1;
	source_note_opened(source_of(gen), &old);
	assert_string_equal(facts_of(&f).opened.who.command, "sh");
	assert_string_equal(facts_of(&f).opened.snapshot, "then");
	close_gen(gen);
	snap_destroy(f.snap);
	snap_up_still(&f); /* another mount */
	facts = facts_of(&f);
	assert_true(facts.opened.time_ns == old.time_ns);
	assert_string_equal(facts.opened.who.command, "sh");
	assert_string_equal(facts.opened.snapshot, "then");
	app_stop(&f.app);
	down(&f);
}

static bool is_stored(struct fixture *f)
{
	struct snap_opened opened;
	char path[PATH_MAX];

	return store_load_opened(f->snap->core.store, folder_file(&f->folder, "db", path), &opened) == 0 &&
	       opened.who.uid == 9;
}

static void test_it_is_stored_while_the_mount_stands(void **state)
{
	struct snap_actor who = {.uid = 9};
	struct fixture f;

	(void)state;
	up(&f, APP_WAL);
	struct snap_gen *gen = open_now(&f);
	snap_gen_opened(gen, &who);
	await(is_stored, &f);
	close_gen(gen);
	app_stop(&f.app);
	down(&f);
}

static void test_damaged_memories_are_none(void **state)
{
	struct snap_opened opened = {.time_ns = 5}, got;
	char path[PATH_MAX], command[PATH_MAX + 64];
	struct fixture f;

	(void)state;
	app_up(&f, APP_WAL);
	snap_up_still(&f);
	folder_file(&f.folder, "db", path);
	assert_int_equal(store_load_opened(f.snap->core.store, path, &got), -ENOENT);
	memset(opened.who.command, 'x', sizeof(opened.who.command));
	memset(opened.snapshot, 'y', sizeof(opened.snapshot));
	assert_int_equal(store_save_opened(f.snap->core.store, path, &opened, NULL), 0);
	assert_int_equal(store_load_opened(f.snap->core.store, path, &got), 0);
	assert_int_equal(got.time_ns, 5);
	assert_int_equal(strnlen(got.who.command, sizeof(got.who.command)), sizeof(got.who.command) - 1);
	assert_int_equal(strnlen(got.snapshot, sizeof(got.snapshot)), sizeof(got.snapshot) - 1);
	snprintf(command, sizeof(command), "truncate -s 40 %s/*/opened", f.store.path);
	assert_int_equal(system(command), 0);
	assert_int_equal(store_load_opened(f.snap->core.store, path, &got), -ENOENT);
	snprintf(command, sizeof(command), "head -c 4000 /dev/zero > $(echo %s/*/opened)", f.store.path);
	assert_int_equal(system(command), 0);
	assert_int_equal(store_load_opened(f.snap->core.store, path, &got), -ENOENT);
	app_stop(&f.app);
	down(&f);
}

/* ---- kept snapshots ------------------------------------------------------------------------------------ */

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

/* ---- the mark of the WAL-reset bug --------------------------------------------------------------------- */

static int set_backfill(void *arg)
{
	uint32_t *order = arg;
	char path[PATH_MAX];
	int fd;

	memcpy(path, order + 1, sizeof(path));
	fd = open(path, O_RDWR);
	return fd < 0 || pwrite(fd, order, sizeof(*order), 96) != sizeof(*order);
}

/* nBackfill, as the bug leaves it. In a process of its own: closing the file here would drop locks. */
static void mark(struct fixture *f, uint32_t frames)
{
	uint32_t order[1 + PATH_MAX / sizeof(uint32_t)] = {frames};

	folder_file(&f->folder, "db-shm", (char *)(order + 1));
	assert_int_equal(in_child(set_backfill, order), 0);
}

static void test_the_mark_counts_when_it_stays(void **state)
{
	struct snap_gen *gen;
	struct source *s;
	struct fixture f;

	(void)state;
	app_up(&f, APP_WAL ";" APP_ROWS(10));
	snap_up_still(&f);
	gen = open_now(&f);
	s = source_of(gen);
	source_watch_mark(s, s->live);
	source_watch_mark(s, s->live);
	assert_false(facts_of(&f).wal_marked);
	mark(&f, 1000);
	source_watch_mark(s, s->live);
	assert_false(facts_of(&f).wal_marked);
	app_do(&f.app, "INSERT INTO t(b) VALUES(1)"); /* a header later: it begins again */
	source_watch_mark(s, s->live);
	assert_false(facts_of(&f).wal_marked);
	source_watch_mark(s, s->live);
	assert_true(facts_of(&f).wal_marked);
	assert_non_null(strstr(facts_of(&f).error.text, "WAL-reset"));
	app_do(&f.app, "INSERT INTO t(b) VALUES(1)");
	source_watch_mark(s, s->live);
	assert_true(facts_of(&f).wal_marked);
	mark(&f, 0);
	source_watch_mark(s, s->live);
	assert_false(facts_of(&f).wal_marked);
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
	assert_in_range(n, 2, 18);
	assert_int_equal(tree_count(f.snap->tree, 5, &n), 0);
	assert_int_equal(n, 5);
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
		cmocka_unit_test(test_bug_versions),
		cmocka_unit_test(test_looking_touches_nothing),
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_pins_and_what_they_hold_back),
		cmocka_unit_test(test_a_spool_counts_once),
		cmocka_unit_test(test_copies_of_rollback_databases),
		cmocka_unit_test(test_the_last_error_stays),
		cmocka_unit_test(test_a_reader_that_is_given_up),
		cmocka_unit_test(test_the_newest_state_that_was_opened),
		cmocka_unit_test(test_it_is_stored_while_the_mount_stands),
		cmocka_unit_test(test_damaged_memories_are_none),
		cmocka_unit_test(test_kept_snapshots),
		cmocka_unit_test(test_a_snapshot_of_a_source_that_nobody_looked_at),
		cmocka_unit_test(test_the_mark_counts_when_it_stays),
		cmocka_unit_test(test_what_has_gone_is_shown_while_it_is_read),
		cmocka_unit_test(test_a_replaced_file_keeps_its_pin_in_sight),
		cmocka_unit_test(test_a_walk_has_a_limit),
		cmocka_unit_test(test_the_first_refusal_ends_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
