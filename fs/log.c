/* SPDX-License-Identifier: MIT */
/*
 * log.c - see log.h. The levels, the sink and the last echo are the program's only mutable globals. It
 * allocates nothing, so that it can log even without free memory; a line that cannot be written is lost.
 */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "../src/clock.h"
#include "../src/hash.h"
#include "log_ring.h"
#include "utf8.h"

#define LINE_MAX_BYTES 2048
#define ECHO_NS NS_PER_S

static _Atomic int log_level = SNAP_INFO;
static _Atomic int quiet_level = SNAP_DEBUG; /* lower levels go to the ring only */
static _Atomic int log_sink = LOG_TO_STDERR;
static _Atomic uint64_t echo_text;   /* a hash of the text of the last call; 0: none yet */
static _Atomic int64_t echo_told_ns; /* when that text was last reported as new */

void log_set_level(enum snap_level level)
{
	log_level = (int)level;
}

void log_set_quiet(enum snap_level level)
{
	quiet_level = (int)level;
}

void log_set_sink(enum log_sink sink)
{
	if (sink == LOG_TO_SYSLOG)
		openlog("sqlsnapfs", LOG_PID, LOG_DAEMON);
	log_sink = (int)sink;
}

bool log_wants(enum snap_level level)
{
	return (int)level >= log_level;
}

/* Whether the N bytes at C (N 0: a byte that begins no character) are a control character: C0, or C1, which
 * an 8-bit terminal also obeys as a single byte. */
static bool is_control(const unsigned char *c, size_t n)
{
	if (n == 2)
		return c[0] == 0xc2 && c[1] <= 0x9f;
	return *c < 0x20 || *c == 0x7f || (n == 0 && *c <= 0x9f);
}

char *log_escape(char *out, size_t size, const char *in)
{
	static const char digits[] = "0123456789abcdef";
	size_t used = 0;

	for (const unsigned char *c = (const unsigned char *)in; *c;) {
		size_t n = utf8_sequence(c);
		bool control = is_control(c, n);
		size_t bytes = n ? n : 1;

		if (used + bytes * (control ? 4 : 1) + 1 > size)
			break;
		for (size_t i = 0; i < bytes; i++, c++) {
			if (!control) {
				out[used++] = (char)*c;
				continue;
			}
			out[used++] = '\\';
			out[used++] = 'x';
			out[used++] = digits[*c >> 4];
			out[used++] = digits[*c & 15];
		}
	}
	if (size)
		out[used] = '\0';
	return out;
}

static const char *level_word(enum snap_level level)
{
	switch (level) {
	case SNAP_ERROR:
		return "error: ";
	case SNAP_WARNING:
		return "warning: ";
	case SNAP_DEBUG:
		return "debug: ";
	case SNAP_INFO:
	default:
		return "";
	}
}

static int level_priority(enum snap_level level)
{
	switch (level) {
	case SNAP_ERROR:
		return LOG_ERR;
	case SNAP_WARNING:
		return LOG_WARNING;
	case SNAP_DEBUG:
		return LOG_DEBUG;
	case SNAP_INFO:
	default:
		return LOG_INFO;
	}
}

static void write_line(const char *prefix, const char *module, const char *text)
{
	char line[LINE_MAX_BYTES + 64];
	int length = snprintf(line, sizeof(line), "sqlsnapfs: %s%s%s%s\n", prefix, module,
			      *module ? ": " : "", text);

	if (length < 0)
		return;
	if ((size_t)length >= sizeof(line))
		length = (int)sizeof(line) - 1;
	if (write(STDERR_FILENO, line, (size_t)length) < 0)
		return; /* there is nobody left to tell */
}

static void tell(enum snap_level level, const char *module, const char *text)
{
	if (log_sink == LOG_TO_SYSLOG)
		syslog(level_priority(level), "%s%s: %s", level_word(level), module, text);
	else
		write_line(level_word(level), module, text);
}

void log_line(enum snap_level level, const char *module, const char *format, ...)
{
	int saved = errno;
	char raw[LINE_MAX_BYTES / 2], text[LINE_MAX_BYTES];
	va_list ap;

	va_start(ap, format);
	vsnprintf(raw, sizeof(raw), format, ap);
	va_end(ap);
	log_escape(text, sizeof(text), raw);
	log_ring_add(level_word(level), module, text);
	if ((int)level >= quiet_level)
		tell(level, module, text);
	errno = saved;
}

/* A hash, never 0. Two texts with the same hash would cost a line, no more. */
static uint64_t number_of(const char *text)
{
	uint64_t number = hash_text(HASH_START, text);

	return number ? number : 1;
}

bool log_is_echo(const char *text, int64_t now)
{
	uint64_t number = number_of(text);

	if (atomic_exchange(&echo_text, number) == number && now - atomic_load(&echo_told_ns) < ECHO_NS)
		return true;
	atomic_store(&echo_told_ns, now);
	return false;
}

void log_refusal(const char *text)
{
	int saved = errno;
	char escaped[LINE_MAX_BYTES];

	write_line("", "", log_escape(escaped, sizeof(escaped), text));
	errno = saved;
}
