/* SPDX-License-Identifier: MIT */
/* calls_other.c - what a program asks of the kernel besides: what stands there, mappings, locks, processes.
 */
#include "calls.h"

#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- what stands there --------------------------------------------------------------------------------- */

static int stat_it(int dirfd, const char *path, struct stat *st, int flags)
{
	if (fault_hit(FAULT_STAT, "stat", path))
		return -1;
	return (int)syscall(SYS_newfstatat, dirfd, path, st, flags);
}

REPLACED int fstatat64(int dirfd, const char *restrict path, struct stat64 *restrict st, int flags)
{
	return stat_it(dirfd, path, (struct stat *)st, flags);
}

REPLACED int fstat64(int fd, struct stat64 *st)
{
	return stat_it(fd, "", (struct stat *)st, AT_EMPTY_PATH);
}

REPLACED int stat64(const char *restrict path, struct stat64 *restrict st)
{
	return stat_it(AT_FDCWD, path, (struct stat *)st, 0);
}

REPLACED int lstat64(const char *restrict path, struct stat64 *restrict st)
{
	return stat_it(AT_FDCWD, path, (struct stat *)st, AT_SYMLINK_NOFOLLOW);
}

REPLACED int statx(int dirfd, const char *restrict path, int flags, unsigned mask, struct statx *restrict st)
{
	if (fault_hit(FAULT_STAT, "statx", path))
		return -1;
	return (int)syscall(SYS_statx, dirfd, path, flags, mask, st);
}

REPLACED int access(const char *path, int mode)
{
	if (fault_hit(FAULT_STAT, "access", path))
		return -1;
	return (int)syscall(SYS_faccessat, AT_FDCWD, path, mode);
}

REPLACED int faccessat(int dirfd, const char *path, int mode, int flags)
{
	NEXT(int (*)(int, const char *, int, int), "faccessat");

	return fault_hit(FAULT_STAT, "faccessat", path) ? -1 : real(dirfd, path, mode, flags);
}

REPLACED ssize_t readlinkat(int dirfd, const char *restrict path, char *restrict buf, size_t size)
{
	if (fault_hit(FAULT_STAT, "readlink", path))
		return -1;
	return syscall(SYS_readlinkat, dirfd, path, buf, size);
}

REPLACED ssize_t readlink(const char *restrict path, char *restrict buf, size_t size)
{
	return readlinkat(AT_FDCWD, path, buf, size);
}

REPLACED int statfs64(const char *path, struct statfs64 *out)
{
	NEXT(int (*)(const char *, struct statfs64 *), "statfs64");

	return fault_hit(FAULT_STAT, "statfs", path) ? -1 : real(path, out);
}

REPLACED int fstatfs64(int fd, struct statfs64 *out)
{
	NEXT(int (*)(int, struct statfs64 *), "fstatfs64");

	return fault_hit(FAULT_STAT, "fstatfs", NULL) ? -1 : real(fd, out);
}

REPLACED int statvfs64(const char *restrict path, struct statvfs64 *restrict out)
{
	NEXT(int (*)(const char *, struct statvfs64 *), "statvfs64");

	return fault_hit(FAULT_STAT, "statvfs", path) ? -1 : real(path, out);
}

REPLACED int fstatvfs64(int fd, struct statvfs64 *out)
{
	NEXT(int (*)(int, struct statvfs64 *), "fstatvfs64");

	return fault_hit(FAULT_STAT, "fstatvfs", NULL) ? -1 : real(fd, out);
}

/* ---- mappings and locks -------------------------------------------------------------------------------- */

REPLACED void *mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
	if (fault_hit(FAULT_MAP, "mmap", fd < 0 ? "of memory" : "of a file"))
		return MAP_FAILED;
	long got = syscall(SYS_mmap, at, size, protection, flags, fd, offset);

	return got == -1 ? MAP_FAILED : (void *)got;
}

REPLACED int fcntl64(int fd, int command, ...)
{
	NEXT(int (*)(int, int, ...), "fcntl64");
	va_list args;
	void *arg;

	va_start(args, command);
	arg = va_arg(args, void *);
	va_end(args);
	switch (command) {
	case F_SETLK:
	case F_SETLKW:
	case F_GETLK:
	case F_OFD_SETLK:
	case F_OFD_SETLKW:
	case F_OFD_GETLK:
		/* Giving a lock back does not fail. */
		if (((struct flock *)arg)->l_type != F_UNLCK && fault_hit(FAULT_LOCK, "fcntl", NULL))
			return -1;
		break;
	case F_DUPFD:
	case F_DUPFD_CLOEXEC:
		if (fault_hit(FAULT_PROCESS, "fcntl(F_DUPFD)", NULL))
			return -1;
		break;
	default:
		break;
	}
	return real(fd, command, arg);
}

REPLACED int flock(int fd, int operation)
{
	if (!(operation & LOCK_UN) && fault_hit(FAULT_LOCK, "flock", NULL))
		return -1;
	return (int)syscall(SYS_flock, fd, operation);
}

/* ---- processes ----------------------------------------------------------------------------------------- */

REPLACED pid_t fork(void)
{
	NEXT(pid_t(*)(void), "fork");

	return fault_hit(FAULT_PROCESS, "fork", NULL) ? -1 : real();
}

REPLACED int posix_spawn(pid_t *restrict pid, const char *restrict path,
			 const posix_spawn_file_actions_t *restrict actions,
			 const posix_spawnattr_t *restrict attr, char *const argv[restrict],
			 char *const environment[restrict])
{
	NEXT(int (*)(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *,
		     char *const *, char *const *),
	     "posix_spawn");

	if (fault_hit(FAULT_PROCESS, "posix_spawn", path))
		return errno;
	return real(pid, path, actions, attr, argv, environment);
}

REPLACED int pthread_create(pthread_t *restrict thread, const pthread_attr_t *restrict attr,
			    void *(*start)(void *), void *restrict arg)
{
	NEXT(int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *), "pthread_create");

	if (fault_hit(FAULT_PROCESS, "pthread_create", NULL))
		return errno;
	return real(thread, attr, start, arg);
}

REPLACED int pipe2(int fds[2], int flags)
{
	return fault_hit(FAULT_PROCESS, "pipe2", NULL) ? -1 : (int)syscall(SYS_pipe2, fds, flags);
}

REPLACED int socket(int domain, int type, int protocol)
{
	return fault_hit(FAULT_PROCESS, "socket", NULL) ? -1
							: (int)syscall(SYS_socket, domain, type, protocol);
}

REPLACED int socketpair(int domain, int type, int protocol, int fds[2])
{
	if (fault_hit(FAULT_PROCESS, "socketpair", NULL))
		return -1;
	return (int)syscall(SYS_socketpair, domain, type, protocol, fds);
}
