/* SPDX-License-Identifier: MIT */
/*
 * test_mount.c - what the life of a mount consists of and needs no mount: paths, the table of mounts, folders
 * made and removed, held processes, the log's escaping, the word to systemd.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../../fs/command.h"
#include "../../fs/log.h"
#include "../../fs/mount.h"
#include "../../fs/notify.h"
#include "../../fs/options.h"
#include "../../fs/plan.h"

static char folder[PATH_MAX]; /* of one test; the working directory meanwhile */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int setup(void **state)
{
	char template[] = "/tmp/sqlsnapfs-mount.XXXXXX";

	(void)state;
	if (!mkdtemp(template) || !realpath(template, folder))
		return -1;
	return chdir(folder);
}

static int teardown(void **state)
{
	(void)state;
	if (chdir("/") < 0)
		return -1;
	return nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static const char *at(const char *name)
{
	static char path[2 * PATH_MAX];

	snprintf(path, sizeof(path), "%s%s%s", folder, *name ? "/" : "", name);
	return path;
}

static void touch(const char *name)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	assert_return_code(fd, errno);
	close(fd);
}

static unsigned mode_of(const char *path)
{
	struct stat st;

	assert_return_code(lstat(path, &st), errno);
	return st.st_mode & 07777;
}

static bool exists(const char *path)
{
	return access(path, F_OK) == 0;
}

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
		{"no/..", NULL, -ENOENT, "no/..: no such folder"},
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
	assert_true(mountpoint_is_ours(&mp)); /* by its device, as long as nothing covers it */
	mp.dev++;
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
	 .refusal = "@/app/a.db is not a folder; did you mean: sqlsnapfs @/app/a.db MOUNTPOINT"},
	{.mountpoint = "..", .refusal = "@ is not empty; did you mean: sqlsnapfs @ MOUNTPOINT"},
	{.cwd = "/",
	 .mountpoint = "@/empty",
	 .refusal = "no SOURCE given, and the current directory is /: sqlsnapfs SOURCE MOUNTPOINT"},
	/* The mountpoint. */
	{.sources = {"."},
	 .mountpoint = "../full",
	 .refusal =
		 "@/full is not empty: MOUNTPOINT must be an empty folder, or one that does not exist yet"},
	{.sources = {"../full"},
	 .mountpoint = "a.db",
	 .refusal = "@/app/a.db is not a folder: MOUNTPOINT must be an empty folder, or one that does not "
		    "exist yet"},
	{.sources = {".", NULL},
	 .mountpoint = "../app/",
	 .refusal = "@/app is the SOURCE itself: MOUNTPOINT must be an empty folder, or one that does not "
		    "exist yet"},
	{.sources = {"a.db"},
	 .mountpoint = "a.db",
	 .refusal = "@/app/a.db is the SOURCE itself: MOUNTPOINT must be an empty folder, or one that does "
		    "not exist "
		    "yet"},
	/* What would be covered, also with nonempty. */
	{.sources = {"a.db"},
	 .mountpoint = ".",
	 .nonempty = true,
	 .refusal = "@/app/a.db stands below @/app and would be covered: choose another MOUNTPOINT"},
	{.sources = {"../link.db"}, /* to app/a.db */
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
	 .refusal = "no.db: no such file (to restore onto nothing: cp BACKUP no.db)"},
	{.sources = {"a.db/x"}, .mountpoint = "../empty", .refusal = "a.db/x: Not a directory"},
	{.sources = {"/dev/null"},
	 .mountpoint = "../empty",
	 .refusal = "/dev/null is neither a database nor a folder"},
	{.sources = {".", "a.db"},
	 .mountpoint = "../empty",
	 .refusal = ". is a folder: it must be the only SOURCE, as it is shown whole"},
	{.sources = {"a.db", "sub"},
	 .mountpoint = "../empty",
	 .refusal = "sub is a folder: it must be the only SOURCE, as it is shown whole"},
	{.sources = {"n=."},
	 .mountpoint = "../empty",
	 .refusal = ". is a folder: NAME= goes with a database"},
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
	assert_return_code(symlink("app/a.db", "link.db"), errno);
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
		assert_in_range(-plan_make(&plan, &options, &err), 1, 4095);
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
	assert_string_equal(plan.sources[1].real, at("app/a.db"));
	assert_string_equal(plan.mountpoint.path, at("new"));
	assert_string_equal(plan.store, at("app/st"));
	assert_false(exists("../new")); /* planning makes nothing */
	assert_string_equal(plan_fsname(&plan, &options), "sqlsnapfs");
	plan_describe(&plan, 2, text, sizeof(text));
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
	plan_describe(&plan, 1, text, sizeof(text));
	expand(path, sizeof(path), "@/app on @/empty: 1 database, restore by writing is on");
	assert_string_equal(text, path);
	plan.restores = false;
	plan_describe(&plan, PLAN_UNCOUNTED, text, sizeof(text));
	expand(path, sizeof(path), "@/app on @/empty: reading only");
	assert_string_equal(text, path);
	plan_finish(&plan);
}

/* ---- held processes ------------------------------------------------------------------------------------ */

static int answer_seven(void *arg)
{
	(void)arg;
	return 7;
}

static int end_by_signal(void *arg)
{
	(void)arg;
	kill(getpid(), SIGKILL);
	return 0;
}

static void test_command(void **state)
{
	char missing[] = "./no-such-command", folder_itself[] = ".", shell[] = "sh", flag[] = "-c",
	     script[] = "exit 3";
	char *run[] = {shell, flag, script, NULL}, *none[] = {missing, NULL},
	     *denied[] = {folder_itself, NULL};
	const struct {
		int (*fn)(void *arg);
		void *arg;
		int status;
	} cases[] = {
		{answer_seven, NULL, 7},	  {end_by_signal, NULL, 128 + SIGKILL},
		{command_exec, run, 3},		  {command_exec, none, 127},
		{command_exec, denied, 126},	  {command_greet, folder, 0},
		{command_greet, missing, ENOENT},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct command command = COMMAND_INIT;

		assert_false(command_runs(&command));
		assert_int_equal(command_hold(&command, cases[i].fn, cases[i].arg), 0);
		assert_true(command_runs(&command));
		assert_false(command_reap(&command)); /* it is held */
		command_go(&command);
		command_finish(&command);
		assert_false(command_runs(&command));
		assert_int_equal(command.status, cases[i].status);
	}
}

/* Given up before it was let go, it does nothing; told to end, it has been killed. */
static void test_command_held(void **state)
{
	struct command command = COMMAND_INIT;

	(void)state;
	assert_int_equal(command_hold(&command, answer_seven, NULL), 0);
	command_finish(&command);
	assert_int_equal(command.status, 0);
	assert_int_equal(command_hold(&command, answer_seven, NULL), 0);
	command_signal(&command, SIGTERM);
	command_finish(&command);
	assert_int_equal(command.status, 128 + SIGTERM);
	command_finish(&command);
	command_signal(&command, SIGTERM); /* of nobody */
}

/* ---- systemd ------------------------------------------------------------------------------------------- */

static int bind_socket(const char *name, size_t length)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_return_code(fd, errno);
	memcpy(address.sun_path, name, length);
	assert_return_code(bind(fd, (struct sockaddr *)&address,
				(socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)),
			   errno);
	return fd;
}

static void test_notify(void **state)
{
	char name[108], longer[109], got[64];
	int fd;

	(void)state;
	for (int abstract = 0; abstract < 2; abstract++) {
		int length = snprintf(name, sizeof(name), "%s%s/sock", abstract ? "@" : "", folder);

		setenv("NOTIFY_SOCKET", name, 1);
		if (abstract)
			name[0] = '\0';
		fd = bind_socket(name, (size_t)length);
		assert_int_equal(notify_send("READY=1\nSTATUS=x"), 0);
		assert_int_equal(recv(fd, got, sizeof(got), 0), 16);
		assert_memory_equal(got, "READY=1\nSTATUS=x", 16);
		close(fd);
	}
	unsetenv("NOTIFY_SOCKET");
	assert_int_equal(notify_send("READY=1"), 0);
	setenv("NOTIFY_SOCKET", "", 1);
	assert_int_equal(notify_send("READY=1"), 0);
	setenv("NOTIFY_SOCKET", at("nobody"), 1);
	assert_int_equal(notify_send("READY=1"), -ENOENT);
	setenv("NOTIFY_SOCKET", "vsock:2:1", 1);
	assert_int_equal(notify_send("READY=1"), -EAFNOSUPPORT);
	memset(longer, '/', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	setenv("NOTIFY_SOCKET", longer, 1);
	assert_int_equal(notify_send("READY=1"), -ENAMETOOLONG);
	unsetenv("NOTIFY_SOCKET");
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
		cmocka_unit_test_setup_teardown(test_plan_refusals, setup, teardown),
		cmocka_unit_test_setup_teardown(test_plan, setup, teardown),
		cmocka_unit_test_setup_teardown(test_command, setup, teardown),
		cmocka_unit_test(test_command_held),
		cmocka_unit_test_setup_teardown(test_notify, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
