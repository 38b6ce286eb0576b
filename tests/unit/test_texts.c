/* SPDX-License-Identifier: MIT */
/*
 * test_texts.c - usage, manual page and completion say the same as the table of options: no option is missing
 * anywhere, and nothing is promised that there is not. SOURCE_ROOT is the top of the sources.
 */
#include "unit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../fs/options.h"

#define TEXT_MAX 65536
#define USAGE_LINES 60
#define USAGE_COLUMNS 100

struct text {
	char bytes[TEXT_MAX];
};

static struct text usage, manual, scratch;

/* ---- texts --------------------------------------------------------------------------------------------- */

static void take_stream(struct text *text, FILE *from)
{
	size_t used = fread(text->bytes, 1, sizeof(text->bytes) - 1, from);

	assert_true(feof(from));
	text->bytes[used] = '\0';
}

static const char *source_path(const char *name)
{
	static char path[4096];
	const char *top = getenv("SOURCE_ROOT");

	if (!top)
		fail_msg("SOURCE_ROOT is not set");
	snprintf(path, sizeof(path), "%s/%s", top, name);
	return path;
}

static int load(void **state)
{
	FILE *file = tmpfile();

	(void)state;
	assert_non_null(file);
	usage_print(file);
	rewind(file);
	take_stream(&usage, file);
	fclose(file);
	file = fopen(source_path("fs/sqlsnapfs.8"), "r");
	assert_non_null(file);
	take_stream(&manual, file);
	fclose(file);
	return 0;
}

/* The line that begins LINE bytes into a text, without its end. */
static const char *copy_line(const char *line)
{
	static char copy[1024];

	size_t length = strcspn(line, "\n");

	assert_true(length < sizeof(copy));
	memcpy(copy, line, length);
	copy[length] = '\0';
	return copy;
}

static const char *next_line(const char *line)
{
	line += strcspn(line, "\n");
	return *line ? line + 1 : line;
}

/* Where LINE, whole, stands in TEXT; it must stand there once. */
static const char *find_line(const char *text, const char *line)
{
	const char *found = NULL;

	for (const char *c = text; *c; c = next_line(c)) {
		if (strcmp(copy_line(c), line) != 0)
			continue;
		if (found)
			fail_msg("twice: %s", line);
		found = c;
	}
	if (!found)
		fail_msg("missing: %s", line);
	return found;
}

/* Whether WORD is one of the words of TEXT up to END. */
static bool has_word(const char *text, const char *end, const char *word)
{
	size_t length = strlen(word);

	for (const char *c = text; (c = strstr(c, word)) && c < end; c++) {
		if ((c == text || strchr(" \n", c[-1])) && strchr(" ,.;\n", c[length]))
			return true;
	}
	return false;
}

/* ---- the table ----------------------------------------------------------------------------------------- */

static bool is_switch(const struct option_row *row)
{
	return row->kind == OPTION_SWITCH || row->kind == OPTION_ARGUMENT;
}

static bool is_number(const struct option_row *row)
{
	return row->kind == OPTION_SIZE || row->kind == OPTION_SECONDS || row->kind == OPTION_COUNT;
}

static const struct option_row *find_row(const char *name)
{
	for (const struct option_row *row = option_rows; row->name; row++) {
		if (strcmp(row->name, name) == 0)
			return row;
	}
	return NULL;
}

/* As the parser reads it. */
static const char *format_number(const struct option_row *row, uint64_t value)
{
	static char texts[2][32];
	static int turn;
	char *out = texts[turn ^= 1];
	static const char units[] = "KMGT";
	int unit = -1;

	for (; row->kind == OPTION_SIZE && value && value % 1024 == 0 && unit < 3; value /= 1024)
		unit++;
	snprintf(out, sizeof(texts[0]), "%" PRIu64 "%.1s", value, unit < 0 ? "" : units + unit);
	return out;
}

/* What options_init() says; NULL: nothing. */
static const char *preset(const struct option_row *row)
{
	static struct options options;
	uint64_t value;

	if (row->kind != OPTION_WORD && !is_number(row))
		return NULL;
	options_init(&options);
	memcpy(&value, (char *)&options + row->offset, sizeof(value));
	if (row->kind == OPTION_WORD)
		return row->words[value];
	if (!value && row->min)
		return NULL; /* not given */
	return format_number(row, row->kind == OPTION_SECONDS ? value / 1000 : value);
}

/* ---- usage --------------------------------------------------------------------------------------------- */

static void test_usage_has_every_option(void **state)
{
	char left[128], line[512];

	(void)state;
	for (const struct option_row *row = option_rows; row->name; row++) {
		if (is_switch(row))
			snprintf(left, sizeof(left), "%s%s%s%s%s", row->name, row->alias ? ", " : "",
				 row->alias ? row->alias : "", row->value ? " " : "",
				 row->value ? row->value : "");
		else
			snprintf(left, sizeof(left), "-o %s%s%s", row->name, row->value ? "=" : "",
				 row->value ? row->value : "");
		snprintf(line, sizeof(line), "  %-23s %s", left, row->help ? row->help : "");
		if (row->help)
			find_line(usage.bytes, line);
		else
			assert_null(strstr(usage.bytes, line));
	}
}

static void test_usage_is_a_page_with_headings(void **state)
{
	size_t lines = 0;

	(void)state;
	find_line(usage.bytes, "options:");
	find_line(usage.bytes, "reading:");
	find_line(usage.bytes, "restoring:");
	find_line(usage.bytes, "the mount:");
	find_line(usage.bytes, "examples:");
	for (const char *c = usage.bytes; *c; c = next_line(c)) {
		lines++;
		if (strlen(copy_line(c)) > USAGE_COLUMNS)
			fail_msg("too long: %s", copy_line(c));
	}
	assert_between(lines, 20, USAGE_LINES);
}

static void test_help_names_defaults(void **state)
{
	(void)state;
	for (const struct option_row *row = option_rows; row->name; row++) {
		const char *value = row->help ? preset(row) : NULL;
		char end[64];

		if (!value)
			continue;
		snprintf(end, sizeof(end), "(%s)", value);
		if (strlen(row->help) < strlen(end) ||
		    strcmp(row->help + strlen(row->help) - strlen(end), end) != 0)
			fail_msg("the help of %s does not end in %s", row->name, end);
	}
}

/* ---- the manual ---------------------------------------------------------------------------------------- */

/* The line that ROW's description begins with. */
static void manual_head(const struct option_row *row, char *out, size_t size)
{
	size_t used;

	if (is_switch(row)) {
		used = (size_t)snprintf(out, size, ".It Fl %s", row->name + 1);
		if (row->alias)
			snprintf(out + used, size - used, " , Fl %s", row->alias + 1);
		else if (row->value)
			snprintf(out + used, size - used, " Ar %s", row->value);
		return;
	}
	used = (size_t)snprintf(out, size, ".It Fl o Cm %s", row->name);
	if (!row->value)
		return;
	if (!strchr(row->value, '|')) {
		snprintf(out + used, size - used, " Ns = Ns Ar %s", row->value);
		return;
	}
	for (size_t i = 0; row->words[i]; i++)
		used += (size_t)snprintf(out + used, size - used, " Ns %s Ns Cm %s", i ? "|" : "=",
					 row->words[i]);
}

static const char *body_end(const char *body)
{
	while (*body && strncmp(body, ".It ", 4) != 0 && strncmp(body, ".El", 3) != 0)
		body = next_line(body);
	return body;
}

static void check_described(const struct option_row *row)
{
	char head[256], want[128];
	const char *body, *end, *value = preset(row);

	manual_head(row, head, sizeof(head));
	body = next_line(find_line(manual.bytes, head));
	end = body_end(body);
	if (end - body < 10)
		fail_msg("%s is not described", row->name);
	snprintf(scratch.bytes, sizeof(scratch.bytes), "%.*s", (int)(end - body), body);
	for (char *c = scratch.bytes; *c; c++) {
		if (*c == '\n')
			*c = ' ';
	}
	snprintf(want, sizeof(want), "Default: %s.", value ? value : "");
	if (value && !strstr(scratch.bytes, want))
		fail_msg("%s: the manual does not say: %s", row->name, want);
	if (is_number(row)) {
		snprintf(want, sizeof(want), "from %s to %s.", format_number(row, row->min),
			 format_number(row, row->max));
		if (!strstr(scratch.bytes, want))
			fail_msg("%s: the manual does not say: %s", row->name, want);
	}
	for (size_t i = 0; row->words && !strchr(row->value, '|') && row->words[i]; i++) {
		if (!has_word(body, end, row->words[i]))
			fail_msg("%s: the manual does not have the word %s", row->name, row->words[i]);
	}
}

static void test_manual_describes_every_option(void **state)
{
	(void)state;
	for (const struct option_row *row = option_rows; row->name; row++) {
		if (row->help)
			check_described(row);
	}
}

static void test_manual_describes_no_other(void **state)
{
	(void)state;
	for (const char *c = manual.bytes; (c = strstr(c, "\n.It Fl ")); c++) {
		const char *line = copy_line(c + 1);
		const struct option_row *row;
		char name[64], head[256];

		if (sscanf(line, ".It Fl o Cm %63s", name) != 1) {
			name[0] = '-';
			assert_int_equal(sscanf(line, ".It Fl %62s", name + 1), 1);
		}
		row = find_row(name);
		if (!row || !row->help)
			fail_msg("the manual describes %s", name);
		manual_head(row, head, sizeof(head));
		assert_string_equal(copy_line(c + 1), head);
	}
}

/* The section on what mount(8) adds: every name without help, and no other, on lines that begin with .Cm */
static void test_manual_lists_what_mount_adds(void **state)
{
	const char *begin = strstr(manual.bytes, "\n.Ss Options of mount and fstab\n");
	const char *end = begin ? strstr(begin, "\n.Sh ") : NULL;
	char line[1024];

	(void)state;
	if (!end) {
		fail_msg("the manual has no such section");
		return;
	}
	scratch.bytes[0] = '\0';
	for (const char *c = next_line(begin + 1); c < end; c = next_line(c)) {
		snprintf(line, sizeof(line), "%s", copy_line(c));
		if (strncmp(line, ".Cm ", 4) != 0)
			continue;
		for (char *save = NULL, *word = strtok_r(line + 4, " ,;.", &save); word;
		     word = strtok_r(NULL, " ,;.", &save)) {
			const struct option_row *row = find_row(word);

			if (!row || row->help)
				fail_msg("the manual says that %s is accepted", word);
			strcat(scratch.bytes, " ");
			strcat(scratch.bytes, word);
		}
	}
	strcat(scratch.bytes, " ");
	for (const struct option_row *row = option_rows; row->name; row++) {
		if (!row->help && !has_word(scratch.bytes, strchr(scratch.bytes, '\0'), row->name))
			fail_msg("the manual does not say that %s is accepted", row->name);
	}
}

/* ---- completion ---------------------------------------------------------------------------------------- */

/* What bash offers behind LINE, one a line and sorted. LINE holds no quotes. */
static void complete(const char *line, struct text *out)
{
	char command[8192];
	FILE *pipe;

	snprintf(command, sizeof(command),
		 "bash --norc -c 'compopt() { :; } && . \"$1\" && COMP_WORDBREAKS=$'\"'\"' "
		 "\\t\\n\"><=;|&(:'\"'\"' && "
		 "COMP_LINE=$2 && COMP_POINT=${#2} && read -ra COMP_WORDS <<<\"$2\" && "
		 "COMP_CWORD=${#COMP_WORDS[@]} && _sqlsnapfs && "
		 "printf \"%%s\\n\" \"${COMPREPLY[@]}\" | LC_ALL=C sort' bash '%s' '%s'",
		 source_path("fs/sqlsnapfs.bash"), line);
	pipe = popen(command, "r");
	assert_non_null(pipe);
	take_stream(out, pipe);
	assert_int_equal(pclose(pipe), 0);
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* WORDS in order, each on a line. */
static void join_sorted(struct text *out, const char **words, size_t count)
{
	size_t used = 0;

	qsort(words, count, sizeof(*words), compare);
	out->bytes[0] = '\0';
	for (size_t i = 0; i < count; i++)
		used += (size_t)snprintf(out->bytes + used, sizeof(out->bytes) - used, "%s\n", words[i]);
}

static void test_completion_offers_every_option(void **state)
{
	static char names[64][64];
	const char *words[64];
	size_t count = 0;

	(void)state;
	for (const struct option_row *row = option_rows; row->name; row++) {
		if (is_switch(row) || !row->help)
			if (strcmp(row->name, "rw") != 0)
				continue;
		assert_true(count < 64);
		snprintf(names[count], sizeof(names[count]), "%s%s", row->name, row->value ? "=" : "");
		words[count] = names[count];
		count++;
	}
	join_sorted(&scratch, words, count);
	complete("sqlsnapfs -o ", &usage);
	assert_string_equal(usage.bytes, scratch.bytes);
}

static void test_completion_offers_every_switch(void **state)
{
	const char *words[32] = {"-o"};
	size_t count = 1;

	(void)state;
	for (const struct option_row *row = option_rows; row->name; row++) {
		if (!is_switch(row))
			continue;
		assert_true(count + 2 < 32);
		words[count++] = row->name;
		if (row->alias)
			words[count++] = row->alias;
	}
	join_sorted(&scratch, words, count);
	complete("sqlsnapfs -", &usage);
	assert_string_equal(usage.bytes, scratch.bytes);
}

static void test_completion_knows_words(void **state)
{
	(void)state;
	for (const struct option_row *row = option_rows; row->name; row++) {
		const char *words[16];
		size_t count = 0;
		char line[128];

		for (; row->kind == OPTION_WORD && row->words[count]; count++)
			words[count] = row->words[count];
		if (!count)
			continue;
		join_sorted(&scratch, words, count);
		snprintf(line, sizeof(line), "sqlsnapfs -o %s=", row->name);
		complete(line, &usage);
		assert_string_equal(usage.bytes, scratch.bytes);
	}
}

static void test_completion_in_lists(void **state)
{
	static const struct {
		const char *line, *want;
	} cases[] = {
		{"sqlsnapfs -o ro,busy", "ro,busy_timeout=\n"},
		{"sqlsnapfs -foro,busy", "\n"}, /* taken for a name */
		{"sqlsnapfs -oro,busy", "-oro,busy_timeout=\n"},
		{"sqlsnapfs -fo ro,busy", "ro,busy_timeout=\n"},
		{"sqlsnapfs -o check=full,busy", "full,busy_timeout=\n"}, /* readline keeps check= */
		{"sqlsnapfs -o ro,check=f", "full\n"},
		{"sqlsnapfs -ocheck=f", "full\n"},
		{"sqlsnapfs -o busy_timeout=", "\n"},
		{"sqlsnapfs --c", "--check\n"},
		{"sqlsnapfs /srv", "\n"}, /* files are readline's own */
		{"sqlsnapfs -o nothing", "\n"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		complete(cases[i].line, &scratch);
		if (strcmp(scratch.bytes, cases[i].want) != 0)
			fail_msg("%s: %s", cases[i].line, scratch.bytes);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_usage_has_every_option, load),
		cmocka_unit_test_setup(test_usage_is_a_page_with_headings, load),
		cmocka_unit_test_setup(test_help_names_defaults, load),
		cmocka_unit_test_setup(test_manual_describes_every_option, load),
		cmocka_unit_test_setup(test_manual_describes_no_other, load),
		cmocka_unit_test_setup(test_manual_lists_what_mount_adds, load),
		cmocka_unit_test(test_completion_offers_every_option),
		cmocka_unit_test(test_completion_offers_every_switch),
		cmocka_unit_test(test_completion_knows_words),
		cmocka_unit_test(test_completion_in_lists),
	};

	return cmocka_run_group_tests_name("texts", tests, NULL, NULL);
}
