/* SPDX-License-Identifier: MIT */
/*
 * app.h - what the tests of the database layer share: a folder, an "application" in another process, and
 * harmless looks at files.
 *
 * The application must be another process, because POSIX locks are per process; and it must be started before
 * this one opens the database, because SQLite's list of open inodes is inherited by fork(2). Files are read
 * in a process of their own, because closing any descriptor of a database drops the reader's locks on it.
 */
#ifndef SQLSNAP_TEST_APP_H
#define SQLSNAP_TEST_APP_H

#include "unit.h"

#include <endian.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

struct folder {
	char path[64];
	int fd; /* O_PATH */
};

struct app {
	pid_t pid;
	int sock;
};

struct app_reply {
	int rc;
	int64_t value; /* first column of the last row */
};

struct file_look {
	int64_t size; /* -1: no such file */
	uint64_t sum;
};

/* ---- folder -------------------------------------------------------------------------------------------- */

static inline void folder_make(struct folder *folder)
{
	snprintf(folder->path, sizeof(folder->path), "/tmp/sqlsnap-test-XXXXXX");
	assert_non_null(mkdtemp(folder->path));
	folder->fd = open(folder->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_true(folder->fd >= 0);
}

/* After something was mounted over it. */
static inline void folder_reopen(struct folder *folder)
{
	close(folder->fd);
	folder->fd = open(folder->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_true(folder->fd >= 0);
}

/* Mounts a tmpfs over the folder, until it is removed. Needs root, and a mount namespace: own_mounts.h. */
static inline void folder_mount_tmpfs(struct folder *folder, const char *options)
{
	assert_int_equal(mount("test", folder->path, "tmpfs", 0, options), 0);
	folder_reopen(folder);
}

/* Leaves FREE_BYTES on FOLDER's file system. */
static inline void folder_leave_free(const struct folder *folder, uint64_t free_bytes)
{
	struct statvfs vfs;
	int fd = openat(folder->fd, "filler", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(fstatvfs(fd, &vfs), 0);
	assert_int_equal(fallocate(fd, 0, 0, (off_t)(vfs.f_bavail * vfs.f_frsize - free_bytes)), 0);
	close(fd);
}

static inline void folder_remove(struct folder *folder)
{
	char command[192];

	close(folder->fd);
	umount2(folder->path, MNT_DETACH); /* fails where nothing is mounted */
	snprintf(command, sizeof(command), "chmod -R u+w %s; rm -rf %s", folder->path, folder->path);
	assert_int_equal(system(command), 0);
}

static inline const char *folder_file(const struct folder *folder, const char *name, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/%s", folder->path, name);
	return path;
}

static inline bool file_exists(const struct folder *folder, const char *name)
{
	struct stat st;

	return fstatat(folder->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* ---- processes ----------------------------------------------------------------------------------------- */

static inline void transfer(int fd, void *buf, size_t size, bool out)
{
	for (size_t done = 0; done < size;) {
		ssize_t n = out ? write(fd, (char *)buf + done, size - done)
				: read(fd, (char *)buf + done, size - done);

		if (n <= 0)
			_exit(3);
		done += (size_t)n;
	}
}

/* Runs fn(arg) in a process of its own; its return value is the exit status. */
static inline int in_child(int (*fn)(void *arg), void *arg)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(fn(arg));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

static inline void look_in_child(const char *path, int out)
{
	struct file_look look = {-1, 14695981039346656037u};
	unsigned char buf[65536];
	int fd = open(path, O_RDONLY);
	ssize_t n;

	if (fd >= 0) {
		look.size = 0;
		while ((n = read(fd, buf, sizeof(buf))) > 0) {
			look.size += n;
			for (ssize_t i = 0; i < n; i++)
				look.sum = (look.sum ^ buf[i]) * 1099511628211u;
		}
	}
	transfer(out, &look, sizeof(look), true);
	_exit(0);
}

static inline struct file_look file_look(const struct folder *folder, const char *name)
{
	struct file_look look;
	char path[PATH_MAX];
	int ends[2], status;
	pid_t pid;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		look_in_child(folder_file(folder, name, path), ends[1]);
	close(ends[1]);
	assert_int_equal(read(ends[0], &look, sizeof(look)), sizeof(look));
	close(ends[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return look;
}

static inline void assert_same_file(struct file_look a, struct file_look b)
{
	assert_int_equal(a.size, b.size);
	assert_true(a.sum == b.sum);
}

static inline int count_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* ---- the application ----------------------------------------------------------------------------------- */

static inline int app_row(void *arg, int n, char **values, char **names)
{
	struct app_reply *reply = arg;

	(void)names;
	reply->value = n > 0 && values[0] ? strtoll(values[0], NULL, 10) : 0;
	return 0;
}

/* Answers statements until the socket closes, then closes its connection as an application does. */
static inline void app_serve(const char *path, int sock)
{
	sqlite3 *db;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, "unix") != SQLITE_OK)
		_exit(2);
	sqlite3_extended_result_codes(db, 1);
	for (;;) {
		struct app_reply reply = {0};
		uint32_t size;
		char *sql;

		if (read(sock, &size, sizeof(size)) != sizeof(size))
			break;
		sql = calloc(1, size + 1u);
		if (!sql)
			_exit(2);
		transfer(sock, sql, size, false);
		reply.rc = sqlite3_exec(db, sql, app_row, &reply, NULL);
		free(sql);
		transfer(sock, &reply, sizeof(reply), true);
	}
	_exit(sqlite3_close(db) == SQLITE_OK ? 0 : 1);
}

static inline void app_start(struct app *app, const struct folder *folder, const char *name)
{
	char path[PATH_MAX];
	int ends[2];

	folder_file(folder, name, path);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	app->pid = fork();
	assert_true(app->pid >= 0);
	if (app->pid == 0) {
		close(ends[0]);
		app_serve(path, ends[1]);
	}
	close(ends[1]);
	app->sock = ends[0];
}

static inline struct app_reply app_ask(struct app *app, const char *sql)
{
	uint32_t size = (uint32_t)strlen(sql);
	struct app_reply reply;

	assert_int_equal(write(app->sock, &size, sizeof(size)), sizeof(size));
	assert_int_equal(write(app->sock, sql, size), size);
	assert_int_equal(read(app->sock, &reply, sizeof(reply)), sizeof(reply));
	return reply;
}

static inline void app_do(struct app *app, const char *sql)
{
	assert_int_equal(app_ask(app, sql).rc, SQLITE_OK);
}

static inline int64_t app_get(struct app *app, const char *sql)
{
	struct app_reply reply = app_ask(app, sql);

	assert_int_equal(reply.rc, SQLITE_OK);
	return reply.value;
}

/* The answer of SQL on a database of SIZE bytes, which are changed. */
static inline int64_t ask_bytes(unsigned char *bytes, uint64_t size, const char *sql)
{
	struct app_reply reply = {0};
	sqlite3 *db;

	bytes[18] = bytes[19] = 1; /* a database in memory has no WAL */
	assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
	assert_int_equal(sqlite3_deserialize(db, "main", bytes, (sqlite3_int64)size, (sqlite3_int64)size, 0),
			 SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, app_row, &reply, NULL), SQLITE_OK);
	sqlite3_close(db);
	return reply.value;
}

/* A last close, or death without one. */
static inline void app_stop(struct app *app)
{
	int status;

	shutdown(app->sock, SHUT_WR); /* a close alone is not seen while another child has a copy */
	assert_int_equal(waitpid(app->pid, &status, 0), app->pid);
	assert_int_equal(status, 0);
	close(app->sock);
}

/* Makes an empty database with 8 reserved bytes a page, for which there is no SQL. Before this process opens
 * it. */
static inline void make_reserved(const struct folder *folder, const char *name)
{
	static const unsigned char reserved = 8, content_at[2] = {(4096 - 8) >> 8, (4096 - 8) & 255};
	char path[PATH_MAX];
	struct app app;
	int fd;

	app_start(&app, folder, name);
	assert_int_equal(app_get(&app, "PRAGMA user_version=1; PRAGMA page_size"), 4096);
	app_stop(&app);
	folder_file(folder, name, path);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, &reserved, 1, 20), 1);
	assert_int_equal(pwrite(fd, content_at, 2, 105), 2);
	close(fd);
}

#define JOURNAL_MAGIC "\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"

/* Ends JOURNAL as SQLite does in a transaction over several databases: with the name of the super-journal. */
static inline void name_super(const struct folder *folder, const char *journal, const char *super)
{
	uint32_t size = (uint32_t)strlen(super), sum = 0, page = htobe32(0x40000000 / 4096 + 1), end[2];
	int fd = openat(folder->fd, journal, O_WRONLY | O_APPEND | O_CLOEXEC);

	for (uint32_t i = 0; i < size; i++)
		sum += (uint8_t)super[i];
	end[0] = htobe32(size);
	end[1] = htobe32(sum);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, &page, sizeof(page)), sizeof(page));
	assert_int_equal(write(fd, super, size), size);
	assert_int_equal(write(fd, end, sizeof(end)), sizeof(end));
	assert_int_equal(write(fd, JOURNAL_MAGIC, 8), 8);
	close(fd);
}

static inline void app_kill(struct app *app)
{
	int status;

	kill(app->pid, SIGKILL);
	assert_int_equal(waitpid(app->pid, &status, 0), app->pid);
	close(app->sock);
}

#define APP_WAL \
	"PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; CREATE TABLE t(a INTEGER PRIMARY KEY, b)"
#define APP_ROWS(n)                                                                     \
	"WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<" #n ") " \
	"INSERT INTO t(b) SELECT randomblob(300) FROM c"

#endif
