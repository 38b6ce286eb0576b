/* SPDX-License-Identifier: MIT */
/* test_plan.c - what is asked for, and refused where it cannot be meant. */
#include "mountpoints.h"

#include "../../fs/options.h"
#include "../../fs/plan.h"

/* ---- plans --------------------------------------------------------------------------------------------- */

struct plan_case {
	const char *cwd;	/* below the folder; NULL: "app" */
	const char *sources[3]; /* NAME=PATH as options.c splits it */
	const char *mountpoint;
	const char *store;
	bool nonempty;
	const char *refusal; /* with @ for the folder */
};

static const struct plan_case plan_cases[] = {
	/* The only argument, meant as the source. */
	{.mountpoint = "../full",
	 .refusal = "@/full is not empty; did you mean: sqlsnapfs @/full MOUNTPOINT"},
	{.mountpoint = ".",
	 .refusal = "@/app is the SOURCE itself; did you mean: sqlsnapfs @/app MOUNTPOINT"},
	{.mountpoint = "a.db",
	 .refusal = "@/app/a.db is not a directory; did you mean: sqlsnapfs @/app/a.db MOUNTPOINT"},
	{.mountpoint = "..", .refusal = "@ is not empty; did you mean: sqlsnapfs @ MOUNTPOINT"},
	{.cwd = "/",
	 .mountpoint = "@/empty",
	 .refusal = "no SOURCE given, and the current directory is /: sqlsnapfs SOURCE MOUNTPOINT"},
	/* The mountpoint. */
	{.sources = {"."},
	 .mountpoint = "../full",
	 .refusal = "@/full is not empty: MOUNTPOINT must be an empty directory, or one that does not exist "
		    "yet"},
	{.sources = {"../full"},
	 .mountpoint = "a.db",
	 .refusal =
		 "@/app/a.db is not a directory: MOUNTPOINT must be an empty directory, or one that does not "
		 "exist yet"},
	{.sources = {".", NULL},
	 .mountpoint = "../app/",
	 .refusal = "@/app is the SOURCE itself: MOUNTPOINT must be an empty directory, or one that does not "
		    "exist yet"},
	{.sources = {"a.db"},
	 .mountpoint = "a.db",
	 .refusal =
		 "@/app/a.db is the SOURCE itself: MOUNTPOINT must be an empty directory, or one that does "
		 "not exist "
		 "yet"},
	/* What would be covered, also with nonempty. */
	{.sources = {"a.db"},
	 .mountpoint = ".",
	 .nonempty = true,
	 .refusal = "@/app/a.db stands below @/app and would be covered: choose another MOUNTPOINT"},
	{.sources = {"../link.db"}, /* to app/b.db */
	 .mountpoint = ".",
	 .nonempty = true,
	 .refusal = "@/link.db stands below @/app and would be covered: choose another MOUNTPOINT"},
	{.sources = {"sub"},
	 .mountpoint = ".",
	 .nonempty = true,
	 .refusal = "@/app/sub stands below @/app and would be covered: choose another MOUNTPOINT"},
	{.sources = {"."},
	 .mountpoint = "/",
	 .nonempty = true,
	 .refusal = "@/app stands below / and would be covered: choose another MOUNTPOINT"},
	{.sources = {"."},
	 .mountpoint = "../empty",
	 .store = "..//empty//store/x",
	 .refusal = "store=@/empty/store/x stands below @/empty and would be covered"},
	/* Sources. */
	{.sources = {"no.db"},
	 .mountpoint = "../empty",
	 .refusal = "no.db: no such file or directory: is it mounted? (to bring back a database that is "
		    "gone: cp "
		    "BACKUP no.db)"},
	{.sources = {"a.db/x"}, .mountpoint = "../empty", .refusal = "a.db/x: Not a directory"},
	{.sources = {"/dev/null"},
	 .mountpoint = "../empty",
	 .refusal = "/dev/null is neither a database nor a directory"},
	{.sources = {".", "a.db"},
	 .mountpoint = "../empty",
	 .refusal = ". is a directory: it must be the only SOURCE, as it is shown whole"},
	{.sources = {"a.db", "sub"},
	 .mountpoint = "../empty",
	 .refusal = "sub is a directory: it must be the only SOURCE, as it is shown whole"},
	{.sources = {"n=."},
	 .mountpoint = "../empty",
	 .refusal = ". is a directory: NAME= goes with a database"},
	{.sources = {"a.db", "../full/a.db"},
	 .mountpoint = "../empty",
	 .refusal = "two sources are named a.db; name them: app=@/app/a.db full=@/full/a.db"},
	{.sources = {"x=a.db", "sub/x"},
	 .mountpoint = "../empty",
	 .refusal = "two sources are named x; name them: app=@/app/a.db sub=@/app/sub/x"},
	{.sources = {"x=a.db", "x=b.db"},
	 .mountpoint = "../empty",
	 .refusal = "two sources are named x; name them: a=@/app/a.db b=@/app/b.db"},
	{.sources = {"a.db", "b.db", "./a.db"},
	 .mountpoint = "../empty",
	 .refusal = "@/app/a.db is given twice"},
	{.sources = {"x=a.db", "b.db", "y=./a.db"},
	 .mountpoint = "../empty",
	 .refusal = "x and y are one database, @/app/a.db: give it one name"},
	{.sources = {"x=a.db", "y=../same.db"}, /* as by another mount of the folder */
	 .mountpoint = "../empty",
	 .refusal = "x and y are one database, @/app/a.db: give it one name"},
	{.sources = {".sqlsnapfs=a.db"},
	 .mountpoint = "../empty",
	 .refusal = "a database cannot be named .sqlsnapfs"},
	{.sources = {"..=a.db"}, .mountpoint = "../empty", .refusal = "a database cannot be named .."},
};

/* Writes the folder for each @. */
static void expand(char *out, size_t size, const char *text)
{
	size_t used = 0;

	for (; *text && used + 1 < size; text++) {
		if (*text == '@')
			used += (size_t)snprintf(out + used, size - used, "%s", folder);
		else
			out[used++] = *text;
	}
	out[used] = '\0';
}

static void make_tree(void)
{
	assert_return_code(mkdir("app", 0755), errno);
	assert_return_code(mkdir("app/sub", 0755), errno);
	assert_return_code(mkdir("full", 0755), errno);
	assert_return_code(mkdir("empty", 0755), errno);
	touch("app/a.db");
	touch("app/b.db");
	touch("app/sub/x");
	touch("full/a.db");
	assert_return_code(symlink("app/b.db", "link.db"), errno);
	assert_return_code(link("app/a.db", "same.db"), errno);
}

/* The options as options.c would have left them; the strings are the caller's. */
static void plan_options(struct options *options, struct options_source *sources, char names[][32],
			 const struct plan_case *c)
{
	*options = (struct options){.sources = sources, .nonempty = c->nonempty};
	for (size_t i = 0; i < 3 && c->sources[i]; i++) {
		const char *equals = strchr(c->sources[i], '=');

		sources[i] = (struct options_source){.path = (char *)(uintptr_t)c->sources[i]};
		if (equals) {
			snprintf(names[i], 32, "%.*s", (int)(equals - c->sources[i]), c->sources[i]);
			sources[i].name = names[i];
			sources[i].path = (char *)(uintptr_t)(equals + 1);
		}
		options->source_count++;
	}
	options->store = (char *)(uintptr_t)c->store;
}

static void test_plan_refusals(void **state)
{
	(void)state;
	make_tree();
	for (size_t i = 0; i < sizeof(plan_cases) / sizeof(*plan_cases); i++) {
		const struct plan_case *c = &plan_cases[i];
		struct options_source sources[3];
		char names[3][32], mountpoint[PATH_MAX], refusal[PATH_MAX];
		struct snap_err err = {""};
		struct options options;
		struct plan plan;

		assert_return_code(chdir(c->cwd ? c->cwd : at("app")), errno);
		plan_options(&options, sources, names, c);
		expand(mountpoint, sizeof(mountpoint), c->mountpoint);
		expand(refusal, sizeof(refusal), c->refusal);
		options.mountpoint = mountpoint;
		assert_between(-plan_make(&plan, &options, &err), 1, 4095);
		assert_string_equal(err.text, refusal);
		plan_finish(&plan);
	}
}

/* What a plan holds when nothing is refused, but for /dev/fuse, which need not be here. */
static void test_plan(void **state)
{
	struct options_source sources[3];
	char names[3][32], path[PATH_MAX], text[4 * PATH_MAX];
	struct plan_case c = {.sources = {"a.db", "n=../link.db"}, .store = "st"};
	struct snap_err err = {""};
	struct options options;
	struct plan plan;

	(void)state;
	make_tree();
	assert_return_code(chdir("app"), errno);
	snprintf(path, sizeof(path), "../new/");
	plan_options(&options, sources, names, &c);
	options.mountpoint = path;
	if (plan_make(&plan, &options, &err) < 0)
		assert_memory_equal(err.text, "/dev/fuse: ", 11);
	assert_int_equal(plan.count, 2);
	assert_false(plan.folder || plan.implied);
	assert_string_equal(plan.sources[0].name, "a.db");
	assert_string_equal(plan.sources[0].path, at("app/a.db"));
	assert_string_equal(plan.sources[1].name, "n");
	assert_string_equal(plan.sources[1].path, at("link.db")); /* a link stays one */
	assert_string_equal(plan.sources[1].real, at("app/b.db"));
	assert_string_equal(plan.mountpoint.path, at("new"));
	assert_string_equal(plan.store, at("app/st"));
	assert_false(exists("../new")); /* planning makes nothing */
	assert_string_equal(plan_fsname(&plan, &options), "sqlsnapfs");
	plan_describe(&plan, 2, false, text, sizeof(text));
	expand(path, sizeof(path), "2 sources on @/new: 2 databases, restore by writing is on");
	assert_string_equal(text, path);
	plan_finish(&plan);

	c = (struct plan_case){0};
	plan_options(&options, sources, names, &c);
	snprintf(path, sizeof(path), "../empty");
	options.mountpoint = path;
	if (plan_make(&plan, &options, &err) < 0)
		assert_memory_equal(err.text, "/dev/fuse: ", 11);
	assert_true(plan.folder && plan.implied);
	assert_string_equal(plan.sources[0].path, at("app"));
	assert_null(plan.sources[0].name);
	assert_null(plan.store);
	assert_string_equal(plan_fsname(&plan, &options), at("app"));
	plan_describe(&plan, 1, false, text, sizeof(text));
	expand(path, sizeof(path), "@/app on @/empty: 1 database, restore by writing is on");
	assert_string_equal(text, path);
	plan_describe(&plan, 1000, true, text, sizeof(text));
	expand(path, sizeof(path), "@/app on @/empty: at least 1000 databases, restore by writing is on");
	assert_string_equal(text, path);
	plan_describe(&plan, 0, true, text, sizeof(text));
	expand(path, sizeof(path), "@/app on @/empty: restore by writing is on");
	assert_string_equal(text, path);
	plan.refusing = "norestore";
	plan_describe(&plan, PLAN_UNCOUNTED, false, text, sizeof(text));
	expand(path, sizeof(path), "@/app on @/empty: reading only (norestore)");
	assert_string_equal(text, path);
	plan.refusing = NULL;
	plan.hiding = true;
	plan_describe(&plan, 1, false, text, sizeof(text));
	expand(path, sizeof(path), "@/app on @/empty: 1 database, for restores only (hide_databases)");
	assert_string_equal(text, path);
	plan_finish(&plan);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_plan_refusals, setup, teardown),
		cmocka_unit_test_setup_teardown(test_plan, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
