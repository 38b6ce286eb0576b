/* SPDX-License-Identifier: MIT */
/* command.c - see command.h. */
#include "command.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "log.h"

/* In the child. The gate closes unopened when the program gives up. */
static void wait_and_exec(int gate, char **argv)
{
	char text[512], go;
	int status;

	while (read(gate, &go, 1) != 1) {
		if (errno != EINTR)
			_exit(0);
	}
	execvp(argv[0], argv);
	status = errno == ENOENT ? 127 : 126;
	snprintf(text, sizeof(text), "%s: %s", argv[0], strerror(errno));
	log_refusal(text);
	_exit(status);
}

int command_hold(struct command *command, char **argv)
{
	int fds[2], saved;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	command->pid = fork();
	saved = errno;
	if (command->pid == 0) {
		close(fds[1]);
		errno = 0;
		wait_and_exec(fds[0], argv);
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
	/* When it has been killed meanwhile, SIGCHLD tells. */
	if (write(command->gate, "!", 1) < 0)
		command_signal(command, SIGTERM);
	close(command->gate);
	command->gate = -1;
}

void command_signal(const struct command *command, int sig)
{
	if (command->pid > 0)
		kill(command->pid, sig);
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
