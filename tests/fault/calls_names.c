/* SPDX-License-Identifier: MIT */
/* calls_names.c - the calls that open, make, rename and remove what has a name. */
#include "calls.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

bool quiet_fstat(int fd, struct stat *st)
{
	return syscall(SYS_newfstatat, fd, "", st, AT_EMPTY_PATH) == 0;
}

bool quiet_stat(int dirfd, const char *path, struct stat *st)
{
	return syscall(SYS_newfstatat, dirfd, path, st, AT_SYMLINK_NOFOLLOW) == 0;
}

bool is_regular(int fd)
{
	int saved = errno;
	struct stat st;
	bool yes = quiet_fstat(fd, &st) && S_ISREG(st.st_mode);

	errno = saved;
	return yes;
}

/* Records PATH as KIND, with the inode that it has now. */
static void put_path(enum record_kind kind, int dirfd, const char *path)
{
	char absolute[PATH_MAX];
	struct stat st = {.st_ino = 0};
	int saved = errno;

	if (record_path(dirfd, path, absolute, sizeof(absolute)) &&
	    (kind == RECORD_UNLINK || quiet_stat(dirfd, path, &st)))
		record_put(kind, st.st_ino, 0, absolute, strlen(absolute));
	errno = saved;
}

/* ---- opening ------------------------------------------------------------------------------------------- */

/* An open(2) of FLAGS that has given FD: what it made or cut. BEFORE: whether it was there. */
static void note_open(int dirfd, const char *path, int flags, int fd, bool before)
{
	struct stat st;

	if (fd < 0 || !quiet_fstat(fd, &st) || !S_ISREG(st.st_mode))
		return;
	if ((flags & O_TMPFILE) == O_TMPFILE)
		record_put(RECORD_CREATE, st.st_ino, 0, NULL, 0);
	else if ((flags & O_CREAT) && !before)
		put_path(RECORD_CREATE, dirfd, path);
	else if (flags & O_TRUNC)
		record_put(RECORD_TRUNCATE, st.st_ino, 0, NULL, 0);
}

static int open_it(int dirfd, const char *path, int flags, mode_t mode)
{
	NEXT(int (*)(int, const char *, int, ...), "openat64");
	struct stat st;
	bool before;
	int fd;

	if (fault_hit(FAULT_OPEN, "open", path))
		return -1;
	if (!record_is_on() || !(flags & (O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY))))
		return real(dirfd, path, flags, mode);
	record_begin();
	before = quiet_stat(dirfd, path, &st);
	fd = real(dirfd, path, flags, mode);
	note_open(dirfd, path, flags, fd, before);
	record_end();
	return fd;
}

static mode_t mode_of(int flags, va_list args)
{
	return flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY)) ? va_arg(args, mode_t) : 0;
}

REPLACED int openat64(int dirfd, const char *path, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = mode_of(flags, args);
	va_end(args);
	return open_it(dirfd, path, flags, mode);
}

REPLACED int open64(const char *path, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = mode_of(flags, args);
	va_end(args);
	return open_it(AT_FDCWD, path, flags, mode);
}

REPLACED int openat(int dirfd, const char *path, int flags, ...) __attribute__((alias("openat64")));
REPLACED int open(const char *path, int flags, ...) __attribute__((alias("open64")));

REPLACED int __openat64_2(int dirfd, const char *path, int flags)
{
	return open_it(dirfd, path, flags, 0);
}

REPLACED int __open64_2(const char *path, int flags)
{
	return open_it(AT_FDCWD, path, flags, 0);
}

REPLACED DIR *opendir(const char *path)
{
	NEXT(DIR * (*)(const char *), "opendir");

	return fault_hit(FAULT_OPEN, "opendir", path) ? NULL : real(path);
}

REPLACED FILE *fopen64(const char *path, const char *mode)
{
	NEXT(FILE * (*)(const char *, const char *), "fopen64");

	return fault_hit(FAULT_OPEN, "fopen", path) ? NULL : real(path, mode);
}

/* openat2(2) comes this way. */
REPLACED long syscall(long number, ...)
{
	NEXT(long (*)(long, ...), "syscall");
	long a[6];
	va_list args;

	va_start(args, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(args, long);
	va_end(args);
	if (number == SYS_openat2 && fault_hit(FAULT_OPEN, "openat2", (const char *)a[1]))
		return -1;
	return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* ---- renaming and removing ----------------------------------------------------------------------------- */

static void put_rename(const char *from, const char *to)
{
	char both[2 * PATH_MAX];
	size_t n = strlen(from) + 1, m = strlen(to);

	memcpy(both, from, n);
	memcpy(both + n, to, m);
	record_put(RECORD_RENAME, 0, 0, both, n + m);
}

REPLACED int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	char from_path[PATH_MAX], to_path[PATH_MAX];
	bool known;
	int rc;

	if (fault_hit(FAULT_NAME, "rename", to))
		return -1;
	if (!record_is_on())
		return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
	record_begin();
	known = record_path(from_dir, from, from_path, sizeof(from_path)) &&
		record_path(to_dir, to, to_path, sizeof(to_path));
	rc = (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
	if (rc == 0 && known)
		put_rename(from_path, to_path);
	record_end();
	return rc;
}

REPLACED int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	return renameat2(from_dir, from, to_dir, to, 0);
}

REPLACED int rename(const char *from, const char *to)
{
	return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

REPLACED int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
	int rc;

	if (fault_hit(FAULT_NAME, "link", to))
		return -1;
	if (!record_is_on())
		return (int)syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
	record_begin();
	rc = (int)syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
	if (rc == 0)
		put_path(RECORD_LINK, to_dir, to);
	record_end();
	return rc;
}

REPLACED int unlinkat(int dirfd, const char *path, int flags)
{
	int rc;

	if (fault_hit(FAULT_NAME, "unlink", path))
		return -1;
	if (!record_is_on())
		return (int)syscall(SYS_unlinkat, dirfd, path, flags);
	record_begin();
	rc = (int)syscall(SYS_unlinkat, dirfd, path, flags);
	if (rc == 0)
		put_path(RECORD_UNLINK, dirfd, path);
	record_end();
	return rc;
}

REPLACED int unlink(const char *path)
{
	return unlinkat(AT_FDCWD, path, 0);
}

REPLACED int rmdir(const char *path)
{
	return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

REPLACED int mkdirat(int dirfd, const char *path, mode_t mode)
{
	int rc;

	if (fault_hit(FAULT_NAME, "mkdir", path))
		return -1;
	if (!record_is_on())
		return (int)syscall(SYS_mkdirat, dirfd, path, mode);
	record_begin();
	rc = (int)syscall(SYS_mkdirat, dirfd, path, mode);
	if (rc == 0)
		put_path(RECORD_MKDIR, dirfd, path);
	record_end();
	return rc;
}

REPLACED int mkdir(const char *path, mode_t mode)
{
	return mkdirat(AT_FDCWD, path, mode);
}
