/* SPDX-License-Identifier: MIT */
/*
 * wal_reset_app.h - the application of wal_reset.c: another process, because POSIX locks are per process,
 * which counts what it has committed. It is another instance of the program: a child that only forks from a
 * process with threads may find any lock taken for ever, AddressSanitizer's own above all.
 */
#ifndef SQLSNAP_TEST_WAL_RESET_APP_H
#define SQLSNAP_TEST_WAL_RESET_APP_H

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define INSERT "INSERT INTO t(b) VALUES(randomblob(3000))"

static inline _Noreturn void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, " (%s)\n", strerror(errno));
	exit(1);
}

struct app {
	pid_t pid;
	int sock;
	bool open, in_transaction;
	int64_t rows; /* that were committed */
};

struct reply {
	int rc;
	int64_t value;
};

static inline int take_value(void *arg, int n, char **values, char **names)
{
	(void)names;
	*(int64_t *)arg = n > 0 && values[0] ? strtoll(values[0], NULL, 10) : 0;
	return 0;
}

/* Answers SQL, ".open" and ".close". */
static inline _Noreturn void app_serve(const char *path, int sock)
{
	sqlite3 *db = NULL;
	char sql[512];
	ssize_t got;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while ((got = read(sock, sql, sizeof(sql) - 1)) > 0) {
		struct reply reply = {0};

		sql[got] = '\0';
		if (strcmp(sql, ".open") == 0) {
			reply.rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
						   "unix");
		} else if (strcmp(sql, ".close") == 0) {
			reply.rc = sqlite3_close(db);
			db = NULL;
		} else {
			reply.rc = sqlite3_exec(db, sql, take_value, &reply.value, NULL);
		}
		if (write(sock, &reply, sizeof(reply)) != sizeof(reply))
			break;
	}
	_exit(0);
}

static inline void app_start(struct app *app, const char *path)
{
	int ends[2];

	*app = (struct app){0};
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) || (app->pid = fork()) < 0)
		die("the application");
	if (app->pid == 0) {
		char sock[16];

		snprintf(sock, sizeof(sock), "%d", ends[1]);
		fcntl(ends[1], F_SETFD, 0);
		execl("/proc/self/exe", "wal_reset", "app", path, sock, NULL);
		_exit(127);
	}
	close(ends[1]);
	app->sock = ends[0];
}

static inline void app_stop(struct app *app)
{
	close(app->sock);
	waitpid(app->pid, NULL, 0);
}

static inline struct reply app_ask(struct app *app, const char *sql)
{
	struct reply reply;

	if (write(app->sock, sql, strlen(sql)) < 0 || read(app->sock, &reply, sizeof(reply)) != sizeof(reply))
		die("the application has ended");
	return reply;
}

static inline void app_do(struct app *app, const char *sql)
{
	int rc = app_ask(app, sql).rc;

	if (rc)
		die("the application: %s: %s", sql, sqlite3_errstr(rc));
}

static inline bool app_try(struct app *app, const char *sql)
{
	return app_ask(app, sql).rc == SQLITE_OK;
}

static inline void app_open(struct app *app)
{
	app_do(app, ".open");
	app->open = true;
}

static inline bool app_commits(struct app *app)
{
	bool ok = app_try(app, INSERT);

	app->rows += ok;
	return ok;
}

#endif
