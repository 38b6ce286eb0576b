/* SPDX-License-Identifier: MIT */
/* test_mount.c - paths, the table of mounts, mountpoints made and removed, the log's escaping. */
#include "mountpoints.h"

#include "../../fs/log.h"
#include "../../fs/mount.h"

static void test_path_is_below(void **state)
{
	static const struct {
		const char *path, *folder;
		bool below;
	} cases[] = {
		{"/a", "/a", true},	 {"/a/b", "/a", true},	   {"/a/b/c", "/a", true},
		{"/ab", "/a", false},	 {"/a", "/a/b", false},	   {"/b", "/a", false},
		{"/a", "/", true},	 {"/", "/", true},	   {"/", "/a", false},
		{"/a-b/c", "/a", false}, {"/a/b", "/a/b/", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		assert_int_equal(path_is_below(cases[i].path, cases[i].folder), cases[i].below);
}

static void test_mountinfo(void **state)
{
	static const struct {
		const char *line, *path;
		bool fuse;
	} cases[] = {
		{"45 27 0:42 / /mnt/s ro,nosuid - fuse.sqlsnapfs /srv/app ro,user_id=0\n", "/mnt/s", true},
		{"45 27 0:42 / /mnt/s ro shared:7 master:2 - fuse x rw\n", "/mnt/s", true},
		{"45 27 0:42 / /mnt/s ro - fuse.sqlsnapfs x rw\n", "/mnt", false},
		{"45 27 0:42 / /mnt/s ro - fuse.sqlsnapfs x rw\n", "/mnt/s/", false},
		{"45 27 0:42 / /mnt/s ro - fuseblk x rw\n", "/mnt/s", false},
		{"45 27 0:42 / /mnt/s ro - fusectl x rw\n", "/mnt/s", false},
		{"45 27 0:42 / /mnt/s ro - ext4 fuse rw\n", "/mnt/s", false},
		{"45 27 0:42 / /mnt/a\\040b\\134c ro - fuse.x y rw\n", "/mnt/a b\\c", true},
		{"45 27 0:42 /mnt/s / ro - fuse.x y rw\n", "/mnt/s", false},
		{"45 27 0:42 / /mnt/s ro fuse.x y rw\n", "/mnt/s", false}, /* no separator */
		{"45 27 0:42 / /mnt/s\n", "/mnt/s", false},
		{"45 27 0:42 / /mnt/s ro -", "/mnt/s", false},
		{"\n", "/mnt/s", false},
		{"", "", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		assert_int_equal(mountinfo_is_fuse_at(cases[i].line, cases[i].path), cases[i].fuse);
}

static void test_resolve(void **state)
{
	static const struct {
		const char *path, *want; /* WANT below the folder; NULL: refused with */
		int rc;
		const char *text;
	} cases[] = {
		{"d", "d", 0, NULL},
		{"d/", "d", 0, NULL},
		{"d///", "d", 0, NULL},
		{"./d/../d", "d", 0, NULL},
		{".", "", 0, NULL},
		{"new", "new", 0, NULL},
		{"new//", "new", 0, NULL},
		{"d/new", "d/new", 0, NULL},
		{"d/.//new", "d/new", 0, NULL},
		{"link", "d", 0, NULL},
		{"link/new", "d/new", 0, NULL},
		{"f", "f", 0, NULL},
		{"no/new", NULL, -ENOENT,
		 "no: No such file or directory, and only the MOUNTPOINT itself is made"},
		{"no/..", NULL, -ENOENT, "no/..: no such directory"},
		{"dangling", NULL, -ENOENT, "dangling is a link that leads nowhere"},
		{"f/new", NULL, -ENOTDIR, "f/new: Not a directory"},
	};

	(void)state;
	assert_return_code(mkdir("d", 0755), errno);
	touch("f");
	assert_return_code(symlink("d", "link"), errno);
	assert_return_code(symlink("nowhere", "dangling"), errno);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct mountpoint mp = MOUNTPOINT_INIT;
		struct snap_err err = {""};
		int rc = mountpoint_resolve(&mp, cases[i].path, &err);

		assert_string_equal(err.text, cases[i].text ? cases[i].text : "");
		assert_int_equal(rc, cases[i].rc);
		if (rc == 0)
			assert_string_equal(mp.path, at(cases[i].want));
		else
			assert_null(mp.path);
		mountpoint_finish(&mp);
	}
}

static void resolved(struct mountpoint *mp, const char *path)
{
	struct snap_err err;

	*mp = MOUNTPOINT_INIT;
	assert_int_equal(mountpoint_resolve(mp, path, &err), 0);
}

static void test_look(void **state)
{
	static const struct {
		const char *path;
		int answer;
	} cases[] = {
		{"empty", 0},
		{"full", MOUNTPOINT_NOT_EMPTY},
		{"hidden", MOUNTPOINT_NOT_EMPTY},
		{"f", MOUNTPOINT_NO_FOLDER},
		{"new", MOUNTPOINT_MISSING},
	};

	(void)state;
	assert_return_code(mkdir("empty", 0755), errno);
	assert_return_code(mkdir("full", 0755), errno);
	assert_return_code(mkdir("hidden", 0755), errno);
	touch("full/f");
	touch("hidden/.f");
	touch("f");
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct mountpoint mp;
		struct snap_err err;

		resolved(&mp, cases[i].path);
		assert_int_equal(mountpoint_look(&mp, &err), cases[i].answer);
		mountpoint_finish(&mp);
	}
}

/* Made, covered (by nothing here), and removed again; an existing one stays. */
static void test_make_and_remove(void **state)
{
	struct mountpoint mp;
	struct snap_err err;

	(void)state;
	resolved(&mp, "new");
	assert_int_equal(mountpoint_make(&mp, &err), 0);
	assert_true(mp.made);
	mountpoint_covered(&mp);
	assert_int_equal(mode_of("new") & 0777, 0555);
	mountpoint_remove(&mp);
	assert_false(exists("new"));
	assert_false(mp.made);
	mountpoint_remove(&mp);
	mountpoint_finish(&mp);

	assert_return_code(mkdir("old", 0755), errno);
	resolved(&mp, "old");
	assert_int_equal(mountpoint_make(&mp, &err), 0);
	assert_false(mp.made);
	mountpoint_covered(&mp);
	assert_int_equal(mode_of("old"), 0755);
	mountpoint_remove(&mp);
	assert_true(exists("old"));
	mountpoint_finish(&mp);

	resolved(&mp, "gone");
	touch("gone"); /* a file came in between */
	assert_int_equal(mountpoint_make(&mp, &err), -ENOTDIR);
	mountpoint_remove(&mp);
	assert_true(exists("gone"));
	mountpoint_finish(&mp);
}

/* A folder that somebody has put something into is left alone. */
static void test_remove_in_use(void **state)
{
	struct mountpoint mp;
	struct snap_err err;

	(void)state;
	resolved(&mp, "new");
	assert_int_equal(mountpoint_make(&mp, &err), 0);
	touch("new/precious");
	mountpoint_remove(&mp);
	assert_true(exists("new/precious"));
	assert_true(mp.made);
	assert_return_code(unlink("new/precious"), errno);
	mountpoint_remove(&mp);
	assert_false(exists("new"));
	mountpoint_finish(&mp);
}

/* What a killed program has made is known again, and removed by the next one. */
static void test_left_behind(void **state)
{
	struct mountpoint mp;
	struct snap_err err;

	(void)state;
	resolved(&mp, "new");
	assert_int_equal(mountpoint_make(&mp, &err), 0);
	mountpoint_covered(&mp);
	mountpoint_finish(&mp);
	assert_true(exists("new"));

	resolved(&mp, "new");
	assert_int_equal(mountpoint_look(&mp, &err), 0);
	assert_int_equal(mountpoint_make(&mp, &err), 0);
	assert_true(mp.made);
	assert_int_equal(mode_of("new"), 0755);
	mountpoint_remove(&mp);
	assert_false(exists("new"));
	mountpoint_finish(&mp);

	/* An administrator's read-only mountpoint is none of ours. */
	assert_return_code(mkdir("fixed", 0555), errno);
	resolved(&mp, "fixed");
	assert_int_equal(mountpoint_make(&mp, &err), 0);
	assert_false(mp.made);
	mountpoint_remove(&mp);
	assert_true(exists("fixed"));
	assert_int_equal(mode_of("fixed"), 0555);
	mountpoint_finish(&mp);
}

/* What is not our mount is not unmounted. */
static void test_detach_foreign(void **state)
{
	struct mountpoint mp;
	struct snap_err err = {""};

	(void)state;
	assert_return_code(mkdir("d", 0755), errno);
	resolved(&mp, "d");
	assert_false(mountpoint_is_ours(&mp));
	assert_int_equal(mountpoint_detach(&mp, &err), 0);
	mountpoint_covered(&mp);
	assert_true(mountpoint_is_ours(&mp)); /* as long as nothing covers it */
	mp.id.dev++;
	assert_false(mountpoint_is_ours(&mp));
	assert_int_equal(mountpoint_detach(&mp, &err), 0);
	mp.id.dev--;
	mp.id.mount++; /* the same number again, and another mount */
	assert_false(mountpoint_is_ours(&mp));
	assert_int_equal(mountpoint_detach(&mp, &err), 0);
	assert_string_equal(err.text, "");
	mountpoint_finish(&mp);
}

static int statx_error; /* 0: it answers */

int __real_statx(int dirfd, const char *path, int flags, unsigned mask, struct statx *out);
int __wrap_statx(int dirfd, const char *path, int flags, unsigned mask, struct statx *out);

int __wrap_statx(int dirfd, const char *path, int flags, unsigned mask, struct statx *out)
{
	errno = statx_error;
	return statx_error ? -1 : __real_statx(dirfd, path, flags, mask, out);
}

/* Where the system does not say whose the mount is: it is neither given up nor called another's. */
static void test_detach_untold(void **state)
{
	static const int errors[] = {EIO, ENOMEM, EINTR};
	struct mountpoint mp;
	struct snap_err err = {""};

	(void)state;
	assert_return_code(mkdir("d", 0755), errno);
	resolved(&mp, "d");
	statx_error = EIO;
	mountpoint_covered(&mp);
	assert_false(mp.mounted);
	statx_error = 0;
	mountpoint_covered(&mp);
	mp.made = true;
	for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++) {
		statx_error = errors[i];
		assert_false(mountpoint_is_told(&mp));
		assert_int_equal(mountpoint_detach(&mp, &err), -EIO);
		assert_non_null(strstr(err.text, "cannot be told"));
		assert_true(mp.made);
	}
	statx_error = ENOTCONN; /* it is told: none that answers */
	assert_true(mountpoint_is_told(&mp));
	assert_int_equal(mountpoint_detach(&mp, &err), 0);
	assert_false(mp.made);
	statx_error = 0;
	mountpoint_finish(&mp);
}

static void test_escape(void **state)
{
	static const struct {
		const char *in, *want;
		size_t size;
	} cases[] = {
		{"plain", "plain", 64},
		{"a\nb\tc\x7f\x1b[0m", "a\\x0ab\\x09c\\x7f\\x1b[0m", 64},
		{"h\xc3\xa4", "h\xc3\xa4", 64}, /* UTF-8 stays */
		{"a\xc2\x9b"
		 "1m",
		 "a\\xc2\\x9b1m", 64}, /* but for C1 controls */
		{"a\x9b\xe2\x80\x9c", "a\\x9b\xe2\x80\x9c", 64},
		{"\xff\x9b\xc3\xa4", "\xff\\x9b\xc3\xa4", 64}, /* after what is no character */
		{"\xc2", "\xc2", 64},
		{"abcdef", "abc", 4},
		{"ab\n", "ab", 6}, /* an escape is not cut in two */
		{"ab\n", "ab\\x0a", 7},
		{"", "", 1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char out[64];

		assert_string_equal(log_escape(out, cases[i].size, cases[i].in), cases[i].want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_path_is_below),
		cmocka_unit_test(test_mountinfo),
		cmocka_unit_test_setup_teardown(test_resolve, setup, teardown),
		cmocka_unit_test_setup_teardown(test_look, setup, teardown),
		cmocka_unit_test_setup_teardown(test_make_and_remove, setup, teardown),
		cmocka_unit_test_setup_teardown(test_remove_in_use, setup, teardown),
		cmocka_unit_test_setup_teardown(test_left_behind, setup, teardown),
		cmocka_unit_test_setup_teardown(test_detach_foreign, setup, teardown),
		cmocka_unit_test_setup_teardown(test_detach_untold, setup, teardown),
		cmocka_unit_test(test_escape),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
