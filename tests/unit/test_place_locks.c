/* SPDX-License-Identifier: MIT */
/* test_place_locks.c - which file systems share their locks: the table of mounts on bytes, the rest on real
 * mounts. */
#include "../../src/place.h"

#include "../../src/mountinfo.h"
#include "scratch.h"

/* ---- the table of mounts ------------------------------------------------------------------------------- */

struct layers {
	char text[512];
	int stop_after;
};

static int note_layer(void *arg, const char *key, const char *folder)
{
	struct layers *l = arg;
	size_t len = strlen(l->text);

	snprintf(l->text + len, sizeof(l->text) - len, "%s(%s)", key, folder);
	return --l->stop_after == 0 ? 7 : 0;
}

static void test_mountinfo(void **state)
{
#define LINE "36 35 0:40 / /m rw,relatime shared:1 - overlay "
	static const struct {
		const char *text, *layers;
	} cases[] = {
		{"", ""},
		{"\n\n", ""},
		{"22 27 0:21 / /proc rw,relatime - proc proc rw\n", ""},
		{LINE "overlay rw,lowerdir=/l,upperdir=/u,workdir=/w\n", "lowerdir(/l)upperdir(/u)"},
		{LINE "overlay rw,lowerdir=/l", "lowerdir(/l)"},
		{"22 27 0:21 / /x rw - ext4 /dev/x rw,upperdir=/no\n" LINE "o rw,upperdir=/yes\n",
		 "upperdir(/yes)"},
		{LINE "o rw,lowerdir=/a:/b:/c\n", "lowerdir(/a)lowerdir(/b)lowerdir(/c)"},
		{LINE "o rw,lowerdir=/a::/data\n", "lowerdir(/a)lowerdir(/data)"},
		{LINE "o rw,lowerdir+=/a:b,datadir+=/d\n", "lowerdir+(/a:b)datadir+(/d)"},
		{LINE "o rw,upperdir=/a\\040b\\054c\\134\n", "upperdir(/a b,c\\)upperdir(/a b,c\\)"},
		{LINE "o rw,lowerdir=/a\\134:b:/c\n", "lowerdir(/a:b)lowerdir(/c)"},
		{LINE "o rw,upperdir=/a\\134:b\n", "upperdir(/a\\:b)upperdir(/a:b)"},
		{LINE "o rw,upperdir=\\303\\274\\9\\04\n", "upperdir(\303\274\\9\\04)upperdir(\303\274904)"},
		{"36 35 0:40 / /m\\040-\\040overlay rw - ext4 /dev/x rw,upperdir=/u\n", ""},
		{LINE, ""},
		{LINE "overlay", ""},
		{LINE "overlay ", ""},
		{LINE "overlay rw,upperdir,lowerdir=,=,,upperdir=\n", ""},
	};
	struct layers stopped = {.stop_after = 2};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct layers l = {.text = ""};

		assert_int_equal(mountinfo_layers(cases[i].text, note_layer, &l), 0);
		if (strcmp(l.text, cases[i].layers) != 0)
			fail_msg("%s: %s instead of %s", cases[i].text, l.text, cases[i].layers);
	}
	assert_int_equal(mountinfo_layers(LINE "o rw,lowerdir=/a:/b:/c\n", note_layer, &stopped), 7);
	assert_string_equal(stopped.text, "lowerdir(/a)lowerdir(/b)");
}

static void test_mount_types(void **state)
{
	static const char text[] =
		"\n22 27 0:21 / /proc rw,relatime - proc proc rw\n"
		"x - fuse\n"
		"1234567890123 27 0:5 / /m rw shared:1 master:2 - fuse.sqlsnapfs /a\\040-\\040b rw\n"
		"23 27 0:6 / /n rw\n"
		"24 27 0:7 / /o rw - ext4";
	char type[10];

	(void)state;
	assert_int_equal(mountinfo_type(text, 22, type, sizeof(type)), 0);
	assert_string_equal(type, "proc");
	assert_int_equal(mountinfo_type(text, 1234567890123, type, sizeof(type)), 0);
	assert_string_equal(type, "fuse.sqls");
	assert_int_equal(mountinfo_type(text, 24, type, sizeof(type)), 0);
	assert_string_equal(type, "ext4");
	assert_int_equal(mountinfo_type(text, 23, type, sizeof(type)), -ENOENT);
	assert_int_equal(mountinfo_type(text, 2, type, sizeof(type)), -ENOENT);
	assert_int_equal(mountinfo_type(text, 0, type, sizeof(type)), -ENOENT);
	assert_int_equal(mountinfo_type("", 22, type, sizeof(type)), -ENOENT);
}

/* ---- mounts -------------------------------------------------------------------------------------------- */

static void check_shared(const char *path, int expected, const char *words)
{
	struct snap_err err = {{0}};
	int rc = place_locks_shared(path, &err);

	if (rc != expected || (words && !strstr(err.text, words)))
		fail_msg("\"%s\": %d \"%s\" instead of %d", path, rc, err.text, expected);
}

static void test_overlay(void **state)
{
	static const struct {
		const char *path;
		int code;
		const char *words;
	} cases[] = {
		{"base/merged", 0, NULL},
		{"base/merged/sub/db", 0, NULL},
		{"base/db", 0, NULL},
		{"base/upper/sub/db", -EREMOTE, "upperdir"},
		{"base/upper", -EREMOTE, "upperdir"},
		{"link/sub", -EREMOTE, "upperdir"},
		{"bound/sub", -EREMOTE, "upperdir"},
		{"base/lower one", -EREMOTE, "lowerdir"},
		{"base/lower2/inner", -EREMOTE, "lowerdir"},
	};
	char options[1024];

	(void)state;
	make_folder("base", 0755);
	mount_tmpfs("base"); /* overlays do not stack on every file system */
	make_folder("base/lower one", 0755);
	make_folder("base/lower2", 0755);
	make_folder("base/lower2/inner", 0755);
	make_folder("base/upper", 0755);
	make_folder("base/upper/sub", 0755);
	make_folder("base/work", 0755);
	make_folder("base/merged", 0755);
	put_text("base/upper/sub/db", "");
	put_text("base/db", "");
	make_link("base/upper", "link");
	check_shared(at("base/upper/sub/db"), 0, NULL);
	snprintf(options, sizeof(options), "lowerdir=%s:%s,upperdir=%s,workdir=%s", at("base/lower one"),
		 at("base/lower2"), at("base/upper"), at("base/work"));
	assert_int_equal(mount("overlay", at("base/merged"), "overlay", 0, options), 0);
	mounted(at("base/merged"));
	make_folder("bound", 0755);
	mount_bind("base/upper", "bound");
	for (size_t i = 0; i < COUNT(cases); i++)
		check_shared(at("%s", cases[i].path), cases[i].code, cases[i].words);
	mount_tmpfs("base/lower2/inner"); /* a mount below a layer is not in the overlay */
	check_shared(at("base/lower2/inner"), 0, NULL);
}

static void test_locks(void **state)
{
	int server;

	(void)state;
	put_text("db", "");
	make_folder("m", 0755);
	check_shared(at("db"), 0, NULL);
	check_shared(at("none"), -ENOENT, "none");
	check_shared("", -ENOENT, NULL);
	server = mount_silent("m");
	become(NOBODY); /* the kernel answers for the server those who may not ask it */
	check_shared(at("m"), -EREMOTE, "shared_locks");
	alarm(0);
	close(server);
}

/* ---- layers that are not plainly to be found ----------------------------------------------------------- */

/* An overlay on base/merged of base/lower and base/upper, which the mount names by their paths or relative to
 * base. */
static void mount_overlay(bool relative)
{
	char options[1024], prefix[64] = "";

	make_folder("base/lower", 0755);
	make_folder("base/upper", 0755);
	make_folder("base/work", 0755);
	make_folder("base/merged", 0755);
	if (!relative)
		snprintf(prefix, sizeof(prefix), "%s/base/", scratch.path);
	snprintf(options, sizeof(options), "lowerdir=%slower,upperdir=%supper,workdir=%swork", prefix, prefix,
		 prefix);
	assert_int_equal(mount("overlay", at("base/merged"), "overlay", 0, options), 0);
	mounted(at("base/merged"));
}

static int setup(void **state)
{
	int rc = scratch_setup(state);

	make_folder("base", 0755);
	mount_tmpfs("base"); /* overlays do not stack on every file system */
	return rc;
}

/* Nobody knows any more what they are relative to: whatever has the layer's name on its way is refused, and
 * not what only has a part of it. */
static void test_relative(void **state)
{
	(void)state;
	assert_int_equal(chdir(at("base")), 0);
	mount_overlay(true);
	assert_int_equal(chdir("/"), 0);
	make_folder("base/upper/sub", 0755);
	make_folder("base/uppermost", 0755);
	make_folder("base/supper", 0755);
	make_folder("base/supper/upper", 0755);
	check_shared(at("base/upper"), -EREMOTE, "upperdir (upper)");
	check_shared(at("base/upper/sub"), -EREMOTE, "upperdir (upper)");
	check_shared(at("base/supper/upper"), -EREMOTE, "upperdir (upper)");
	check_shared(at("base/lower"), -EREMOTE, "lowerdir (lower)");
	check_shared(at("base/uppermost"), 0, NULL);
	check_shared(at("base/supper"), 0, NULL);
	check_shared(at("base/merged"), 0, NULL);
}

/* Layers that the user may not look at, as a container engine keeps them, are in nobody's way elsewhere. */
static void test_out_of_reach(void **state)
{
	(void)state;
	mount_overlay(false);
	make_folder("base/upper/sub", 0755);
	make_folder("other", 0755);
	assert_int_equal(chmod(at("base"), 0700), 0);
	become(NOBODY);
	check_shared(at("other"), 0, NULL);
	check_shared(at("base/upper/sub"), -EACCES, "base/upper/sub");
}

/* However far up the layer is. */
static void test_deep(void **state)
{
	char path[PATH_MAX];
	size_t len;

	(void)state;
	mount_overlay(false);
	len = (size_t)snprintf(path, sizeof(path), "%s", at("base/upper"));
	while (len < 1000) {
		len += (size_t)snprintf(path + len, sizeof(path) - len, "/d");
		assert_int_equal(mkdir(path, 0755), 0);
	}
	check_shared(path, -EREMOTE, NULL); /* its words have no room behind such a path */
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, scratch_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mountinfo),
		cmocka_unit_test(test_mount_types),
		cmocka_unit_test_setup_teardown(test_overlay, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_locks, scratch_setup, scratch_teardown),
		test(test_relative),
		test(test_out_of_reach),
		test(test_deep),
	};

	return cmocka_run_group_tests(tests, scratch_namespace, NULL);
}
