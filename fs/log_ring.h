/* SPDX-License-Identifier: MIT */
/* log_ring.h - the last lines of the log, for .sqlsnapfs/log: the reason can be read where the failure
 * was. */
#ifndef SQLSNAPFS_LOG_RING_H
#define SQLSNAPFS_LOG_RING_H

#define LOG_RING_LINES 100
#define LOG_RING_WIDTH 1024 /* bytes; longer lines are cut */

/* Adds a line, without its newline; PREFIX is the word for its level. Thread-safe; allocates nothing. */
void log_ring_add(const char *prefix, const char *module, const char *text);

/* The lines, oldest first, each with the time (UTC) at which it was logged; owned by the caller. NULL: no
 * memory. */
char *log_recent(void);

#endif
