/* SPDX-License-Identifier: MIT */
/*
 * store_file.c - names, files and folders of the store that are in use, and leftovers that no longer are.
 *
 * What must stay true: a process that removes a leftover holds its lock, and makes sure under it that the
 * name still refers to what was locked; a process that creates something makes sure of the same under the
 * same lock before it puts anything into it. So nothing in use is ever removed, whichever of them comes
 * first.
 */
#include "store_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "opath.h"

#define ATTEMPTS 8
#define LOCK_ATTEMPTS 500
#define LOCK_PAUSE_NS 2000000 /* between two attempts */

int store_random_name(char name[STORE_NAME_SIZE], const char *prefix)
{
	uint64_t r;

	if (getrandom(&r, sizeof(r), 0) != (ssize_t)sizeof(r))
		return -EIO;
	snprintf(name, STORE_NAME_SIZE, "%.12s%016llx", prefix, (unsigned long long)r);
	return 0;
}

bool store_is(int dir, const char *name, int fd)
{
	struct stat named, open;

	return fstatat(dir, name, &named, AT_SYMLINK_NOFOLLOW) == 0 && fstat(fd, &open) == 0 &&
	       opath_same(&named, &open);
}

int store_lock(int fd)
{
	return flock(fd, LOCK_EX | LOCK_NB) ? -errno : 0;
}

static int lock_within_a_second(int fd, int how)
{
	const struct timespec pause = {.tv_nsec = LOCK_PAUSE_NS};

	for (int i = 0; i < LOCK_ATTEMPTS; i++) {
		if (flock(fd, how | LOCK_NB) == 0 || errno != EWOULDBLOCK)
			return 0;
		nanosleep(&pause, NULL);
	}
	return -EBUSY;
}

int store_share(int fd)
{
	return lock_within_a_second(fd, LOCK_SH);
}

int store_lock_patiently(int fd)
{
	return lock_within_a_second(fd, LOCK_EX);
}

/* Whether what was just made is ours: 0; -EAGAIN: somebody mistook it for a leftover and locked it. -errno:
 * it cannot be told, and it is removed again; HOW: flags of unlinkat(2) for that. */
static int check_ours(int dir, const char *name, int fd, int how)
{
	struct stat named, open;
	int rc = store_lock(fd);

	if (rc == -EWOULDBLOCK)
		return -EAGAIN;
	if (fstatat(dir, name, &named, AT_SYMLINK_NOFOLLOW) == 0 && fstat(fd, &open) == 0)
		return opath_same(&named, &open) ? 0 : -EAGAIN;
	if (errno == ENOENT)
		return -EAGAIN;
	rc = -errno;
	unlinkat(dir, name, how);
	return rc;
}

int store_make_named(int dir, const char *name)
{
	autoclose int fd = openat(dir, name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	int rc = fd < 0 ? -errno : check_ours(dir, name, fd, 0);

	return rc ? rc : steal_fd(&fd);
}

int store_make_file(int dir, const char *prefix, char name[STORE_NAME_SIZE])
{
	for (int i = 0; i < ATTEMPTS; i++) {
		int fd;

		if (store_random_name(name, prefix))
			return -EIO;
		fd = store_make_named(dir, name);
		if (fd != -EEXIST && fd != -EAGAIN)
			return fd;
	}
	return -EAGAIN;
}

int store_make_locked(int dir, const char *name)
{
	autoclose int fd = -1;
	int rc;

	if (mkdirat(dir, name, 0700))
		return -errno;
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0) {
		rc = errno == ENOENT ? -EAGAIN : -errno;
		unlinkat(dir, name, AT_REMOVEDIR);
		return rc;
	}
	rc = check_ours(dir, name, fd, AT_REMOVEDIR);
	return rc ? rc : steal_fd(&fd);
}

int store_write(int fd, const void *bytes, size_t size)
{
	ssize_t n = write(fd, bytes, size);

	if (n < 0)
		return -errno;
	return n == (ssize_t)size ? 0 : -ENOSPC; /* cut short, which sets no errno */
}

/* ---- folders ------------------------------------------------------------------------------------------- */

int store_each_name(int fd, int (*fn)(void *arg, int fd, const char *name), void *arg)
{
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *e;
	int rc = 0;

	if (!d) {
		rc = -errno;
		if (copy >= 0)
			close(copy);
		return rc;
	}
	for (errno = 0; rc == 0 && (e = readdir(d)) != NULL; errno = 0) {
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			rc = fn(arg, fd, e->d_name);
	}
	if (rc == 0)
		rc = -errno;
	closedir(d);
	return rc;
}

int store_sync_folder(int fd)
{
	return fsync(fd) && errno != EINVAL ? -errno : 0;
}

static int remove_name(void *arg, int fd, const char *name)
{
	int *rc = arg;

	if (unlinkat(fd, name, 0))
		*rc = -errno;
	return 0;
}

int store_remove(int dir, const char *name, int fd)
{
	int failed = 0, rc = store_each_name(fd, remove_name, &failed);

	if (!rc)
		rc = failed;
	return unlinkat(dir, name, AT_REMOVEDIR) && !rc ? -errno : rc;
}

void store_remove_stale(int dir, const char *name)
{
	int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
	autoclose int fd = openat(dir, name, flags);
	struct stat st;

	if (fd < 0 || store_lock(fd) || !store_is(dir, name, fd) || fstat(fd, &st))
		return;
	if (S_ISDIR(st.st_mode))
		store_remove(dir, name, fd);
	else
		unlinkat(dir, name, 0);
}
