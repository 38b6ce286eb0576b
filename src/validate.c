/* SPDX-License-Identifier: MIT */
/*
 * validate.c - the parent's side of the gate: starts the child, reads its verdict, ends it.
 *
 * What must stay true: the child is started by posix_spawn(3), because a process with threads can do little
 * between fork and exec; it is reaped by its pid, whatever other children this process has; every wait ends
 * at the deadline; and nothing that the child sends is trusted to be well-formed. A child that ends without a
 * verdict was brought down by the file.
 */
#include "validate.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "progress.h"
#include "validate_private.h"

#define ASK_MS 100   /* how often CANCELLED is asked */
#define ENDING_MS 10 /* between checks of a child that has fallen silent */

#define REPLY_MAX (sizeof(struct validate_verdict) + VALIDATE_NAMES_MAX)

#define SPARE_FD 10 /* above all descriptors of the child, so that dup2(2) in any order overwrites none */

struct child {
	pid_t pid;   /* until it is reaped */
	int verdict; /* owned; the read end of the pipe */
	int64_t deadline;
	char *reply; /* owned; REPLY_MAX + 1 bytes */
	size_t size; /* bytes received */
};

void validate_report_finish(struct validate_report *report)
{
	free(report->names);
	*report = VALIDATE_REPORT_INIT;
}

/* ---- start --------------------------------------------------------------------------------------------- */

/* What a check may take from our environment: where libraries are, and options for sanitizers. */
static void pick_environment(char **picked, size_t room)
{
	size_t n = 0;

	for (char **at = environ; at && *at && n + 1 < room; at++) {
		if (strncmp(*at, "LD_", 3) == 0 || strstr(*at, "SAN_OPTIONS="))
			picked[n++] = *at;
	}
	picked[n] = NULL;
}

struct plumbing {
	int file, fit, verdict; /* owned; -1: none */
};

static void plumbing_finish(struct plumbing *p)
{
	cleanup_close(&p->file);
	cleanup_close(&p->fit);
	cleanup_close(&p->verdict);
}

static int duplicate(int fd, int *out)
{
	*out = fcntl(fd, F_DUPFD_CLOEXEC, SPARE_FD);
	if (*out < 0)
		return errno == EINVAL ? -EMFILE : -errno; /* a limit below SPARE_FD */
	return 0;
}

static int plumb(const struct validate_order *order, struct plumbing *p, int *verdict)
{
	int fds[2], rc;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	*verdict = fds[0];
	rc = duplicate(fds[1], &p->verdict);
	close(fds[1]);
	if (rc == 0)
		rc = duplicate(order->fd, &p->file);
	if (rc == 0 && order->fit_fd >= 0)
		rc = duplicate(order->fit_fd, &p->fit);
	return rc;
}

static int add_files(posix_spawn_file_actions_t *actions, const struct plumbing *p)
{
	int rc = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDWR, 0);

	if (!rc)
		rc = posix_spawn_file_actions_adddup2(actions, STDIN_FILENO, STDOUT_FILENO);
	if (!rc && !validate_jail_is_open())
		rc = posix_spawn_file_actions_adddup2(actions, STDIN_FILENO, STDERR_FILENO);
	if (!rc)
		rc = posix_spawn_file_actions_adddup2(actions, p->file, VALIDATE_FD_FILE);
	if (!rc && p->fit >= 0)
		rc = posix_spawn_file_actions_adddup2(actions, p->fit, VALIDATE_FD_FIT);
	if (!rc)
		rc = posix_spawn_file_actions_adddup2(actions, p->verdict, VALIDATE_FD_VERDICT);
	return rc;
}

/* A session of its own: the child gets nothing that is typed at our terminal, and cannot write there. */
static int set_attributes(posix_spawnattr_t *attr)
{
	sigset_t none, all;
	int rc = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
							POSIX_SPAWN_SETSIGDEF);

	sigemptyset(&none);
	sigfillset(&all);
	if (!rc)
		rc = posix_spawnattr_setsigmask(attr, &none);
	if (!rc)
		rc = posix_spawnattr_setsigdefault(attr, &all);
	return rc;
}

static int spawn(const struct plumbing *p, const char *program, char *const *argv, pid_t *pid)
{
	posix_spawn_file_actions_t actions;
	char *environment[32];
	posix_spawnattr_t attr;
	int rc;

	pick_environment(environment, sizeof(environment) / sizeof(*environment));
	rc = posix_spawn_file_actions_init(&actions);
	if (rc)
		return -rc;
	rc = posix_spawnattr_init(&attr);
	if (!rc) {
		rc = add_files(&actions, p);
		if (!rc)
			rc = set_attributes(&attr);
		if (!rc)
			rc = posix_spawn(pid, program, &actions, &attr, argv, environment);
		posix_spawnattr_destroy(&attr);
	}
	posix_spawn_file_actions_destroy(&actions);
	return -rc;
}

/*
 * More than a sound file can grow to. Smaller pages: the cell of an index may take a quarter of a page, and
 * one that is a byte longer has an eighth of a page in its cell and all the rest in a page of its own. 95
 * bytes of a larger page then take 512 and 50 more where 32 bytes of each page are reserved, six times as
 * many; with pages of 1024 bytes and 255 reserved it is seven times, half-filled leaves included. A table's
 * cell may take a whole page, which makes it three times at most. Larger pages: a b-tree has no more of them
 * than it had smaller ones, except for leaves that are half as full.
 */
static uint64_t fit_max(const struct validate_order *order, const struct validate_report *report)
{
	uint64_t page = (uint64_t)8 * report->header.page_size + order->fit_page_size;

	return report->pages * page + ((uint64_t)1 << 20);
}

static int child_start(struct child *child, const struct validate_order *order,
		       const struct validate_report *report)
{
	struct plumbing p = {-1, -1, -1};
	char size[24], fit[16], max[24], timeout[16], name[] = "sqlsnapfs", argument[] = VALIDATE_ARGUMENT;
	char check[] = "quick";
	char *argv[] = {name, argument, size, check, fit, max, timeout, NULL};
	int rc;

	if (order->fit_only || order->full)
		snprintf(check, sizeof(check), "%s", order->fit_only ? "none" : "full");
	snprintf(size, sizeof(size), "%" PRIu64, order->size);
	snprintf(fit, sizeof(fit), "%" PRIu32, order->fit_fd >= 0 ? order->fit_page_size : 0);
	snprintf(max, sizeof(max), "%" PRIu64, fit_max(order, report));
	snprintf(timeout, sizeof(timeout), "%d", order->timeout_ms > 0 ? order->timeout_ms / 1000 + 2 : 0);
	rc = plumb(order, &p, &child->verdict);
	if (rc == 0)
		rc = spawn(&p, order->program ? order->program : "/proc/self/exe", argv, &child->pid);
	plumbing_finish(&p);
	return rc;
}

/* ---- wait ---------------------------------------------------------------------------------------------- */

/* The child reports its progress by the file's offset, which nobody else uses; hostile. */
static void look_how_far(const struct validate_order *order)
{
	off_t at = order->progress ? lseek(order->fd, 0, SEEK_CUR) : 0;

	if (at > 0)
		progress_reach(order->progress,
			       (uint64_t)at < 2 * order->size ? (uint64_t)at : 2 * order->size);
}

/* Waits until the pipe FD can be read (1), or MS have passed (0); -ETIMEDOUT when the child's time is over,
 * -ECANCELED. FD -1: waits only for the time. */
static int await(const struct child *child, const struct validate_order *order, int fd, int ms)
{
	struct pollfd wanted = {.fd = fd, .events = POLLIN};
	int64_t left = (child->deadline - monotonic_ns() + NS_PER_MS - 1) / NS_PER_MS;
	int n;

	look_how_far(order);
	if (order->cancelled && order->cancelled(order->arg))
		return -ECANCELED;
	if (left <= 0)
		return -ETIMEDOUT;
	n = poll(&wanted, 1, left < ms ? (int)left : ms);
	if (n < 0 && errno != EINTR)
		return -errno;
	return n > 0;
}

/* Reads everything that the child sends, up to its end. */
static int read_reply(struct child *child, const struct validate_order *order)
{
	for (;;) {
		int rc = await(child, order, child->verdict, ASK_MS);
		ssize_t n;

		if (rc < 0)
			return rc;
		if (rc == 0)
			continue;
		n = read(child->verdict, child->reply + child->size, REPLY_MAX + 1 - child->size);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0) /* also when it does not stop: then the buffer is full */
			return 0;
		child->size += n > 0 ? (size_t)n : 0;
	}
}

/* Waits for the child's end: a silent child need not have ended. Leaves the reaping to child_reap(). */
static int await_end(const struct child *child, const struct validate_order *order)
{
	siginfo_t info = {.si_pid = 0};
	int rc;

	for (;;) {
		if (waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid)
			return 0;
		rc = await(child, order, -1, ENDING_MS);
		if (rc < 0)
			return rc;
	}
}

static bool has_verdict(const struct child *child)
{
	return child->size >= sizeof(struct validate_verdict);
}

/* Ends it, whatever it is doing. Returns wait(2)'s status; 0 when somebody else has reaped it. */
static int child_reap(struct child *child)
{
	siginfo_t info;
	int status = 0;

	/* A pid that is free again must not be killed: another process may have it. */
	if (waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0)
		kill(child->pid, SIGKILL);
	while (waitpid(child->pid, &status, 0) < 0) {
		if (errno != EINTR)
			return 0;
	}
	return status;
}

/* ---- judge --------------------------------------------------------------------------------------------- */

/* What an end without a verdict means. */
static int judge_end(int status, struct snap_err *err)
{
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU)
		return err_set(err, -ETIMEDOUT, "the check took too much processor time");
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return err_set(err, -ENOMEM, "the check was killed, perhaps because memory was short");
	if (WIFSIGNALED(status))
		return err_set(err, -EUCLEAN, "it made SQLite crash (signal %d)", WTERMSIG(status));
	if (WEXITSTATUS(status) == 127)
		return err_set(err, -EIO, "the check could not be started");
	return err_set(err, -EUCLEAN, "it made the check end without a verdict (status %d)",
		       WEXITSTATUS(status));
}

/* Whether all names that were counted exist, each terminated. */
static bool names_are_sane(const struct validate_verdict *verdict, const char *names)
{
	uint32_t count = 0;

	if (verdict->names_size && names[verdict->names_size - 1] != '\0')
		return false;
	for (uint32_t i = 0; i < verdict->names_size; i++)
		count += names[i] == '\0';
	return verdict->names_cut ? count <= verdict->tables : count == verdict->tables;
}

static bool is_refusal(int code)
{
	static const int codes[] = {EUCLEAN, EIO, ENOMEM, ENOSPC, EFBIG, EOPNOTSUPP, EPERM, EINVAL, ESRCH};

	for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++) {
		if (code == -codes[i])
			return true;
	}
	return false;
}

/* The reply is the child's: hostile. */
static int judge_reply(const struct child *child, struct validate_report *report, struct snap_err *err)
{
	const char *names = child->reply + sizeof(struct validate_verdict);
	struct validate_verdict verdict;
	struct snap_err note;

	memcpy(&verdict, child->reply, sizeof(verdict));
	verdict.note[sizeof(verdict.note) - 1] = '\0';
	verdict.text[sizeof(verdict.text) - 1] = '\0';
	if (verdict.magic != VALIDATE_VERDICT_MAGIC ||
	    verdict.names_size != child->size - sizeof(struct validate_verdict) ||
	    (verdict.code && !is_refusal(verdict.code)) || !names_are_sane(&verdict, names))
		return err_set(err, -EUCLEAN, "it made the check answer nonsense");
	if (verdict.code)
		return err_set(err, verdict.code, "%s", verdict.text);
	if (verdict.names_size) {
		report->names = malloc(verdict.names_size);
		if (!report->names)
			return err_set(err, -ENOMEM, "out of memory");
		memcpy(report->names, names, verdict.names_size);
	}
	report->names_size = verdict.names_size;
	report->names_cut = verdict.names_cut;
	report->tables = verdict.tables;
	err_set(&note, 0, "%s", verdict.note); /* one line, as ERR's is */
	memcpy(report->note, note.text, sizeof(report->note));
	return 0;
}

static int judge(struct child *child, const struct validate_order *order, struct validate_report *report,
		 struct snap_err *err)
{
	int rc = read_reply(child, order), status;

	if (rc == 0 && !has_verdict(child))
		rc = await_end(child, order);
	status = child_reap(child);
	if (rc == -ETIMEDOUT)
		return err_set(err, rc, "could not be checked within %d s", (order->timeout_ms + 999) / 1000);
	if (rc == -ECANCELED)
		return err_set(err, rc, "the check was cancelled");
	if (rc < 0)
		return err_set(err, rc, "waiting for the check: %s", strerror(-rc));
	return has_verdict(child) ? judge_reply(child, report, err) : judge_end(status, err);
}

static int ask_child(const struct validate_order *order, struct validate_report *report, struct snap_err *err)
{
	struct child child = {.verdict = -1, .deadline = INT64_MAX};
	int rc;

	if (order->timeout_ms > 0)
		child.deadline = monotonic_ns() + order->timeout_ms * NS_PER_MS;
	child.reply = malloc(REPLY_MAX + 1);
	if (!child.reply)
		return err_set(err, -ENOMEM, "out of memory");
	if (order->progress)
		lseek(order->fd, 0, SEEK_SET);
	rc = child_start(&child, order, report);
	if (rc < 0)
		err_set(err, rc, "the check cannot be started: %s%s", strerror(-rc),
			rc == -EAGAIN ? " (pids.max)" : "");
	else
		rc = judge(&child, order, report, err);
	cleanup_close(&child.verdict);
	free(child.reply);
	return rc;
}

int validate_file(const struct validate_order *order, struct validate_report *out, struct snap_err *err)
{
	struct validate_report report = VALIDATE_REPORT_INIT;
	int rc = validate_header(order->fd, order->size, &report, err);

	if (rc == 0)
		rc = ask_child(order, &report, err);
	if (rc < 0)
		validate_report_finish(&report);
	else
		*out = report;
	return rc;
}
