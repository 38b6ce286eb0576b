/* SPDX-License-Identifier: MIT */
/* test_status_opened.c - who has opened the newest state of a source, and that this outlives the mount. */
#include "status_view.h"

#include <errno.h>

#include "../../src/source_private.h"

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

static void test_what_fails_until_it_is_opened(void **state)
{
	struct snap_actor cp = {.uid = 7, .pid = 42, .command = "cp"};
	struct snap_opened old = {.time_ns = 1000, .snapshot = "then"};
	struct fixture f;

	(void)state;
	app_up(&f, APP_WAL);
	snap_up_still(&f);
	struct snap_gen *gen = open_now(&f);
	struct source *source = source_of(gen);
	source_event(source, SNAP_WARNING, "it is slow");
	assert_false(facts_of(&f).failing); /* it was read all the same */
	source_note_error(source, "locked");
	assert_true(facts_of(&f).failing);
	source_note_opened(source, &old); /* an older state is no success */
	source_forgive_gone(NULL, source);
	assert_true(facts_of(&f).failing);
	snap_gen_opened(gen, &cp);
	assert_false(facts_of(&f).failing);
	assert_string_equal(facts_of(&f).error.text, "locked");
	source_note_error(source, NULL);
	assert_true(facts_of(&f).failing);
	assert_string_equal(facts_of(&f).error.text, "locked");
	assert_int_equal(renameat(f.folder.fd, "db", f.folder.fd, "gone"), 0);
	source_forgive_gone(NULL, source);
	assert_int_equal(renameat(f.folder.fd, "gone", f.folder.fd, "db"), 0);
	assert_false(facts_of(&f).failing);
	close_gen(gen);
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
	assert_int_equal(store_save_opened(f.snap->core.store, path, &opened), 0);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_newest_state_that_was_opened),
		cmocka_unit_test(test_what_fails_until_it_is_opened),
		cmocka_unit_test(test_it_is_stored_while_the_mount_stands),
		cmocka_unit_test(test_damaged_memories_are_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
