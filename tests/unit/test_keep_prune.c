/* SPDX-License-Identifier: MIT */
/* test_keep_prune.c - which of the states that restores replaced are dropped. */
#include "keeps.h"

#define HOUR (KEEP_DAY_NS / 24)
#define NOW (1000 * KEEP_DAY_NS)

#define KEPT_MAX 8

struct prune_case {
	const char *what;
	unsigned keep;
	struct {
		const char *name;
		int64_t age; /* hours */
	} made[KEPT_MAX];
	const char *left;
};

#define U(name) KEEP_UNDO name

static const struct prune_case cases[] = {
	{"nothing", 3, {{NULL, 0}}, ""},
	{"fewer than may stay", 3, {{U("1"), 90}, {U("2"), 80}, {U("3"), 70}}, U("1 ") U("2 ") U("3 ")},
	{"the oldest goes",
	 3,
	 {{U("1"), 90}, {U("2"), 80}, {U("3"), 70}, {U("4"), 60}},
	 U("2 ") U("3 ") U("4 ")},
	{"by age, not by name", 1, {{U("1"), 50}, {U("2"), 90}, {U("3"), 70}}, U("1 ")},
	{"what people made stays",
	 1,
	 {{"mine", 99}, {U("1"), 90}, {"before", 85}, {U("2"), 80}, {"z", 70}},
	 "mine before " U("2 ") "z "},
	{"and does not count",
	 2,
	 {{"a", 99}, {U("1"), 90}, {"b", 85}, {U("2"), 80}},
	 "a " U("1 ") "b " U("2 ")},
	{"a name that only begins alike",
	 1,
	 {{"before-restore", 99}, {U("1"), 90}, {U("2"), 80}},
	 "before-restore " U("2 ")},
	{"the oldest of today stays",
	 2,
	 {{U("1"), 90}, {U("2"), 20}, {U("3"), 10}, {U("4"), 5}, {U("5"), 1}},
	 U("2 ") U("4 ") U("5 ")},
	{"only that one of today",
	 1,
	 {{U("1"), 23}, {U("2"), 22}, {U("3"), 21}, {U("4"), 20}},
	 U("1 ") U("4 ")},
	{"it may be among the newest",
	 2,
	 {{U("1"), 90}, {U("2"), 80}, {U("3"), 5}, {U("4"), 1}},
	 U("3 ") U("4 ")},
	{"a day is no longer younger than a day",
	 1,
	 {{U("1"), 24}, {U("2"), 23}, {U("3"), 22}},
	 U("2 ") U("3 ")},
	{"none shall stay", 0, {{U("1"), 90}, {U("2"), 5}, {U("3"), 1}, {"mine", 0}}, U("2 ") "mine "},
	{"a clock that was ahead",
	 1,
	 {{U("1"), 90}, {U("2"), 80}, {U("3"), -1000}, {U("4"), -2000}},
	 U("2 ") U("3 ") U("4 ")},
};

static void test_prune(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		char source[32];

		snprintf(source, sizeof(source), "/case/%zu", i);
		for (size_t k = 0; k < KEPT_MAX && cases[i].made[k].name; k++)
			keep(source, cases[i].made[k].name, "x", NOW - cases[i].made[k].age * HOUR);
		assert_int_equal(keep_prune(store, source, cases[i].keep, NULL, NOW, &err), 0);
		if (strcmp(kept(source), cases[i].left) != 0)
			fail_msg("%s: \"%s\" instead of \"%s\"", cases[i].what, kept(source), cases[i].left);
		/* Once more changes nothing. */
		assert_int_equal(keep_prune(store, source, cases[i].keep, NULL, NOW, &err), 0);
		assert_string_equal(kept(source), cases[i].left);
	}
}

static void test_other_sources(void **state)
{
	(void)state;
	keep("/a", U("1"), "x", 1);
	keep("/a", U("2"), "x", 2);
	keep("/b", U("1"), "x", 1);
	assert_int_equal(keep_prune(store, "/a", 1, NULL, NOW, &err), 0);
	assert_string_equal(kept("/a"), U("2 "));
	assert_string_equal(kept("/b"), U("1 "));
	assert_int_equal(keep_prune(store, "/never/seen", 1, NULL, NOW, &err), 0);
}

static void test_times(void **state)
{
	(void)state;
	keep(DB, U("1"), "x", INT64_MIN);
	keep(DB, U("2"), "x", INT64_MAX);
	keep(DB, U("3"), "x", INT64_MAX);
	assert_int_equal(keep_prune(store, DB, 1, NULL, NOW, &err), 0);
	assert_string_equal(kept(DB), U("1 ") U("2 ") U("3 "));
	assert_int_equal(keep_prune(store, DB, 0, NULL, INT64_MIN, &err), 0);
	assert_string_equal(kept(DB), U("1 ") U("2 ") U("3 "));
	assert_int_equal(keep_prune(store, DB, 0, NULL, INT64_MAX, &err), 0);
	assert_string_equal(kept(DB), U("2 "));
}

/* The clock was put back: what was made last looks like the oldest, and is kept like any other. */
static void test_clock_put_back(void **state)
{
	static const char *const left[] = {U("4 "), U("4 ") U("5 "), U("4 ") U("5 ") U("6 "),
					   U("5 ") U("6 ") U("7 ")};

	(void)state;
	for (int i = 1; i < 4; i++) {
		char name[32];

		snprintf(name, sizeof(name), U("%d"), i);
		keep("/back", name, "x", NOW + i * HOUR);
	}
	for (int i = 4; i < 8; i++) {
		char name[32], all[128];

		snprintf(name, sizeof(name), U("%d"), i);
		keep("/back", name, "x", NOW - (52 - i) * HOUR);
		assert_int_equal(keep_prune(store, "/back", 3, name, NOW, &err), 0);
		snprintf(all, sizeof(all), "%s%s", left[i - 4], U("1 ") U("2 ") U("3 "));
		assert_string_equal(kept("/back"), all);
	}
}

/* What is the newest although its time does not say so. */
static void test_newest_by_name(void **state)
{
	(void)state;
	for (int i = 1; i < 4; i++) {
		char name[32];

		snprintf(name, sizeof(name), U("%d"), i);
		keep("/named", name, "x", NOW - (40 - i) * HOUR);
	}
	keep("/named", U("4"), "x", NOW - 48 * HOUR);
	assert_int_equal(keep_prune(store, "/named", 3, U("4"), NOW, &err), 0);
	assert_string_equal(kept("/named"), U("4 ") U("1 ") U("2 ") U("3 "));
}

/* One that cannot be dropped does not save the others. */
static void test_failure(void **state)
{
	(void)state;
	keep(DB, U("1"), "x", 1);
	keep(DB, U("2"), "x", 2);
	keep(DB, U("3"), "x", 3);
	assert_int_equal(mkdir(in_source(DB, "kept/" U("1") "/folder"), 0700), 0);
	assert_int_equal(keep_prune(store, DB, 1, NULL, NOW, &err), -EISDIR);
	assert_words(U("1"));
	assert_string_equal(kept(DB), U("3 "));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(test_prune),	   test(test_other_sources),  test(test_times),
		test(test_clock_put_back), test(test_newest_by_name), test(test_failure),
	};

	return cmocka_run_group_tests(tests, scratch_namespace, NULL);
}
