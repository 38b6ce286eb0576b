/* SPDX-License-Identifier: MIT */
/* test_tree.c - what stands where in real folders, with everything in them that a file system can hold. */
#include "mirror.h"

#include <sys/sysmacros.h>
#include <sys/xattr.h>

/* ---- kinds and attributes ------------------------------------------------------------------------------ */

static void test_kinds(void **state)
{
	char longest[NAME_MAX + 1], too_long[NAME_MAX + 2];
	const struct expected cases[] = {
		{"", SNAP_FOLDER},
		{"db", SNAP_DATABASE},
		{"folder", SNAP_FOLDER},
		{"folder/db", SNAP_DATABASE},
		{"plain", SNAP_PLAIN},
		{"empty", SNAP_PLAIN},
		{"secret", SNAP_DATABASE},
		{"fifo", SNAP_SPECIAL},
		{"socket", SNAP_SPECIAL},
		{"device", SNAP_SPECIAL},
		{"to-plain", SNAP_SYMLINK},
		{"to-folder", SNAP_SYMLINK},
		{"dangling", SNAP_SYMLINK},
		{"\xff\xfe\n", SNAP_PLAIN},
		{longest, SNAP_DATABASE},
		{too_long, -ENAMETOOLONG},
		{"none", -ENOENT},
		{"none/db", -ENOENT},
		{"plain/db", -ENOTDIR},
		{"to-folder/db", -ELOOP},
		{".", -EINVAL},
		{"..", -EINVAL},
		{"folder/..", -EINVAL},
		{"folder/./db", -EINVAL},
		{"/db", -EINVAL},
		{"folder/", -EINVAL},
		{"folder//db", -EINVAL},
	};

	(void)state;
	memset(longest, 'n', NAME_MAX);
	longest[NAME_MAX] = '\0';
	memset(too_long, 'n', NAME_MAX + 1);
	too_long[NAME_MAX + 1] = '\0';
	put_database("src/db");
	make_folder("src/folder", 0755);
	put_database("src/folder/db");
	put_file("src/plain");
	put_text("src/empty", "");
	put_database("src/secret");
	assert_int_equal(chmod(at("src/secret"), 0), 0);
	assert_int_equal(mkfifo(at("src/fifo"), 0600), 0);
	put_socket("src/socket");
	assert_int_equal(mknod(at("src/device"), S_IFBLK | 0600, makedev(7, 99)), 0);
	make_link("plain", "src/to-plain");
	make_link("folder", "src/to-folder");
	make_link("nowhere", "src/dangling");
	put_file("src/\xff\xfe\n");
	assert_int_equal(rename(at("src/db"), at("src/%s", longest)), 0);
	put_database("src/db");
	mirror(false);
	check_looks(cases, COUNT(cases));
	assert_int_equal(count(100), 4);
	assert_int_equal(look("device").rdev, makedev(7, 99));
	put_database("src/unread");
	assert_int_equal(chmod(at("src/unread"), 0), 0);
	become(NOBODY);
	assert_int_equal(look("unread").kind, SNAP_PLAIN);
}

static void test_attributes(void **state)
{
	struct stat st;
	struct snap_attr a;
	struct tree_found found;

	(void)state;
	put_file("src/plain");
	put_database("src/db");
	make_folder("src/sticky", 03777);
	assert_int_equal(link(at("src/plain"), at("src/plain2")), 0);
	assert_int_equal(chown(at("src/db"), 10, 20), 0);
	assert_int_equal(chmod(at("src/db"), 06751), 0);
	assert_int_equal(chmod(at("src/plain"), 07640), 0);
	mirror(false);

	assert_int_equal(lstat(at("src/plain"), &st), 0);
	a = look("plain");
	assert_int_equal(a.mode, S_IFREG | 0640);
	assert_int_equal(a.nlink, 2);
	assert_int_equal(a.blocks, st.st_blocks);
	assert_int_equal(a.size, 5);
	assert_int_equal(a.ino, st.st_ino);
	assert_int_equal(a.mtime.tv_nsec, st.st_mtim.tv_nsec);
	assert_int_equal(a.key_dev, st.st_dev);

	a = look("db");
	assert_int_equal(a.mode, S_IFREG | 0751);
	assert_int_equal(a.uid, 10);
	assert_int_equal(a.gid, 20);
	assert_int_equal(a.nlink, 1);
	assert_int_equal(a.size, 512);
	assert_int_equal(a.blocks, 1);
	assert_int_equal(look("sticky").mode, S_IFDIR | 01777);
	assert_int_equal(tree_look(tree, "db", &found, NULL), 0);
	assert_true(found.has_header);
	assert_int_equal(found.header.page_size, 512);
	tree_found_finish(&found);
}

/* group::---, user:99:r-- : the mode shows 0640, where the group may read nothing. */
static void test_acl_narrows(void **state)
{
	static const uint8_t acl[] = {2,  0, 0, 0,		       /**/
				      1,  0, 6, 0, 255, 255, 255, 255, /**/
				      2,  0, 4, 0, 99,	0,   0,	  0,   /**/
				      4,  0, 0, 0, 255, 255, 255, 255, /**/
				      16, 0, 4, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255};
	static const char *const names[] = {"src/db", "src/plain"};
	struct stat st;

	(void)state;
	put_database("src/db");
	put_file("src/plain");
	for (size_t i = 0; i < COUNT(names); i++) {
		assert_int_equal(setxattr(at("%s", names[i]), "system.posix_acl_access", acl, sizeof(acl), 0),
				 0);
		assert_int_equal(stat(at("%s", names[i]), &st), 0);
		assert_int_equal(st.st_mode & 0777, 0640);
	}
	mirror(false);
	assert_int_equal(look("db").mode, S_IFREG | 0600);
	assert_int_equal(look("plain").mode, S_IFREG | 0600);
}

static void test_root_is_masked(void **state)
{
	(void)state;
	mirror(false);
	assert_int_equal(look("").mode, S_IFDIR | 0755);
	assert_int_equal(chmod(scratch.path, 0700), 0);
	assert_int_equal(look("").mode, S_IFDIR | 0700);
	assert_int_equal(chmod(scratch.path, 0755), 0);
	assert_int_equal(chown(scratch.path, 30, 30), 0);
	assert_int_equal(chown(at("src"), 10, 20), 0);
	assert_int_equal(chmod(at("src"), 01775), 0);
	assert_int_equal(look("").mode, S_IFDIR | 01775);
	assert_int_equal(chmod(scratch.path, 0750), 0);
	assert_int_equal(look("").mode, S_IFDIR | 01000);
	assert_int_equal(chown(scratch.path, 10, 20), 0);
	assert_int_equal(look("").mode, S_IFDIR | 01770);
}

static void test_hard_links(void **state)
{
	struct tree_found found;
	struct snap_err err = {""};

	(void)state;
	put_database("src/db");
	assert_int_equal(link(at("src/db"), at("src/db2")), 0);
	make_link("db", "src/link");
	put_file("src/db-wal");
	mirror(false);
	assert_int_equal(tree_look(tree, "db", &found, &err), -EMLINK);
	assert_non_null(strstr(err.text, "\"db\""));
	assert_non_null(strstr(err.text, "symlink"));
	assert_null(found.place.name);
	assert_int_equal(tree_look(tree, "link", &found, NULL), -EMLINK);
	assert_int_equal(look("db-wal").kind, SNAP_SIDECAR);
	check_list("", "db/100 db2/100 link/100");
	assert_int_equal(unlink(at("src/db2")), 0);
	assert_int_equal(look("db").kind, SNAP_DATABASE);
}

/* ---- sidecars ------------------------------------------------------------------------------------------ */

static void test_sidecars(void **state)
{
	static const struct expected cases[] = {
		{"db-wal", SNAP_SIDECAR},
		{"db-shm", SNAP_SIDECAR},
		{"db-journal", -ENOENT},
		{"link-wal", SNAP_SIDECAR},
		{"link-shm", SNAP_SIDECAR},
		{"link-journal", -ENOENT},
		{"data/real-wal", SNAP_SIDECAR},
		{"plain-wal", SNAP_PLAIN},
		{"plain-shm", -ENOENT},
		{"gone-wal", SNAP_PLAIN},
		{"-wal", SNAP_PLAIN},
		{"db-wall", -ENOENT},
		{"a-wal", SNAP_SIDECAR},
		{"a-wal-wal", SNAP_PLAIN},
		{"a-wal-shm", -ENOENT},
		{"c-wal-wal", SNAP_SIDECAR},
		{"c-wal", SNAP_DATABASE},
		{"db-shm-wal", -ENOENT},
		{"travel-journal", SNAP_FOLDER},
		{"travel-journal/day", SNAP_PLAIN},
		{"odd-wal", SNAP_SIDECAR},
		{"to-plain-wal", SNAP_PLAIN},
		{"folder-wal", SNAP_PLAIN},
	};
	struct snap_attr db, wal, shm;

	(void)state;
	put_database("src/db");
	assert_int_equal(chown(at("src/db"), 10, 20), 0);
	assert_int_equal(chmod(at("src/db"), 0664), 0);
	put_file("src/db-wal");
	put_file("src/db-journal");
	make_folder("src/data", 0755);
	put_database("src/data/real");
	put_file("src/data/real-wal");
	make_link("data/real", "src/link");
	put_file("src/link-wal");
	put_file("src/plain");
	put_file("src/plain-wal");
	put_file("src/gone-wal");
	put_file("src/-wal");
	put_database("src/a");
	put_database("src/a-wal");
	put_file("src/a-wal-wal");
	put_database("src/c-wal");
	put_file("src/c-wal-wal");
	put_database("src/travel");
	make_folder("src/travel-journal", 0755);
	put_file("src/travel-journal/day");
	put_database("src/odd");
	make_link("nowhere", "src/odd-wal");
	make_link("plain", "src/to-plain");
	put_file("src/to-plain-wal");
	make_folder("src/folder", 0755);
	put_file("src/folder-wal");
	mirror(false);
	check_looks(cases, COUNT(cases));
	check_list(
		"",
		"-wal/100 a/100 a-wal-wal/100 c-wal/100 data/40 db/100 folder/40 folder-wal/100 gone-wal/100 "
		"link/100 odd/100 plain/100 plain-wal/100 to-plain/120 to-plain-wal/100 travel/100 "
		"travel-journal/40");
	check_list("data", "real/100");

	db = look("db");
	wal = look("db-wal");
	shm = look("db-shm");
	assert_int_equal(wal.mode, S_IFREG | 0444);
	assert_int_equal(wal.uid, 10);
	assert_int_equal(wal.gid, 20);
	assert_int_equal(wal.size, 0);
	assert_int_equal(wal.blocks, 0);
	assert_int_equal(wal.nlink, 1);
	assert_true(wal.ino != db.ino && shm.ino != db.ino && wal.ino != shm.ino);
	assert_int_equal(look("db-wal").ino, wal.ino);
	assert_int_equal(unlink(at("src/db")), 0);
	assert_int_equal(look("db-wal").kind, SNAP_PLAIN);
}

/* ---- plain files --------------------------------------------------------------------------------------- */

static void test_open_plain(void **state)
{
	struct rawfd raw = RAWFD_INIT;
	struct snap_attr a;

	(void)state;
	put_file("src/plain");
	put_database("src/db");
	make_link("plain", "src/link");
	mirror(false);
	a = look("plain");
	assert_int_equal(tree_open_plain(tree, "plain", a.key_dev, a.key_ino, &raw), 0);
	assert_int_equal(raw.ino, a.key_ino);
	rawfd_close(table, &raw);
	assert_int_equal(tree_open_plain(tree, "plain", a.key_dev, a.key_ino + 1, &raw), -ESTALE);
	assert_int_equal(tree_open_plain(tree, "plain", a.key_dev + 1, a.key_ino, &raw), -ESTALE);
	assert_int_equal(tree_open_plain(tree, "link", a.key_dev, a.key_ino, &raw), -ESTALE);
	assert_int_equal(tree_open_plain(tree, "none", a.key_dev, a.key_ino, &raw), -ENOENT);
	assert_int_equal(tree_open_plain(tree, "../src/plain", a.key_dev, a.key_ino, &raw), -EINVAL);
	put_database("src/plain"); /* the same inode, and now a database */
	assert_int_equal(tree_open_plain(tree, "plain", a.key_dev, a.key_ino, &raw), -ESTALE);
	assert_int_equal(raw.fd, -1);
}

static void test_readlink_and_statvfs(void **state)
{
	char target[16];
	struct statvfs fs, expected;

	(void)state;
	put_file("src/plain");
	make_link("0123456789", "src/link");
	assert_int_equal(tree_statvfs(tree, &fs), -EBADF);
	mirror(false);
	assert_int_equal(tree_readlink(tree, "link", target, sizeof(target)), 0);
	assert_string_equal(target, "0123456789");
	assert_int_equal(tree_readlink(tree, "link", target, 11), 0);
	assert_int_equal(tree_readlink(tree, "link", target, 10), -ENAMETOOLONG);
	assert_int_equal(tree_readlink(tree, "plain", target, sizeof(target)), -EINVAL);
	assert_int_equal(tree_readlink(tree, "none", target, sizeof(target)), -ENOENT);
	assert_int_equal(tree_statvfs(tree, &fs), 0);
	assert_int_equal(statvfs(scratch.path, &expected), 0);
	assert_int_equal(fs.f_bsize, expected.f_bsize);
	assert_int_equal(fs.f_blocks, expected.f_blocks);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(test_kinds),	   test(test_attributes),	    test(test_acl_narrows),
		test(test_root_is_masked), test(test_hard_links),	    test(test_sidecars),
		test(test_open_plain),	   test(test_readlink_and_statvfs),
	};

	return cmocka_run_group_tests(tests, scratch_namespace, NULL);
}
