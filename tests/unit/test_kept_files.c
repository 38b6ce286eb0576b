/* SPDX-License-Identifier: MIT */
/* test_kept_files.c - the files that .sqlsnapfs/snapshots shows, and dropping them. */
#include "kept_view.h"

/* ---- files --------------------------------------------------------------------------------------------- */

static void test_attributes(void **state)
{
	struct snap_attr attr, other;
	char big[1025];
	struct stat st;

	(void)state;
	show_app();
	put_database("app/a.db");
	memset(big, 'x', sizeof(big));
	big[sizeof(big) - 1] = '\0';
	keep_at("app/a.db", "one", big, 5);
	keep_at("app/a.db", "two", big, 5);
	assert_int_equal(look(ALL "/one/a.db", &attr), 0);
	assert_int_equal(attr.kind, SNAP_PLAIN);
	assert_int_equal(attr.mode, S_IFREG | 0640);
	assert_int_equal(attr.uid, 1000);
	assert_int_equal(attr.gid, 1001);
	assert_int_equal(attr.size, 1024);
	assert_int_equal(attr.blocks, 2);
	assert_int_equal(attr.nlink, 1);
	assert_int_equal(attr.rdev, 0);
	assert_int_equal(attr.mtime.tv_sec, 1795144321);
	assert_int_equal(attr.mtime.tv_nsec, 123456789);
	assert_memory_equal(&attr.mtime, &attr.ctime, sizeof(attr.mtime));
	assert_memory_equal(&attr.mtime, &attr.atime, sizeof(attr.mtime));
	assert_int_equal(stat(in_source(at("app/a.db"), "kept/one/db"), &st), 0);
	assert_true(attr.key_dev == st.st_dev && attr.key_ino == st.st_ino);
	/* One file for cp(1) is one inode: neither the live one, nor the store's, nor another snapshot's. */
	assert_true(attr.ino != st.st_ino);
	assert_int_equal(stat(at("app/a.db"), &st), 0);
	assert_true(attr.ino != st.st_ino);
	assert_int_equal(look(ALL "/two/a.db", &other), 0);
	assert_true(attr.ino != other.ino);
	/* The same for whoever mounts it next. */
	kept_tree_destroy(tree);
	assert_int_equal(kept_tree_create(&tree, store, table), 0);
	show_app();
	assert_int_equal(look(ALL "/one/a.db", &other), 0);
	assert_true(attr.ino == other.ino);
}

static void test_sidecars(void **state)
{
	static const char *const names[] = {ALL "/one/a.db-wal", ALL "/one/a.db-shm"};
	struct snap_attr attr, db;
	uint64_t inos[2];

	(void)state;
	show_app();
	keep_at("app/a.db", "one", "a", 5);
	assert_int_equal(look(ALL "/one/a.db", &db), 0);
	for (size_t i = 0; i < COUNT(names); i++) {
		assert_int_equal(look(names[i], &attr), 0);
		assert_int_equal(attr.kind, SNAP_SIDECAR);
		assert_int_equal(attr.size, 0);
		assert_int_equal(attr.blocks, 0);
		assert_int_equal(attr.mode, S_IFREG | 0440);
		assert_int_equal(attr.uid, 1000);
		assert_int_equal(attr.key_dev, 0);
		assert_true(attr.ino != db.ino && attr.key_ino == attr.ino);
		inos[i] = attr.ino;
	}
	assert_true(inos[0] != inos[1]);
	assert_nothing_at(ALL "/one/a.db-journal");
	assert_nothing_at(ALL "/one/b.db-wal");
	assert_nothing_at(ALL "/two/a.db-wal");
	assert_nothing_at(ALL "/one/-wal");
	assert_string_equal(list(ALL "/one"), "a.db ");
	/* A database that has such a name is itself. */
	keep_at("app/a.db-wal", "one", "db", 5);
	assert_bytes(ALL "/one/a.db-wal", "db");
}

static void test_raw(void **state)
{
	struct keep_meta meta = meta_at(5);
	struct keep *k;

	(void)state;
	show_app();
	assert_int_equal(keep_begin(&k, store, at("app/sub/a.db"), "raw", &err), 0);
	assert_int_equal(write(keep_fd(k), "garbage", 7), 7);
	assert_int_equal(write(keep_add_file(k, "-wal"), "log", 3), 3);
	assert_int_equal(keep_commit(k, &meta, &err), 0);
	keep_destroy(k);
	assert_string_equal(list(ALL "/raw/sub"), "a.db a.db-wal ");
	assert_bytes(ALL "/raw/sub/a.db", "garbage");
	assert_bytes(ALL "/raw/sub/a.db-wal", "log");
	assert_nothing_at(ALL "/raw/sub/a.db-shm"); /* nobody is to take it for whole */
	assert_nothing_at(ALL "/raw/sub/a.db-journal");
	assert_int_equal(keep_begin(&k, store, at("app/sub/a.db"), "hot", &err), 0);
	assert_int_equal(write(keep_add_file(k, "-journal"), "undo", 4), 4);
	assert_int_equal(keep_commit(k, &meta, &err), 0);
	keep_destroy(k);
	assert_string_equal(list(ALL "/hot/sub"), "a.db a.db-journal ");
	assert_bytes(ALL "/hot/sub/a.db-journal", "undo");
	assert_nothing_at(ALL "/hot/sub/a.db-wal");
}

static void test_open(void **state)
{
	struct rawfd raw = RAWFD_INIT, other = RAWFD_INIT;
	char bytes[8] = "";
	struct snap_attr attr;
	int fds = count_fds();

	(void)state;
	show_app();
	keep_at("app/a.db", "one", "a", 5);
	assert_int_equal(look(ALL "/one/a.db", &attr), 0);
	assert_int_equal(kept_tree_open(tree, ALL "/one/a.db", attr.key_dev, attr.key_ino + 1, &raw),
			 -ESTALE);
	assert_int_equal(kept_tree_open(tree, ALL "/one/a.db-wal", 0, 0, &raw), -ESTALE);
	assert_int_equal(kept_tree_open(tree, ALL "/one", 0, 0, &raw), -ESTALE);
	assert_int_equal(kept_tree_open(tree, ALL, 0, 0, &raw), -ESTALE);
	assert_int_equal(kept_tree_open(tree, ALL "/one/a.db", attr.key_dev, attr.key_ino, &raw), 0);
	/* Dropped and made again it is another file; who has it open goes on. */
	assert_int_equal(kept_tree_drop(tree, "one", &err), 0);
	assert_int_equal(kept_tree_open(tree, ALL "/one/a.db", attr.key_dev, attr.key_ino, &other), -ESTALE);
	keep_at("app/a.db", "one", "new", 5);
	assert_int_equal(kept_tree_open(tree, ALL "/one/a.db", attr.key_dev, attr.key_ino, &other), -ESTALE);
	assert_int_equal(pread(raw.fd, bytes, sizeof(bytes), 0), 1);
	assert_string_equal(bytes, "a");
	rawfd_close(table, &raw);
	assert_int_equal(count_fds(), fds);
}

static void test_damaged(void **state)
{
	(void)state;
	show_app();
	keep_at("app/a.db", "one", "a", 5);
	keep_at("app/b.db", "one", "b", 5);
	keep_at("app/b.db", "two", "b", 5);
	assert_int_equal(truncate(in_source(at("app/b.db"), "kept/one/meta"), 30), 0);
	assert_int_equal(truncate(in_source(at("app/b.db"), "kept/two/db"), 0), 0);
	assert_string_equal(list(ALL), "one/ ");
	assert_string_equal(list(ALL "/one"), "a.db ");
	assert_nothing_at(ALL "/one/b.db");
	assert_nothing_at(ALL "/one/b.db-wal");
	assert_nothing_at(ALL "/two");
	/* With the others of its name it goes. */
	assert_int_equal(kept_tree_drop(tree, "one", &err), 0);
	assert_string_equal(names_in(in_source(at("app/b.db"), "kept")), "two ");
}

static void test_drop(void **state)
{
	(void)state;
	show_app();
	keep_at("app/a.db", "one", "a", 5);
	keep_at("app/b.db", "one", "b", 5);
	keep_at("app/c.db", "one", "c", 5);
	keep_at("app/c.db", "two", "c", 5);
	assert_int_equal(kept_tree_drop(tree, "", &err), -EINVAL);
	assert_int_equal(kept_tree_drop(tree, "../kept", &err), -EINVAL);
	assert_int_equal(kept_tree_drop(tree, ".one", &err), -EINVAL);
	/* One of them cannot be dropped: the others go, and why is said. */
	assert_int_equal(mkdir(in_source(at("app/b.db"), "kept/one/x"), 0700), 0);
	assert_int_equal(kept_tree_drop(tree, "one", &err), -EISDIR);
	assert_words("\"one\"");
	assert_string_equal(list(ALL), "two/ ");
	assert_int_equal(kept_tree_drop(tree, "two", &err), 0);
	assert_int_equal(kept_tree_drop(tree, "two", &err), -ENOENT);
	assert_string_equal(list(ALL), "");
}

/* Of databases that were kept together nothing is left in the store. */
static void test_drop_group(void **state)
{
	struct keep_meta meta = meta_at(5);
	char group[KEEP_GROUP_SIZE];
	struct keep *keeps[2];

	(void)state;
	show_app();
	assert_int_equal(keep_group_name(group), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(keep_begin(&keeps[i], store, at("app/%d.db", i), "one", &err), 0);
		assert_int_equal(keep_seal(keeps[i], &meta, group, &err), 0);
	}
	assert_int_equal(keep_publish(keeps, 2, group, &err), 0);
	for (int i = 0; i < 2; i++)
		keep_destroy(keeps[i]);
	assert_string_equal(list(ALL "/one"), "0.db 1.db ");
	assert_int_equal(kept_tree_drop(tree, "one", &err), 0);
	assert_string_equal(list(ALL), "");
	assert_string_equal(names_in(at("store/groups")), "");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test_tree(test_attributes), test_tree(test_sidecars), test_tree(test_raw),
		test_tree(test_open),	    test_tree(test_damaged),  test_tree(test_drop),
		test_tree(test_drop_group),
	};

	return cmocka_run_group_tests(tests, scratch_namespace, NULL);
}
