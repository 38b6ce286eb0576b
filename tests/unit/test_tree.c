/* SPDX-License-Identifier: MIT */
/* test_tree.c - what stands where in real folders, with everything in them that a file system can hold. */
#include "../../src/tree.h"

#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>

#include "../../src/opath.h"
#include "scratch.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct rawfd_table *table;
static struct tree *tree;

static int setup(void **state)
{
	return scratch_setup(state) || mkdir(at("src"), 0755) || rawfd_table_create(&table) ||
	       tree_create(&tree, table, false);
}

static int teardown(void **state)
{
	tree_destroy(tree);
	rawfd_table_destroy(table);
	alarm(0);
	return scratch_teardown(state);
}

/* The tree anew, of the folder "src". */
static void mirror(bool databases_only)
{
	tree_destroy(tree);
	assert_int_equal(tree_create(&tree, table, databases_only), 0);
	assert_int_equal(tree_set_folder(tree, at("src"), NULL), 0);
}

static void put_file(const char *name)
{
	put_text(name, "plain");
}

static struct snap_attr look(const char *path)
{
	struct tree_found found;
	struct snap_err err = {""};
	int rc = tree_look(tree, path, &found, &err);

	if (rc)
		fail_msg("\"%s\": %d, %s", path, rc, err.text);
	tree_found_finish(&found);
	return found.attr;
}

struct expected {
	const char *path;
	int code; /* or the kind */
};

static void check_looks(const struct expected *cases, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct tree_found found;
		int rc = tree_look(tree, cases[i].path, &found, NULL);
		int answer = rc ? rc : (int)found.attr.kind;

		if (answer != cases[i].code)
			fail_msg("\"%s\": %d instead of %d", cases[i].path, answer, cases[i].code);
		assert_true((rc == 0 && found.attr.kind == SNAP_DATABASE) == (found.place.name != NULL));
		tree_found_finish(&found);
	}
}

/* The place of the database at PATH is NAME in DIR below the root, or in the absolute folder DIR. */
static void check_place(const char *path, const char *dir, const char *name)
{
	struct tree_found found;
	struct stat st;

	assert_int_equal(tree_look(tree, path, &found, NULL), 0);
	assert_int_equal(found.attr.kind, SNAP_DATABASE);
	assert_string_equal(found.place.dir, dir);
	assert_string_equal(found.place.name, name);
	assert_true((found.place.root == AT_FDCWD) == (dir[0] == '/'));
	assert_int_equal(place_stat(&found.place, "", &st), 0);
	assert_int_equal(st.st_ino, found.attr.key_ino);
	tree_found_finish(&found);
}

/* "name/type name/type ...", where the type is the kernel's, in octal and thousands: 100 is a regular file.
 */
static void check_list(const char *path, const char *expected)
{
	struct tree_list list;
	struct snap_err err = {""};
	char text[2048] = "";
	int rc = tree_list(tree, path, &list, &err);

	if (rc)
		fail_msg("\"%s\": %d, %s", path, rc, err.text);
	for (size_t i = 0; i < list.count; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s/%o", i ? " " : "",
			 list.names[i].name, (unsigned)list.names[i].type >> 9);
	assert_string_equal(text, expected);
	tree_list_finish(&list);
	tree_list_finish(&list);
}

static size_t count(size_t limit)
{
	size_t databases = 99;

	assert_int_equal(tree_count(tree, limit, &databases), 0);
	return databases;
}

/* ---- kinds and attributes ------------------------------------------------------------------------------ */

static void put_socket(const char *name)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", at("%s", name));
	assert_int_equal(bind(sock, (struct sockaddr *)&sun, sizeof(sun)), 0);
	close(sock);
}

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

/* ---- symlinks ------------------------------------------------------------------------------------------ */

static void test_links_inside(void **state)
{
	struct tree_found found;
	struct snap_err err;

	(void)state;
	make_folder("src/data", 0755);
	make_folder("src/x", 0755);
	put_database("src/data/real");
	make_link("data/real", "src/link");
	make_link(at("src/data/real"), "src/absolute");
	make_link("../src/x/../data/./real", "src/escaping");
	make_link("../../src/data/real", "src/x/up");
	make_link("data", "src/folder-link");
	make_link("../folder-link/real", "src/x/through");
	make_link("x/through", "src/chain");
	mirror(false);
	check_place("link", "data", "real");
	check_place("absolute", "data", "real");
	check_place("escaping", "data", "real");
	check_place("x/up", "data", "real");
	check_place("x/through", "data", "real");
	check_place("chain", "data", "real");
	assert_false(tree_take_notice(tree, &err));
	assert_int_equal(look("link").ino, look("data/real").ino);
	assert_int_equal(look("folder-link").kind, SNAP_SYMLINK);
	check_list("", "absolute/100 chain/100 data/40 escaping/100 folder-link/120 link/100 x/40");
	assert_int_equal(count(100), 1);

	/* Who reads the link passes the root, not the folder that the file is in. */
	assert_int_equal(chmod(at("src/data"), 0700), 0);
	assert_int_equal(chmod(at("src"), 0700), 0);
	assert_int_equal(look("link").mode, S_IFREG | 0600);
	assert_int_equal(chmod(at("src/data"), 0755), 0);
	assert_int_equal(look("link").mode, S_IFREG | 0644);
	/* It is looked at anew each time. */
	assert_int_equal(unlink(at("src/data/real")), 0);
	assert_int_equal(look("link").kind, SNAP_SYMLINK);
	put_file("src/data/real");
	assert_int_equal(look("link").kind, SNAP_SYMLINK);
	assert_int_equal(tree_look(tree, "link", &found, NULL), 0);
	assert_true(S_ISLNK(found.attr.mode));
	assert_int_equal(found.attr.size, strlen("data/real"));
}

static void test_links_outside(void **state)
{
	struct snap_err notice = {""};

	(void)state;
	make_folder("away", 0755);
	put_database("away/real");
	assert_int_equal(chown(at("away/real"), 10, 20), 0);
	make_link("../away/real", "src/out");
	make_link("out", "src/out2");
	mirror(false);
	check_place("out", at("away"), "real");
	check_place("out", at("away"), "real");
	assert_int_equal(look("out").mode, S_IFREG | 0644);
	assert_true(tree_take_notice(tree, &notice));
	assert_non_null(strstr(notice.text, "\"out\""));
	assert_non_null(strstr(notice.text, at("away/real")));
	assert_false(tree_take_notice(tree, &notice));
	check_list("", "out/100 out2/100");
	assert_true(tree_take_notice(tree, &notice));
	assert_non_null(strstr(notice.text, "\"out2\""));
	assert_int_equal(count(100), 2);
	assert_false(tree_take_notice(tree, &notice));

	assert_int_equal(chown(at("away"), 10, 20), 0);
	assert_int_equal(chmod(at("away"), 0700), 0);
	assert_int_equal(look("out").mode, S_IFREG | 0600);
	assert_int_equal(chown(at("away"), 0, 0), 0);
	assert_int_equal(look("out").mode, S_IFREG);
}

/* More links than notices wait for: none is lost. */
static void test_many_notices(void **state)
{
	struct snap_err notice;
	char name[32];
	int told = 0;

	(void)state;
	put_database("real");
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "src/%d", i);
		make_link("../real", name);
	}
	mirror(false);
	for (int round = 0; round < 4; round++) {
		for (int i = 0; i < 20; i++) {
			snprintf(name, sizeof(name), "%d", i);
			look(name);
		}
		while (tree_take_notice(tree, &notice))
			told++;
	}
	assert_int_equal(told, 20);
}

/* Of 1024 links it is remembered that they were told; there is room for no more. */
static void test_end_of_notices(void **state)
{
	struct snap_err notice;
	char name[32];
	int told = 0;

	(void)state;
	put_database("real");
	for (int i = 0; i < 1030; i++) {
		snprintf(name, sizeof(name), "src/%d", i);
		make_link("../real", name);
	}
	mirror(false);
	for (int i = 0; i < 1030; i++) {
		snprintf(name, sizeof(name), "%d", i);
		look(name);
		told += tree_take_notice(tree, &notice);
	}
	assert_int_equal(told, 1024);
}

static void test_links_to_nothing(void **state)
{
	static const char *const targets[] = {
		"loop", "loop2", ".",	     "..",	"/",	  "db/",
		"db/x", "fifo",	 "db/../db", "nowhere", "deep41", "socket",
	};
	char name[32], target[32], through[128], *longer;

	(void)state;
	put_database("src/db");
	assert_int_equal(mkfifo(at("src/fifo"), 0600), 0);
	put_socket("src/socket");
	make_link("loop2", "src/loop");
	make_link("loop", "src/loop2");
	make_link("db", "src/deep1");
	for (int i = 2; i <= 41; i++) {
		snprintf(name, sizeof(name), "src/deep%d", i);
		snprintf(target, sizeof(target), "deep%d", i - 1);
		make_link(target, name);
	}
	for (size_t i = 0; i < COUNT(targets); i++) {
		snprintf(name, sizeof(name), "src/to%zu", i);
		make_link(targets[i], name);
	}
	snprintf(through, sizeof(through), "/proc/self/root%s", at("src/db"));
	make_link(through, "src/proc");
	longer = malloc(4001);
	memset(longer, '/', 4000);
	longer[4000] = '\0';
	make_link(longer, "src/slashes");
	for (int i = 0; i < 4000; i++)
		longer[i] = i % 2 ? '/' : '.';
	make_link(longer, "src/dots");
	free(longer);
	make_link("dots/dots/dots/db", "src/roundabout");
	make_link("dots/././././././././././././././././././././././././././././././././././././././././././"
		  "././././././db",
		  "src/too-long");
	mirror(false);
	for (size_t i = 0; i < COUNT(targets); i++) {
		snprintf(name, sizeof(name), "to%zu", i);
		if (look(name).kind != SNAP_SYMLINK)
			fail_msg("\"%s\" is followed", targets[i]);
	}
	assert_int_equal(look("proc").kind, SNAP_SYMLINK);
	assert_int_equal(look("slashes").kind, SNAP_SYMLINK);
	assert_int_equal(look("dots").kind, SNAP_SYMLINK);
	assert_int_equal(look("roundabout").kind, SNAP_DATABASE);
	assert_int_equal(look("too-long").kind, SNAP_SYMLINK);
	assert_int_equal(look("deep40").kind, SNAP_DATABASE);
	assert_int_equal(look("deep41").kind, SNAP_SYMLINK);
}

/* ---- mounts -------------------------------------------------------------------------------------------- */

/* Our own mount has a server that answers nobody: a request to it would end this program by the alarm. */
static void test_own_mount(void **state)
{
	static const struct expected before[] = {{"sub/mnt", SNAP_MOUNTPOINT}, {"sub", SNAP_FOLDER}};
	static const struct expected after[] = {
		{"sub/mnt", SNAP_MOUNTPOINT}, {"sub/mnt/db", -EXDEV},	{"sub/mnt/a/b", -EXDEV},
		{"mnt", SNAP_FOLDER},	      {"in", SNAP_SYMLINK},	{"in2", SNAP_SYMLINK},
		{"bound", SNAP_SYMLINK},      {"sub/mnt-wal", -ENOENT}, {"sub/fine", SNAP_DATABASE},
		{"self", SNAP_SYMLINK},
	};
	struct snap_attr covered;
	struct tree_list list;
	int server;

	(void)state;
	make_folder("src/sub", 0755);
	make_folder("src/mnt", 0755);
	make_folder("src/sub/mnt", 0711);
	make_folder("elsewhere", 0755);
	put_database("src/sub/mnt/hidden");
	put_database("src/db");
	make_link("sub/mnt/db", "src/in");
	make_link(at("src/sub/mnt/x/../../db"), "src/in2");
	make_link("sub/mnt", "src/self");
	make_link(at("elsewhere/db"), "src/bound");
	make_link("../db", "src/sub/fine");
	mirror(false);
	assert_int_equal(tree_note_mounted(tree), -EINVAL);
	assert_int_equal(tree_set_mountpoint(tree, at("src/sub/../sub/mnt/"), NULL), 0);
	assert_int_equal(tree_note_mounted(tree), -ENOENT);
	check_looks(before, COUNT(before));
	check_list("sub/mnt", "");
	covered = look("sub/mnt");
	server = mount_silent("src/sub/mnt");
	mount_bind("src/sub/mnt", "elsewhere");
	assert_int_equal(tree_note_mounted(tree), 0);

	check_looks(after, COUNT(after));
	assert_int_equal(look("sub/mnt").mode, S_IFDIR | 0711);
	assert_int_equal(look("sub/mnt").key_ino, covered.key_ino);
	check_list("sub/mnt", "");
	assert_int_equal(tree_list(tree, "sub/mnt/x", &list, NULL), -EXDEV);
	check_list("sub", "fine/100 mnt/40");
	check_list("", "bound/120 db/100 in/120 in2/120 mnt/40 self/120 sub/40");
	assert_int_equal(look("").mode, S_IFDIR | 0755);
	assert_int_equal(count(100), 1);
	close(server);
}

static void test_mountpoint_elsewhere(void **state)
{
	int server;

	(void)state;
	make_folder("src/mnt", 0755);
	make_folder("mnt", 0755);
	put_database("src/mnt/db");
	make_link("../mnt/db", "src/link");
	mirror(false);
	assert_int_equal(tree_set_mountpoint(tree, at("none"), NULL), -ENOENT);
	assert_int_equal(tree_set_mountpoint(tree, "/", NULL), -EINVAL);
	assert_int_equal(tree_set_mountpoint(tree, at("mnt"), NULL), 0);
	server = mount_silent("mnt");
	assert_int_equal(tree_note_mounted(tree), 0);
	assert_int_equal(look("mnt").kind, SNAP_FOLDER);
	assert_int_equal(look("mnt/db").kind, SNAP_DATABASE);
	assert_int_equal(look("link").kind, SNAP_SYMLINK);
	close(server);
}

static void test_other_mounts(void **state)
{
	static const struct expected cases[] = {
		{"mnt", SNAP_MOUNTPOINT},    {"mnt/db", -EXDEV},   {"bound", SNAP_MOUNTPOINT},
		{"silent", SNAP_MOUNTPOINT}, {"silent/x", -EXDEV}, {"link", SNAP_DATABASE},
	};
	struct tree_list list;
	struct snap_err err = {""};
	int server;

	(void)state;
	make_folder("src/mnt", 0755);
	make_folder("src/silent", 0755);
	mount_tmpfs("src/mnt");
	put_database("src/mnt/db");
	put_database("db");
	put_text("src/bound", "");
	mount_bind("db", "src/bound");
	make_link("mnt/db", "src/link");
	mirror(false);
	server = mount_silent("src/silent");
	check_looks(cases, COUNT(cases));
	check_place("link", at("src/mnt"), "db");
	assert_true(tree_take_notice(tree, &err));
	assert_int_equal(tree_list(tree, "mnt", &list, &err), -EXDEV);
	assert_non_null(strstr(err.text, "\"mnt\""));
	assert_int_equal(tree_list(tree, "silent", &list, NULL), -EXDEV);
	check_list("", "bound/100 link/100 mnt/40 silent/40");
	assert_int_equal(look("mnt").ino, opath_mix(look("mnt").key_dev, look("mnt").key_ino));
	assert_int_equal(count(100), 1);
	close(server);
}

/* ---- lists --------------------------------------------------------------------------------------------- */

static void test_databases_only(void **state)
{
	static const struct expected cases[] = {
		{"db", SNAP_DATABASE},	  {"link", SNAP_DATABASE},   {"folder", SNAP_FOLDER},
		{"db-wal", SNAP_SIDECAR}, {"plain", -ENOENT},	     {"to-plain", -ENOENT},
		{"fifo", -ENOENT},	  {"folder/plain", -ENOENT},
	};

	(void)state;
	put_database("src/db");
	put_file("src/db-wal");
	put_file("src/plain");
	put_file("src/plain-wal");
	make_folder("src/folder", 0755);
	put_file("src/folder/plain");
	make_link("db", "src/link");
	make_link("plain", "src/to-plain");
	assert_int_equal(mkfifo(at("src/fifo"), 0600), 0);
	mirror(true);
	check_looks(cases, COUNT(cases));
	check_list("", "db/100 folder/40 link/100");
	check_list("folder", "");
}

static void test_list(void **state)
{
	struct tree_list list;
	struct stat st;

	(void)state;
	put_file("src/b");
	put_file("src/a");
	put_file("src/\xff");
	assert_int_equal(mkfifo(at("src/fifo"), 0600), 0);
	put_socket("src/sock");
	make_folder("src/folder", 0755);
	mirror(false);
	check_list("", "a/100 b/100 fifo/10 folder/40 sock/140 \xff/100");
	check_list("folder", "");
	assert_int_equal(tree_list(tree, "none", &list, NULL), -ENOENT);
	assert_int_equal(tree_list(tree, "a", &list, NULL), -ENOTDIR);
	assert_int_equal(tree_list(tree, "..", &list, NULL), -EINVAL);
	assert_int_equal(tree_list(tree, "", &list, NULL), 0);
	assert_int_equal(stat(at("src/a"), &st), 0);
	assert_int_equal(list.names[0].ino, st.st_ino);
	tree_list_finish(&list);
}

static void test_large_folder(void **state)
{
	struct timespec start, end;
	struct tree_list list;
	char name[32];
	int before = count_fds();

	(void)state;
	for (int i = 0; i < 10000; i++) {
		snprintf(name, sizeof(name), i % 2 ? "src/%d-wal" : "src/%d", i - i % 2);
		if (i % 4 == 0)
			put_database(name);
		else
			put_file(name);
	}
	mirror(false);
	clock_gettime(CLOCK_MONOTONIC, &start);
	assert_int_equal(tree_list(tree, "", &list, NULL), 0);
	clock_gettime(CLOCK_MONOTONIC, &end);
	assert_int_equal(list.count, 7500);
	tree_list_finish(&list);
	assert_in_range(end.tv_sec - start.tv_sec, 0, 1);
	assert_int_equal(count(100000), 2500);
	assert_int_equal(count(7), 7);
	assert_int_equal(count_fds(), before + 1); /* the root's */
}

static void test_deep_tree(void **state)
{
	char path[PATH_MAX];
	int dir = open(at("src"), O_PATH | O_DIRECTORY | O_CLOEXEC);
	size_t len = 0;

	(void)state;
	mirror(false);
	for (int i = 0; i < 1000; i++) {
		int next;

		assert_int_equal(mkdirat(dir, "d", 0755), 0);
		next = openat(dir, "d", O_PATH | O_DIRECTORY | O_CLOEXEC);
		close(dir);
		dir = next;
		len += (size_t)snprintf(path + len, sizeof(path) - len, "%sd", i ? "/" : "");
	}
	close(dir);
	assert_int_equal(look(path).kind, SNAP_FOLDER);
	assert_int_equal(count(100), 0);
}

/* ---- named databases ----------------------------------------------------------------------------------- */

static void test_named(void **state)
{
	static const struct expected cases[] = {
		{"", SNAP_FOLDER},	    {"one", SNAP_DATABASE},    {"two.db", SNAP_DATABASE},
		{"garbage", SNAP_DATABASE}, {"one-wal", SNAP_SIDECAR}, {"one-shm", SNAP_SIDECAR},
		{"one-journal", -ENOENT},   {"three", -ENOENT},	       {"three-wal", -ENOENT},
		{"one/x", -ENOENT},	    {"..", -EINVAL},
	};
	struct snap_attr a;
	struct tree_list list;
	struct stat st;
	char target[8];

	(void)state;
	make_folder("x", 0755);
	put_database("src/db");
	put_database("x/real");
	put_file("x/garbage");
	make_link("../x/real", "src/link");
	assert_int_equal(tree_add_file(tree, "one", at("src/db"), NULL), 0);
	assert_int_equal(tree_add_file(tree, "two.db", at("src/link"), NULL), 0);
	assert_int_equal(tree_add_file(tree, "garbage", at("x/garbage"), NULL), 0);
	check_looks(cases, COUNT(cases));
	check_place("one", "", "db");
	check_place("two.db", at("x"), "real");
	check_list("", "one/100 two.db/100 garbage/100");
	assert_int_equal(tree_list(tree, "one", &list, NULL), -ENOTDIR);
	assert_int_equal(count(100), 3);
	assert_int_equal(count(2), 2);
	assert_int_equal(tree_readlink(tree, "one", target, sizeof(target)), -EINVAL);
	assert_int_equal(tree_readlink(tree, "none", target, sizeof(target)), -ENOENT);

	assert_int_equal(stat(at("src/db"), &st), 0);
	assert_int_equal(look("one").ino, st.st_ino);
	a = look("");
	assert_int_equal(a.mode, S_IFDIR | 0555);
	assert_int_equal(chmod(at("x"), 0700), 0);
	assert_int_equal(look("").mode, S_IFDIR | 0500);
	assert_int_equal(look("two.db").mode, S_IFREG | 0600);
	assert_int_equal(chown(at("src"), 10, 20), 0);
	a = look("");
	assert_int_equal(a.uid, 10);
	assert_int_equal(a.gid, 20);
	assert_int_equal(a.mode, S_IFDIR);
}

static void test_named_missing(void **state)
{
	struct tree_found found;
	uint64_t ino;

	(void)state;
	put_database("src/db");
	put_database("src/real");
	make_link("real", "src/link");
	assert_int_equal(tree_add_file(tree, "db", at("src/db"), NULL), 0);
	assert_int_equal(tree_add_file(tree, "link", at("src/link"), NULL), 0);
	assert_int_equal(chmod(at("src/db"), 0640), 0);
	ino = look("db").ino;
	assert_int_equal(unlink(at("src/db")), 0);
	assert_int_equal(tree_look(tree, "db", &found, NULL), 0);
	assert_true(found.missing);
	assert_false(found.has_header);
	assert_int_equal(found.attr.kind, SNAP_DATABASE);
	assert_int_equal(found.attr.mode, S_IFREG | 0640);
	assert_int_equal(found.attr.ino, ino);
	assert_string_equal(found.place.name, "db");
	tree_found_finish(&found);
	assert_int_equal(look("db-wal").mode, S_IFREG | 0440);
	check_list("", "db/100 link/100");

	assert_int_equal(unlink(at("src/real")), 0);
	assert_int_equal(tree_look(tree, "link", &found, NULL), 0);
	assert_true(found.missing);
	tree_found_finish(&found);

	put_database("src/db");
	assert_int_equal(tree_look(tree, "db", &found, NULL), 0);
	assert_false(found.missing);
	tree_found_finish(&found);
	assert_int_equal(link(at("src/db"), at("src/db2")), 0);
	assert_int_equal(tree_look(tree, "db", &found, NULL), -EMLINK);
	assert_int_equal(unlink(at("src/db")), 0);
	make_folder("src/db", 0755);
	assert_int_equal(tree_look(tree, "db", &found, NULL), -EINVAL);
}

static void test_refused_sources(void **state)
{
	const struct {
		const char *name, *path;
		int code;
		const char *words;
	} cases[] = {
		{"none", "none", -ENOENT, "no such file (to restore onto nothing: cp BACKUP "},
		{"none", "none/db", -ENOENT, "no such file"},
		{"none", "dangling", -ENOENT, "no such file"},
		{"folder", "src", -EINVAL, "not a regular file"},
		{"fifo", "fifo", -EINVAL, "not a regular file"},
		{"bound", "bound", -EXDEV, "mount"},
		{"taken", "db", -EEXIST, "\"taken\""},
		{"taken-wal", "db", -EEXIST, "\"taken-wal\""},
		{"a/b", "db", -EINVAL, "\"a/b\""},
		{"", "db", -EINVAL, NULL},
		{".", "db", -EINVAL, NULL},
		{"..", "db", -EINVAL, NULL},
		{"db", "db/", -ENOTDIR, NULL},
	};
	struct snap_err err;
	int before;

	(void)state;
	put_database("db");
	put_text("bound", "");
	mount_bind("db", "bound");
	make_link("nowhere", "dangling");
	assert_int_equal(mkfifo(at("fifo"), 0600), 0);
	assert_int_equal(tree_add_file(tree, "taken", at("db"), NULL), 0);
	before = count_fds();
	for (size_t i = 0; i < COUNT(cases); i++) {
		int rc;

		err.text[0] = '\0';
		rc = tree_add_file(tree, cases[i].name, at("%s", cases[i].path), &err);
		if (rc != cases[i].code || err.text[0] == '\0' ||
		    (cases[i].words && !strstr(err.text, cases[i].words)))
			fail_msg("%s=%s: %d: %s", cases[i].name, cases[i].path, rc, err.text);
	}
	assert_int_equal(tree_set_folder(tree, at("src"), &err), -EINVAL);
	assert_int_equal(count_fds(), before);
	mirror(false);
	assert_int_equal(tree_add_file(tree, "db", at("db"), &err), -EINVAL);
	tree_destroy(tree);
	assert_int_equal(tree_create(&tree, table, false), 0);
	assert_int_equal(tree_set_folder(tree, at("none"), &err), -ENOENT);
	assert_int_equal(tree_set_folder(tree, at("db"), &err), -ENOTDIR);
}

/* A path without a folder, and a folder that is moved away after the start. */
static void test_named_stays_in_its_folder(void **state)
{
	(void)state;
	put_database("src/db");
	assert_int_equal(chdir(at("src")), 0);
	assert_int_equal(tree_add_file(tree, "db", "db", NULL), 0);
	assert_int_equal(chdir("/"), 0);
	assert_int_equal(rename(at("src"), at("moved")), 0);
	make_link("/etc", "src");
	check_place("db", "", "db");
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

#define TREE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TREE_TEST(test_kinds),
		TREE_TEST(test_attributes),
		TREE_TEST(test_acl_narrows),
		TREE_TEST(test_root_is_masked),
		TREE_TEST(test_hard_links),
		TREE_TEST(test_sidecars),
		TREE_TEST(test_links_inside),
		TREE_TEST(test_links_outside),
		TREE_TEST(test_many_notices),
		TREE_TEST(test_end_of_notices),
		TREE_TEST(test_links_to_nothing),
		TREE_TEST(test_own_mount),
		TREE_TEST(test_mountpoint_elsewhere),
		TREE_TEST(test_other_mounts),
		TREE_TEST(test_databases_only),
		TREE_TEST(test_list),
		TREE_TEST(test_large_folder),
		TREE_TEST(test_deep_tree),
		TREE_TEST(test_named),
		TREE_TEST(test_named_missing),
		TREE_TEST(test_refused_sources),
		TREE_TEST(test_named_stays_in_its_folder),
		TREE_TEST(test_open_plain),
		TREE_TEST(test_readlink_and_statvfs),
	};

	return cmocka_run_group_tests(tests, scratch_namespace, NULL);
}
