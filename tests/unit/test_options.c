/* SPDX-License-Identifier: MIT */
/* test_options.c - command lines and what is made of them: every field, or the exact line of a refusal. */
#include "unit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../fs/options.h"

#define MAX_ARGS 12

struct text {
	char bytes[2048];
};

__attribute__((format(printf, 2, 3))) static void add(struct text *text, const char *format, ...)
{
	size_t used = strlen(text->bytes);
	va_list ap;

	if (used)
		text->bytes[used++] = ' ';
	va_start(ap, format);
	vsnprintf(text->bytes + used, sizeof(text->bytes) - used, format, ap);
	va_end(ap);
}

static void add_flag(struct text *text, bool set, const char *name)
{
	if (set)
		add(text, "%s", name);
}

static void add_number(struct text *text, uint64_t value, uint64_t preset, const char *name)
{
	if (value != preset)
		add(text, "%s=%" PRIu64, name, value);
}

static void add_string(struct text *text, const char *value, const char *name)
{
	if (value)
		add(text, "%s=[%s]", name, value);
}

/* Everything that is not as options_init() leaves it. */
static void describe(const struct options *o, struct text *text)
{
	text->bytes[0] = '\0';
	add_flag(text, o->help, "help");
	add_flag(text, o->version, "version");
	add_flag(text, o->foreground, "foreground");
	add_flag(text, o->debug, "debug");
	for (size_t i = 0; i < o->source_count; i++)
		add(text, "source=[%s%s%s]", o->sources[i].name ? o->sources[i].name : "",
		    o->sources[i].name ? "|" : "", o->sources[i].path);
	add_string(text, o->mountpoint, "mountpoint");
	for (char **arg = o->command; arg && *arg; arg++)
		add(text, "command=[%s]", *arg);
	add_string(text, o->check_file, "check_file");
	add_string(text, o->store, "store");
	add_number(text, o->wal_limit, 67108864, "wal_limit");
	add_number(text, o->wal_max, 1073741824, "wal_max");
	add_number(text, o->busy_timeout, 30000, "busy_timeout");
	add_number(text, o->keep, 3, "keep");
	add_number(text, o->check, CHECK_QUICK, "check");
	add_number(text, o->log, SNAP_INFO, "log");
	add_flag(text, o->log_given, "log_given");
	add_flag(text, o->shared_locks, "shared_locks");
	add_flag(text, o->norestore, "norestore");
	add_flag(text, o->frozen, "frozen");
	add_flag(text, o->force, "force");
	add_flag(text, o->databases_only, "databases_only");
	add_flag(text, o->hide_databases, "hide_databases");
	add_flag(text, o->nonempty, "nonempty");
	add_flag(text, o->read_only, "ro");
	add_flag(text, o->allow_other, "allow_other");
	add_flag(text, o->allow_root, "allow_root");
	add_flag(text, o->auto_unmount, "auto_unmount");
	add_number(text, o->max_read, 0, "max_read");
	add_string(text, o->fsname, "fsname");
	add_string(text, o->fuse, "fuse");
}

struct parse_case {
	const char *args[MAX_ARGS]; /* without argv[0] */
	const char *want;	    /* describe()d, or with BAD the refusal */
	bool bad;
};

static const struct parse_case good_cases[] = {
	/* Forms. */
	{{"M"}, "mountpoint=[M]", false},
	{{"S", "M"}, "source=[S] mountpoint=[M]", false},
	{{"a", "b", "c", "M"}, "source=[a] source=[b] source=[c] mountpoint=[M]", false},
	{{"n=p", "M"}, "source=[n|p] mountpoint=[M]", false},
	{{"n=p=q", "M"}, "source=[n|p=q] mountpoint=[M]", false},
	{{"./n=p", "M"}, "source=[./n=p] mountpoint=[M]", false},
	{{"n=/x", "/d/n=x", "M"}, "source=[n|/x] source=[/d/n=x] mountpoint=[M]", false},
	{{"S", "a=b"}, "source=[S] mountpoint=[a=b]", false},
	{{"-", "M"}, "source=[-] mountpoint=[M]", false},
	{{"M", "--", "cmd", "-f", "--"}, "mountpoint=[M] command=[cmd] command=[-f] command=[--]", false},
	{{"S", "M", "--", "-x"}, "source=[S] mountpoint=[M] command=[-x]", false},
	/* Switches, before, between and behind. */
	{{"-f", "M"}, "foreground mountpoint=[M]", false},
	{{"M", "-f"}, "foreground mountpoint=[M]", false},
	{{"S", "-d", "M"}, "foreground debug source=[S] mountpoint=[M] log=0 log_given", false},
	{{"-fd", "M"}, "foreground debug mountpoint=[M] log=0 log_given", false},
	{{"-h"}, "help", false},
	{{"--help", "S", "M"}, "help", false},
	{{"-V"}, "version", false},
	{{"--version"}, "version", false},
	{{"S", "M", "-h"}, "help", false},
	{{"--check", "F"}, "check_file=[F]", false},
	{{"--check=F", "-o", "check=full"}, "check_file=[F] check=1", false},
	{{"--check", "-f"}, "check_file=[-f]", false},
	{{"--check", "F", "-h"}, "help check_file=[F]", false},
	/* -o in its spellings. */
	{{"-o", "force", "M"}, "mountpoint=[M] force", false},
	{{"-oforce", "M"}, "mountpoint=[M] force", false},
	{{"-fo", "force", "M"}, "foreground mountpoint=[M] force", false},
	{{"-foforce", "M"}, "foreground mountpoint=[M] force", false},
	{{"M", "-o", "force,nonempty", "-o", "shared_locks"},
	 "mountpoint=[M] shared_locks force nonempty",
	 false},
	{{"M", "-o", ",force,,nonempty,"}, "mountpoint=[M] force nonempty", false},
	{{"M", "-o", ""}, "mountpoint=[M]", false},
	{{"M", "-o", "store=--"}, "mountpoint=[M] store=[--]", false},
	{{"M", "-o", "--"}, "unknown option: -o --", true},
	/* Values. */
	{{"M", "-o", "store=/a"}, "mountpoint=[M] store=[/a]", false},
	{{"M", "-o", "store=/a,store=/b=c"}, "mountpoint=[M] store=[/b=c]", false},
	{{"M", "-o", "store=/a\\,b\\\\c\\054d\\"}, "mountpoint=[M] store=[/a,b\\c,d\\]", false},
	{{"M", "-o", "store=/\\101\\0127\\177\\377\\300"}, "mountpoint=[M] store=[/A\n7\177\377\300]", false},
	/* Three digits up to 377, or it is the next character that is meant. */
	{{"M", "-o", "store=/\\400\\080\\008\\01/\\0/1\\/11\\01"},
	 "mountpoint=[M] store=[/40008000801/0/1/1101]",
	 false},
	{{"M", "-o", "wal_limit=65536"}, "mountpoint=[M] wal_limit=65536", false},
	{{"M", "-o", "wal_limit=64K"}, "mountpoint=[M] wal_limit=65536", false},
	{{"M", "-o", "wal_limit=128k"}, "mountpoint=[M] wal_limit=131072", false},
	{{"M", "-o", "wal_limit=1M"}, "mountpoint=[M] wal_limit=1048576", false},
	{{"M", "-o", "wal_max=2g"}, "mountpoint=[M] wal_max=2147483648", false},
	{{"M", "-o", "wal_max=1T"}, "mountpoint=[M] wal_max=1099511627776", false},
	{{"M", "-o", "wal_limit=4G,wal_max=4G"},
	 "mountpoint=[M] wal_limit=4294967296 wal_max=4294967296",
	 false},
	{{"M", "-o", "busy_timeout=0"}, "mountpoint=[M] busy_timeout=0", false},
	{{"M", "-o", "busy_timeout=2.5"}, "mountpoint=[M] busy_timeout=2500", false},
	{{"M", "-o", "busy_timeout=0.0019"}, "mountpoint=[M] busy_timeout=1", false},
	{{"M", "-o", "busy_timeout=3600"}, "mountpoint=[M] busy_timeout=3600000", false},
	{{"M", "-o", "keep=0"}, "mountpoint=[M] keep=0", false},
	{{"M", "-o", "keep=1000"}, "mountpoint=[M] keep=1000", false},
	{{"M", "-o", "check=full"}, "mountpoint=[M] check=1", false},
	{{"M", "-o", "check=full,check=quick"}, "mountpoint=[M]", false},
	{{"M", "-o", "log=debug"}, "mountpoint=[M] log=0 log_given", false},
	{{"M", "-o", "log=info"}, "mountpoint=[M] log_given", false},
	{{"M", "-o", "log=warning"}, "mountpoint=[M] log=2 log_given", false},
	{{"M", "-o", "log=error"}, "mountpoint=[M] log=3 log_given", false},
	{{"M", "-o", "log=error,debug"}, "foreground debug mountpoint=[M] log=0 log_given", false},
	{{"M", "-o", "norestore"}, "mountpoint=[M] norestore", false},
	{{"M", "-o", "norestore,restore"}, "mountpoint=[M]", false},
	{{"M", "-o", "restore", "-o", "norestore"}, "mountpoint=[M] norestore", false},
	{{"M", "-o", "frozen"}, "mountpoint=[M] norestore frozen", false},
	{{"M", "-o", "frozen,restore"}, "mountpoint=[M] norestore frozen", false},
	{{"M", "-o", "databases_only"}, "mountpoint=[M] databases_only", false},
	{{"M", "-o", "hide_databases"}, "mountpoint=[M] hide_databases", false},
	{{"M", "-o", "norestore,hide_databases,restore"}, "mountpoint=[M] hide_databases", false},
	/* mount(8) and FUSE. */
	{{"S", "M", "-o", "rw,allow_other,noatime"}, "source=[S] mountpoint=[M] allow_other", false},
	{{"M", "-o", "ro"}, "mountpoint=[M] ro", false},
	{{"M", "-o", "ro,rw"}, "mountpoint=[M]", false},
	{{"M", "-o", "allow_root"}, "mountpoint=[M] allow_root", false},
	{{"M", "-o", "auto_unmount"}, "mountpoint=[M] auto_unmount", false},
	{{"M", "-o", "max_read=131072"}, "mountpoint=[M] max_read=131072", false},
	{{"M", "-o", "fsname=a\\,b"}, "mountpoint=[M] fsname=[a,b]", false},
	{{"M", "-o", "noexec,exec"}, "mountpoint=[M] fuse=[noexec,exec]", false},
	{{"M", "-o", "context=u:r:t:s0\\,c1"}, "mountpoint=[M] fuse=[context=u:r:t:s0\\,c1]", false},
	{{"M", "-o", "suid,dev,nosuid,nodev,default_permissions,subtype=x"}, "mountpoint=[M]", false},
	{{"M", "-o", "relatime,norelatime,strictatime,lazytime,atime,nodiratime,diratime"},
	 "mountpoint=[M]",
	 false},
	{{"M", "-o", "auto,noauto,nofail,_netdev,user,user=bob,users,nouser,owner,group"},
	 "mountpoint=[M]",
	 false},
	{{"M", "-o", "defaults,async,sync,dirsync,comment=a b,comment"}, "mountpoint=[M]", false},
	{{"M", "-o", "x-systemd.automount,x-gvfs-show,x-initrd.mount=1,X-mount.mkdir"},
	 "mountpoint=[M]",
	 false},
};

static const struct parse_case bad_cases[] = {
	{{NULL}, "no MOUNTPOINT given: sqlsnapfs [options] [SOURCE...] MOUNTPOINT", true},
	{{"-f"}, "no MOUNTPOINT given: sqlsnapfs [options] [SOURCE...] MOUNTPOINT", true},
	{{"--", "cmd"}, "no MOUNTPOINT given: sqlsnapfs [options] [SOURCE...] MOUNTPOINT", true},
	{{""}, "the MOUNTPOINT is empty", true},
	{{"", "M"}, "a SOURCE is empty", true},
	{{"=p", "M"}, "=p: a source is PATH or NAME=PATH", true},
	{{"n=", "M"}, "n=: a source is PATH or NAME=PATH", true},
	{{"M", "--"}, "no COMMAND behind --", true},
	{{"-x", "M"}, "unknown option: -x", true},
	{{"-fx", "M"}, "unknown option: -x", true},
	{{"-s", "M"}, "unknown option: -s", true},
	{{"--bogus", "M"}, "unknown option: --bogus", true},
	{{"--helpme"}, "unknown option: --helpme", true},
	{{"--help=me"}, "unknown option: --help=me", true},
	{{"--check"}, "--check needs a FILE", true},
	{{"--check="}, "--check needs a FILE", true},
	{{"--checks", "F"}, "unknown option: --checks", true},
	{{"M", "-o", "--check"}, "unknown option: -o --check", true},
	{{"--check", "F", "M"}, "--check takes one FILE and no mount", true},
	{{"--check", "F", "--", "x"}, "--check takes one FILE and no mount", true},
	{{"M", "-o"}, "-o needs a list of options", true},
	{{"M", "-o", "bogus"}, "unknown option: -o bogus", true},
	{{"M", "-o", "force,bogus=1,worse"}, "unknown option: -o bogus=1", true},
	{{"M", "-o", "forc"}, "unknown option: -o forc", true},
	{{"M", "-o", "forced"}, "unknown option: -o forced", true},
	{{"M", "-o", "x"}, "unknown option: -o x", true},
	{{"M", "-o", "rw,remount"}, "-o remount: options do not change; umount, then mount again", true},
	{{"M", "-o", "-f"}, "unknown option: -o -f", true},
	{{"M", "-o", "force=1"}, "-o force takes no value", true},
	{{"M", "-o", "ro="}, "-o ro takes no value", true},
	{{"M", "-o", "store"}, "-o store needs a value: store=DIR", true},
	{{"M", "-o", "store="}, "-o store needs a value: store=DIR", true},
	{{"M", "-o", "keep"}, "-o keep needs a value: keep=N", true},
	{{"M", "-o", "keep=-1"}, "keep=-1: not a whole number", true},
	{{"M", "-o", "keep=1.5"}, "keep=1.5: not a whole number", true},
	{{"M", "-o", "keep=1K"}, "keep=1K: not a whole number", true},
	{{"M", "-o", "keep=1001"}, "keep=1001: must be from 0 to 1000", true},
	{{"M", "-o", "keep=99999999999999999999"}, "keep=99999999999999999999: not a whole number", true},
	{{"M", "-o", "wal_limit=many"}, "wal_limit=many: not a size, such as 64M", true},
	{{"M", "-o", "wal_limit=64MB"}, "wal_limit=64MB: not a size, such as 64M", true},
	{{"M", "-o", "wal_limit=1.5M"}, "wal_limit=1.5M: not a size, such as 64M", true},
	{{"M", "-o", "wal_limit=64 M"}, "wal_limit=64 M: not a size, such as 64M", true},
	{{"M", "-o", "wal_limit=+1M"}, "wal_limit=+1M: not a size, such as 64M", true},
	{{"M", "-o", "wal_limit=18446744073709551615K"},
	 "wal_limit=18446744073709551615K: not a size, such as 64M",
	 true},
	{{"M", "-o", "wal_limit=65535"}, "wal_limit=65535: must be from 64K to 1T", true},
	{{"M", "-o", "wal_max=2T"}, "wal_max=2T: must be from 64K to 1T", true},
	{{"M", "-o", "hide_databases,ro"}, "hide_databases is for restores, which ro refuses", true},
	{{"M", "-o", "norestore,hide_databases"},
	 "hide_databases is for restores, which norestore refuses",
	 true},
	{{"M", "-o", "frozen,hide_databases"}, "hide_databases is for restores, which frozen refuses", true},
	{{"M", "-o", "wal_max=32M"}, "wal_max (32M) is less than wal_limit (64M)", true},
	{{"M", "-o", "wal_limit=2G"}, "wal_max (1G) is less than wal_limit (2G)", true},
	{{"M", "-o", "busy_timeout=soon"}, "busy_timeout=soon: not a number of seconds", true},
	{{"M", "-o", "busy_timeout=1."}, "busy_timeout=1.: not a number of seconds", true},
	{{"M", "-o", "busy_timeout=.5"}, "busy_timeout=.5: not a number of seconds", true},
	{{"M", "-o", "busy_timeout=5s"}, "busy_timeout=5s: not a number of seconds", true},
	{{"M", "-o", "busy_timeout=3600.001"}, "busy_timeout=3600.001: must be from 0 to 3600", true},
	{{"M", "-o", "busy_timeout=18446744073709551615"},
	 "busy_timeout=18446744073709551615: not a number of seconds",
	 true},
	{{"M", "-o", "check=integrity"}, "check=integrity: must be one of quick, full", true},
	{{"M", "-o", "log=loud"}, "log=loud: must be one of debug, info, warning, error", true},
	{{"M", "-o", "max_read=1"}, "max_read=1: must be from 4096 to 1048576", true},
};

static int parse(struct options *options, const struct parse_case *c, char **argv, struct snap_err *err)
{
	static char name[] = "sqlsnapfs";
	int argc = 1;

	argv[0] = name;
	for (; argc <= MAX_ARGS && c->args[argc - 1]; argc++) {
		argv[argc] = strdup(c->args[argc - 1]);
		assert_non_null(argv[argc]);
	}
	argv[argc] = NULL;
	options_init(options);
	return options_parse(options, argc, argv, err);
}

static void run_cases(const struct parse_case *cases, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		char *argv[MAX_ARGS + 2];
		struct options options;
		struct snap_err err = {""};
		struct text text;
		int rc = parse(&options, &cases[i], argv, &err);

		if (cases[i].bad) {
			assert_string_equal(err.text, cases[i].want);
			assert_int_equal(rc, -EINVAL);
		} else {
			assert_string_equal(err.text, "");
			assert_int_equal(rc, 0);
			describe(&options, &text);
			assert_string_equal(text.bytes, cases[i].want);
		}
		options_finish(&options);
		for (size_t a = 1; argv[a]; a++)
			free(argv[a]);
	}
}

static void test_good(void **state)
{
	(void)state;
	run_cases(good_cases, sizeof(good_cases) / sizeof(*good_cases));
}

static void test_bad(void **state)
{
	(void)state;
	run_cases(bad_cases, sizeof(bad_cases) / sizeof(*bad_cases));
}

/* Each row of the table is accepted with a plain value, and changes what it says it does. */
static void test_rows(void **state)
{
	(void)state;
	for (const struct option_row *row = option_rows; row->name; row++) {
		struct parse_case c = {.args = {"M", "-o", NULL}};
		char *argv[MAX_ARGS + 2], word[64];
		struct options options;
		struct snap_err err = {""};
		size_t length = strlen(row->name);

		if (row->name[0] == '-') /* no word of -o */
			continue;
		snprintf(word, sizeof(word), "%.*s%s%s%s", (int)(length - (row->name[length - 1] == '*')),
			 row->name, row->name[length - 1] == '*' ? "thing" : "", row->value ? "=" : "",
			 !row->value			      ? ""
			 : row->kind == OPTION_WORD	      ? row->words[0]
			 : row->kind == OPTION_SIZE	      ? "512M"
			 : strcmp(row->name, "max_read") == 0 ? "65536"
							      : "7");
		c.args[2] = word;
		assert_int_equal(parse(&options, &c, argv, &err), 0);
		assert_string_equal(err.text, "");
		if (row->kind == OPTION_FLAG)
			assert_int_equal(*(bool *)((char *)&options + row->offset), row->set);
		if (row->kind == OPTION_STRING)
			assert_string_equal(*(char **)((char *)&options + row->offset), "7");
		if (row->kind == OPTION_FUSE)
			assert_string_equal(options.fuse, word);
		options_finish(&options);
		for (size_t a = 1; argv[a]; a++)
			free(argv[a]);
		for (const struct option_row *other = row + 1; other->name; other++)
			assert_string_not_equal(row->name, other->name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_rows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
