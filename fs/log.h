/* SPDX-License-Identifier: MIT */
/*
 * log.h - one line for each event, to stderr or to syslog (LOG_DAEMON).
 *
 * A file that logs defines LOG_MODULE, its name in each line, before it includes this. Thread-safe: a line is
 * one write(2). errno is preserved. Control characters in a line are written as \xNN, so that no file name
 * can forge a line.
 */
#ifndef SQLSNAPFS_LOG_H
#define SQLSNAPFS_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../src/sqlsnap.h"

enum log_sink {
	LOG_TO_STDERR, /* until told otherwise */
	LOG_TO_SYSLOG,
};

void log_set_level(enum snap_level level); /* lower levels are not logged; SNAP_INFO by default */
/* Lower levels go to .sqlsnapfs/log only (log_ring.h). */
void log_set_quiet(enum snap_level level);
void log_set_sink(enum log_sink sink);

bool log_wants(enum snap_level level);
void log_line(enum snap_level level, const char *module, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Whether TEXT is the same as at the last call, and was reported as new less than a second before NOW
 * (CLOCK_MONOTONIC), so that it is in the log already. For messages from code that does not limit their
 * number. */
bool log_is_echo(const char *text, int64_t now);

/* Prints "sqlsnapfs: TEXT" to stderr, at any level: a mistake of the user, or what keeps the program from
 * starting. */
void log_refusal(const char *text);

/* Copies IN to OUT (SIZE bytes, cut to fit, always terminated) with control characters as \xNN; returns OUT.
 */
char *log_escape(char *out, size_t size, const char *in);

#define log_at(level, ...)                                        \
	do {                                                      \
		if (log_wants(level))                             \
			log_line(level, LOG_MODULE, __VA_ARGS__); \
	} while (0)
#define log_error(...) log_at(SNAP_ERROR, __VA_ARGS__)
#define log_warn(...) log_at(SNAP_WARNING, __VA_ARGS__)
#define log_info(...) log_at(SNAP_INFO, __VA_ARGS__)
#define log_debug(...) log_at(SNAP_DEBUG, __VA_ARGS__)

#endif
