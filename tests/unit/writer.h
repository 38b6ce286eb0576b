/* SPDX-License-Identifier: MIT */
/*
 * writer.h - an application that never stops: it moves amounts between rows of t(a, n, b), so that the sum of
 * n stays, grows and shrinks, and checkpoints.
 */
#ifndef SQLSNAP_TEST_WRITER_H
#define SQLSNAP_TEST_WRITER_H

#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>

#include "app.h"

struct writer {
	pid_t pid;	     /* 0: none */
	int go;		     /* closing it lets the writer begin */
	atomic_int *commits; /* shared with it */
};

static inline void write_without_end(const char *path, int go, atomic_int *commits)
{
	static const char *const others[] = {
		"UPDATE t SET b=randomblob(length(b)) WHERE a%7=abs(random())%7",
		"INSERT INTO t(n, b) SELECT 0, b FROM t WHERE a%9=0",
		"PRAGMA wal_checkpoint(PASSIVE)",
		"DELETE FROM t WHERE n=0",
		"PRAGMA wal_checkpoint(FULL)",
	};
	sqlite3 *db;
	char byte;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (read(go, &byte, 1) != 0 || sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, "unix") != SQLITE_OK)
		_exit(2);
	sqlite3_busy_timeout(db, 60000);
	sqlite3_exec(db, "PRAGMA synchronous=OFF; PRAGMA wal_autocheckpoint=0", NULL, NULL, NULL);
	for (unsigned i = 0;; i++) {
		char sql[200];

		snprintf(sql, sizeof(sql),
			 "BEGIN; UPDATE t SET n=n-7 WHERE a=%u; UPDATE t SET n=n+7 WHERE a=%u; COMMIT",
			 i % 50 + 1, i % 37 + 60);
		if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
			_exit(2);
		atomic_fetch_add(commits, 1);
		sqlite3_busy_timeout(db, 0); /* FULL would wait for readers */
		if (i % 4 == 0)
			sqlite3_exec(db, others[i / 4 % 5], NULL, NULL, NULL);
		sqlite3_busy_timeout(db, 60000);
		nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL); /* not to hog the machine */
	}
}

/* It begins when it is told to, but must be there before this process opens the database. */
static inline void writer_prepare(struct writer *writer, const char *path)
{
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	writer->commits = mmap(NULL, sizeof(*writer->commits), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(writer->commits != MAP_FAILED);
	atomic_init(writer->commits, 0);
	writer->pid = fork();
	assert_true(writer->pid >= 0);
	if (writer->pid == 0) {
		close(ends[1]);
		write_without_end(path, ends[0], writer->commits);
	}
	close(ends[0]);
	writer->go = ends[1];
}

/* Waits for N commits more; the writer is alive. */
static inline void writer_await(struct writer *writer, int n)
{
	int from;

	if (writer->go >= 0)
		close(writer->go);
	writer->go = -1;
	from = atomic_load(writer->commits);
	while (atomic_load(writer->commits) < from + n) {
		assert_int_equal(waitpid(writer->pid, NULL, WNOHANG), 0);
		sched_yield();
	}
}

/* Kills it, if there is one. */
static inline void writer_stop(struct writer *writer)
{
	if (!writer->pid)
		return;
	kill(writer->pid, SIGKILL);
	assert_int_equal(waitpid(writer->pid, NULL, 0), writer->pid);
	writer->pid = 0;
	if (writer->go >= 0)
		close(writer->go);
	munmap(writer->commits, sizeof(*writer->commits));
}

#endif
