/* SPDX-License-Identifier: MIT */
/*
 * json.h - writes one JSON text (RFC 8259), indented by tabs. It knows nothing of the content.
 *
 * Strings may hold any bytes. Each byte that is not valid UTF-8 becomes U+FFFD, so the text is always valid.
 * All control characters are escaped, also those that JSON would allow (DEL, U+0080 to U+009F), so that a
 * file name cannot control a terminal. The first failure (no memory, nested too deep) sticks: later calls do
 * nothing, and json_take() returns NULL.
 */
#ifndef SQLSNAPFS_JSON_H
#define SQLSNAPFS_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_DEPTH 16

struct json {
	char *text; /* owned */
	size_t used, room;
	unsigned depth;
	char closing[JSON_DEPTH]; /* } or ] for each open object or array */
	bool empty;		  /* the innermost open object or array is still empty */
	bool failed;
};

#define JSON_INIT ((struct json){.text = NULL})

/* Returns the text followed by a newline, owned by the caller; NULL: it failed. J is JSON_INIT again. */
char *json_take(struct json *j);

/* Makes the text fail, because its content is not available. */
void json_fail(struct json *j);

/* KEY is the member's name in an object, and NULL in an array and for the outermost value. */
void json_object(struct json *j, const char *key);
void json_array(struct json *j, const char *key);
void json_end(struct json *j); /* ends the innermost object or array */

void json_null(struct json *j, const char *key);
void json_bool(struct json *j, const char *key, bool value);
void json_number(struct json *j, const char *key, uint64_t value);
/* Milliseconds as seconds: 1234 is 1.234. */
void json_seconds(struct json *j, const char *key, int64_t ms);
void json_string(struct json *j, const char *key, const char *value); /* NULL: null */
/* CLOCK_REALTIME nanoseconds as "2026-11-20T03:15:02Z"; 0, and years of more than four digits: null. */
void json_time(struct json *j, const char *key, int64_t ns);
#define JSON_TIME_SIZE 40
/* The same, in TEXT; NULL instead of null. */
const char *json_time_text(int64_t ns, char text[JSON_TIME_SIZE]);

#endif
