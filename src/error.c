/* SPDX-License-Identifier: MIT */
/*
 * error.c - formatting of failures into the caller's memory.
 *
 * What must stay true: allocates nothing; errno survives; the text is always terminated and one line,
 * whatever a file name contains; a failure is never returned as 0. Does not log.
 */
#include "error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The text goes on one line of a log. */
static void one_line(char *text)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c < ' ' || c == 0x7f)
			*text = '?';
	}
}

/* Formats, and appends ": REASON" (NULL: nothing), which is kept whole even if the text before it must be
 * cut. An argument may be ERR's own text. */
static void put(struct snap_err *err, const char *reason, const char *format, va_list args)
	__attribute__((format(printf, 3, 0)));

static void put(struct snap_err *err, const char *reason, const char *format, va_list args)
{
	struct snap_err made;
	size_t room = sizeof(made.text), used;

	if (reason)
		room -= strlen(reason) + strlen(": ");
	if (vsnprintf(made.text, room, format, args) < 0)
		made.text[0] = '\0';
	if (reason) {
		used = strlen(made.text);
		snprintf(made.text + used, sizeof(made.text) - used, ": %s", reason);
	}
	one_line(made.text);
	memcpy(err->text, made.text, strlen(made.text) + 1);
}

int err_set(struct snap_err *err, int code, const char *format, ...)
{
	int saved = errno;
	va_list args;

	if (!err)
		return code;
	va_start(args, format);
	put(err, NULL, format, args);
	va_end(args);
	errno = saved;
	return code;
}

int err_errno(struct snap_err *err, const char *format, ...)
{
	int saved = errno, code = saved > 0 ? saved : EIO;
	char buf[128]; /* shorter than a text, so that put() has room for both */
	va_list args;

	if (!err)
		return -code;
	va_start(args, format);
	put(err, strerror_r(code, buf, sizeof(buf)), format, args);
	va_end(args);
	errno = saved;
	return -code;
}
