/* SPDX-License-Identifier: MIT */
/* test_keep.c - kept snapshots: names, what is in them, letting go, other daemons. */
#include "keeps.h"

#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>

static mode_t mode_of(const char *path)
{
	struct stat st;

	assert_int_equal(lstat(path, &st), 0);
	return st.st_mode & 07777;
}

/* ---- the usual way ------------------------------------------------------------------------------------- */

static void assert_meta(const struct keep_meta *meta, const struct keep_meta *expected, uint64_t size)
{
	assert_int_equal(meta->mtime_ns, expected->mtime_ns);
	assert_int_equal(meta->made_ns, expected->made_ns);
	assert_int_equal(meta->mode, expected->mode);
	assert_int_equal(meta->uid, expected->uid);
	assert_int_equal(meta->gid, expected->gid);
	assert_int_equal(meta->size, size);
	assert_int_equal(meta->page_size, expected->page_size);
	assert_string_equal(meta->why, expected->why);
}

static void test_round_trip(void **state)
{
	struct keep_meta expected = meta_at(-5), meta;
	struct keep_entry *entries, found;
	int fds = count_fds(), fd;
	struct stat st;
	size_t count;

	(void)state;
	assert_string_equal(kept(DB), "");
	assert_int_equal(kept_file_open(store, DB, "one", "", NULL), -ENOENT);
	assert_int_equal(keep_drop(store, DB, "one", &err), -ENOENT);
	assert_int_equal(keep_clean(store, NULL, NULL, NULL, &err), 0);
	assert_false(exists(at("store"))); /* looking makes nothing */
	keep(DB, "one", "bytes", -5);
	assert_int_equal(keep_list(store, DB, &entries, &count), 0);
	assert_int_equal(count, 1);
	assert_string_equal(entries[0].name, "one");
	assert_meta(&entries[0].meta, &expected, 5);
	assert_false(entries[0].has_wal || entries[0].has_journal);
	fd = kept_file_open(store, DB, "one", "", &meta);
	assert_true(fd >= 0);
	assert_meta(&meta, &expected, 5);
	assert_int_equal(fstat(fd, &st), 0);
	assert_true(st.st_dev == entries[0].dev && st.st_ino == entries[0].ino);
	assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(write(fd, "x", 1), -1);
	close(fd);
	assert_int_equal(keep_find(store, DB, "one", &found), 0);
	assert_null(found.name);
	assert_int_equal(found.ino, st.st_ino);
	keep_list_free(entries, count);
	keep_list_free(NULL, 0);
	assert_int_equal(count_fds(), fds);
}

static void test_private_and_plain(void **state)
{
	(void)state;
	keep(DB, "one", "bytes", 1);
	assert_string_equal(names_in(source_folder(DB)), "kept source ");
	assert_string_equal(names_in(in_source(DB, "kept/one")), "db meta ");
	assert_int_equal(mode_of(in_source(DB, "kept")), 0700);
	assert_int_equal(mode_of(in_source(DB, "kept/one")), 0700);
	assert_int_equal(mode_of(in_source(DB, "kept/one/db")), 0600);
	assert_int_equal(mode_of(in_source(DB, "kept/one/meta")), 0600);
	/* What a person reads there. */
	char text[512] = "";
	int fd = open(in_source(DB, "kept/one/meta"), O_RDONLY | O_CLOEXEC);
	assert_true(read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	assert_string_equal(text, "sqlsnapfs kept 1\nmade_ns 1\nmtime_ns 1795144321123456789\nmode 0640\n"
				  "uid 1000\ngid 1001\ndb 5\npage_size 4096\nwhy before a restore\nend\n");
}

static void test_order_and_sources(void **state)
{
	(void)state;
	keep(DB, "c", "1", 10);
	keep(DB, "a", "2", 30);
	keep(DB, "b", "3", 20);
	keep(DB, "0", "4", 20);
	keep("/srv/app/other", "a", "5", 5);
	assert_string_equal(kept(DB), "c 0 b a ");
	assert_string_equal(kept("/srv/app/other"), "a ");
	assert_content(DB, "a", "", "2");
	assert_content("/srv/app/other", "a", "", "5");
	assert_int_equal(keep_drop(store, DB, "a", &err), 0);
	assert_content("/srv/app/other", "a", "", "5");
}

static void test_raw(void **state)
{
	struct keep_meta meta = meta_at(1);
	struct keep_entry found;
	struct keep *k;
	int wal;

	(void)state;
	assert_int_equal(keep_begin(&k, store, DB, "raw", &err), 0);
	wal = keep_add_file(k, "-wal");
	assert_true(wal >= 0 && wal != keep_fd(k));
	assert_int_equal(keep_add_file(k, "-wal"), wal);
	assert_int_equal(write(wal, "log", 3), 3);
	assert_true(keep_add_file(k, "-journal") >= 0);
	assert_int_equal(keep_add_file(k, "-shm"), -EINVAL);
	assert_int_equal(keep_add_file(k, ""), -EINVAL);
	assert_int_equal(keep_add_file(k, "/../x"), -EINVAL);
	assert_int_equal(keep_commit(k, &meta, &err), 0);
	keep_destroy(k);
	assert_string_equal(names_in(in_source(DB, "kept/raw")), "db journal meta wal ");
	assert_int_equal(keep_find(store, DB, "raw", &found), 0);
	assert_true(found.has_wal && found.has_journal);
	assert_int_equal(found.meta.size, 0);
	assert_content(DB, "raw", "", "");
	assert_content(DB, "raw", "-wal", "log");
	assert_content(DB, "raw", "-journal", "");
	assert_int_equal(kept_file_open(store, DB, "raw", "-shm", NULL), -ENOENT);
	keep(DB, "usual", "x", 2);
	assert_int_equal(kept_file_open(store, DB, "usual", "-wal", NULL), -ENOENT);
}

static void test_drop(void **state)
{
	char bytes[8] = "";
	int fd;

	(void)state;
	keep(DB, "one", "bytes", 1);
	fd = kept_file_open(store, DB, "one", "", NULL);
	assert_int_equal(keep_drop(store, DB, "one", &err), 0);
	assert_string_equal(kept(DB), "");
	assert_string_equal(names_in(in_source(DB, "kept")), "");
	assert_int_equal(read(fd, bytes, sizeof(bytes)), 5); /* who has it open goes on */
	assert_string_equal(bytes, "bytes");
	close(fd);
	assert_int_equal(keep_drop(store, DB, "one", &err), -ENOENT);
	assert_words("\"one\"");
	keep(DB, "one", "again", 2);
	assert_content(DB, "one", "", "again");
}

static void test_not_committed(void **state)
{
	int fds = count_fds();
	struct keep *k;

	(void)state;
	assert_int_equal(keep_begin(&k, store, DB, "one", &err), 0);
	assert_int_equal(write(keep_fd(k), "half", 4), 4);
	assert_true(keep_add_file(k, "-wal") >= 0);
	assert_string_equal(keep_name(k), "one");
	assert_string_equal(kept(DB), "");
	assert_int_equal(kept_file_open(store, DB, "one", "", NULL), -ENOENT);
	assert_int_equal(keep_clean(store, NULL, NULL, NULL, &err), 0); /* it is in use */
	assert_string_not_equal(names_in(in_source(DB, "kept")), "");
	keep_destroy(k);
	assert_string_equal(names_in(in_source(DB, "kept")), "");
	keep_destroy(NULL);
	assert_int_equal(count_fds(), fds);
}

/* ---- names --------------------------------------------------------------------------------------------- */

static void test_names(void **state)
{
	static const char *const bad[] = {"", ".", "..", ".hidden", "a/b", "/", "a/", "../x"};
	char longest[KEEP_NAME_MAX + 2];
	struct keep *k = NULL;

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++) {
		assert_int_equal(keep_begin(&k, store, DB, bad[i], &err), -EINVAL);
		assert_words("cannot be the name");
		assert_int_equal(kept_file_open(store, DB, bad[i], "", NULL), -ENOENT);
		assert_int_equal(keep_drop(store, DB, bad[i], &err), -EINVAL);
	}
	assert_null(k);
	assert_false(exists(at("store")));
	memset(longest, 'n', sizeof(longest));
	longest[KEEP_NAME_MAX + 1] = '\0';
	assert_int_equal(keep_begin(&k, store, DB, longest, &err), -EINVAL);
	longest[KEEP_NAME_MAX] = '\0';
	assert_int_equal(try_keep(DB, longest, "x", 1, NULL), 0);
	assert_content(DB, longest, "", "x");
	assert_int_equal(try_keep(DB, longest, "y", 1, NULL), -EEXIST); /* no room for a number */
	assert_content(DB, longest, "", "x");
	assert_string_equal(strchr(kept(DB), ' '), " ");
	assert_int_equal(keep_drop(store, DB, longest, &err), 0);
	keep(DB, "a b\nc", "odd", 1);
	assert_content(DB, "a b\nc", "", "odd");
}

/* What was dropped is named in the log: another one under its name would be taken for it. */
static void test_numbers_are_not_used_again(void **state)
{
	static const struct {
		const char *drop, *last, *became;
	} cases[] = {
		{NULL, "", "one"},	     {NULL, "", "one-2"},	    {NULL, "", "one-3"},
		{"one", "", "one-4"},					  /* the oldest goes first */
		{"one-2", "", "one-5"},	     {"one-5", "one-5", "one-6"}, /* somebody has dropped the newest
									   */
		{NULL, "other-9", "one-7"},  {NULL, "one-x", "one-8"},	    {NULL, "one-9x", "one-9"},
		{NULL, "one--12", "one-10"}, {NULL, "one-10000", "one-11"}, {NULL, "one-20", "one-21"},
	};
	struct keep_meta meta = meta_at(1);
	struct keep *k;

	(void)state;
	keep(DB, "on", "", 1);
	keep(DB, "one-two", "", 1);
	for (size_t i = 0; i < COUNT(cases); i++) {
		if (cases[i].drop)
			assert_int_equal(keep_drop(store, DB, cases[i].drop, &err), 0);
		assert_int_equal(keep_begin(&k, store, DB, "one", &err), 0);
		keep_number_after(k, cases[i].last);
		assert_int_equal(keep_commit(k, &meta, &err), 0);
		assert_string_equal(keep_name(k), cases[i].became);
		keep_destroy(k);
	}
}

static void test_numbers(void **state)
{
	struct keep_meta meta = meta_at(4);
	char became[64];
	struct keep *k;

	(void)state;
	keep(DB, "one", "1", 1);
	assert_int_equal(try_keep(DB, "one", "2", 2, became), 0);
	assert_string_equal(became, "one-2");
	assert_int_equal(try_keep(DB, "one", "3", 3, became), 0);
	assert_string_equal(became, "one-3");
	assert_string_equal(kept(DB), "one one-2 one-3 ");
	assert_content(DB, "one", "", "1");
	assert_content(DB, "one-2", "", "2");
	assert_int_equal(keep_drop(store, DB, "one-2", &err), 0);
	assert_int_equal(try_keep(DB, "one", "4", 4, became), 0);
	assert_string_equal(became, "one-2");
	/* Not what is ours, but it has the name. */
	write_file(in_source(DB, "kept/file"), "x", 1);
	assert_int_equal(try_keep(DB, "file", "5", 5, became), 0);
	assert_string_equal(became, "file-2");
	/* Whoever insists learns that it is taken, and nothing is left. */
	assert_int_equal(keep_begin(&k, store, DB, "one", &err), 0);
	assert_int_equal(keep_reserve(k, &err), -EEXIST);
	assert_words("\"one\"");
	keep_destroy(k);
	assert_string_equal(names_in(in_source(DB, "kept")), "file file-2 one one-2 one-3 ");
	assert_int_equal(keep_begin(&k, store, DB, "new", &err), 0);
	assert_int_equal(keep_reserve(k, &err), 0);
	assert_int_equal(keep_commit(k, &meta, &err), 0);
	keep_destroy(k);
	assert_content(DB, "new", "", "");
}

/* ---- other daemons ------------------------------------------------------------------------------------- */

/* Holds a partial snapshot and a private folder until it is killed. */
static pid_t start_holder(void)
{
	int ready[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		char name[32];
		struct keep *k;

		/* Nor does it outlive a test that fails. */
		if (prctl(PR_SET_PDEATHSIG, SIGKILL) || keep_begin(&k, store, DB, "one", NULL) ||
		    write(keep_fd(k), "half", 4) != 4 || keep_add_file(k, "-wal") < 0 ||
		    store_make_folder(store, name, NULL) < 0 || write(ready[1], "r", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return pid;
}

static void test_other_daemon(void **state)
{
	pid_t pid;
	int status;

	(void)state;
	keep(DB, "whole", "bytes", 1);
	pid = start_holder();
	assert_int_equal(keep_clean(store, NULL, NULL, NULL, &err), 0);
	assert_non_null(strstr(names_in(in_source(DB, "kept")), ".partial "));
	assert_non_null(strstr(names_in(at("store")), ".work-"));
	/* The same name at the same time: the first to finish has it. */
	keep(DB, "one", "mine", 2);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_string_equal(kept(DB), "whole one ");
	assert_int_equal(keep_clean(store, NULL, NULL, NULL, &err), 0);
	assert_string_equal(names_in(in_source(DB, "kept")), "one whole ");
	assert_null(strchr(names_in(at("store")), '.'));
	assert_content(DB, "whole", "", "bytes");
	assert_content(DB, "one", "", "mine");
}

/* Whoever has one that is being dropped by another daemon finds that it is gone. */
static void test_drop_takes_turns(void **state)
{
	struct keep_meta meta = meta_at(1);
	struct keep *k;
	int fd;

	(void)state;
	keep(DB, "one", "bytes", 1);
	fd = open(in_source(DB, "kept/one"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
	assert_int_equal(keep_drop(store, DB, "one", &err), -EBUSY);
	assert_content(DB, "one", "", "bytes");
	close(fd);
	assert_int_equal(keep_drop(store, DB, "one", &err), 0);
	/* A snapshot that is finished is nobody's, not even that of whoever has just made it. */
	assert_int_equal(keep_begin(&k, store, DB, "one", &err), 0);
	assert_int_equal(keep_commit(k, &meta, &err), 0);
	assert_int_equal(keep_drop(store, DB, "one", &err), 0);
	keep_destroy(k);
	keep(DB, "one", "bytes", 1);
	assert_string_equal(names_in(in_source(DB, "kept")), "one ");
}

static void test_old_layout(void **state)
{
	struct store_seen seen = {.mtime_ns = 7}, loaded;

	(void)state;
	assert_int_equal(store_save_seen(store, DB, &seen), 0);
	assert_int_equal(unlink(in_source(DB, "source")), 0); /* as an older program left it */
	assert_string_equal(names_in(source_folder(DB)), "seen ");
	assert_string_equal(kept(DB), "");
	assert_int_equal(store_load_seen(store, DB, &loaded), 0);
	keep(DB, "one", "bytes", 1);
	assert_string_equal(names_in(source_folder(DB)), "kept seen source ");
	assert_int_equal(store_load_seen(store, DB, &loaded), 0);
	assert_int_equal(loaded.mtime_ns, 7);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(test_round_trip),
		test(test_private_and_plain),
		test(test_order_and_sources),
		test(test_raw),
		test(test_drop),
		test(test_not_committed),
		test(test_names),
		test(test_numbers),
		test(test_numbers_are_not_used_again),
		test(test_other_daemon),
		test(test_old_layout),
		test(test_drop_takes_turns),
	};

	return cmocka_run_group_tests(tests, scratch_namespace, NULL);
}
