/* SPDX-License-Identifier: MIT */
/*
 * options.c - the parser of the command line; the options themselves are in option_rows.c.
 *
 * Options may come before, between and after the positional arguments, as mount(8) and people write them. The
 * first -- that is not an option's value ends everything but COMMAND.
 */
#include "options.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fault.h"
#include "fs.h"

void options_init(struct options *options)
{
	*options = (struct options){
		.wal_limit = UINT64_C(64) << 20,
		.wal_max = UINT64_C(1) << 30,
		.busy_timeout = 30000,
		.keep = 3,
		.check = CHECK_QUICK,
		.log = SNAP_INFO,
	};
}

void options_finish(struct options *options)
{
	for (size_t i = 0; i < options->source_count; i++) {
		free(options->sources[i].name);
		free(options->sources[i].path);
	}
	free(options->sources);
	free(options->mountpoint);
	free(options->check_file);
	free(options->store);
	free(options->fsname);
	free(options->fuse);
	*options = (struct options){0};
}

/* ---- values -------------------------------------------------------------------------------------------- */

/* Digits only; false also if the number does not fit. */
static bool parse_digits(const char **text, uint64_t *out)
{
	const char *c = *text;
	uint64_t value = 0;

	if (*c < '0' || *c > '9')
		return false;
	for (; *c >= '0' && *c <= '9'; c++) {
		uint64_t digit = (uint64_t)(*c - '0');

		if (value > (UINT64_MAX - digit) / 10)
			return false;
		value = value * 10 + digit;
	}
	*text = c;
	*out = value;
	return true;
}

static bool parse_size(const char *text, uint64_t *out)
{
	static const char units[] = "KMGT";
	const char *unit;
	unsigned shift;

	if (!parse_digits(&text, out))
		return false;
	if (!*text)
		return true;
	unit = strchr(units, *text >= 'a' && *text <= 'z' ? *text - 'a' + 'A' : *text);
	if (!unit || text[1])
		return false;
	shift = 10 * (unsigned)(unit - units + 1);
	if (*out > UINT64_MAX >> shift)
		return false;
	*out <<= shift;
	return true;
}

/* Seconds, in milliseconds; decimals after the third are ignored. */
static bool parse_seconds(const char *text, uint64_t *out)
{
	uint64_t scale = 100;

	if (!parse_digits(&text, out) || *out > UINT64_MAX / 1000 - 1)
		return false;
	*out *= 1000;
	if (*text == '.') {
		text++;
		if (!*text)
			return false;
		for (; *text >= '0' && *text <= '9'; text++, scale /= 10)
			*out += (uint64_t)(*text - '0') * scale;
	}
	return !*text;
}

/* VALUE as a user would write it; only whole units occur in the table. */
static void format_bound(char *out, size_t size, enum option_kind kind, uint64_t value)
{
	static const char units[] = "KMGT";
	int unit = -1;

	for (; kind == OPTION_SIZE && value && value % 1024 == 0 && unit < 3; value /= 1024)
		unit++;
	snprintf(out, size, "%" PRIu64 "%.1s", value, unit < 0 ? "" : units + unit);
}

static int set_number(const struct option_row *row, uint64_t *field, const char *value, struct snap_err *err)
{
	uint64_t number, unit = row->kind == OPTION_SECONDS ? 1000 : 1;
	char min[32], max[32];
	const char *end = value;
	bool valid;

	if (row->kind == OPTION_SIZE)
		valid = parse_size(value, &number);
	else if (row->kind == OPTION_SECONDS)
		valid = parse_seconds(value, &number);
	else
		valid = parse_digits(&end, &number) && !*end;
	if (!valid)
		return fault(err, -EINVAL, "%s=%s: not a %s", row->name, value,
			     row->kind == OPTION_SIZE	   ? "size, such as 64M"
			     : row->kind == OPTION_SECONDS ? "number of seconds"
							   : "whole number");
	if (number < row->min * unit || number > row->max * unit) {
		format_bound(min, sizeof(min), row->kind, row->min);
		format_bound(max, sizeof(max), row->kind, row->max);
		return fault(err, -EINVAL, "%s=%s: must be from %s to %s", row->name, value, min, max);
	}
	*field = number;
	return 0;
}

static int set_word(const struct option_row *row, uint64_t *field, const char *value, struct snap_err *err)
{
	char known[128] = "";

	for (size_t i = 0; row->words[i]; i++) {
		size_t used = strlen(known);

		if (strcmp(row->words[i], value) == 0) {
			*field = i;
			return 0;
		}
		snprintf(known + used, sizeof(known) - used, "%s%s", i ? ", " : "", row->words[i]);
	}
	return fault(err, -EINVAL, "%s=%s: must be one of %s", row->name, value, known);
}

static int set_string(char **field, const char *value, struct snap_err *err)
{
	/* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): checked by whoever calls */
	char *copy = strdup(value);

	if (!copy)
		return fault_memory(err);
	free(*field);
	*field = copy;
	return 0;
}

/* ---- rows ---------------------------------------------------------------------------------------------- */

/* LENGTH is that of the name in WORD, before a = or the end. */
static bool row_matches(const struct option_row *row, const char *word, size_t length)
{
	size_t own = strlen(row->name);

	if (row->kind == OPTION_SWITCH || row->kind == OPTION_ARGUMENT)
		return false;
	if (row->kind == OPTION_IGNORED && row->name[own - 1] == '*')
		return strncmp(row->name, word, own - 1) == 0;
	return own == length && strncmp(row->name, word, own) == 0;
}

/* VALUE is what follows the =, or NULL. WORD is the whole option. */
static int row_apply(const struct option_row *row, struct options *options, const char *word,
		     const char *value, struct snap_err *err)
{
	void *field = (char *)options + row->offset;

	if (row->kind == OPTION_IGNORED)
		return 0;
	if (row->value && (!value || !*value))
		return fault(err, -EINVAL, "-o %s needs a value: %s=%s", row->name, row->name, row->value);
	if (!row->value && value)
		return fault(err, -EINVAL, "-o %s takes no value", row->name);
	switch (row->kind) {
	case OPTION_SIZE:
	case OPTION_SECONDS:
	case OPTION_COUNT:
		return set_number(row, field, value, err);
	case OPTION_WORD:
		return set_word(row, field, value, err);
	case OPTION_STRING:
	case OPTION_ARGUMENT:
		return set_string(field, value, err);
	case OPTION_FUSE:
		return fuse_opt_add_opt_escaped(&options->fuse, word) ? fault_memory(err) : 0;
	case OPTION_SWITCH:
	case OPTION_FLAG:
	case OPTION_IGNORED:
	default:
		*(bool *)field = row->set;
		return 0;
	}
}

static int parse_word(struct options *options, const char *word, struct snap_err *err)
{
	const char *equals = strchr(word, '=');
	size_t length = equals ? (size_t)(equals - word) : strlen(word);

	if (!*word) /* scripts produce "a,,b" and "a," */
		return 0;
	for (const struct option_row *row = option_rows; row->name; row++) {
		if (!row_matches(row, word, length))
			continue;
		if (strcmp(row->name, "log") == 0)
			options->log_given = true;
		return row_apply(row, options, word, equals ? equals + 1 : NULL, err);
	}
	if (strcmp(word, "remount") == 0)
		return fault(err, -EINVAL, "-o remount: options do not change; umount, then mount again");
	return fault(err, -EINVAL, "unknown option: -o %s", word);
}

static bool is_octal(const char *c)
{
	return c[0] >= '0' && c[0] <= '3' && c[1] >= '0' && c[1] <= '7' && c[2] >= '0' && c[2] <= '7';
}

/* Takes the next word off LIST and decodes libfuse's escapes (\, \\ and three octal digits); false at the
 * end. */
static bool next_word(const char **list, char *word)
{
	const char *c = *list;

	if (!c)
		return false;
	for (; *c && *c != ','; c++) {
		if (*c != '\\' || !c[1]) {
			*word++ = *c;
		} else if (is_octal(c + 1)) {
			*word++ = (char)((c[1] - '0') * 64 + (c[2] - '0') * 8 + (c[3] - '0'));
			c += 3;
		} else {
			*word++ = *++c;
		}
	}
	*word = '\0';
	*list = *c ? c + 1 : NULL;
	return true;
}

static int parse_list(struct options *options, const char *list, struct snap_err *err)
{
	char *word = malloc(strlen(list) + 1);
	int rc = 0;

	if (!word)
		return fault_memory(err);
	while (rc == 0 && next_word(&list, word))
		rc = parse_word(options, word, err);
	free(word);
	return rc;
}

static const struct option_row *find_switch(const char *name, size_t length)
{
	for (const struct option_row *row = option_rows; row->name; row++) {
		if (row->kind != OPTION_SWITCH && row->kind != OPTION_ARGUMENT)
			continue;
		if (strlen(row->name) == length && strncmp(row->name, name, length) == 0)
			return row;
		if (row->alias && strlen(row->alias) == length && strncmp(row->alias, name, length) == 0)
			return row;
	}
	return NULL;
}

/* "--help", "--check FILE", "--check=FILE". Advances *I past a separate value. */
static int parse_long(struct options *options, char **argv, int *i, struct snap_err *err)
{
	const char *arg = argv[*i];
	size_t length = strcspn(arg, "=");
	const struct option_row *row = find_switch(arg, length);
	const char *value;

	if (!row || (row->kind == OPTION_SWITCH && arg[length]))
		return fault(err, -EINVAL, "unknown option: %s", arg);
	if (row->kind == OPTION_SWITCH)
		return row_apply(row, options, arg, NULL, err);
	value = arg[length] ? arg + length + 1 : argv[++*i];
	if (!value || !*value)
		return fault(err, -EINVAL, "%s needs a %s", row->name, row->value);
	return row_apply(row, options, arg, value, err);
}

/* An argument that begins with a dash: "-f", "-fd", "--help", "-fo LIST", "-oLIST". Advances *I past a
 * separate LIST. */
static int parse_dashed(struct options *options, char **argv, int *i, struct snap_err *err)
{
	const char *arg = argv[*i];

	if (arg[1] == '-')
		return parse_long(options, argv, i, err);
	for (const char *c = arg + 1; *c; c++) {
		const char name[] = {'-', *c, '\0'};
		const struct option_row *row = find_switch(name, 2);

		if (*c == 'o') {
			const char *list = c[1] ? c + 1 : argv[++*i];

			return list ? parse_list(options, list, err)
				    : fault(err, -EINVAL, "-o needs a list of options");
		}
		if (!row)
			return fault(err, -EINVAL, "unknown option: %s", name);
		row_apply(row, options, name, NULL, err);
	}
	return 0;
}

/* ---- positional arguments ------------------------------------------------------------------------------ */

/* NAME=PATH, where NAME holds no slash: a file whose own name contains a = is written ./FILE. */
static int add_source(struct options *options, const char *arg, struct snap_err *err)
{
	struct options_source *source = &options->sources[options->source_count++];
	const char *path = arg;
	size_t length = strcspn(arg, "=/");

	if (arg[length] == '=') {
		path = arg + length + 1;
		source->name = strndup(arg, length);
		if (!source->name)
			return fault_memory(err);
		if (!length || !*path)
			return fault(err, -EINVAL, "%s: a source is PATH or NAME=PATH", arg);
	}
	if (!*path)
		return fault(err, -EINVAL, "a SOURCE is empty");
	source->path = strdup(path);
	return source->path ? 0 : fault_memory(err);
}

/* The last one is the MOUNTPOINT, those before it are sources. */
static int take_positionals(struct options *options, char **args, size_t count, struct snap_err *err)
{
	int rc = 0;

	if (!count)
		return fault(err, -EINVAL, "no MOUNTPOINT given: sqlsnapfs [options] [SOURCE...] MOUNTPOINT");
	if (!*args[count - 1])
		return fault(err, -EINVAL, "the MOUNTPOINT is empty");
	options->sources = calloc(count, sizeof(*options->sources));
	options->mountpoint = strdup(args[count - 1]);
	if (!options->sources || !options->mountpoint)
		return fault_memory(err);
	for (size_t i = 0; rc == 0 && i < count - 1; i++)
		rc = add_source(options, args[i], err);
	return rc;
}

/* Applies what options imply, and refuses those that contradict each other. */
static int check_coherence(struct options *options, struct snap_err *err)
{
	char limit[32], max[32];

	if (options->debug) {
		options->foreground = true;
		options->log = SNAP_DEBUG;
		options->log_given = true;
	}
	if (options->frozen)
		options->norestore = true;
	if (options->hide_databases && options_refusing(options))
		return fault(err, -EINVAL, "hide_databases is for restores, which %s refuses",
			     options_refusing(options));
	if (options->wal_max >= options->wal_limit)
		return 0;
	format_bound(limit, sizeof(limit), OPTION_SIZE, options->wal_limit);
	format_bound(max, sizeof(max), OPTION_SIZE, options->wal_max);
	return fault(err, -EINVAL, "wal_max (%s) is less than wal_limit (%s)", max, limit);
}

static int parse_args(struct options *options, int argc, char **argv, char **positionals,
		      struct snap_err *err)
{
	size_t count = 0;
	int rc = 0;

	for (int i = 1; rc == 0 && i < argc; i++) {
		if (strcmp(argv[i], "--") == 0) {
			options->command = argv + i + 1;
			break;
		}
		if (argv[i][0] == '-' && argv[i][1])
			rc = parse_dashed(options, argv, &i, err);
		else
			positionals[count++] = argv[i];
	}
	if (rc < 0 || options->help || options->version)
		return rc;
	if (options->check_file)
		return count || options->command ? fault(err, -EINVAL, "--check takes one FILE and no mount")
						 : 0;
	rc = take_positionals(options, positionals, count, err);
	if (rc < 0)
		return rc;
	if (options->command && !options->command[0])
		return fault(err, -EINVAL, "no COMMAND behind --");
	return check_coherence(options, err);
}

int options_parse(struct options *options, int argc, char **argv, struct snap_err *err)
{
	char **positionals = calloc((size_t)(argc > 0 ? argc : 1), sizeof(*positionals));
	int rc;

	if (!positionals)
		return fault_memory(err);
	rc = parse_args(options, argc, argv, positionals, err);
	free(positionals);
	return rc;
}
