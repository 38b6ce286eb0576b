/* SPDX-License-Identifier: MIT */
/* test_place.c - places, masks of folders and their ACLs; on real folders and mounts, the decoders on bytes.
 */
#include "../../src/place.h"

#include <endian.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <sys/xattr.h>

#include "../../src/acl.h"
#include "../../src/cleanup.h"
#include "../../src/opath.h"
#include "scratch.h"

/* ---- places -------------------------------------------------------------------------------------------- */

static struct place a_place(int root, const char *dir, const char *name)
{
	return (struct place){.root = root, .dir = strdup(dir), .name = strdup(name)};
}

static void test_copy_and_compare(void **state)
{
	struct place a = a_place(5, "x/y", "db"), copy = PLACE_INIT;
	struct place others[] = {a_place(6, "x/y", "db"), a_place(5, "x", "db"), a_place(5, "x/y", "d")};

	(void)state;
	assert_int_equal(place_copy(&copy, &a), 0);
	assert_true(place_same(&a, &copy));
	assert_ptr_not_equal(copy.dir, a.dir);
	for (size_t i = 0; i < COUNT(others); i++) {
		assert_false(place_same(&a, &others[i]));
		place_finish(&others[i]);
	}
	place_finish(&a);
	assert_int_equal(a.root, -1);
	assert_null(a.dir);
	place_finish(&a);
	place_finish(&copy);
}

/* What place_open_dir() and place_stat() answer for DIR and NAME below the scratch folder, or absolute. */
static void check_place(int root, const char *dir, const char *name, const char *suffix, int dir_code,
			int stat_code)
{
	struct place place = a_place(root, dir, name);
	struct stat st;
	int fd = place_open_dir(&place);
	int rc = place_stat(&place, suffix, &st);

	if ((fd < 0 ? fd : 0) != dir_code || rc != stat_code)
		fail_msg("\"%s\" \"%s%s\": %d, %d instead of %d, %d", dir, name, suffix, fd, rc, dir_code,
			 stat_code);
	if (fd >= 0) {
		assert_int_equal(fcntl(fd, F_GETFL) & O_PATH, O_PATH);
		close(fd);
	}
	place_finish(&place);
}

static void test_reach(void **state)
{
	char longest[NAME_MAX + 1];
	int root = open(scratch.path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	(void)state;
	memset(longest, 'n', NAME_MAX);
	longest[NAME_MAX] = '\0';
	make_folder("sub", 0755);
	make_folder("sub/mnt", 0755);
	make_link("sub", "link");
	put_text("sub/db", "x");
	put_text("sub/db-wal", "xy");
	put_text("sub/bound", "");
	put_text(longest, "x");
	make_link("db", "sub/alias");
	mount_tmpfs("sub/mnt");
	put_text("sub/mnt/db", "x");
	mount_bind("sub/db", "sub/bound");

	check_place(root, "", longest, "", 0, 0);
	check_place(root, "", longest, "-wal", 0, -ENOENT); /* no such name can exist */
	check_place(root, "sub", "db", "", 0, 0);
	check_place(root, "sub", "db", "-wal", 0, 0);
	check_place(root, "sub", "db", "-shm", 0, -ENOENT);
	check_place(root, "sub", "alias", "", 0, 0);
	check_place(root, "none", "db", "", -ENOENT, -ENOENT);
	check_place(root, "sub/db", "db", "", -ENOTDIR, -ENOTDIR);
	check_place(root, "link", "db", "", -ELOOP, -ELOOP);
	check_place(root, "..", "db", "", -EXDEV, -EXDEV);
	check_place(root, "sub/mnt", "db", "", -EXDEV, -EXDEV);
	check_place(root, "sub", "bound", "", 0, -EXDEV);
	check_place(AT_FDCWD, at("sub"), "db", "-wal", 0, 0);
	check_place(AT_FDCWD, at("sub/mnt"), "db", "", 0, 0);
	check_place(AT_FDCWD, at("link"), "db", "", -ELOOP, -ELOOP);
	close(root);
}

static void test_stat_is_of_the_name(void **state)
{
	struct place place = a_place(AT_FDCWD, scratch.path, "db");
	struct stat st, expected;

	(void)state;
	put_text("db-wal", "12345");
	make_link("db-wal", "db");
	assert_int_equal(lstat(at("db-wal"), &expected), 0);
	assert_int_equal(place_stat(&place, "-wal", &st), 0);
	assert_memory_equal(&st, &expected, sizeof(st));
	assert_int_equal(place_stat(&place, "", &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	place_finish(&place);
}

static void test_name_of_a_descriptor(void **state)
{
	int fd = open(scratch.path, O_PATH | O_DIRECTORY | O_CLOEXEC), ends[2];
	char path[PATH_MAX];

	(void)state;
	assert_int_equal(opath_path(fd, path, sizeof(path)), 0);
	assert_string_equal(path, scratch.path);
	assert_int_equal(opath_path(fd, path, strlen(scratch.path)), -ENAMETOOLONG);
	close(fd);
	assert_int_equal(opath_path(-1, path, sizeof(path)), -ENOENT);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(opath_path(ends[0], path, sizeof(path)), -ENOENT); /* no path leads there */
	close(ends[0]);
	close(ends[1]);
}

/* ---- ACLs ---------------------------------------------------------------------------------------------- */

static uint16_t tag_of(char letter, bool named)
{
	switch (letter) {
	case 'u':
		return named ? ACL_USER : ACL_USER_OBJ;
	case 'g':
		return named ? ACL_GROUP : ACL_GROUP_OBJ;
	case 'm':
		return ACL_MASK;
	case 'o':
		return ACL_OTHER;
	default:
		return 0x40; /* none that is known */
	}
}

/* Puts "u::6,u:99:4,g::4,m::4,o::0" (tag, user or group, permissions) in the form of the attribute; its size
 * in bytes. */
static size_t encode_acl(uint8_t out[256], const char *text)
{
	struct posix_acl_xattr_header header = {.a_version = htole32(POSIX_ACL_XATTR_VERSION)};
	size_t size = sizeof(header);

	memcpy(out, &header, sizeof(header));
	while (*text) {
		struct posix_acl_xattr_entry e = {.e_id = htole32((uint32_t)ACL_UNDEFINED_ID)};
		char *after;
		uint32_t id = (uint32_t)strtoul(text + 2, &after, 10);
		bool named = after != text + 2;

		if (named)
			e.e_id = htole32(id);
		e.e_tag = htole16(tag_of(*text, named));
		e.e_perm = htole16((uint16_t)strtoul(after + 1, &after, 8));
		memcpy(out + size, &e, sizeof(e));
		size += sizeof(e);
		text = after + (*after == ',');
	}
	return size;
}

static void test_acl_bits(void **state)
{
	/* The file is of user 10 and group 20. */
	static const struct {
		const char *what, *acl;
		mode_t mode;
		uid_t uid;
		gid_t gid;
		mode_t bits;
	} cases[] = {
		{"no ACL, its own", NULL, 0754, 10, 20, 0754},
		{"another owner may be anybody", NULL, 0754, 11, 20, 0454},
		{"another group may be anybody", NULL, 0754, 10, 21, 0744},
		{"the owner may be in the group", NULL, 0077, 11, 21, 0700},
		{"the rest may be in the group", NULL, 0705, 10, 21, 0700},
		{"mask cuts the group", "u::6,g::6,m::4,o::0", 0640, 10, 20, 0640},
		{"the mode's group bits are the mask", "u::6,u:99:4,g::0,m::4,o::0", 0640, 10, 20, 0600},
		{"a user who is denied may be among the group and the rest", "u::6,u:99:0,g::4,m::4,o::4",
		 0644, 10, 20, 0600},
		{"a group that is denied may be among the rest", "u::6,g::4,g:99:0,m::4,o::4", 0644, 10, 20,
		 0640},
		{"the mask cuts named users", "u::7,u:99:7,g::7,m::5,o::7", 0757, 10, 20, 0755},
		{"entries of the owner and of root take nothing", "u::6,u:0:0,u:10:0,g::4,m::4,o::4", 0644,
		 10, 20, 0644},
		{"a named user of ours", "u::7,u:11:5,g::0,m::5,o::0", 0750, 11, 20, 0500},
		{"a named group of ours", "u::7,g::0,g:21:5,m::7,o::0", 0770, 10, 21, 0750},
		{"no entry for others", "u::7,g::7", 0777, 10, 20, 0700},
		{"an unknown tag", "u::7,g::7,o::7,?::7", 0777, 10, 20, 0700},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct stat st = {.st_mode = S_IFREG | cases[i].mode, .st_uid = 10, .st_gid = 20};
		uint8_t acl[256];
		size_t size = cases[i].acl ? encode_acl(acl, cases[i].acl) : 0;
		mode_t bits = acl_bits(&st, acl, (ssize_t)size, cases[i].uid, cases[i].gid);

		if (bits != cases[i].bits)
			fail_msg("%s: %04o instead of %04o", cases[i].what, bits, cases[i].bits);
	}
}

/* Cut anywhere, or of another version, it says nothing of the group and of others. */
static void test_acl_malformed(void **state)
{
	struct stat st = {.st_mode = S_IFREG | 0777, .st_uid = 10, .st_gid = 20};
	uint8_t acl[256];
	ssize_t size = (ssize_t)encode_acl(acl, "u::7,g::7,o::7");

	(void)state;
	assert_int_equal(acl_bits(&st, acl, size, 10, 20), 0777);
	for (ssize_t n = 1; n < size; n++)
		assert_int_equal(acl_bits(&st, acl, n, 10, 20), 0700);
	assert_int_equal(acl_bits(&st, NULL, -EIO, 10, 20), 0700);
	assert_int_equal(acl_bits(&st, NULL, -EIO, 11, 20), 0);
	acl[0] = 9;
	assert_int_equal(acl_bits(&st, acl, size, 10, 20), 0700);
}

static void set_acl(const char *name, const char *text)
{
	uint8_t acl[256];
	size_t size = encode_acl(acl, text);

	assert_int_equal(setxattr(at("%s", name), "system.posix_acl_access", acl, size, 0), 0);
}

/* ---- masks --------------------------------------------------------------------------------------------- */

struct level {
	mode_t mode;
	uid_t uid;
	gid_t gid;
};

/* What the folder at PATH and those above it leave. */
static mode_t mask_in(const char *path, uid_t uid, gid_t gid)
{
	autoclose int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	assert_true(fd >= 0);
	return place_mask_at(fd, NULL, 0, uid, gid);
}

static void test_mask(void **state)
{
	/* The database is 10:20, three folders down. */
	static const struct {
		const char *what;
		struct level a, b;
		mode_t mask;
	} cases[] = {
		{"open to all", {0755, 0, 0}, {0755, 0, 0}, 0777},
		{"search is enough", {0711, 0, 0}, {0711, 0, 0}, 0777},
		{"the owner's own", {0700, 10, 20}, {0755, 0, 0}, 0700},
		{"of owner and group", {0750, 10, 20}, {0755, 0, 0}, 0770},
		{"below", {0755, 0, 0}, {0750, 10, 20}, 0770},
		{"root's own", {0700, 0, 0}, {0755, 0, 0}, 0},
		{"group only, and the owner may be in it or not", {0750, 0, 20}, {0755, 0, 0}, 0070},
		{"reading without search", {0744, 10, 20}, {0755, 0, 0}, 0700},
		{"a foreign owner without search may be in the group", {0655, 30, 20}, {0755, 0, 0}, 0700},
		{"each takes away", {0710, 10, 20}, {0701, 10, 20}, 0700},
	};

	(void)state;
	make_folder("a", 0755);
	make_folder("a/b", 0755);
	put_text("a/b/db", "");
	for (size_t i = 0; i < COUNT(cases); i++) {
		mode_t mask;

		assert_int_equal(chown(at("a"), cases[i].a.uid, cases[i].a.gid), 0);
		assert_int_equal(chmod(at("a"), cases[i].a.mode), 0);
		assert_int_equal(chown(at("a/b"), cases[i].b.uid, cases[i].b.gid), 0);
		assert_int_equal(chmod(at("a/b"), cases[i].b.mode), 0);
		mask = mask_in(at("a/b"), 10, 20);
		if (mask != cases[i].mask)
			fail_msg("%s: %04o instead of %04o", cases[i].what, mask, cases[i].mask);
	}
}

static void test_mask_edges(void **state)
{
	struct stat a_st;
	int b;

	(void)state;
	make_folder("a", 0700);
	make_folder("a/b", 0755);
	assert_int_equal(mask_in("/", 10, 20), 0777);
	assert_int_equal(mask_in(at("a/b"), 0, 0), 0700); /* root searches every folder */
	assert_int_equal(chown(at("a"), 30, 30), 0);
	assert_int_equal(mask_in(at("a/b"), 0, 0), 0700);

	b = open(at("a/b"), O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(stat(at("a"), &a_st), 0);
	assert_int_equal(place_mask_at(b, NULL, 0, 10, 20), 0);
	assert_int_equal(place_mask_at(b, &a_st, 0, 10, 20), 0777); /* A does not count */
	assert_int_equal(chmod(at("a"), 0755), 0);
	set_acl("a/b", "u::7,u:99:0,g::5,m::5,o::5");
	assert_int_equal(place_mask_at(b, &a_st, 0, 10, 20),
			 0700); /* user 99 is not 10, but may be any of the rest */
	assert_int_equal(place_mask_at(b, &a_st, 0, 99, 20), 0077);
	assert_int_equal(mask_in(at("a/b"), 10, 20), 0700);
	close(b);
}

/* On the way up a mount's own folder counts, what it covers does not, and a folder bound onto its child is no
 * root. */
static void test_mask_over_mounts(void **state)
{
	(void)state;
	make_folder("a", 0755);
	make_folder("a/b", 0700);
	mount_tmpfs("a/b");
	make_folder("a/b/c", 0755);
	assert_int_equal(mask_in(at("a/b/c"), 10, 20), 0777);
	assert_int_equal(chmod(at("a/b"), 0700), 0);
	assert_int_equal(mask_in(at("a/b/c"), 10, 20), 0);

	make_folder("p", 0700);
	make_folder("p/q", 0755);
	make_folder("p/q/r", 0755);
	mount_bind("p/q", "p/q/r");
	assert_int_equal(mask_in(at("p/q/r"), 10, 20), 0);
}

/* A folder that is covered by a mount whose server does not answer: climbing by it asks nobody. */
static void test_mask_asks_nobody(void **state)
{
	struct stat st;
	int b, server;

	(void)state;
	make_folder("a", 0755);
	make_folder("a/b", 0755);
	b = open(at("a/b"), O_PATH | O_DIRECTORY | O_CLOEXEC);
	server = mount_silent("a");
	assert_int_equal(opath_stat(AT_FDCWD, at("a"), &st, NULL), 0);
	assert_int_equal(place_mask_at(b, NULL, st.st_dev, 10, 20),
			 0); /* the root of that mount shows no bits */
	alarm(0);
	close(b);
	close(server);
}

#define PLACE_TEST(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_copy_and_compare),
		PLACE_TEST(test_reach),
		PLACE_TEST(test_stat_is_of_the_name),
		PLACE_TEST(test_name_of_a_descriptor),
		cmocka_unit_test(test_acl_bits),
		cmocka_unit_test(test_acl_malformed),
		PLACE_TEST(test_mask),
		PLACE_TEST(test_mask_edges),
		PLACE_TEST(test_mask_over_mounts),
		PLACE_TEST(test_mask_asks_nobody),
	};

	return cmocka_run_group_tests(tests, scratch_namespace, NULL);
}
