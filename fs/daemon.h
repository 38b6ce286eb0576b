/* SPDX-License-Identifier: MIT */
/*
 * daemon.h - moves the program into the background. Threads, SQLite and locks do not survive a fork, so the
 * fork comes first. The parent stays until the child reports that the mount answers.
 */
#ifndef SQLSNAPFS_DAEMON_H
#define SQLSNAPFS_DAEMON_H

/* Opens whichever of descriptors 0, 1 and 2 are closed, so that no other file gets their numbers. */
void daemon_hold_stdio(void);

/*
 * Forks. Returns 0 in the child, which owns the descriptor *REPORT. Returns 1 in the parent once the child
 * has reported or exited, with the exit status in *STATUS; errors have been printed to stderr. -errno
 */
int daemon_fork(int *report, int *status);

/* In the child: reports that the mount answers. The parent exits, and the child leaves the terminal for a
 * session of its own. -EPIPE: the parent is gone. Closes REPORT. */
int daemon_report(int report);

/* Leaves the caller's directory and umask, raises the limit on open files, and ignores SIGXFSZ, so that a
 * write beyond the file size limit fails with an error. */
void daemon_settle(void);

#endif
