/* SPDX-License-Identifier: MIT */
/*
 * session.h - one mount from mounting to its end: libfuse's session, the workers, signals, COMMAND.
 *
 * The session ends, with status 0, when it is unmounted from outside or by SIGTERM, SIGINT or SIGHUP. After
 * a signal it detaches the mount at once and keeps serving open files until the last close, for
 * SESSION_DRAIN_S at most or until a second signal. With a COMMAND, signals are passed on to it, and the
 * mount ends after it.
 */
#ifndef SQLSNAPFS_SESSION_H
#define SQLSNAPFS_SESSION_H

#include "command.h"
#include "fs.h"
#include "options.h"
#include "plan.h"

#define SESSION_DRAIN_S 30

/* All borrowed. */
struct session_config {
	const struct options *options;
	struct plan *plan;
	struct snap *snap; /* with its tree, not started */
	struct fs *fs;
	struct command *command;   /* held, or none */
	int (*answers)(void *arg); /* called once when the mount answers; a failure ends the session */
	void *arg;
};

/*
 * Blocks the signals that a session waits for, in this thread and in all that it starts later. To be called
 * before anything that starts threads.
 */
void session_block_signals(void);

/* Mounts, serves and unmounts. 0: it ended well; -errno with a message in ERR. */
int session_run(const struct session_config *config, struct snap_err *err);

#endif
