/* SPDX-License-Identifier: MIT */
/* test_keep_damage.c - kept snapshots that somebody has damaged, and disks without room for new ones. */
#include "keeps.h"

/* ---- damage -------------------------------------------------------------------------------------------- */

static char *in_snapshot(const char *name)
{
	static char path[600];

	snprintf(path, sizeof(path), "%s/%s", in_source(DB, "kept/bad"), name);
	return path;
}

static void damage_no_meta(void)
{
	assert_int_equal(unlink(in_snapshot("meta")), 0);
}
static void damage_empty_meta(void)
{
	assert_int_equal(truncate(in_snapshot("meta"), 0), 0);
}
static void damage_cut_meta(void)
{
	assert_int_equal(truncate(in_snapshot("meta"), 100), 0);
}
static void damage_garbage_meta(void)
{
	char bytes[5000];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)(i * 7);
	write_file(in_snapshot("meta"), bytes, sizeof(bytes));
}
static void damage_meta_is_folder(void)
{
	assert_int_equal(unlink(in_snapshot("meta")), 0);
	assert_int_equal(mkdir(in_snapshot("meta"), 0700), 0);
}
static void damage_meta_is_fifo(void)
{
	assert_int_equal(unlink(in_snapshot("meta")), 0);
	assert_int_equal(mkfifo(in_snapshot("meta"), 0600), 0);
}
static void damage_meta_is_link(void)
{
	assert_int_equal(unlink(in_snapshot("meta")), 0);
	assert_int_equal(symlink("../good/meta", in_snapshot("meta")), 0);
}
static void damage_no_db(void)
{
	assert_int_equal(unlink(in_snapshot("db")), 0);
}
static void damage_short_db(void)
{
	assert_int_equal(truncate(in_snapshot("db"), 4), 0);
}
static void damage_long_db(void)
{
	assert_int_equal(truncate(in_snapshot("db"), 6), 0);
}
/* One that is as long as the database was. */
static void damage_db_is_link(void)
{
	assert_int_equal(unlink(in_snapshot("db")), 0);
	assert_int_equal(symlink("./wal", in_snapshot("db")), 0);
}
static void damage_no_wal(void)
{
	assert_int_equal(unlink(in_snapshot("wal")), 0);
}
static void damage_is_file(void)
{
	assert_int_equal(unlink(in_snapshot("db")), 0);
	assert_int_equal(unlink(in_snapshot("wal")), 0);
	assert_int_equal(unlink(in_snapshot("meta")), 0);
	assert_int_equal(rmdir(in_source(DB, "kept/bad")), 0);
	write_file(in_source(DB, "kept/bad"), "x", 1);
}

static void keep_with_wal(const char *name)
{
	struct keep_meta meta = meta_at(1);
	struct keep *k;

	assert_int_equal(keep_begin(&k, store, DB, name, &err), 0);
	assert_int_equal(write(keep_fd(k), "bytes", 5), 5);
	assert_int_equal(write(keep_add_file(k, "-wal"), "log", 3), 3);
	assert_int_equal(keep_commit(k, &meta, &err), 0);
	keep_destroy(k);
}

static void test_damaged(void **state)
{
	static const struct {
		void (*damage)(void);
		int drop; /* what dropping it answers */
	} cases[] = {
		{damage_no_meta, 0},
		{damage_empty_meta, 0},
		{damage_cut_meta, 0},
		{damage_garbage_meta, 0},
		{damage_meta_is_fifo, 0},
		{damage_meta_is_link, 0},
		{damage_no_db, 0},
		{damage_short_db, 0},
		{damage_long_db, 0},
		{damage_db_is_link, 0},
		{damage_no_wal, 0},
		{damage_is_file, -ENOENT},
		{damage_meta_is_folder, -EISDIR},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		char became[64], again[32];
		struct keep_entry found;
		int fds;

		assert_int_equal(try_keep(DB, "good", "bytes", 0, NULL), 0);
		keep_with_wal("bad");
		assert_string_equal(kept(DB), "good bad ");
		cases[i].damage();
		fds = count_fds();
		assert_string_equal(kept(DB), "good ");
		assert_int_equal(keep_find(store, DB, "bad", &found), -ENOENT);
		assert_int_equal(kept_file_open(store, DB, "bad", "", NULL), -ENOENT);
		assert_int_equal(kept_file_open(store, DB, "bad", "-wal", NULL), -ENOENT);
		assert_int_equal(keep_clean(store, NULL, NULL, NULL, &err),
				 0); /* it may be of use to somebody */
		assert_true(exists(in_source(DB, "kept/bad")));
		assert_int_equal(try_keep(DB, "bad", "new", 2, became), 0);
		assert_string_equal(became, "bad-2");
		assert_int_equal(keep_drop(store, DB, "bad", &err), cases[i].drop);
		assert_int_equal(count_fds(), fds);
		assert_int_equal(keep_drop(store, DB, "good", &err), 0);
		snprintf(again, sizeof(again), "store-%zu", i);
		assert_int_equal(rename(at("store"), at("%s", again)), 0);
	}
}

/* ---- a full disk --------------------------------------------------------------------------------------- */

static void fill(const char *name)
{
	int fd = open(at("%s", name), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	char zeros[4096] = "";

	assert_true(fd >= 0);
	while (write(fd, zeros, sizeof(zeros)) > 0)
		;
	assert_int_equal(errno, ENOSPC);
	close(fd);
}

static void test_no_room(void **state)
{
	struct keep_meta meta = meta_at(2);
	struct keep *k;

	(void)state;
	mount_store("size=256k,mode=700");
	keep(DB, "old", "bytes", 1);
	/* While the bytes come. */
	assert_int_equal(keep_begin(&k, store, DB, "new", &err), 0);
	fill("store/fill");
	assert_int_equal(write(keep_fd(k), "x", 1), -1);
	keep_destroy(k);
	assert_string_equal(names_in(in_source(DB, "kept")), "old ");
	assert_int_equal(unlink(at("store/fill")), 0);
	/* For the text beside them. */
	assert_int_equal(keep_begin(&k, store, DB, "new", &err), 0);
	assert_int_equal(write(keep_fd(k), "x", 1), 1);
	fill("store/fill");
	assert_int_equal(keep_commit(k, &meta, &err), -ENOSPC);
	assert_words(strerror(ENOSPC));
	assert_words(store_dir(store));
	keep_destroy(k);
	assert_string_equal(names_in(in_source(DB, "kept")), "old ");
	assert_content(DB, "old", "", "bytes");
	/* An old one can be dropped to make room. */
	assert_int_equal(keep_drop(store, DB, "old", &err), 0);
	assert_string_equal(names_in(in_source(DB, "kept")), "");
}

/* Not one inode is left, at any point of the way. */
static void test_no_inodes(void **state)
{
	bool done = false;

	(void)state;
	mount_store("size=1m,nr_inodes=64,mode=700");
	keep(DB, "old", "bytes", 1);
	for (int left = 0; !done; left++) {
		int made = 0, rc;

		while (true) {
			int fd = open(at("store/%d", made), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

			if (fd < 0)
				break;
			close(fd);
			made++;
		}
		for (int i = 0; i < left; i++)
			assert_int_equal(unlink(at("store/%d", --made)), 0);
		rc = try_keep("/another", "new", "bytes", 1, NULL);
		done = rc == 0;
		if (!done) {
			assert_int_equal(rc, -ENOSPC);
			assert_string_equal(kept("/another"), "");
		}
		while (made > 0)
			assert_int_equal(unlink(at("store/%d", --made)), 0);
		assert_int_equal(keep_clean(store, NULL, NULL, NULL, &err), 0);
		assert_string_equal(kept(DB), "old ");
		assert_true(left < 32);
	}
	assert_content("/another", "new", "", "bytes");
	assert_string_equal(names_in(in_source("/another", "kept")), "new ");
}

static void test_read_only(void **state)
{
	struct keep *k = NULL;

	(void)state;
	mount_store("size=1m,mode=700");
	keep(DB, "one", "bytes", 1);
	assert_int_equal(mount(NULL, at("store"), NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
	assert_content(DB, "one", "", "bytes");
	assert_int_equal(keep_begin(&k, store, DB, "two", &err), -EROFS);
	assert_words("\"two\"");
	assert_words(strerror(EROFS));
	assert_int_equal(keep_begin(&k, store, "/another", "two", &err), -EROFS);
	assert_int_equal(keep_drop(store, DB, "one", &err), -EROFS);
	assert_string_equal(kept(DB), "one ");
	assert_null(k);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(test_damaged),
		test(test_no_room),
		test(test_no_inodes),
		test(test_read_only),
	};

	return cmocka_run_group_tests(tests, scratch_namespace, NULL);
}
