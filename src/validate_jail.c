/* SPDX-License-Identifier: MIT */
/*
 * validate_jail.c - what the child can no longer do by the time SQLite sees the file.
 *
 * Root becomes nobody. System calls are limited to memory, time, and reading and writing open files; any
 * other fails with EPERM. Memory, processor time, files and processes have limits. The child dies with its
 * parent. Where the kernel lacks one of these, the others must do, as long as there is one of the two that
 * matter: the change of user, or the filter of system calls. An ordinary user's child cannot change its user,
 * and goes on.
 *
 * Under a sanitizer (which reserves terabytes of address space, and opens files to report) there are no
 * limits and no filter.
 */
#include "validate_private.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NOBODY 65534u /* the uid and gid that own nothing; the kernel's overflowuid */

#define MEMORY_MAX ((rlim_t)2 << 30)

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

bool validate_jail_is_open(void)
{
	return SANITIZED;
}

/* ---- system calls -------------------------------------------------------------------------------------- */

#if defined(__x86_64__)
#define FILTER_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define FILTER_ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define FILTER_ARCH AUDIT_ARCH_RISCV64
#endif

#ifdef FILTER_ARCH
static const unsigned allowed[] = {
	__NR_read,	   __NR_pread64, __NR_write,	  __NR_pwrite64,       __NR_lseek,
	__NR_ftruncate,	   __NR_brk,	 __NR_mmap,	  __NR_munmap,	       __NR_mremap,
	__NR_mprotect,	   __NR_madvise, __NR_futex,	  __NR_clock_gettime,  __NR_gettimeofday,
	__NR_getrandom,	   __NR_getpid,	 __NR_gettid,	  __NR_rt_sigprocmask, __NR_rt_sigaction,
	__NR_rt_sigreturn, __NR_exit,	 __NR_exit_group, __NR_sched_yield,    __NR_restart_syscall,
};

#define COUNT (sizeof(allowed) / sizeof(*allowed))

static int filter_syscalls(void)
{
	struct sock_filter filter[4 + 2 * COUNT + 1];
	struct sock_fprog program = {.filter = filter};
	size_t n = 0;

	filter[n++] =
		(struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
	filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FILTER_ARCH, 1, 0);
	filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
	filter[n++] =
		(struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < COUNT; i++) {
		filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, allowed[i], 0, 1);
		filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	}
	filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
	program.len = (unsigned short)n;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0 ? -errno : 0;
}
#else
static int filter_syscalls(void)
{
	return -ENOSYS;
}
#endif

/* ---- limits -------------------------------------------------------------------------------------------- */

static int set_limits(const struct validate_task *task)
{
	rlim_t seconds = task->timeout_s;
	const struct {
		__rlimit_resource_t what;
		rlim_t soft, hard;
		bool wanted;
	} limits[] = {
		{RLIMIT_CORE, 0, 0, true},
		{RLIMIT_CPU, seconds, seconds + 1, seconds > 0},
		{RLIMIT_AS, MEMORY_MAX, MEMORY_MAX, !SANITIZED},
		{RLIMIT_FSIZE, 0, 0, !SANITIZED && !task->fit_page_size},
		{RLIMIT_FSIZE, task->fit_max, task->fit_max, !SANITIZED && task->fit_page_size},
		{RLIMIT_NOFILE, VALIDATE_FD_VERDICT + 1, VALIDATE_FD_VERDICT + 1, !SANITIZED},
		{RLIMIT_NPROC, 0, 0, !SANITIZED},
	};

	signal(SIGXFSZ, SIG_IGN); /* EFBIG says it as well */
	for (size_t i = 0; i < sizeof(limits) / sizeof(*limits); i++) {
		struct rlimit limit = {limits[i].soft, limits[i].hard}, old;

		if (!limits[i].wanted)
			continue;
		/* Never above the old hard limit. */
		if (getrlimit(limits[i].what, &old) == 0 && old.rlim_max < limit.rlim_max)
			limit.rlim_max = old.rlim_max;
		if (limit.rlim_cur > limit.rlim_max)
			limit.rlim_cur = limit.rlim_max;
		if (setrlimit(limits[i].what, &limit) < 0)
			return -errno;
	}
	return 0;
}

/* ---- privileges ---------------------------------------------------------------------------------------- */

/* No capability stays ambient that is not permitted: capabilities(7). */
static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};

	return syscall(SYS_capset, &header, none) < 0 ? -errno : 0;
}

/* 0; -errno: it is still root. */
static int become_nobody(void)
{
	if (geteuid() != 0 && getuid() != 0)
		return 0;
	/* Not permitted where setgroups(2) is denied to a user namespace: then there are no groups worth
	 * dropping. */
	if (setgroups(0, NULL) < 0 && errno != EPERM)
		return -errno;
	if (setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0)
		return -errno;
	return 0;
}

/* The parent may have died before PR_SET_PDEATHSIG: then nobody reads the verdict. */
static bool parent_is_gone(void)
{
	struct pollfd end = {.fd = VALIDATE_FD_VERDICT, .events = 0};

	return poll(&end, 1, 0) > 0 && end.revents & POLLERR;
}

/* The OOM killer takes this process before any application. */
static void offer_to_oom_killer(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	ssize_t ignored;

	if (fd < 0)
		return;
	ignored = write(fd, "1000", 4);
	(void)ignored;
	close(fd);
}

int validate_jail_enter(const struct validate_task *task, struct snap_err *err)
{
	int rc, user, filter = -ENOSYS;

	/* Closes what some library may have left open without O_CLOEXEC. Linux 5.9. */
	syscall(SYS_close_range, VALIDATE_FD_VERDICT + 1, ~0u, 0);
	offer_to_oom_killer();
	if (geteuid() == 0)
		unshare(CLONE_NEWNET); /* where permitted: the filter forbids sockets too */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_errno(err, "PR_SET_NO_NEW_PRIVS");
	rc = set_limits(task);
	if (rc < 0)
		return err_set(err, rc, "setrlimit: %s", strerror(-rc));
	user = become_nobody();
	rc = drop_capabilities();
	if (rc < 0)
		return err_set(err, rc, "capset: %s", strerror(-rc));
	/* A change of user clears both. */
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (parent_is_gone())
		return err_set(err, -ESRCH, "nobody waits for the verdict");
	if (!SANITIZED)
		filter = filter_syscalls();
	if (user < 0 && filter < 0)
		return err_set(err, user, "cannot give up root: %s", strerror(-user));
	return 0;
}
