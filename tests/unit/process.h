/* SPDX-License-Identifier: MIT */
/* process.h - processes that a test starts, to be looked at and killed. */
#ifndef SQLSNAP_TEST_PROCESS_H
#define SQLSNAP_TEST_PROCESS_H

#include "unit.h"

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

/* A process that runs LIVE (may be NULL), and then waits until it is killed. */
static inline pid_t process_start(void (*live)(void))
{
	int begun[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe(begun), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		signal(SIGHUP, SIG_DFL); /* nohup(1) ignores this one, */
		signal(SIGINT, SIG_DFL); /* and a shell these two for what runs in the background */
		signal(SIGQUIT, SIG_DFL);
		close(begun[0]);
		close(begun[1]);
		if (live)
			live();
		for (;;)
			pause();
	}
	close(begun[1]);
	/* fork(3) blocks signals for a moment, in the child too. */
	assert_int_equal(read(begun[0], &byte, 1), 0);
	close(begun[0]);
	return pid;
}

#endif
