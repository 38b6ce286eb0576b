/* SPDX-License-Identifier: MIT */
/*
 * daemon.h - into the background, in an order that threads, SQLite and locks survive: first the fork, then
 * everything else, and the parent stays until the child says that the mount answers.
 */
#ifndef SQLSNAPFS_DAEMON_H
#define SQLSNAPFS_DAEMON_H

/* Opens what is closed of descriptors 0, 1 and 2, so that nothing else gets their numbers. */
void daemon_hold_stdio(void);

/*
 * Forks. In the child: 0, a session of its own, and *REPORT a descriptor that it owns. In the parent, once
 * the child has reported or ended: 1, and *STATUS what to exit with; what went wrong has been said on stderr.
 * -errno
 */
int daemon_fork(int *report, int *status);

/* In the child: the mount answers. Lets the parent go, and the terminal. -EPIPE: nobody waits any more.
 * Closes REPORT. */
int daemon_report(int report);

/* Away from the caller's folder, masks and limits, and a file too large is an error, no signal. */
void daemon_settle(void);

#endif
