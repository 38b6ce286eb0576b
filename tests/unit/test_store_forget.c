/* SPDX-License-Identifier: MIT */
/* test_store_forget.c - sources that are gone: which are forgotten when, and what is at work on them
 * meanwhile. */
#include "keeps.h"

#include <stdatomic.h>
#include <sys/file.h>

#include "../../src/clock.h"
#include "syscalls.h"

#define HOUR (3600 * NS_PER_S)
#define LATER (INT64_MAX / 2) /* after any bound */
#define CALLS_MAX 200

static int gone;

static int is_gone(void *arg, const char *source)
{
	(void)arg;
	(void)source;
	return gone;
}

static void forget_at(int64_t now)
{
	assert_int_equal(store_forget(store, is_gone, NULL, now), 0);
}

static int save(int64_t n)
{
	return store_save_seen(store, DB, &(struct store_seen){.mtime_ns = n});
}

static int save_opened(void)
{
	return store_save_opened(store, DB, &(struct snap_opened){.time_ns = 1});
}

static void assert_folders(const char *expected)
{
	assert_string_equal(names_in(at("fast/a/store")), expected);
}

/* Gives the file NAME of DB the time NS. */
static void set_time(const char *name, int64_t ns)
{
	struct timespec times[2] = {ns_timespec(ns), ns_timespec(ns)};

	assert_int_equal(utimensat(AT_FDCWD, in_source(DB, name), times, 0), 0);
}

/* DB is known and has been found gone. */
static void lose_it(void)
{
	assert_int_equal(save(1), 0);
	gone = 1;
	forget_at(LATER);
	assert_true(store_knows(store, DB)); /* its time begins now */
	assert_string_equal(names_in(source_folder(DB)), "gone seen source ");
}

/* ---- when ---------------------------------------------------------------------------------------------- */

/* Hours before now at which it became known, was last seen, was found gone. */
static const struct {
	int known, seen, gone;
	bool goes;
} cases[] = {
	{30, 30, 25, true},		 /* for a moment there, a day gone */
	{30, 30, 23, false},		 /* not for a day yet */
	{30, 20, 25, false},		 /* it was there again meanwhile */
	{24 * 9, 24 * 5, 24 * 4, false}, /* known for longer than it is gone */
	{24 * 9, 24 * 6, 24 * 5, true},	 /* and no longer */
	{9000, 9000, 24 * 31, true},	 /* nobody is remembered for more than a month */
	{9000, 9000, 24 * 29, false},	 /* and who was known for long is for that */
	{30, 30, -100, false},		 /* the clock was put back */
};

static void test_when(void **state)
{
	int64_t now = realtime_ns();

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		lose_it();
		set_time("source", now - cases[i].known * HOUR);
		set_time("seen", now - cases[i].seen * HOUR);
		set_time("gone", now - cases[i].gone * HOUR);
		forget_at(now);
		if (store_knows(store, DB) == cases[i].goes)
			fail_msg("case %zu is wrong", i);
		if (cases[i].goes)
			assert_folders("");
		wipe();
	}
}

/* Another mount has the same store, and nothing to say of this one's. */
static void test_not_told(void **state)
{
	static const int answers[] = {-EAGAIN, -ECANCELED};
	int64_t now = realtime_ns();

	(void)state;
	for (size_t i = 0; i < COUNT(answers); i++) {
		lose_it();
		set_time("source", now - 30 * HOUR);
		set_time("seen", now - 30 * HOUR);
		set_time("gone", now - 25 * HOUR);
		gone = answers[i];
		forget_at(now);
		assert_string_equal(names_in(source_folder(DB)), "gone seen source ");
		gone = 1;
		forget_at(now);
		assert_false(store_knows(store, DB));
		wipe();
	}
}

/* By whom it was opened counts as what was shown does. */
static void test_opened_meanwhile(void **state)
{
	int64_t now = realtime_ns();

	(void)state;
	lose_it();
	assert_int_equal(save_opened(), 0);
	set_time("source", now - 30 * HOUR);
	set_time("seen", now - 30 * HOUR);
	set_time("gone", now - 25 * HOUR);
	forget_at(now);
	assert_true(store_knows(store, DB));
	set_time("opened", now - 25 * HOUR);
	forget_at(now);
	assert_folders("");
}

/* What comes back is known as it was, and its time begins anew when it goes again. */
static void test_comes_back(void **state)
{
	struct store_seen seen;

	(void)state;
	lose_it();
	gone = 0;
	forget_at(LATER);
	assert_string_equal(names_in(source_folder(DB)), "seen source ");
	assert_int_equal(store_load_seen(store, DB, &seen), 0);
	forget_at(LATER);
	gone = 1;
	forget_at(LATER);
	assert_true(store_knows(store, DB));
	forget_at(LATER);
	assert_false(store_knows(store, DB));
	/* And once more, after it was forgotten. */
	assert_int_equal(save(2), 0);
	assert_true(store_knows(store, DB));
}

static void test_no_store(void **state)
{
	(void)state;
	gone = 1;
	forget_at(LATER);
	assert_false(exists(at("fast/a")));
}

/* ---- what stays ---------------------------------------------------------------------------------------- */

static void test_kept_stays(void **state)
{
	struct keep *k = NULL;

	(void)state;
	keep(DB, "one", "bytes", 1);
	gone = 1;
	for (int i = 0; i < 3; i++)
		forget_at(LATER);
	assert_content(DB, "one", "", "bytes");
	/* Also one that is only begun; and a name that is reserved. */
	assert_int_equal(keep_begin(&k, store, DB, "two", &err), 0);
	assert_int_equal(keep_drop(store, DB, "one", &err), 0);
	forget_at(LATER);
	assert_int_equal(keep_reserve(k, &err), 0);
	forget_at(LATER);
	assert_true(store_knows(store, DB));
	assert_int_equal(keep_commit(k, &(struct keep_meta){.made_ns = 2}, &err), 0);
	keep_destroy(k);
	assert_string_equal(kept(DB), "two ");
	forget_at(LATER);
	assert_content(DB, "two", "", "");
	assert_int_equal(keep_drop(store, DB, "two", &err), 0);
	forget_at(LATER);
	assert_folders("");
}

/* Somebody of another process is writing about it. */
static void test_in_use_stays(void **state)
{
	int to[2], from[2];
	char byte;

	(void)state;
	lose_it();
	assert_int_equal(pipe(to) | pipe(from), 0);
	pid_t pid = fork();
	if (pid == 0) {
		close(to[1]); /* it ends with this process */
		int fd = store_open_source(store, DB, true, NULL);

		_exit(fd < 0 || write(from[1], "x", 1) != 1 || read(to[0], &byte, 1) != 1);
	}
	assert_int_equal(read(from[0], &byte, 1), 1);
	for (int i = 0; i < 3; i++)
		forget_at(LATER);
	assert_true(store_knows(store, DB));
	assert_int_equal(write(to[1], "x", 1), 1);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	forget_at(LATER);
	assert_folders("");
	close(to[0]);
	close(to[1]);
	close(from[0]);
	close(from[1]);
}

/* ---- no room ------------------------------------------------------------------------------------------- */

static int64_t fill(void)
{
	static int64_t n;

	for (int fd = 0; fd >= 0; n++) {
		fd = open(at("store/fill%d", (int)n), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
		if (fd >= 0)
			close(fd);
	}
	return n;
}

/* A store without an inode left is the one that needs it most; but nothing goes whose time has not begun. */
static void test_no_inodes(void **state)
{
	int64_t now = realtime_ns();

	(void)state;
	mount_store("nr_inodes=40,mode=700");
	assert_int_equal(save(1), 0);
	set_time("source", now - 9000 * HOUR);
	set_time("seen", now - 9000 * HOUR);
	assert_true(fill() > 5);
	gone = 1;
	forget_at(LATER);
	assert_true(store_knows(store, DB));
	assert_int_equal(unlink(at("store/fill0")), 0);
	forget_at(now);
	assert_true(store_knows(store, DB));
	fill();
	set_time("gone", now - 24 * 31 * HOUR);
	forget_at(now);
	assert_false(store_knows(store, DB));
	assert_int_equal(save(2), 0);
}

/* ---- death, failure, others at the same time ----------------------------------------------------------- */

static int do_forget(void *arg)
{
	(void)arg;
	return store_forget(store, is_gone, NULL, LATER);
}

static void test_killed(void **state)
{
	unsigned n;

	(void)state;
	for (n = 1;; n++) {
		struct store_seen seen;

		assert_true(n < CALLS_MAX);
		lose_it();
		assert_int_equal(save_opened(), 0);
		if (!run_killed(n, do_forget, NULL))
			break;
		/* Known with all that was known, or not at all. */
		assert_int_equal(store_load_seen(store, DB, &seen), store_knows(store, DB) ? 0 : -ENOENT);
		assert_int_equal(keep_clean(store, NULL, NULL, NULL, &err), 0);
		if (!store_knows(store, DB))
			assert_folders("");
		wipe();
	}
	assert_true(n > 15);
	assert_folders("");
}

static void test_failing(void **state)
{
	unsigned n;
	int rc;

	(void)state;
	for (n = 1;; n++) {
		assert_true(n < CALLS_MAX);
		lose_it();
		if (!run_failing(n, EIO, do_forget, NULL, &rc))
			break;
		assert_true(rc == 0 || rc == -EIO);
		do_forget(NULL);
		assert_int_equal(keep_clean(store, NULL, NULL, NULL, &err), 0);
		assert_folders("");
		wipe();
	}
	assert_true(n > 15);
}

/* It is forgotten by another daemon just before the N-th call. */
static int judge_forget(void *arg, const struct seccomp_data *call)
{
	unsigned *left = arg;

	(void)call;
	if (*left > 0 && --*left == 0) {
		do_forget(NULL);
		do_forget(NULL); /* the first may have begun its time only */
	}
	return 0;
}

/* By one that dies when the folder has lost its name. */
static int judge_half_forgotten(void *arg, const struct seccomp_data *call)
{
	unsigned *left = arg;
	char from[256];
	int fd;

	(void)call;
	if (*left == 0 || --*left > 0)
		return 0;
	snprintf(from, sizeof(from), "%s", source_folder(DB));
	fd = open(from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
		rename(from, at("fast/a/store/.work-dead"));
	if (fd >= 0)
		close(fd);
	return 0;
}

static int do_save(void *arg)
{
	(void)arg;
	return save(7);
}

static int do_keep(void *arg)
{
	(void)arg;
	return try_keep(DB, "one", "bytes", 1, NULL);
}

static void test_forgotten_between(void **state)
{
	(void)state;
	for (int known = 0; known < 3; known++) {
		for (unsigned n = 1, left = 0; left == 0; n++) {
			struct watch w = {.fn = do_save,
					  .judge = known < 2 ? judge_forget : judge_half_forgotten,
					  .judge_arg = &left};
			struct store_seen seen;

			assert_true(n < CALLS_MAX);
			gone = 1;
			if (known)
				lose_it();
			left = n;
			if (watch_run(&w))
				fail_msg("saving fails when it is forgotten before call %u: %s", n, err.text);
			if (store_load_seen(store, DB, &seen) || seen.mtime_ns != 7)
				fail_msg("nothing is saved when it is forgotten before call %u", n);
			wipe();
		}
	}
}

static void test_kept_between(void **state)
{
	(void)state;
	for (unsigned n = 1, left = 0; left == 0; n++) {
		struct watch w = {.fn = do_keep, .judge = judge_forget, .judge_arg = &left};

		assert_true(n < CALLS_MAX);
		lose_it();
		left = n;
		if (watch_run(&w))
			fail_msg("keeping fails when it is forgotten before call %u: %s", n, err.text);
		assert_content(DB, "one", "", "bytes");
		wipe();
	}
}

#define SAVERS 2
#define FORGOTTEN 20 /* times, while others write */

static atomic_bool enough;
static atomic_int failures;

static void *keep_saving(void *arg)
{
	(void)arg;
	for (int i = 0; !atomic_load(&enough); i++) {
		char name[32];

		snprintf(name, sizeof(name), "s%p-%d", (void *)&name, i);
		if (save(i) || (i % 10 == 0 && try_keep(DB, name, "x", 1, NULL)) ||
		    (i % 10 == 0 && keep_drop(store, DB, name, NULL)))
			atomic_fetch_add(&failures, 1);
	}
	return NULL;
}

/* The inode of the folder at PATH, 0: none. */
static uint64_t inode_of(const char *path)
{
	struct stat st;

	return stat(path, &st) ? 0 : st.st_ino;
}

static void test_at_once(void **state)
{
	pthread_t savers[SAVERS];
	unsigned forgotten = 0;
	char path[256];

	(void)state;
	gone = 1;
	assert_int_equal(save(1), 0);
	snprintf(path, sizeof(path), "%s", source_folder(DB));
	for (int i = 0; i < SAVERS; i++)
		assert_int_equal(pthread_create(&savers[i], NULL, keep_saving, NULL), 0);
	while (forgotten < FORGOTTEN) {
		uint64_t before = inode_of(path);

		if (do_forget(NULL))
			atomic_fetch_add(&failures, 1);
		forgotten += before != 0 && inode_of(path) != before;
	}
	atomic_store(&enough, true);
	for (int i = 0; i < SAVERS; i++)
		pthread_join(savers[i], NULL);
	assert_int_equal(atomic_load(&failures), 0);
	do_forget(NULL);
	do_forget(NULL);
	assert_folders("");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test_fast(test_when),
		test_fast(test_opened_meanwhile),
		test_fast(test_comes_back),
		test_fast(test_no_store),
		test_fast(test_kept_stays),
		test_fast(test_in_use_stays),
		test_fast(test_not_told),
		test(test_no_inodes),
		test_fast(test_killed),
		test_fast(test_failing),
		test_fast(test_forgotten_between),
		test_fast(test_kept_between),
		test_fast(test_at_once),
	};

	return cmocka_run_group_tests(tests, scratch_namespace, NULL);
}
