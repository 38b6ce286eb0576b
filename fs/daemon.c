/* SPDX-License-Identifier: MIT */
/*
 * daemon.c - see daemon.h. The report is one byte over a pipe; if the pipe closes without it, the child's
 * exit status says the rest. Until then the child keeps the caller's stderr, so that it can report errors
 * itself, and its process group: by that an automounter recognises who may enter the mount point before the
 * mount is there, and everybody else waits until it is.
 */
#include "daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOG_MODULE "daemon"
#include "log.h"

void daemon_hold_stdio(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

/*
 * Closes all other descriptors inherited from the caller, which would stay open as long as the mount: its
 * locks, its pipes, files of an older mount. Moves *REPORT out of the way.
 */
static void drop_descriptors(int *report)
{
	const unsigned first = STDERR_FILENO + 1;
	int moved = *report == (int)first ? *report : dup3(*report, (int)first, O_CLOEXEC);

	if (moved < 0)
		return;
	*report = moved;
	if (close_range(first + 1, ~0u, 0) < 0)
		log_debug("closing what was open: %s, ignoring", strerror(errno));
}

/* In the parent. */
static int await_report(int fd, pid_t child)
{
	char byte, text[96];
	ssize_t got;
	int status;

	do {
		got = read(fd, &byte, 1);
	} while (got < 0 && errno == EINTR);
	if (got == 1)
		return 0;
	while (waitpid(child, &status, 0) < 0) {
		if (errno != EINTR)
			return 1;
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
		return WEXITSTATUS(status);
	if (WIFSIGNALED(status))
		snprintf(text, sizeof(text), "ended by signal %d before the mount answered",
			 WTERMSIG(status));
	else
		snprintf(text, sizeof(text), "told to end before the mount answered");
	log_refusal(text);
	return 1;
}

int daemon_fork(int *report, int *status)
{
	int fds[2], rc;
	pid_t child;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	child = fork();
	rc = -errno;
	if (child == 0) {
		close(fds[0]);
		*report = fds[1];
		drop_descriptors(report);
		return 0;
	}
	close(fds[1]);
	if (child > 0) {
		*status = await_report(fds[0], child);
		rc = 1;
	}
	close(fds[0]);
	return rc;
}

int daemon_report(int report)
{
	int rc, null = open("/dev/null", O_RDWR | O_CLOEXEC);

	setsid();
	rc = write(report, "!", 1) == 1 ? 0 : -errno;
	close(report);
	if (null < 0)
		return rc;
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	dup2(null, STDERR_FILENO);
	if (null > STDERR_FILENO)
		close(null);
	return rc;
}

void daemon_settle(void)
{
	struct rlimit files;

	if (chdir("/") < 0)
		log_warn("chdir to /: %s, ignoring", strerror(errno));
	umask(077);
	signal(SIGXFSZ, SIG_IGN); /* exceeding the file size limit fails that write, and does not end us */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
		files.rlim_cur = files.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &files) < 0)
			log_debug("raising the limit of open files: %s, ignoring", strerror(errno));
	}
}
