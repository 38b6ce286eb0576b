/* SPDX-License-Identifier: MIT */
/*
 * workers.h - the threads that read requests from /dev/fuse and have libfuse answer them: one more whenever a
 * request comes while all others are at work, up to WORKERS_MAX.
 *
 * In place of fuse_session_loop_mt(3), for the end of a mount. If it goes away while a request is being read,
 * the kernel answers ECONNABORTED instead of ENODEV (fuse_dev_do_read()). libfuse takes that for a failure,
 * and reports it with perror(3) in threads that it cancels at the same time: one that is cancelled there
 * keeps stderr's lock, and the next one that prints waits forever. Besides, glibc loads a library to cancel
 * the first thread, and aborts without a descriptor or memory for it. Here both errors are the end of the
 * mount, and nobody is cancelled: a signal, SIGUSR2, wakes whoever reads.
 */
#ifndef SQLSNAPFS_WORKERS_H
#define SQLSNAPFS_WORKERS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "fs.h"

#define WORKERS_MAX 10

struct workers;

struct worker {
	struct workers *all; /* borrowed */
	pthread_t thread;
	void *request; /* owned; what it has read */
	bool reading;  /* guarded by all->lock; false: it has a request, or has ended */
};

struct workers {
	struct fuse_session *fuse; /* borrowed; mounted */
	pthread_mutex_t lock;	   /* guards all below */
	pthread_cond_t ended;	   /* signalled when OVER becomes true, and then when one no longer reads */
	bool over;
	int error; /* why: 0 or -errno */
	size_t count;
	struct worker threads[WORKERS_MAX];
};

void workers_init(struct workers *w, struct fuse_session *fuse);
void workers_finish(struct workers *w);

/* Serves the mount until it has gone or workers_end() is called, and until the requests that are being worked
 * on by then are answered or handed on; others get no answer. fuse_session_exited(3) is true from then on. 0;
 * -EPROTO: the kernel and libfuse do not agree in INIT; another -errno of read(2), or of starting the first
 * thread. */
int workers_run(struct workers *w);

/* Makes workers_run() return, or not start. From any thread but the workers, at any time until
 * workers_finish(). */
void workers_end(struct workers *w);

#endif
