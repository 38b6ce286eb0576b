/* SPDX-License-Identifier: MIT */
/* test_place_locks.c - overlays whose layers are not plainly to be found: named relative to a folder that is
 * forgotten, out of reach, or many folders up. test_place.c has the plain ones. */
#include "../../src/place.h"

#include "scratch.h"

static void check_shared(const char *path, int expected, const char *words)
{
	struct snap_err err = {{0}};
	int rc = place_locks_shared(path, &err);

	if (rc != expected || (words && !strstr(err.text, words)))
		fail_msg("\"%s\": %d \"%s\" instead of %d", path, rc, err.text, expected);
}

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
	const struct CMUnitTest tests[] = {test(test_relative), test(test_out_of_reach), test(test_deep)};

	return cmocka_run_group_tests(tests, scratch_namespace, NULL);
}
