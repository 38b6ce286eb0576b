/* SPDX-License-Identifier: MIT */
/*
 * syscalls.h - runs a function and watches its system calls on files; any of them can be made to fail, or be
 * its last.
 *
 * The function runs on a thread of its own under a seccomp filter that reports those calls; this thread
 * answers for the kernel.
 */
#ifndef SQLSNAP_TEST_SYSCALLS_H
#define SQLSNAP_TEST_SYSCALLS_H

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit.h"

struct watch {
	int (*fn)(void *arg);
	void *arg;
	/* 0: go on; an errno: fail with it. Does what it likes, dying included. */
	int (*judge)(void *arg, const struct seccomp_data *call);
	void *judge_arg;
	/* of the machinery */
	int listener, done[2], rc;
	sem_t ready;
};

#ifndef SYS_renameat
#define SYS_renameat SYS_renameat2 /* newer architectures have one of them */
#endif

static const int watched_calls[] = {
	SYS_openat,	SYS_mkdirat, SYS_unlinkat,  SYS_renameat,   SYS_renameat2, SYS_write,
	SYS_pwrite64,	SYS_fsync,   SYS_fdatasync, SYS_newfstatat, SYS_flock,	   SYS_read,
	SYS_getdents64, SYS_statx,   SYS_fstat,	    SYS_faccessat2,
#ifdef SYS_mkdir
	SYS_mkdir,
#endif
#ifdef SYS_open
	SYS_open,
#endif
};

static inline int watch_install(void)
{
	enum { N = sizeof(watched_calls) / sizeof(watched_calls[0]) };
	struct sock_filter code[N + 3];
	struct sock_fprog program = {.len = N + 3, .filter = code};

	code[0] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (unsigned i = 0; i < N; i++)
		code[i + 1] = (struct sock_filter)BPF_JUMP(
			BPF_JMP | BPF_JEQ | BPF_K, (unsigned)watched_calls[i], (unsigned char)(N - i), 0);
	code[N + 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	code[N + 2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}

static inline void *watch_thread(void *arg)
{
	struct watch *w = arg;

	w->listener = watch_install();
	sem_post(&w->ready);
	if (w->listener >= 0)
		w->rc = w->fn(w->arg);
	close(w->done[1]);
	return NULL;
}

/* Answers one call. */
static inline int watch_answer(struct watch *w)
{
	struct seccomp_notif call = {0};
	struct seccomp_notif_resp answer = {0};

	if (ioctl(w->listener, SECCOMP_IOCTL_NOTIF_RECV, &call))
		return -errno;
	answer.id = call.id;
	answer.error = -w->judge(w->judge_arg, &call.data);
	answer.flags = answer.error ? 0 : (unsigned)SECCOMP_USER_NOTIF_FLAG_CONTINUE;
	return ioctl(w->listener, SECCOMP_IOCTL_NOTIF_SEND, &answer) ? -errno : 0;
}

/* Runs W->fn and returns its answer; a fault of the machinery ends the process. */
static inline int watch_run(struct watch *w)
{
	pthread_t thread;

	if (sem_init(&w->ready, 0, 0) || pipe2(w->done, O_CLOEXEC) ||
	    pthread_create(&thread, NULL, watch_thread, w))
		abort();
	while (sem_wait(&w->ready))
		;
	if (w->listener < 0)
		abort();
	for (;;) {
		struct pollfd fds[2] = {{.fd = w->listener, .events = POLLIN}, {.fd = w->done[0]}};

		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			abort();
		if (fds[0].revents & POLLIN) {
			if (watch_answer(w))
				abort();
		} else if (fds[1].revents) {
			break;
		}
	}
	pthread_join(thread, NULL);
	close(w->done[0]);
	close(w->listener);
	sem_destroy(&w->ready);
	return w->rc;
}

/* The string at ADDRESS, which the watched thread hands to the kernel; the next call overwrites it. Read as a
 * debugger would: that thread waits, but ThreadSanitizer does not know. */
static inline const char *watch_text(uint64_t address)
{
	static char text[256];
	int fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);

	memset(text, 0, sizeof(text));
	assert_true(fd >= 0 && pread(fd, text, sizeof(text) - 1, (off_t)address) > 0);
	close(fd);
	return text;
}

/* ---- the N-th call ------------------------------------------------------------------------------------- */

struct nth {
	unsigned left; /* calls up to the one to fail */
	int error;     /* 0: the process is killed there */
};

static inline int judge_nth(void *arg, const struct seccomp_data *call)
{
	struct nth *nth = arg;

	(void)call;
	if (nth->left == 0 || --nth->left > 0)
		return 0;
	if (nth->error == 0)
		kill(getpid(), SIGKILL);
	return nth->error;
}

/* Runs FN, whose N-th call fails with ERROR. False if FN makes fewer calls; *RC is its answer. */
static inline bool run_failing(unsigned n, int error, int (*fn)(void *arg), void *arg, int *rc)
{
	struct nth nth = {.left = n, .error = error};
	struct watch w = {.fn = fn, .arg = arg, .judge = judge_nth, .judge_arg = &nth};

	*rc = watch_run(&w);
	return nth.left == 0;
}

/* Runs FN in a child that is killed at its N-th call. False if FN makes fewer calls; then it returned 0. */
static inline bool run_killed(unsigned n, int (*fn)(void *arg), void *arg)
{
	pid_t pid = fork();
	int status, rc;

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(run_failing(n, 0, fn, arg, &rc) ? 99 : rc ? 98 : 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return true;
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	return false;
}

#endif
