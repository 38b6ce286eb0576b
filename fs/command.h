/* SPDX-License-Identifier: MIT */
/*
 * command.h - processes that are forked early and held back until the mount is up: the COMMAND after --, and
 * the greeter, which checks that the mount answers.
 *
 * COMMAND is forked before this program changes its signals, umask, directory or limits, or starts a thread,
 * so it finds everything as if it had been run directly. The greeter is a process, not a thread, because a
 * thread that waits for its own program's mount keeps the connection open: if the program were killed, it
 * would never end. Used from one thread at a time.
 */
#ifndef SQLSNAPFS_COMMAND_H
#define SQLSNAPFS_COMMAND_H

#include <stdbool.h>
#include <sys/types.h>

struct command {
	pid_t pid;  /* 0: there is none, or it has been reaped */
	int gate;   /* owned; the pipe that holds it back; -1 once it runs */
	int status; /* as a shell reports it: 128 + N if signal N ended it */
};

#define COMMAND_INIT ((struct command){.gate = -1})

/* Forks a process that, once released, runs FN and exits with FN's result. If this process ends first, the
 * child exits by itself. -errno */
int command_hold(struct command *command, int (*fn)(void *arg), void *arg);
/* Releases it. */
void command_go(struct command *command);
static inline bool command_runs(const struct command *command)
{
	return command->pid > 0;
}
/* Sends SIGTERM if it runs. */
void command_terminate(const struct command *command);
/* After SIGCHLD: whether it has ended just now. */
bool command_reap(struct command *command);
/* Ends it if it is still held, and waits for its end. */
void command_finish(struct command *command);

/* For command_hold(): runs ARG, an argv. 127: not found, 126: not executable, as in a shell. */
int command_exec(void *arg);
/* For command_hold(): calls stat(2) on ARG, a path. 0, or errno. */
int command_greet(void *arg);

#endif
