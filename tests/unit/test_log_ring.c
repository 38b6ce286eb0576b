/* SPDX-License-Identifier: MIT */
/* test_log_ring.c - the last lines of the log: in order, none that was not there, none too long. */
#include "unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOG_MODULE "test"
#include "../../fs/log.h"
#include "../../fs/log_ring.h"

/* Line I of TEXT, without its newline, in BUFFER; false past the end. */
static bool line_of(const char *text, unsigned i, char *buffer, size_t size)
{
	const char *end;

	for (; i > 0 && text; i--) {
		text = strchr(text, '\n');
		text = text ? text + 1 : NULL;
	}
	end = text ? strchr(text, '\n') : NULL;
	if (!end)
		return false;
	assert_between((size_t)(end - text), 1, size - 1);
	memcpy(buffer, text, (size_t)(end - text));
	buffer[end - text] = '\0';
	return true;
}

static unsigned lines_of(const char *text)
{
	unsigned count = 0;

	while ((text = strchr(text, '\n')) != NULL) {
		text++;
		count++;
	}
	return count;
}

/* Begins with the time, as date -u +%FT%TZ writes it, between FROM and TO; returns what follows. */
static const char *check_stamp(const char *line, time_t from, time_t to)
{
	struct tm tm = {0};
	const char *rest = strptime(line, "%Y-%m-%dT%H:%M:%SZ ", &tm);

	assert_non_null(rest);
	assert_int_equal(rest - line, 21);
	assert_between(timegm(&tm), from, to);
	return rest;
}

static void test_empty(void **state)
{
	char *text = log_recent();

	(void)state;
	assert_string_equal(text, "");
	free(text);
}

static void test_lines(void **state)
{
	char line[LOG_RING_WIDTH + 1], expected[64];
	time_t from = time(NULL);
	char *text;

	(void)state;
	for (unsigned i = 0; i < 3 * LOG_RING_LINES / 2; i++) {
		snprintf(expected, sizeof(expected), "line %u", i);
		log_ring_add(i % 2 ? "warning: " : "", "module", expected);
		text = log_recent();
		assert_non_null(text);
		assert_int_equal(lines_of(text), i < LOG_RING_LINES ? i + 1 : LOG_RING_LINES);
		free(text);
	}
	text = log_recent();
	for (unsigned i = 0; i < LOG_RING_LINES; i++) {
		unsigned number = i + LOG_RING_LINES / 2;

		assert_true(line_of(text, i, line, sizeof(line)));
		snprintf(expected, sizeof(expected), "%smodule: line %u", number % 2 ? "warning: " : "",
			 number);
		assert_string_equal(check_stamp(line, from, time(NULL)), expected);
	}
	assert_false(line_of(text, LOG_RING_LINES, line, sizeof(line)));
	free(text);
}

/* One byte less than fits, as long as fits, longer: cut, and followed by the next line all the same. */
static void test_long(void **state)
{
	char line[LOG_RING_WIDTH + 1], text[4 * LOG_RING_WIDTH];
	size_t head = strlen("2000-01-01T00:00:00Z m: ");
	static const struct {
		size_t length, shown;
	} cases[] = {
		{LOG_RING_WIDTH - 2, LOG_RING_WIDTH - 2}, {LOG_RING_WIDTH - 1, LOG_RING_WIDTH - 1},
		{LOG_RING_WIDTH, LOG_RING_WIDTH - 1},	  {LOG_RING_WIDTH + 1, LOG_RING_WIDTH - 1},
		{3 * LOG_RING_WIDTH, LOG_RING_WIDTH - 1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *recent;

		memset(text, 'x', sizeof(text));
		text[cases[i].length - head] = '\0';
		log_ring_add("", "m", text);
		log_ring_add("", "m", "next");
		recent = log_recent();
		assert_true(line_of(recent, LOG_RING_LINES - 2, line, sizeof(line)));
		assert_int_equal(strlen(line), cases[i].shown);
		assert_int_equal(strspn(line + head, "x"), cases[i].shown - head);
		assert_true(line_of(recent, LOG_RING_LINES - 1, line, sizeof(line)));
		assert_string_equal(line + head, "next");
		free(recent);
	}
}

/* What is logged stands there as it was written, and what is not wanted does not. */
static void test_log(void **state)
{
	char line[LOG_RING_WIDTH + 1];
	char *text;

	(void)state;
	log_set_level(SNAP_WARNING);
	log_line(SNAP_ERROR, "restore", "\"%s\" went wrong", "a\nb");
	log_at(SNAP_INFO, "not wanted");
	text = log_recent();
	assert_true(line_of(text, LOG_RING_LINES - 1, line, sizeof(line)));
	assert_string_equal(line + 21, "error: restore: \"a\\x0ab\" went wrong");
	free(text);
	log_set_level(SNAP_INFO);
}

/* What is said a thousand times a second is told once in it, and nothing else is lost. */
static void test_echo(void **state)
{
	const int64_t second = 1000000000, began = 5 * second;
	int told = 0;

	(void)state;
	for (int i = 0; i < 3000; i++)
		told += !log_is_echo("cannot start a thread", began + i * (second / 1000));
	assert_int_equal(told, 3);
	assert_false(log_is_echo("another", began + 3 * second));
	assert_true(log_is_echo("another", began + 3 * second + 1));
	assert_false(log_is_echo("cannot start a thread", began + 3 * second + 2));
	assert_false(log_is_echo("", began + 3 * second + 3));
}

/* What nobody is to be told in so many words stands there all the same. */
static void test_quiet(void **state)
{
	int copy = dup(STDERR_FILENO), pipes[2];
	char line[LOG_RING_WIDTH + 1], told[64];
	char *text;

	(void)state;
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	assert_true(copy >= 0 && dup2(pipes[1], STDERR_FILENO) == STDERR_FILENO);
	log_set_quiet(SNAP_WARNING);
	log_line(SNAP_INFO, "restore", "quiet");
	log_line(SNAP_WARNING, "restore", "loud");
	log_set_quiet(SNAP_DEBUG);
	assert_int_equal(dup2(copy, STDERR_FILENO), STDERR_FILENO);
	close(pipes[1]);
	close(copy);
	ssize_t n = read(pipes[0], told, sizeof(told) - 1);
	assert_true(n > 0);
	told[n] = '\0';
	close(pipes[0]);
	assert_string_equal(told, "sqlsnapfs: warning: restore: loud\n");
	text = log_recent();
	assert_true(line_of(text, LOG_RING_LINES - 2, line, sizeof(line)));
	assert_string_equal(line + 21, "restore: quiet");
	free(text);
}

/* ---- threads ------------------------------------------------------------------------------------------- */

#define THREADS 4
#define ADDS 2000

static void *add_lines(void *arg)
{
	char text[200];

	for (int i = 0; i < ADDS; i++) {
		memset(text, *(const char *)arg, sizeof(text));
		text[100 + i % 90] = '\0';
		log_ring_add("", "", text);
	}
	return NULL;
}

/* Every line is of one thread and has its length. */
static void test_threads(void **state)
{
	static const char letters[] = "abcd";
	char line[LOG_RING_WIDTH + 1];
	pthread_t threads[THREADS];

	(void)state;
	for (unsigned i = 0; i < LOG_RING_LINES; i++)
		log_ring_add("", "", "aaaa");
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, add_lines, (void *)&letters[i]), 0);
	for (int round = 0; round < 200; round++) {
		char *text = log_recent();

		assert_int_equal(lines_of(text), LOG_RING_LINES);
		for (unsigned i = 0; i < LOG_RING_LINES; i += 33) {
			assert_true(line_of(text, i, line, sizeof(line)));
			char one[2] = {line[23], '\0'};

			assert_non_null(strchr("abcd", one[0]));
			assert_int_equal(strspn(line + 23, one), strlen(line + 23));
		}
		free(text);
	}
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty), cmocka_unit_test(test_lines), cmocka_unit_test(test_long),
		cmocka_unit_test(test_log),   cmocka_unit_test(test_quiet), cmocka_unit_test(test_threads),
		cmocka_unit_test(test_echo),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
