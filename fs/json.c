/* SPDX-License-Identifier: MIT */
/* json.c - see json.h. Numbers are written the same way in every locale. */
#include "json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "utf8.h"

#define FIRST_ROOM 4096
#define REPLACEMENT "\\ufffd"

static void put(struct json *j, const char *bytes, size_t n)
{
	if (j->failed)
		return;
	if (j->room - j->used < n) {
		size_t room = j->room ? j->room : FIRST_ROOM;
		char *more;

		while (room - j->used < n)
			room *= 2;
		more = realloc(j->text, room);
		if (!more) {
			j->failed = true;
			return;
		}
		j->text = more;
		j->room = room;
	}
	memcpy(j->text + j->used, bytes, n);
	j->used += n;
}

static void put_text(struct json *j, const char *text)
{
	put(j, text, strlen(text));
}

char *json_take(struct json *j)
{
	char *text = NULL;

	if (j->depth > 0)
		j->failed = true;
	put(j, "\n", 2); /* with the terminating NUL */
	if (!j->failed)
		text = j->text;
	else
		free(j->text);
	*j = JSON_INIT;
	return text;
}

void json_fail(struct json *j)
{
	j->failed = true;
}

/* ---- strings ------------------------------------------------------------------------------------------- */

static void put_control(struct json *j, unsigned code)
{
	static const char letters[] = "btn\0fr"; /* U+0008 to U+000D */
	char text[8];

	if (code >= 8 && code <= 13 && letters[code - 8])
		snprintf(text, sizeof(text), "\\%c", letters[code - 8]);
	else
		snprintf(text, sizeof(text), "\\u%04x", code);
	put_text(j, text);
}

static void put_string(struct json *j, const char *value)
{
	const unsigned char *s = (const unsigned char *)value;

	put_text(j, "\"");
	while (*s) {
		size_t n = utf8_sequence(s);

		if (n == 0)
			put_text(j, REPLACEMENT);
		else if (*s == '"' || *s == '\\')
			put(j, (char[]){'\\', (char)*s}, 2);
		else if (*s < 0x20 || *s == 0x7f)
			put_control(j, *s);
		else if (*s == 0xc2 && s[1] < 0xa0)
			put_control(j, s[1]); /* C1: U+0080 to U+009F */
		else
			put(j, (const char *)s, n);
		s += n ? n : 1;
	}
	put_text(j, "\"");
}

/* ---- values -------------------------------------------------------------------------------------------- */

static void new_line(struct json *j)
{
	put_text(j, "\n");
	for (unsigned i = 0; i < j->depth; i++)
		put_text(j, "\t");
}

/* Writes what precedes a value. */
static void begin(struct json *j, const char *key)
{
	if (j->depth > 0) {
		if (!j->empty)
			put_text(j, ",");
		new_line(j);
	}
	j->empty = false;
	if (!key)
		return;
	put_string(j, key);
	put_text(j, ": ");
}

static void open_value(struct json *j, const char *key, const char *opening, char closing)
{
	begin(j, key);
	put_text(j, opening);
	if (j->depth == JSON_DEPTH) {
		j->failed = true;
		return;
	}
	j->closing[j->depth++] = closing;
	j->empty = true;
}

void json_object(struct json *j, const char *key)
{
	open_value(j, key, "{", '}');
}

void json_array(struct json *j, const char *key)
{
	open_value(j, key, "[", ']');
}

void json_end(struct json *j)
{
	if (j->depth == 0) {
		j->failed = true;
		return;
	}
	j->depth--;
	if (!j->empty)
		new_line(j);
	put(j, &j->closing[j->depth], 1);
	j->empty = false;
}

static void put_value(struct json *j, const char *key, const char *text)
{
	begin(j, key);
	put_text(j, text);
}

void json_null(struct json *j, const char *key)
{
	put_value(j, key, "null");
}

void json_bool(struct json *j, const char *key, bool value)
{
	put_value(j, key, value ? "true" : "false");
}

void json_number(struct json *j, const char *key, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	put_value(j, key, text);
}

void json_seconds(struct json *j, const char *key, int64_t ms)
{
	uint64_t size = ms < 0 ? 0 - (uint64_t)ms : (uint64_t)ms;
	char text[32];

	snprintf(text, sizeof(text), "%s%" PRIu64 ".%03" PRIu64, ms < 0 ? "-" : "", size / 1000, size % 1000);
	put_value(j, key, text);
}

void json_string(struct json *j, const char *key, const char *value)
{
	if (!value) {
		json_null(j, key);
		return;
	}
	begin(j, key);
	put_string(j, value);
}

const char *json_time_text(int64_t ns, char text[JSON_TIME_SIZE])
{
	time_t seconds = (time_t)(ns / 1000000000);
	struct tm tm;

	if (ns <= 0 || !gmtime_r(&seconds, &tm))
		return NULL;
	strftime(text, JSON_TIME_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm);
	return text;
}

void json_time(struct json *j, const char *key, int64_t ns)
{
	char text[JSON_TIME_SIZE];

	json_string(j, key, json_time_text(ns, text));
}
