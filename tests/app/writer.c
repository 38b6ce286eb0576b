/* SPDX-License-Identifier: MIT */
/*
 * writer.c - an application that writes to its SQLite database while others read copies of it.
 *
 * Runs until --commits or --seconds, or with --control until it is told to stop on stdin (or stdin ends).
 * Commands, one a line, each answered by one line on stdout after what was asked has happened: pause | resume
 * | commits? | stop      "paused N", "running N", "commits N", "stopping N" commit N N commits now, also
 * while paused: "commits N" exec SQL                              "ok" or "error RC" hang a spilled
 * transaction is left open, for kill -9: "hanging" close | open                          all connections:
 * "closed", "opened" The first line is "ready N" once the tables stand. The last line is a JSON object. Any
 * SQLITE_BUSY or other error of a transaction is counted, told on stderr and makes the exit status 1; a
 * checkpoint that could not finish because of a reader is no error but counted apart.
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <sqlite3.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "workload.h"

#define CONNECTIONS_MAX 8
#define LATENCIES_MAX (1u << 20)

struct app {
	struct workload_options options;
	struct workload conns[CONNECTIONS_MAX];
	int n_conns;
	bool open, control, paused, stopping;
	uint64_t seq, commits, errors, checkpoint_busy, tries;
	uint64_t max_commits;
	double seconds, rate;
	int checkpoint_every, vacuum_every, rollback_every, checkpoint_mode;
	struct workload_ack *ack;
	uint32_t *latency_us; /* owned; of the first LATENCIES_MAX commits */
	size_t n_latencies;
	char line[4096]; /* what of a command has arrived */
	size_t line_len;
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int app_open(struct app *a)
{
	int rc = 0;

	for (int i = 0; i < a->n_conns && !rc; i++)
		rc = workload_open(&a->conns[i], &a->options);
	a->open = true;
	return rc ? rc : workload_last(&a->conns[0], &a->seq);
}

static void app_close(struct app *a)
{
	for (int i = 0; i < a->n_conns; i++) {
		if (a->open && workload_close(&a->conns[i]))
			a->errors++;
	}
	a->open = false;
}

static void checkpoint(struct app *a, struct workload *w)
{
	int rc = sqlite3_wal_checkpoint_v2(w->db, NULL, a->checkpoint_mode, NULL, NULL);

	if (rc == SQLITE_BUSY)
		a->checkpoint_busy++;
	else if (rc)
		a->errors++;
}

static bool every(uint64_t count, int interval)
{
	return interval > 0 && count % (uint64_t)interval == 0;
}

static void commit_one(struct app *a)
{
	struct workload *w = &a->conns[a->tries++ % (uint64_t)a->n_conns];
	double started = now();

	if (every(a->tries, a->rollback_every) && workload_commit(w, a->seq + 1, false, NULL))
		a->errors++;
	if (workload_commit(w, a->seq + 1, true, a->ack)) {
		a->errors++;
		return;
	}
	a->seq = w->seq;
	a->commits++;
	if (a->n_latencies < LATENCIES_MAX)
		a->latency_us[a->n_latencies++] = (uint32_t)((now() - started) * 1e6);
	if (every(a->seq, a->checkpoint_every))
		checkpoint(a, w);
	if (every(a->seq, a->vacuum_every) && workload_exec(w, "VACUUM"))
		a->errors++;
}

static void answer(const char *word, uint64_t number)
{
	printf("%s %llu\n", word, (unsigned long long)number);
	fflush(stdout);
}

static void say(const char *text)
{
	puts(text);
	fflush(stdout);
}

static void command_exec(struct app *a, const char *sql)
{
	int rc = a->open ? workload_exec(&a->conns[0], sql) : SQLITE_MISUSE;

	if (rc)
		answer("error", (uint64_t)rc);
	else
		say("ok");
}

static void command(struct app *a, const char *line)
{
	if (strcmp(line, "pause") == 0) {
		a->paused = true;
		answer("paused", a->seq);
	} else if (strcmp(line, "resume") == 0) {
		a->paused = false;
		answer("running", a->seq);
	} else if (strcmp(line, "commits?") == 0) {
		answer("commits", a->seq);
	} else if (strcmp(line, "stop") == 0) {
		a->stopping = true;
		answer("stopping", a->seq);
	} else if (strncmp(line, "commit ", 7) == 0) {
		for (long n = strtol(line + 7, NULL, 10); n > 0; n--)
			commit_one(a);
		answer("commits", a->seq);
	} else if (strncmp(line, "exec ", 5) == 0) {
		command_exec(a, line + 5);
	} else if (strcmp(line, "hang") == 0) {
		a->paused = true;
		say(workload_leave_open(&a->conns[0]) ? "error" : "hanging");
	} else if (strcmp(line, "close") == 0) {
		a->paused = true;
		app_close(a);
		say("closed");
	} else if (strcmp(line, "open") == 0) {
		say(app_open(a) ? "error" : "opened");
	} else {
		say("error unknown command");
	}
}

/* Takes what stdin has within TIMEOUT_MS (-1: waits); the end of stdin stops. */
static void take_commands(struct app *a, int timeout_ms)
{
	struct pollfd pfd = {.fd = STDIN_FILENO, .events = POLLIN};
	char *newline;
	ssize_t got;

	if (poll(&pfd, 1, timeout_ms) <= 0)
		return;
	got = read(STDIN_FILENO, a->line + a->line_len, sizeof(a->line) - 1 - a->line_len);
	if (got <= 0) {
		a->stopping = true;
		return;
	}
	a->line_len += (size_t)got;
	a->line[a->line_len] = '\0';
	while ((newline = strchr(a->line, '\n'))) {
		*newline = '\0';
		command(a, a->line);
		a->line_len -= (size_t)(newline + 1 - a->line);
		memmove(a->line, newline + 1, a->line_len + 1);
	}
}

static void wait_until(struct app *a, double due)
{
	double left;

	while (!a->stopping && (left = due - now()) > 0) {
		if (a->control)
			take_commands(a, left < 0.001 ? 1 : (int)(left * 1e3));
		else
			nanosleep(&(struct timespec){.tv_sec = (time_t)left,
						     .tv_nsec = (long)((left - (double)(time_t)left) * 1e9)},
				  NULL);
	}
}

static void run(struct app *a)
{
	double started = now(), due = started;

	while (!a->stopping) {
		if (a->control)
			take_commands(a, a->paused ? -1 : 0);
		if (a->paused || a->stopping)
			continue;
		commit_one(a);
		if ((a->max_commits && a->commits >= a->max_commits) || a->errors > 1000 ||
		    (a->seconds > 0 && now() - started >= a->seconds))
			break;
		if (a->rate > 0) {
			due += 1 / a->rate;
			wait_until(a, due);
		}
	}
}

static int compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void report(struct app *a, double seconds)
{
	size_t n = a->n_latencies;

	qsort(a->latency_us, n, sizeof(*a->latency_us), compare_u32);
	printf("{\"commits\": %llu, \"last\": %llu, \"errors\": %llu, \"checkpoint_busy\": %llu, "
	       "\"seconds\": %.3f, "
	       "\"p50_us\": %u, \"p99_us\": %u, \"max_us\": %u}\n",
	       (unsigned long long)a->commits, (unsigned long long)a->seq, (unsigned long long)a->errors,
	       (unsigned long long)a->checkpoint_busy, seconds, n ? a->latency_us[n / 2] : 0,
	       n ? a->latency_us[n - 1 - n / 100] : 0, n ? a->latency_us[n - 1] : 0);
	fflush(stdout);
}

static int checkpoint_mode(const char *name)
{
	static const char *const names[] = {"passive", "full", "restart", "truncate"};

	for (int i = 0; i < 4; i++) {
		if (strcmp(name, names[i]) == 0)
			return i; /* SQLITE_CHECKPOINT_PASSIVE .. TRUNCATE are 0 .. 3 */
	}
	fprintf(stderr, "writer: no such checkpoint mode: %s\n", name);
	exit(2);
}

enum option_kind { OPTION_INT, OPTION_U64, OPTION_DOUBLE, OPTION_TEXT, OPTION_FLAG, OPTION_MODE, OPTION_ACK };

/* Every option by name: what kind of value it has and where that goes. */
static const struct {
	const char *name;
	enum option_kind kind;
	size_t offset; /* in struct app */
} options[] = {
	{"db", OPTION_TEXT, offsetof(struct app, options.path)},
	{"journal", OPTION_TEXT, offsetof(struct app, options.journal)},
	{"sync", OPTION_TEXT, offsetof(struct app, options.sync)},
	{"page-size", OPTION_INT, offsetof(struct app, options.page_size)},
	{"auto-vacuum", OPTION_INT, offsetof(struct app, options.auto_vacuum)},
	{"rows", OPTION_INT, offsetof(struct app, options.rows)},
	{"keep", OPTION_INT, offsetof(struct app, options.keep)},
	{"cache-size", OPTION_INT, offsetof(struct app, options.cache_size)},
	{"autocheckpoint", OPTION_INT, offsetof(struct app, options.autocheckpoint)},
	{"busy-timeout", OPTION_INT, offsetof(struct app, options.busy_timeout)},
	{"big-row", OPTION_INT, offsetof(struct app, options.big_size)},
	{"big-every", OPTION_INT, offsetof(struct app, options.big_every)},
	{"base", OPTION_U64, offsetof(struct app, options.base)},
	{"follow", OPTION_FLAG, offsetof(struct app, options.follow)},
	{"exclusive", OPTION_FLAG, offsetof(struct app, options.exclusive)},
	{"seed", OPTION_U64, offsetof(struct app, options.seed)},
	{"connections", OPTION_INT, offsetof(struct app, n_conns)},
	{"commits", OPTION_U64, offsetof(struct app, max_commits)},
	{"seconds", OPTION_DOUBLE, offsetof(struct app, seconds)},
	{"rate", OPTION_DOUBLE, offsetof(struct app, rate)},
	{"checkpoint-every", OPTION_INT, offsetof(struct app, checkpoint_every)},
	{"checkpoint-mode", OPTION_MODE, offsetof(struct app, checkpoint_mode)},
	{"vacuum-every", OPTION_INT, offsetof(struct app, vacuum_every)},
	{"rollback-every", OPTION_INT, offsetof(struct app, rollback_every)},
	{"control", OPTION_FLAG, offsetof(struct app, control)},
	{"paused", OPTION_FLAG, offsetof(struct app, paused)},
	{"ack", OPTION_ACK, offsetof(struct app, ack)},
};
#define N_OPTIONS (sizeof(options) / sizeof(options[0]))

static void usage(void)
{
	fputs("usage: writer --db PATH [options]; they stand in writer.c\n", stderr);
	exit(2);
}

static void take_option(struct app *a, size_t i, const char *value)
{
	char *field = (char *)a + options[i].offset;

	switch (options[i].kind) {
	case OPTION_INT:
		*(int *)(void *)field = (int)strtol(value, NULL, 10);
		break;
	case OPTION_U64:
		*(uint64_t *)(void *)field = strtoull(value, NULL, 10);
		break;
	case OPTION_DOUBLE:
		*(double *)(void *)field = strtod(value, NULL);
		break;
	case OPTION_TEXT:
		*(const char **)(void *)field = value;
		break;
	case OPTION_FLAG:
		*(bool *)field = true;
		break;
	case OPTION_MODE:
		*(int *)(void *)field = checkpoint_mode(value);
		break;
	case OPTION_ACK:
		a->ack = workload_ack_map(value, true);
		if (!a->ack)
			exit(2);
		break;
	}
}

static void take_options(struct app *a, int argc, char **argv)
{
	struct option list[N_OPTIONS + 1] = {0};
	int i;

	for (size_t n = 0; n < N_OPTIONS; n++)
		list[n] = (struct option){options[n].name, options[n].kind != OPTION_FLAG, NULL, (int)n};
	while ((i = getopt_long(argc, argv, "", list, NULL)) != -1) {
		if (i == '?')
			usage();
		take_option(a, (size_t)i, optarg);
	}
}

static struct app app = {
	.n_conns = 1,
	.options = {.journal = "wal",
		    .sync = "normal",
		    .page_size = 4096,
		    .rows = 1000,
		    .keep = 500,
		    .autocheckpoint = -1,
		    .big_every = 50,
		    .seed = 1},
};

int main(int argc, char **argv)
{
	double started;

	take_options(&app, argc, argv);
	app.latency_us = calloc(LATENCIES_MAX, sizeof(*app.latency_us));
	if (!app.options.path || !app.latency_us || app.n_conns < 1 || app.n_conns > CONNECTIONS_MAX)
		usage();
	if (app_open(&app))
		return 1;
	if (app.ack) {
		app.ack->begun = app.seq;
		app.ack->acked = app.seq;
	}
	answer("ready", app.seq);
	started = now();
	run(&app);
	app_close(&app);
	report(&app, now() - started);
	free(app.latency_us);
	return app.errors ? 1 : 0;
}
