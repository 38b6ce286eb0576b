/* SPDX-License-Identifier: MIT */
/* command.c - see command.h. */
#include "command.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "log.h"

int command_exec(void *arg)
{
	char **argv = arg, text[512];
	int status;

	execvp(argv[0], argv);
	status = errno == ENOENT ? 127 : 126;
	snprintf(text, sizeof(text), "%s: %s", argv[0], strerror(errno));
	log_refusal(text);
	return status;
}

int command_greet(void *arg)
{
	struct stat st;

	return stat(arg, &st) < 0 ? errno : 0;
}

/* In the child. If the program gives up, the gate's pipe closes without a byte. */
static int await_gate(int gate, int (*fn)(void *arg), void *arg)
{
	char go;

	while (read(gate, &go, 1) != 1) {
		if (errno != EINTR)
			return 0;
	}
	close(gate);
	return fn(arg);
}

int command_hold(struct command *command, int (*fn)(void *arg), void *arg)
{
	int fds[2], saved;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	command->pid = fork();
	saved = errno;
	if (command->pid == 0) {
		close(fds[1]);
		errno = 0;
		_exit(await_gate(fds[0], fn, arg));
	}
	close(fds[0]);
	if (command->pid < 0) {
		close(fds[1]);
		command->pid = 0;
		return -saved;
	}
	command->gate = fds[1];
	return 0;
}

void command_go(struct command *command)
{
	if (command->gate < 0)
		return;
	/* If it was killed in the meantime, SIGCHLD reports that. */
	if (write(command->gate, "!", 1) < 0)
		command_terminate(command);
	close(command->gate);
	command->gate = -1;
}

void command_terminate(const struct command *command)
{
	if (command->pid > 0)
		kill(command->pid, SIGTERM);
}

static void take_status(struct command *command, int status)
{
	command->pid = 0;
	command->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

bool command_reap(struct command *command)
{
	int status;

	if (command->pid <= 0 || waitpid(command->pid, &status, WNOHANG) != command->pid)
		return false;
	take_status(command, status);
	return true;
}

void command_finish(struct command *command)
{
	int status;
	pid_t ended;

	if (command->gate >= 0)
		close(command->gate);
	command->gate = -1;
	if (command->pid <= 0)
		return;
	do {
		ended = waitpid(command->pid, &status, 0);
	} while (ended < 0 && errno == EINTR);
	if (ended == command->pid)
		take_status(command, status);
	command->pid = 0;
}
