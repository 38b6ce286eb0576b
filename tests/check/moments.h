/* SPDX-License-Identifier: MIT */
/*
 * moments.h - something happens before the nth call that this process's connections make of their database
 * file or, below that, of the system: so every order of two processes can be tried, one after the other.
 *
 * xShmBarrier is no moment: who stops there has half a header written, and all others wait for him.
 */
#ifndef SQLSNAP_TEST_MOMENTS_H
#define SQLSNAP_TEST_MOMENTS_H

#include <stdbool.h>

enum moments_which { MOMENT_FIRST, MOMENT_SECOND, MOMENT_AFTER /* each other one after the first */ };

struct moments_seen {
	int n;	  /* calls */
	int done; /* the sum of what ACT answered */
};

/* Once, before the first connection is opened. */
void moments_hook(void);

/*
 * From now on ACT is called before the call AT[0] and each one after that; AT[1] is the second that has a
 * name (0: none has). It is told what it has answered in all so far. No call of its own is one.
 */
void moments_begin(const int at[2], int (*act)(void *arg, enum moments_which which, int done), void *arg);
struct moments_seen moments_end(void);

#endif
