/* SPDX-License-Identifier: MIT */
/* test_status_tasks.c - restores under way and how they ended: what is remembered, in which order, and the
 * lines of the log. */
#include "../../fs/tasks.h"

#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOG_MODULE "test"
#include "../../fs/log.h"
#include "../../fs/log_ring.h"
#include "../../src/bytes.h"

static const struct snap_actor cp = {.uid = 1000, .pid = 42, .command = "cp"};
static const struct snap_actor nobody = {.uid = 7};

struct seen {
	char text[4096];
};

static void see_running(void *arg, const struct task *task)
{
	struct seen *seen = arg;
	size_t used = strlen(seen->text);

	snprintf(seen->text + used, sizeof(seen->text) - used, "%s ", task->path);
}

static void see_ended(void *arg, const struct task_end *end)
{
	struct seen *seen = arg;
	size_t used = strlen(seen->text);

	snprintf(seen->text + used, sizeof(seen->text) - used, "%s:%d:%d:%s:%u ", end->path,
		 (int)end->verdict, end->error, end->reason, (unsigned)end->done.size);
}

static void assert_seen(struct tasks *all, const char *running, const char *ended)
{
	struct seen seen = {""};

	tasks_each_running(all, see_running, &seen);
	assert_string_equal(seen.text, running);
	seen.text[0] = '\0';
	tasks_each_ended(all, see_ended, &seen);
	assert_string_equal(seen.text, ended);
}

static void assert_logged(const char *text)
{
	char *log = log_recent();

	assert_non_null(log);
	if (!strstr(log, text))
		fail_msg("the log does not say \"%s\":\n%s", text, log);
	free(log);
}

static void test_ends(void **state)
{
	struct snap_restored done = {.size = 4096,
				     .undo = "before-x",
				     .undo_path = "real/c",
				     .old_user_version = 1,
				     .new_user_version = 2};
	struct snap_err err = {"not good"};
	struct task a, b, c, d, e;
	struct tasks all;

	(void)state;
	tasks_init(&all);
	assert_seen(&all, "", "");
	task_begin(&a, &all, "a", &cp);
	task_begin(&b, &all, "b", &cp);
	task_begin(&c, &all, "c", &nobody);
	task_begin(&d, &all, "d", &cp);
	task_begin(&e, &all, "e", &cp);
	assert_seen(&all, "e d c b a ", "");
	task_restored(&c, &done);
	assert_seen(&all, "e d b a ", "c:0:0::4096 ");
	assert_logged(
		"\"c\" was restored by uid 7 (unknown, pid 0): 4 KiB in 0.00 s, locked for 0.00 s; to undo "
		"it, in the mount: cp .sqlsnapfs/snapshots/before-x/real/c c; user_version was 1 and is 2: "
		"migrations may have to run");
	done.size = 12;
	done.undo[0] = '\0';
	task_refused(&e, -EUCLEAN, &err, &done);
	assert_logged("error: restore: restore of \"e\" refused, live database unchanged: not good; written "
		      "by uid 1000 "
		      "(cp, pid 42)");
	done = (struct snap_restored){.unchanged = true, .size = 5};
	task_restored(&a, &done);
	assert_logged("\"a\" was equal to what uid 1000 (cp, pid 42) wrote: nothing was changed");
	done.size = 0;
	task_cancelled(&d, &done);
	assert_logged("restore of \"d\" ended: uid 1000 (cp, pid 42), who wrote it, was killed");
	task_dropped(&b);
	assert_seen(&all, "",
		    "d:3:0:whoever wrote it was killed:0 a:1:0::5 e:2:-117:not good:12 c:0:0::4096 ");
	tasks_finish(&all);
}

static void test_sizes(void **state)
{
	static const struct {
		uint64_t size;
		const char *words;
	} sizes[] = {{0, "0 KiB"},
		     {1, "1 KiB"},
		     {16384, "16 KiB"},
		     {(1 << 20) - 1, "1024 KiB"},
		     {1 << 20, "1.0 MiB"},
		     {3 << 19, "1.5 MiB"},
		     {5ull << 40, "5242880.0 MiB"}};
	char text[BYTES_TEXT_SIZE];

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		assert_string_equal(bytes_text(text, sizes[i].size), sizes[i].words);
}

static const struct {
	const char *why; /* for people who read this */
	struct snap_restored done;
	const char *words;
} failures[] = {
	{"a file that SQLite deletes as it looks",
	 {.undo = "before-x", .undo_path = "real/c", .undo_raw = true},
	 "restore of \"c\" refused, nothing of it was written: no; written by uid 7 (unknown, pid 0); what "
	 "was "
	 "there before is kept as it was: .sqlsnapfs/snapshots/before-x/real/c"},
	{"the store does not let go of it",
	 {.undo = "before-x"},
	 "refused, nothing of it was written: no; written by uid 7 (unknown, pid 0); what was there before "
	 "is "
	 "kept: mount the directory that the link leads to, and its before-x"},
	{"the disk has gone as the lock was given up",
	 {.undo = "before-x", .undo_path = "c", .doubtful = true},
	 "restore of \"c\" failed: no; written by uid 7 (unknown, pid 0); what was there before is kept: "
	 ".sqlsnapfs/snapshots/before-x/c"},
	{"the same without an undo", {.doubtful = true}, "restore of \"c\" failed: no; written by uid 7"},
};

/* What is not known is not said, and what was kept has a name. */
static void test_failures(void **state)
{
	struct snap_err err = {"no"};
	struct tasks all;
	struct task task;

	(void)state;
	tasks_init(&all);
	for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
		print_message("# %s\n", failures[i].why);
		task_begin(&task, &all, "c", &nobody);
		task_refused(&task, -EIO, &err, &failures[i].done);
		assert_logged(failures[i].words);
		assert_string_equal(all.ended[i].done.undo, failures[i].done.undo);
	}
	task_begin(&task, &all, "c", &nobody);
	task_cancelled(&task, &failures[0].done);
	assert_logged(
		"restore of \"c\" ended: uid 7 (unknown, pid 0), who wrote it, was killed; nothing of it was "
		"written; what was there before is kept as it was: .sqlsnapfs/snapshots/before-x/real/c");
	tasks_finish(&all);
}

/* No copy brings back what was no database: no command says so. */
static void test_restored_over_no_database(void **state)
{
	struct snap_restored done = {.undo = "before-raw", .undo_path = "real/c", .undo_raw = true};
	struct tasks all;
	struct task task;
	char *log;

	(void)state;
	tasks_init(&all);
	task_begin(&task, &all, "c", &nobody);
	task_restored(&task, &done);
	assert_logged("; what was there before is no database that could be put back, and its files are kept "
		      "as they "
		      "were: .sqlsnapfs/snapshots/before-raw/real/c");
	done.undo_path[0] = '\0';
	task_begin(&task, &all, "c", &nobody);
	task_restored(&task, &done);
	assert_logged("its files are kept as they were: mount the directory that the link leads to, and its "
		      "before-raw");
	log = log_recent();
	assert_null(strstr(log, "cp .sqlsnapfs/snapshots/before-raw"));
	free(log);
	tasks_finish(&all);
}

static void test_no_words_are_errnos(void **state)
{
	struct snap_restored done = {.size = 1};
	struct snap_err err = {""};
	struct tasks all;
	struct task a;

	(void)state;
	tasks_init(&all);
	task_begin(&a, &all, "a", &cp);
	task_refused(&a, -ENOSPC, &err, &done);
	assert_seen(&all, "", "a:2:-28:No space left on device:1 ");
	tasks_finish(&all);
}

static void test_the_last_ones_are_remembered(void **state)
{
	struct snap_restored done = {.size = 1};
	char path[16], expected[4096] = "";
	struct tasks all;
	struct task a;

	(void)state;
	tasks_init(&all);
	log_set_level(SNAP_WARNING);
	for (int i = 0; i < 2 * TASKS_ENDED + 3; i++) {
		snprintf(path, sizeof(path), "%d", i);
		task_begin(&a, &all, path, &cp);
		task_restored(&a, &done);
	}
	log_set_level(SNAP_INFO);
	for (int i = 2 * TASKS_ENDED + 2; i > TASKS_ENDED + 2; i--) {
		size_t used = strlen(expected);

		snprintf(expected + used, sizeof(expected) - used, "%d:0:0::1 ", i);
	}
	assert_seen(&all, "", expected);
	tasks_finish(&all);
}

static void assert_refused(struct tasks *all, int64_t since_ns, const char *expected)
{
	struct seen seen = {""};

	tasks_each_failed(all, since_ns, see_ended, &seen);
	assert_string_equal(seen.text, expected);
}

static void refuse(struct tasks *all, const char *path, const char *reason)
{
	struct snap_restored done = {.size = 1};
	struct snap_err err;
	struct task a;

	snprintf(err.text, sizeof(err.text), "%s", reason);
	task_begin(&a, all, path, &cp);
	task_refused(&a, -EIO, &err, &done);
}

static void restore(struct tasks *all, const char *path, bool unchanged)
{
	struct snap_restored done = {.size = 1, .unchanged = unchanged};
	struct task a;

	task_begin(&a, all, path, &cp);
	task_restored(&a, &done);
}

/* Of each path the last one, until that is restored, whatever comes for others; not one of long ago. */
static void test_refusals_that_stand(void **state)
{
	struct snap_restored done = {.size = 1};
	struct tasks *all = malloc(sizeof(*all));
	struct task a;

	(void)state;
	memset(all, 0xaa, sizeof(*all)); /* as malloc(3) may leave it */
	tasks_init(all);
	assert_refused(all, 0, "");
	log_set_level(SNAP_ERROR + 1);
	refuse(all, "a", "one");
	refuse(all, "b", "two");
	refuse(all, "a", "three");
	assert_refused(all, 0, "a:2:-5:three:1 b:2:-5:two:1 ");
	task_begin(&a, all, "a", &cp);
	task_cancelled(&a, &done);
	task_begin(&a, all, "b", &cp);
	task_dropped(&a);
	for (int i = 0; i < 2 * TASKS_ENDED; i++)
		restore(all, "c", i % 2);
	assert_refused(all, 0, "a:2:-5:three:1 b:2:-5:two:1 ");
	assert_refused(all, all->failed[0].time_ns, "");
	assert_refused(all, all->failed[0].time_ns - 1, "a:2:-5:three:1 ");
	restore(all, "a", false);
	assert_refused(all, 0, "b:2:-5:two:1 ");
	restore(all, "b", true);
	assert_refused(all, 0, "");
	log_set_level(SNAP_INFO);
	tasks_finish(all);
	free(all);
}

/* It is restored, but nobody knows whether it outlives a power failure: until the next one that succeeds. */
static void test_restored_but(void **state)
{
	struct snap_restored done = {.size = 1, .committed = true, .undo = "before-x", .undo_path = "a"};
	struct snap_err err = {"restored, but the disk refused to make it durable"};
	struct tasks all;
	struct task a;

	(void)state;
	tasks_init(&all);
	task_begin(&a, &all, "a", &cp);
	task_restored_but(&a, -EIO, &err, &done);
	assert_logged("restore of \"a\": restored, but the disk refused to make it durable");
	assert_logged("to undo it, in the mount: cp .sqlsnapfs/snapshots/before-x/a a");
	assert_seen(&all, "", "a:0:-5:restored, but the disk refused to make it durable:1 ");
	assert_refused(&all, 0, "a:0:-5:restored, but the disk refused to make it durable:1 ");
	/* The same of one that changed nothing. */
	done.unchanged = true;
	task_begin(&a, &all, "a", &cp);
	task_restored_but(&a, -EIO, &err, &done);
	assert_refused(&all, 0, "a:1:-5:restored, but the disk refused to make it durable:1 ");
	restore(&all, "a", false);
	assert_refused(&all, 0, "");
	tasks_finish(&all);
}

static void test_the_oldest_refusal_makes_room(void **state)
{
	struct tasks all;
	char path[16];

	(void)state;
	tasks_init(&all);
	log_set_level(SNAP_ERROR + 1);
	for (int i = 0; i <= TASKS_FAILED; i++) {
		snprintf(path, sizeof(path), "%d", i);
		refuse(&all, path, "no");
	}
	log_set_level(SNAP_INFO);
	for (int i = 0; i < TASKS_FAILED; i++)
		assert_string_not_equal(all.failed[i].path, "0");
	tasks_finish(&all);
}

/* Whoever pastes what the log says runs nothing but cp: names are words to a shell. */
static void test_names_in_the_undo_command(void **state)
{
	static const struct {
		const char *path, *said;
	} cases[] = {
		{"a/b-1.db",
		 "; to undo it, in the mount: cp .sqlsnapfs/snapshots/before-x/a/b-1.db a/b-1.db\n"},
		{"-x.db", "; to undo it, in the mount: cp -- .sqlsnapfs/snapshots/before-x/-x.db -x.db\n"},
		{"my d\303\244ta.db",
		 "cp '.sqlsnapfs/snapshots/before-x/my d\303\244ta.db' 'my d\303\244ta.db'\n"},
		{"a.db; touch PWNED; :.db", " 'a.db; touch PWNED; :.db'\n"},
		{"it's $x.db", " 'it'\\''s $x.db'\n"},
		{"new\nline.db", "; to undo it: .sqlsnapfs/snapshots/before-x/new\\x0aline.db\n"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct snap_restored done = {.undo = "before-x"};
		struct tasks all;
		struct task task;

		snprintf(done.undo_path, sizeof(done.undo_path), "%s", cases[i].path);
		tasks_init(&all);
		task_begin(&task, &all, cases[i].path, &nobody);
		task_restored(&task, &done);
		assert_logged(cases[i].said);
		tasks_finish(&all);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_names_in_the_undo_command),
		cmocka_unit_test(test_restored_over_no_database),
		cmocka_unit_test(test_no_words_are_errnos),
		cmocka_unit_test(test_the_last_ones_are_remembered),
		cmocka_unit_test(test_refusals_that_stand),
		cmocka_unit_test(test_restored_but),
		cmocka_unit_test(test_the_oldest_refusal_makes_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
