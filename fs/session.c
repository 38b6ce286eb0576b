/* SPDX-License-Identifier: MIT */
/*
 * session.c - see session.h.
 *
 * Two threads besides the workers. Main waits for the workers. The keeper takes every signal and makes all
 * decisions: it calls answers(), starts and reaps COMMAND, detaches the mount, ends the workers. The greeter
 * is a process that asks for the root's attributes, which are answered once INIT is done and a worker runs:
 * its exit with status 0 means that the mount is ready.
 *
 * What must stay true: no thread here sends a request to the mount, and a path is unmounted only while it is
 * still our mount.
 */
#include "session.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../src/clock.h"
#include "fault.h"
#include "fuseopts.h"
#include "notify.h"
#include "workers.h"

#define LOG_MODULE "session"
#include "log.h"

#define READAHEAD_KIB 1024 /* four of the largest requests; the kernel's default is an eighth of it */

#define WAKE_KEEPER SIGUSR1 /* blocked everywhere; the keeper looks at the flags below */

enum ending {
	NOT_ENDING,
	DRAINING, /* detached; until the last close or the deadline */
	PUSHED,	  /* the workers are told to end */
};

struct session {
	const struct session_config *config; /* borrowed */
	struct mountpoint *mountpoint;	     /* borrowed; the keeper's while it runs */
	struct fuse_session *fuse;	     /* owned */
	int broken;			     /* owned; see end_connection() */
	struct workers workers;
	pthread_t keeper;
	sigset_t signals;
	atomic_bool served; /* the workers have ended */

	/* Used only by the keeper while it runs. */
	struct command greeter;
	enum ending ending;
	struct timespec deadline; /* CLOCK_MONOTONIC; while DRAINING */
	bool answered;
	int refused; /* errno that the mount answered instead */
};

/* Fills SET with the signals to wait for. */
static void fill_signals(sigset_t *set)
{
	static const int ours[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD, WAKE_KEEPER};
	struct sigaction old;

	sigemptyset(set);
	for (size_t i = 0; i < sizeof(ours) / sizeof(*ours); i++)
		sigaddset(set, ours[i]);
	/* An ignored SIGHUP is what nohup(1) intends. A background job ignores SIGINT too, but somebody who
	 * sends one intends it. */
	if (sigaction(SIGHUP, NULL, &old) == 0 && old.sa_handler == SIG_IGN)
		sigdelset(set, SIGHUP);
}

void session_block_signals(void)
{
	sigset_t set;

	fill_signals(&set);
	sigaddset(&set, SIGPIPE); /* a write to a pipe without readers is an error like others */
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

/* ---- the keeper ---------------------------------------------------------------------------------------- */

static void push(struct session *session)
{
	session->ending = PUSHED;
	workers_end(&session->workers);
}

/* Handles a request to end, from any source: the second one means immediately. */
static void end_session(struct session *session)
{
	struct snap_err err;

	if (session->served)
		return;
	if (session->ending != NOT_ENDING) {
		if (session->ending == DRAINING)
			log_info("told to end again: files that are open fail from now on");
		push(session);
		return;
	}
	if (session->config->options->foreground)
		notify_send("STOPPING=1");
	if (mountpoint_detach(session->mountpoint, &err) < 0) {
		log_error("%s", err.text);
		push(session);
		return;
	}
	session->ending = DRAINING;
	clock_gettime(CLOCK_MONOTONIC, &session->deadline);
	session->deadline.tv_sec += SESSION_DRAIN_S;
}

/* Handles the end of the greeter. */
static void take_greeting(struct session *session)
{
	int status = session->greeter.status;

	if (session->ending != NOT_ENDING || session->served)
		return;
	if (status) {
		session->refused = status < 128 ? status : EIO;
		end_session(session);
		return;
	}
	mountpoint_set_readahead(session->mountpoint, READAHEAD_KIB);
	session->answered = true;
	if (session->config->answers(session->config->arg) < 0)
		end_session(session);
	else
		command_go(session->config->command);
}

static void take_children(struct session *session)
{
	if (command_reap(&session->greeter))
		take_greeting(session);
	if (command_reap(session->config->command))
		end_session(session);
}

static void take_signal(struct session *session, const siginfo_t *info)
{
	const struct command *command = session->config->command;

	if (!command_runs(command)) {
		log_info("told to end by signal %d", info->si_signo);
		end_session(session);
		return;
	}
	/* A signal from the terminal has reached COMMAND too, which decides what it means. */
	if (info->si_code != SI_KERNEL)
		command_terminate(command);
}

/* How long the keeper may wait for the next signal. */
static struct timespec keeper_patience(const struct session *session)
{
	struct timespec now, left = {.tv_sec = 3600};

	if (session->ending != DRAINING)
		return left;
	clock_gettime(CLOCK_MONOTONIC, &now);
	left.tv_sec = session->deadline.tv_sec - now.tv_sec;
	left.tv_nsec = session->deadline.tv_nsec - now.tv_nsec;
	if (left.tv_nsec < 0) {
		left.tv_nsec += 1000000000L;
		left.tv_sec--;
	}
	return left.tv_sec < 0 ? (struct timespec){0} : left;
}

static void keeper_timeout(struct session *session)
{
	if (session->ending != DRAINING)
		return;
	log_warn("files are still open after %d s: they fail from now on", SESSION_DRAIN_S);
	push(session);
}

static bool keeper_is_done(struct session *session)
{
	struct command *command = session->config->command;

	if (!session->served)
		return false;
	if (command_runs(command) && !session->answered)
		command_finish(command); /* it was never released */
	return !command_runs(command);
}

static void *keeper_run(void *arg)
{
	struct session *session = arg;

	while (!keeper_is_done(session)) {
		struct timespec patience = keeper_patience(session);
		siginfo_t info;
		int sig = sigtimedwait(&session->signals, &info, &patience);

		if (sig < 0 && errno == EAGAIN)
			keeper_timeout(session);
		else if (sig == SIGCHLD)
			take_children(session);
		else if (sig == SIGTERM || sig == SIGINT || sig == SIGHUP)
			take_signal(session, &info);
	}
	return NULL;
}

/* ---- main ---------------------------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 0))) static void log_fuse(enum fuse_log_level level, const char *format,
							   va_list ap)
{
	enum snap_level ours = level <= FUSE_LOG_ERR	   ? SNAP_ERROR
			       : level == FUSE_LOG_WARNING ? SNAP_WARNING
			       : level == FUSE_LOG_DEBUG   ? SNAP_DEBUG
							   : SNAP_INFO;
	char text[1024], *start = text;
	size_t length;

	if (!log_wants(ours))
		return;
	vsnprintf(text, sizeof(text), format, ap);
	length = strlen(text);
	if (length && text[length - 1] == '\n')
		text[length - 1] = '\0';
	if (strncmp(start, "fuse: ", 6) == 0)
		start += 6;
	/* It may be unable to start a thread, for example, and try again at each request: that must neither
	 * fill the disk nor displace the other last lines of the log. */
	if (ours == SNAP_DEBUG || !log_is_echo(start, monotonic_ns()))
		log_line(ours, "fuse", "%s", start);
}

/* *OUT receives a pipe without readers, which polls as broken. */
static int open_broken(int *out)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	close(fds[0]);
	*out = fds[1];
	return 0;
}

static int open_session(struct session *session, struct snap_err *err)
{
	const struct session_config *config = session->config;
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	int rc = open_broken(&session->broken);

	fuse_set_log_func(log_fuse);
	if (rc == 0)
		rc = fuseopts_build(&args, config->options, config->plan);
	if (rc == 0)
		session->fuse = fuse_session_new(&args, &fs_ops, sizeof(fs_ops), config->fs);
	fuse_opt_free_args(&args);
	if (rc < 0 || !session->fuse)
		return fault(err, rc < 0 ? rc : -EINVAL, "cannot make a FUSE session");
	if (fuse_session_mount(session->fuse, session->mountpoint->path) < 0)
		return fault(err, -EPERM, "cannot mount on %s%s", session->mountpoint->path,
			     geteuid() == 0
				     ? "; in a container, run it with --device /dev/fuse --cap-add SYS_ADMIN"
				     : ": fusermount3 (package fuse3) refuses, or is missing");
	mountpoint_covered(session->mountpoint);
	if (!session->mountpoint->mounted)
		return fault(err, -EIO, "cannot examine the mount on %s", session->mountpoint->path);
	fs_set_session(config->fs, session->fuse);
	return 0;
}

/*
 * Ends the connection before libfuse does, and replaces the descriptor by one that polls as broken, which is
 * made at the start, since descriptors may have run out: libfuse then considers the mount gone. Otherwise
 * libfuse would unmount whatever is mounted at the path by now, which we accept only where the system does
 * not tell whether that is ours.
 * libfuse closes its descriptor before it forgets the number, which a live database may get a moment later,
 * so libfuse may close it only once nobody replies through it any more. Until then the pipe occupies the
 * number.
 */
static void end_connection(struct session *session)
{
	struct snap_err err;

	if (!session->fuse)
		return;
	if (fuse_session_fd(session->fuse) >= 0 && mountpoint_is_told(session->mountpoint)) {
		if (mountpoint_detach(session->mountpoint, &err) < 0)
			log_error("%s", err.text);
		dup3(session->broken, fuse_session_fd(session->fuse), O_CLOEXEC);
	} else {
		fuse_session_unmount(session->fuse);
	}
}

static int start_keeper(struct session *session, struct snap_err *err)
{
	int rc = pthread_create(&session->keeper, NULL, keeper_run, session);

	if (rc)
		return fault(err, -rc, "cannot start a thread: %s", strerror(rc));
	return 0;
}

/* Ends the keeper too. */
static int serve_until_ended(struct session *session, struct snap_err *err)
{
	int rc = workers_run(&session->workers);

	/* Before the wait for COMMAND, which may do other things for hours. */
	fs_end_restores(session->config->fs);
	session->served = true;
	pthread_kill(session->keeper, WAKE_KEEPER);
	pthread_join(session->keeper, NULL);
	if (rc < 0)
		return fault(err, rc, "serving %s: %s", session->mountpoint->path, strerror(-rc));
	if (session->refused)
		return fault(err, -session->refused, "the mount at %s does not answer: %s",
			     session->mountpoint->path, strerror(session->refused));
	return 0;
}

static int serve(struct session *session, struct snap_err *err)
{
	int rc = snap_start(session->config->snap, err);

	if (rc < 0)
		return rc;
	command_go(&session->greeter);
	workers_init(&session->workers, session->fuse);
	rc = start_keeper(session, err);
	if (rc == 0)
		rc = serve_until_ended(session, err);
	workers_finish(&session->workers);
	return rc;
}

/* How many milliseconds the writing of snapshots may still take: it shares the time limit for the session's
 * end with files that are still open. An unmount from outside has used none of that limit. */
static int64_t patience_of(const struct session *session)
{
	struct timespec now;
	int64_t left;

	if (session->deadline.tv_sec == 0)
		return INT64_C(1000) * SESSION_DRAIN_S;
	clock_gettime(CLOCK_MONOTONIC, &now);
	left = (int64_t)(session->deadline.tv_sec - now.tv_sec) * 1000;
	return left > 0 ? left : 0;
}

int session_run(const struct session_config *config, struct snap_err *err)
{
	struct session session = {.config = config,
				  .mountpoint = &config->plan->mountpoint,
				  .broken = -1,
				  .greeter = COMMAND_INIT};
	int rc;

	fill_signals(&session.signals);
	/* Forked while this process has neither threads nor the mount's descriptor. */
	rc = command_hold(&session.greeter, command_greet, session.mountpoint->path);
	if (rc < 0)
		return fault(err, rc, "cannot start a process: %s", strerror(-rc));
	rc = open_session(&session, err);
	if (rc == 0)
		rc = serve(&session, err);
	fs_end_restores(config->fs);
	fs_await_answers(config->fs);
	end_connection(&session); /* ends the greeter's request too */
	command_finish(&session.greeter);
	snap_stop(config->snap, patience_of(&session)); /* waiting opens still answer through the session */
	fs_set_session(config->fs, NULL);
	if (session.fuse) {
		fuse_session_unmount(session.fuse);
		fuse_session_destroy(session.fuse);
	}
	if (session.broken >= 0)
		close(session.broken);
	fuse_set_log_func(NULL);
	return rc;
}
