/* SPDX-License-Identifier: MIT */
/*
 * workers.c - see workers.h. No request is ever interrupted by the signal: it is sent under the lock, and
 * only to a worker that needs the lock before it goes on from its read(2).
 */
#include "workers.h"

#include <errno.h>
#include <linux/fuse.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../src/clock.h"
#include "../src/thread.h"
#include "buffers.h"

#define LOG_MODULE "fuse"
#include "log.h"

/* Bytes of the largest request: a WRITE, and more room for its headers than any version needs. */
#define REQUEST_SIZE (BUFFER_SIZE + 4096)
_Static_assert(REQUEST_SIZE >= FUSE_MIN_READ_BUFFER, "the kernel refuses a smaller read");

#define WAKE SIGUSR2
#define WAKE_EVERY_NS (10 * NS_PER_MS)

static void be_woken(int sig)
{
	(void)sig;
}

void workers_init(struct workers *w, struct fuse_session *fuse)
{
	struct sigaction action = {.sa_handler = be_woken}; /* without SA_RESTART */

	*w = (struct workers){.fuse = fuse};
	pthread_mutex_init(&w->lock, NULL);
	cond_init_monotonic(&w->ended);
	sigaction(WAKE, &action, NULL);
}

void workers_finish(struct workers *w)
{
	pthread_mutex_destroy(&w->lock);
	pthread_cond_destroy(&w->ended);
}

/* Lock held. */
static void end(struct workers *w, int error)
{
	if (w->over)
		return;
	w->over = true;
	w->error = error;
	/* Replies that are still to come would otherwise be reported as failures. */
	fuse_session_exit(w->fuse);
	pthread_cond_signal(&w->ended);
}

void workers_end(struct workers *w)
{
	pthread_mutex_lock(&w->lock);
	end(w, 0);
	pthread_mutex_unlock(&w->lock);
}

static void *work(void *arg);

/* Lock held. -errno */
static int start_another(struct workers *w)
{
	struct worker *one = &w->threads[w->count];
	int rc = -ENOMEM;

	*one = (struct worker){.all = w, .request = malloc(REQUEST_SIZE), .reading = true};
	if (one->request)
		rc = thread_start(&one->thread, NULL, work, one);
	if (rc < 0) {
		free(one->request);
		return rc;
	}
	w->count++;
	return 0;
}

/* It will be tried again at each request: the same failure is logged once a second at most. Without the lock:
 * who reads the log may be slow. */
static void log_failure(int rc, size_t count)
{
	char text[128];

	snprintf(text, sizeof(text), "cannot start a thread: %s, going on with %zu", strerror(-rc), count);
	if (!log_is_echo(text, monotonic_ns()))
		log_warn("%s", text);
}

/* How many read, or are about to. Lock held. */
static size_t count_reading(const struct workers *w)
{
	size_t n = 0;

	for (size_t i = 0; i < w->count; i++)
		n += w->threads[i].reading;
	return n;
}

static bool is_over(struct workers *w)
{
	bool over;

	pthread_mutex_lock(&w->lock);
	over = w->over;
	pthread_mutex_unlock(&w->lock);
	return over;
}

/* Reads a request. Its size in bytes; 0: the mount has gone; -errno */
static ssize_t next_request(const struct worker *self)
{
	ssize_t got;
	int error;

	do {
		got = read(fuse_session_fd(self->all->fuse), self->request, REQUEST_SIZE);
		error = got < 0 ? errno : 0;
		/* ENOENT: whoever made it was interrupted in that moment. */
	} while ((error == ENOENT || error == EINTR) && !is_over(self->all));
	if (error)
		return error == ENODEV || error == ECONNABORTED ? 0 : -error;
	return got < (ssize_t)sizeof(struct fuse_in_header) ? -EIO : got;
}

/* Called with what next_request() has returned. Whether that is a request to be answered. */
static bool take(struct worker *self, ssize_t got)
{
	struct workers *w = self->all;
	size_t count;
	bool over;
	int rc = 0;

	pthread_mutex_lock(&w->lock);
	self->reading = false;
	if (got <= 0)
		end(w, (int)got);
	over = w->over;
	if (over)
		pthread_cond_signal(&w->ended);
	else if (w->count < WORKERS_MAX && count_reading(w) == 0)
		rc = start_another(w);
	count = w->count;
	pthread_mutex_unlock(&w->lock);
	if (rc < 0)
		log_failure(rc, count);
	return !over;
}

/* Called after a request. Whether to read another one. */
static bool go_on(struct worker *self)
{
	struct workers *w = self->all;
	bool over;

	pthread_mutex_lock(&w->lock);
	if (fuse_session_exited(w->fuse))
		end(w, -EPROTO); /* libfuse ended it */
	over = w->over;
	self->reading = !over;
	pthread_mutex_unlock(&w->lock);
	return !over;
}

static void *work(void *arg)
{
	struct worker *self = arg;
	struct fuse_buf request = {.mem = self->request};
	sigset_t wake;

	sigemptyset(&wake);
	sigaddset(&wake, WAKE);
	pthread_sigmask(SIG_UNBLOCK, &wake, NULL);
	do {
		ssize_t got = next_request(self);

		if (!take(self, got))
			break;
		request.size = (size_t)got;
		fuse_session_process_buf(self->all->fuse, &request);
	} while (go_on(self));
	return NULL;
}

/* Makes all readers return. A signal just before read(2) has no effect, so it is sent again. Lock held. */
static void wake_readers(struct workers *w)
{
	while (count_reading(w) > 0) {
		struct timespec until = ns_timespec(monotonic_ns() + WAKE_EVERY_NS);

		for (size_t i = 0; i < w->count; i++)
			if (w->threads[i].reading)
				pthread_kill(w->threads[i].thread, WAKE);
		pthread_cond_timedwait(&w->ended, &w->lock, &until);
	}
}

int workers_run(struct workers *w)
{
	int rc = 0;

	pthread_mutex_lock(&w->lock);
	if (!w->over)
		rc = start_another(w);
	if (rc < 0)
		end(w, rc);
	while (!w->over)
		pthread_cond_wait(&w->ended, &w->lock);
	wake_readers(w); /* nobody is started any more */
	pthread_mutex_unlock(&w->lock);
	for (size_t i = 0; i < w->count; i++) {
		pthread_join(w->threads[i].thread, NULL);
		free(w->threads[i].request);
	}
	return w->error;
}
