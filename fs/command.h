/* SPDX-License-Identifier: MIT */
/*
 * command.h - the COMMAND behind --, run while the mount stands.
 *
 * Its process is forked before this program changes its signals, umask, folder and limits or starts a thread,
 * and is held until the mount answers: so COMMAND finds everything as if it had been run by itself. Used from
 * one thread at a time.
 */
#ifndef SQLSNAPFS_COMMAND_H
#define SQLSNAPFS_COMMAND_H

#include <stdbool.h>
#include <sys/types.h>

struct command {
	pid_t pid;  /* 0: there is none, or it has been reaped */
	int gate;   /* owned; what holds it; -1 once it runs */
	int status; /* as the shell counts it: 128 + N when signal N ended it, 127 not found, 126 not
		       executable */
};

#define COMMAND_INIT ((struct command){.gate = -1})

/* Forks and holds ARGV. -errno */
int command_hold(struct command *command, char **argv);
/* Lets it run. */
void command_go(struct command *command);
static inline bool command_runs(const struct command *command)
{
	return command->pid > 0;
}
/* Harmless when it does not run. */
void command_signal(const struct command *command, int sig);
/* After SIGCHLD: whether it has ended just now. */
bool command_reap(struct command *command);
/* Ends it if it is still held, and waits for it. */
void command_finish(struct command *command);

#endif
