/* SPDX-License-Identifier: MIT */
/* thread.h - how threads are started. */
#ifndef SQLSNAP_THREAD_H
#define SQLSNAP_THREAD_H

#include <pthread.h>
#include <signal.h>
#include <stddef.h>

/* Starts a thread in which all signals are blocked, except those that it causes itself: SIGBUS must reach
 * shmguard.h. ATTR may be NULL. -errno */
static inline int thread_start(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *arg),
			       void *arg)
{
	sigset_t blocked, old;
	int rc;

	sigfillset(&blocked);
	/* A blocked signal that the thread itself raises ends the process, whatever its handler. */
	sigdelset(&blocked, SIGBUS);
	sigdelset(&blocked, SIGSEGV);
	sigdelset(&blocked, SIGFPE);
	sigdelset(&blocked, SIGILL);
	pthread_sigmask(SIG_SETMASK, &blocked, &old);
	rc = pthread_create(thread, attr, fn, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -rc;
}

#endif
