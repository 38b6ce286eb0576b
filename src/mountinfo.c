/* SPDX-License-Identifier: MIT */
/*
 * mountinfo.c - see mountinfo.h.
 *
 * What must stay true: any text is safe to parse; what is not understood is skipped. Does not check whether
 * the folders exist, nor in which mount namespace.
 */
#include "mountinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"

char *mountinfo_read(void)
{
	autoclose int fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	autofree char *text = NULL;
	size_t used = 0, size = 0;

	while (fd >= 0) {
		ssize_t n;

		if (size - used < 4096) {
			char *more = realloc(text, size + 65536);

			if (!more)
				return NULL;
			text = more;
			size += 65536;
		}
		n = read(fd, text + used, size - used - 1);
		if (n < 0)
			return NULL;
		if (n == 0) {
			text[used] = '\0';
			return steal_ptr(&text);
		}
		used += (size_t)n;
	}
	return NULL;
}

/* ---- layers -------------------------------------------------------------------------------------------- */

struct walk {
	mountinfo_layer_fn fn;
	void *arg;
};

static bool is_octal(char c)
{
	return c >= '0' && c <= '7';
}

/* Turns "\040" into the byte that it stands for, in place. */
static void decode_octal(char *text)
{
	char *to = text;

	for (const char *from = text; *from; to++) {
		if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && is_octal(from[2]) &&
		    is_octal(from[3])) {
			*to = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
			from += 4;
		} else {
			*to = *from++;
		}
	}
	*to = '\0';
}

/* Ends TEXT at its first colon without a backslash before it, and removes the backslashes up to there.
 * Returns what follows the colon, or NULL. */
static char *split_layer(char *text)
{
	char *to = text;
	char *from = text;

	while (*from && *from != ':') {
		if (from[0] == '\\' && from[1])
			from++;
		*to++ = *from++;
	}
	from = *from == ':' ? from + 1 : NULL;
	*to = '\0';
	return from;
}

static int walk_list(const struct walk *w, const char *key, char *list)
{
	while (list) {
		char *rest = split_layer(list);
		int rc = list[0] ? w->fn(w->arg, key, list) : 0;

		if (rc)
			return rc;
		list = rest;
	}
	return 0;
}

/* Reports one folder. Kernels differ in whether it still has the backslashes of the mount command: both
 * readings are reported. */
static int walk_one(const struct walk *w, const char *key, char *folder)
{
	int rc = folder[0] ? w->fn(w->arg, key, folder) : 0;

	if (rc || !strchr(folder, '\\'))
		return rc;
	split_layer(folder);
	return folder[0] ? w->fn(w->arg, key, folder) : 0;
}

static int walk_option(const struct walk *w, char *option)
{
	char *value = strchr(option, '=');

	if (!value)
		return 0;
	*value++ = '\0';
	decode_octal(value);
	if (strcmp(option, "lowerdir") == 0)
		return walk_list(w, option, value);
	if (strcmp(option, "upperdir") == 0 || strcmp(option, "lowerdir+") == 0 ||
	    strcmp(option, "datadir+") == 0)
		return walk_one(w, option, value);
	return 0;
}

/* LINE may be modified: "... - overlay SOURCE OPTIONS", where no field has a space in it. */
static int walk_line(const struct walk *w, char *line)
{
	char *save = NULL;
	char *fields = strstr(line, " - overlay ");
	char *options;

	if (!fields)
		return 0;
	options = strchr(fields + strlen(" - overlay "), ' ');
	if (!options)
		return 0;
	for (char *o = strtok_r(options + 1, ",", &save); o; o = strtok_r(NULL, ",", &save)) {
		int rc = walk_option(w, o);

		if (rc)
			return rc;
	}
	return 0;
}

int mountinfo_layers(const char *text, mountinfo_layer_fn fn, void *arg)
{
	const struct walk w = {.fn = fn, .arg = arg};

	while (*text) {
		size_t len = strcspn(text, "\n");
		autofree char *line = strndup(text, len);
		int rc = line ? walk_line(&w, line) : -ENOMEM;

		if (rc)
			return rc;
		text += len + (text[len] == '\n');
	}
	return 0;
}

/* ---- types --------------------------------------------------------------------------------------------- */

int mountinfo_type(const char *text, uint64_t id, char *type, size_t size)
{
	for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		unsigned long long found;
		char *end;
		const char *dash;

		if (*line < '0' || *line > '9')
			continue;
		found = strtoull(line, &end, 10);
		if (*end != ' ' || found != id)
			continue;
		dash = strstr(end, " - "); /* no field has a space in it */
		if (!dash || dash > line + strcspn(line, "\n"))
			return -ENOENT;
		snprintf(type, size, "%.*s", (int)strcspn(dash + 3, " \n"), dash + 3);
		return 0;
	}
	return -ENOENT;
}
