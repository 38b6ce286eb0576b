/* SPDX-License-Identifier: MIT */
/*
 * fuzz_options.c - the command line: parsed, written down again and parsed once more, resolved against a
 * folder of its own, and handed to libfuse.
 *
 * Arguments end with a newline (mount(8) hands on anything but a NUL); an @ in them is that folder.
 */
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../fs/fuseopts.h"
#include "../../fs/log.h"

#define ARGS_MAX 24 /* of an input */
#define LINE_MAX 64
#define TEXT_MAX 2000

/* ---- arguments ----------------------------------------------------------------------------------------- */

struct line {
	char *argv[LINE_MAX + 1]; /* owned; NULL-terminated */
	int argc;
};

static void line_add(struct line *line, const char *text)
{
	must(line->argc < LINE_MAX);
	line->argv[line->argc++] = strdup(text);
	line->argv[line->argc] = NULL;
}

static void line_finish(struct line *line)
{
	for (int i = 0; i < line->argc; i++)
		free(line->argv[i]);
}

static void line_from(struct line *line, struct bytes *bytes)
{
	const char *folder = fuzz_folder();
	size_t length = strlen(folder);

	*line = (struct line){.argc = 0};
	line_add(line, "sqlsnapfs");
	while (bytes->left > 0 && line->argc <= ARGS_MAX) {
		char text[TEXT_MAX + 1];
		size_t used = 0;

		for (;;) {
			uint8_t c = bytes_u8(bytes);

			if (c == '\n' || c == '\0' || used + length + 1 > TEXT_MAX)
				break;
			if (c == '@') {
				memcpy(text + used, folder, length);
				used += length;
			} else {
				text[used++] = (char)c;
			}
		}
		text[used] = '\0';
		line_add(line, text);
	}
}

/* ---- what was parsed ----------------------------------------------------------------------------------- */

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static void must_equal(const struct options *a, const struct options *b)
{
	must(same_text(a->mountpoint, b->mountpoint) && same_text(a->check_file, b->check_file));
	must(same_text(a->store, b->store) && same_text(a->fsname, b->fsname) && same_text(a->fuse, b->fuse));
	must(a->wal_limit == b->wal_limit && a->wal_max == b->wal_max && a->keep == b->keep);
	must(a->busy_timeout == b->busy_timeout && a->check == b->check && a->max_read == b->max_read);
	must(a->log == b->log && a->log_given == b->log_given && a->foreground == b->foreground);
	must(a->debug == b->debug && a->shared_locks == b->shared_locks && a->norestore == b->norestore);
	must(a->frozen == b->frozen && a->force == b->force && a->databases_only == b->databases_only &&
	     a->hide_databases == b->hide_databases);
	must(a->nonempty == b->nonempty && a->read_only == b->read_only && a->allow_other == b->allow_other);
	must(a->allow_root == b->allow_root && a->auto_unmount == b->auto_unmount);
	must(a->source_count == b->source_count && !a->command == !b->command);
	for (size_t i = 0; i < a->source_count; i++) {
		must(same_text(a->sources[i].name, b->sources[i].name));
		must(same_text(a->sources[i].path, b->sources[i].path));
	}
	for (size_t i = 0; a->command && (a->command[i] || b->command[i]); i++)
		must(same_text(a->command[i], b->command[i]));
}

/* Every number is within the bounds that usage names. */
static void must_be_in_bounds(const struct options *options)
{
	struct options preset;

	options_init(&preset);
	for (const struct option_row *row = option_rows; row->name; row++) {
		const char *field = (const char *)options + row->offset;
		uint64_t unit = row->kind == OPTION_SECONDS ? 1000 : 1, value, usual, words = 0;

		if (row->kind != OPTION_SIZE && row->kind != OPTION_SECONDS && row->kind != OPTION_COUNT &&
		    row->kind != OPTION_WORD)
			continue;
		memcpy(&value, field, sizeof(value));
		memcpy(&usual, (const char *)&preset + row->offset, sizeof(usual));
		while (row->words && row->words[words])
			words++;
		if (row->kind == OPTION_WORD)
			must(value < words);
		else
			must(value == usual || (value >= row->min * unit && value <= row->max * unit));
	}
	must(options->wal_max >= options->wal_limit);
	must(!options->frozen || options->norestore);
	must(!options->debug || options->foreground);
	options_finish(&preset);
}

/* ---- written down again -------------------------------------------------------------------------------- */

/* A word of -o, escaped as libfuse has it. */
__attribute__((format(printf, 2, 3))) static void line_option(struct line *line, const char *format, ...)
{
	char *word = NULL, *list = NULL;
	va_list args;

	va_start(args, format);
	must(vasprintf(&word, format, args) >= 0);
	va_end(args);
	must(fuse_opt_add_opt_escaped(&list, word) == 0);
	line_add(line, "-o");
	line_add(line, list);
	free(word);
	free(list);
}

static void line_flag(struct line *line, bool set, const char *name)
{
	if (set)
		line_option(line, "%s", name);
}

/* Everything that OPTIONS says, as somebody would write it who reads usage. */
static void line_write(struct line *line, const struct options *o)
{
	static const char *const levels[] = {"debug", "info", "warning", "error"};

	line_add(line, "sqlsnapfs");
	line_flag(line, o->frozen, "frozen");
	line_flag(line, o->norestore, "norestore");
	line_flag(line, o->shared_locks, "shared_locks");
	line_flag(line, o->force, "force");
	line_flag(line, o->databases_only, "databases_only");
	line_flag(line, o->hide_databases, "hide_databases");
	line_flag(line, o->nonempty, "nonempty");
	line_flag(line, o->read_only, "ro");
	line_flag(line, o->allow_other, "allow_other");
	line_flag(line, o->allow_root, "allow_root");
	line_flag(line, o->auto_unmount, "auto_unmount");
	line_flag(line, o->debug, "debug");
	line_flag(line, o->check == CHECK_FULL, "check=full");
	line_option(line, "wal_max=%" PRIu64, o->wal_max);
	line_option(line, "wal_limit=%" PRIu64, o->wal_limit);
	line_option(line, "busy_timeout=%" PRIu64 ".%03" PRIu64, o->busy_timeout / 1000,
		    o->busy_timeout % 1000);
	line_option(line, "keep=%" PRIu64, o->keep);
	if (o->log_given)
		line_option(line, "log=%s", levels[o->log]);
	if (o->max_read)
		line_option(line, "max_read=%" PRIu64, o->max_read);
	if (o->store)
		line_option(line, "store=%s", o->store);
	if (o->fsname)
		line_option(line, "fsname=%s", o->fsname);
}

/* The arguments without the sources, which have no other form. */
static void must_read_back(const struct options *options)
{
	struct line line = {.argc = 0};
	struct options again, copy = *options;
	struct snap_err err;

	line_write(&line, options);
	if (options->foreground)
		line_add(&line, "-f");
	line_add(&line, options->mountpoint[0] == '-' ? "m" : options->mountpoint);
	options_init(&again);
	must(line.argc < LINE_MAX && options_parse(&again, line.argc, line.argv, &err) == 0);
	copy.sources = NULL;
	copy.source_count = 0;
	copy.command = NULL;
	copy.fuse = NULL;
	copy.mountpoint = again.mountpoint;
	must_equal(&copy, &again);
	options_finish(&again);
	line_finish(&line);
}

/* ---- the plan ------------------------------------------------------------------------------------------ */

/* Nothing outside of the folder is looked at: a plan asks whatever mount a path leads to. */
static bool stays_inside(const char *path)
{
	size_t length = strlen(fuzz_folder());

	if (!path)
		return true;
	if (path[0] == '/' && (strncmp(path, fuzz_folder(), length) != 0 || path[length] != '/'))
		return false;
	return strstr(path, "..") == NULL;
}

static bool options_stay_inside(const struct options *options)
{
	bool inside = stays_inside(options->mountpoint) && stays_inside(options->store);

	for (size_t i = 0; i < options->source_count; i++)
		inside = inside && stays_inside(options->sources[i].path);
	return inside;
}

struct seen {
	const struct options *options;
	const char *fsname;
	unsigned words, names;
};

static int count_word(void *data, const char *arg, int key, struct fuse_args *outargs)
{
	struct seen *seen = data;

	(void)outargs;
	if (key != FUSE_OPT_KEY_OPT)
		return 0;
	seen->words++;
	if (strncmp(arg, "fsname=", 7) == 0) {
		must(strcmp(arg + 7, seen->fsname) == 0);
		seen->names++;
	}
	must(strcmp(arg, "allow_root") != 0 || seen->options->allow_root);
	must(strcmp(arg, "ro") != 0 || fuseopts_read_only(seen->options));
	must(strcmp(arg, "suid") != 0 && strcmp(arg, "dev") != 0);
	return 0;
}

/* What libfuse takes the list for: one name, and no word that nobody gave. */
static void must_mount_so(const struct options *options, const struct plan *plan)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	const struct fuse_opt none[] = {FUSE_OPT_END};
	struct seen seen = {options, plan_fsname(plan, options), 0, 0};

	must(fuseopts_build(&args, options, plan) == 0);
	must(fuse_opt_parse(&args, &seen, none, count_word) == 0);
	must(seen.names == 1 && seen.words >= 6);
	fuse_opt_free_args(&args);
}

static void must_plan(const struct options *options)
{
	struct snap_err err = {""};
	struct plan plan;
	char text[200];

	if (plan_make(&plan, options, &err) < 0) {
		must(err.text[0] != '\0' && strnlen(err.text, sizeof(err.text)) < sizeof(err.text));
		plan_finish(&plan);
		return;
	}
	must(plan.count > 0 && plan.mountpoint.path && plan.mountpoint.path[0] == '/');
	must(plan.implied == !options->source_count && !plan.mountpoint.made);
	for (size_t i = 0; i < plan.count; i++) {
		const struct plan_source *source = &plan.sources[i];

		must(source->path[0] == '/' && source->real[0] == '/');
		must(plan.folder ? !source->name : source->name[0] && !strchr(source->name, '/'));
		must(!path_is_below(source->real, plan.mountpoint.path));
		for (size_t j = 0; j < i; j++)
			must(strcmp(source->name, plan.sources[j].name) != 0);
	}
	must(!plan.folder || plan.count == 1);
	must(plan.refusing || (!options->read_only && !options->norestore));
	plan_describe(&plan, plan.count, false, text, sizeof(text));
	must(strnlen(text, sizeof(text)) < sizeof(text));
	must_mount_so(options, &plan);
	plan_finish(&plan);
}

/* ---- one input ----------------------------------------------------------------------------------------- */

/* Whatever it holds, a text is logged as one line. */
static void must_escape(const char *text)
{
	char out[128];

	for (size_t size = 1; size <= sizeof(out); size *= 2) {
		log_escape(out, size, text);
		must(strlen(out) < size);
		for (const char *c = out; *c; c++)
			must((unsigned char)*c >= ' ' && *c != 0x7f);
	}
}

static void make_files(void)
{
	static bool made;

	if (made)
		return;
	made = true;
	log_set_level(SNAP_ERROR + 1);
	fuzz_put("a.db", "x", 1);
	fuzz_put("b=c,d.db", "x", 1);
	must(mkdir(fuzz_path("app"), 0755) == 0 && mkdir(fuzz_path("empty"), 0755) == 0);
	fuzz_put("app/a.db", "x", 1);
	must(symlink("a.db", fuzz_path("link")) == 0 && symlink("nowhere", fuzz_path("dangling")) == 0);
	must(symlink("app", fuzz_path("there")) == 0 && symlink("loop", fuzz_path("loop")) == 0);
	must(mkfifo(fuzz_path("fifo"), 0644) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes bytes = {data, size};
	struct options options, again;
	struct snap_err err = {""}, other = {""};
	struct line line;
	int fd, rc, here = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);

	make_files();
	must(here >= 0 && chdir(fuzz_folder()) == 0);
	fd = fuzz_free_fd();
	line_from(&line, &bytes);
	options_init(&options);
	options_init(&again);
	rc = options_parse(&options, line.argc, line.argv, &err);
	must(options_parse(&again, line.argc, line.argv, &other) == rc);
	if (rc) {
		must(rc == -EINVAL && strnlen(err.text, sizeof(err.text)) < sizeof(err.text) && err.text[0]);
		must(strcmp(err.text, other.text) == 0);
		must_escape(err.text);
	} else if (!options.help && !options.version) {
		must_equal(&options, &again);
		must(options.check_file ? options.check_file[0]
					: options.mountpoint && options.mountpoint[0]);
		if (!options.check_file) {
			must_be_in_bounds(&options);
			must_read_back(&options);
			if (options_stay_inside(&options))
				must_plan(&options);
		}
	}
	options_finish(&again);
	options_finish(&options);
	line_finish(&line);
	must(fuzz_free_fd() == fd);
	must(fchdir(here) == 0); /* where the corpus is named from */
	close(here);
	return 0;
}
