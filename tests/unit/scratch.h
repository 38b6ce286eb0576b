/* SPDX-License-Identifier: MIT */
/*
 * scratch.h - what the tests of the file tree share: a folder of their own in a mount namespace of their own,
 * so that neither files nor mounts outlive a test that fails. Needs root: devices, owners and mounts are
 * real.
 */
#ifndef SQLSNAP_TEST_SCRATCH_H
#define SQLSNAP_TEST_SCRATCH_H

#include "unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "../check/own_mounts.h"

#define NOBODY 65534u
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct scratch {
	char path[32];	     /* absolute and resolved; mode 0755 */
	char mounts[8][128]; /* to detach at the end, last first */
	int mount_count;
};

static struct scratch scratch;

/* "PATH/REST", in one of eight buffers in turn. */
__attribute__((format(printf, 1, 2))) static inline char *at(const char *format, ...)
{
	static char buffers[8][PATH_MAX];
	static unsigned turn;
	char *buffer = buffers[turn++ % 8];
	size_t len = (size_t)snprintf(buffer, PATH_MAX, "%s/", scratch.path);
	va_list args;

	va_start(args, format);
	vsnprintf(buffer + len, PATH_MAX - len, format, args);
	va_end(args);
	return buffer;
}

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

/* Group setup: mounts made from now on are seen by this process alone. */
static inline int scratch_namespace(void **state)
{
	(void)state;
	if (geteuid() != 0) {
		print_error("these tests need root (unshare -r does not do: they make devices and change "
			    "owners)\n");
		return -1;
	}
	umask(022);
	if (take_own_mounts() < 0) {
		print_error("these tests need a mount namespace of their own: %s%s\n", strerror(errno),
			    errno == EINVAL ? " (below a chroot, / must be a mount point)" : "");
		return -1;
	}
	return 0;
}

static inline int scratch_setup(void **state)
{
	(void)state;
	memset(&scratch, 0, sizeof(scratch));
	strcpy(scratch.path, "/tmp/sqlsnap-tree-XXXXXX");
	if (!mkdtemp(scratch.path))
		return -1;
	return chmod(scratch.path, 0755);
}

static inline int scratch_teardown(void **state)
{
	int rc = 0;

	(void)state;
	if (geteuid() != 0 && seteuid(0) < 0)
		return -1;
	while (scratch.mount_count > 0)
		rc |= umount2(scratch.mounts[--scratch.mount_count], MNT_DETACH);
	return rc | nftw(scratch.path, remove_one, 32, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

static inline void put(const char *name, const void *bytes, size_t size)
{
	int fd = open(at("%s", name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, size), (ssize_t)size);
	close(fd);
}

static inline void put_text(const char *name, const char *text)
{
	put(name, text, strlen(text));
}

/* The first page of an empty database as SQLite writes it, as far as the tests look. */
static inline void database_bytes(uint8_t page[512], uint8_t user_version)
{
	memset(page, 0, 512);
	memcpy(page, "SQLite format 3", 16);
	page[16] = 2; /* page size 512 */
	page[18] = page[19] = 1;
	page[21] = 64;
	page[22] = page[23] = 32;
	page[27] = 1; /* change counter */
	page[31] = 1; /* pages */
	page[43] = 1; /* schema cookie */
	page[47] = 4; /* schema format */
	page[59] = 1; /* UTF-8 */
	page[63] = user_version;
	page[95] = 1; /* version-valid-for */
	page[100] = 13;
	page[105] = 2;
}

static inline void put_database(const char *name)
{
	uint8_t page[512];

	database_bytes(page, 0);
	put(name, page, sizeof(page));
}

static inline void make_folder(const char *name, mode_t mode)
{
	assert_int_equal(mkdir(at("%s", name), 0755), 0);
	assert_int_equal(chmod(at("%s", name), mode), 0);
}

static inline void make_link(const char *target, const char *name)
{
	assert_int_equal(symlink(target, at("%s", name)), 0);
}

static inline void mounted(const char *path)
{
	assert_between(scratch.mount_count, 0, 7);
	snprintf(scratch.mounts[scratch.mount_count++], sizeof(scratch.mounts[0]), "%s", path);
}

static inline void mount_tmpfs(const char *name)
{
	char *path = at("%s", name);

	assert_int_equal(mount("test", path, "tmpfs", 0, "size=1m,mode=755"), 0);
	mounted(path);
}

static inline void mount_bind(const char *from, const char *name)
{
	char *path = at("%s", name);

	assert_int_equal(mount(at("%s", from), path, NULL, MS_BIND, NULL), 0);
	mounted(path);
}

/* In the folder NAME. */
static inline int entries_in(const char *name)
{
	DIR *dir = opendir(at("%s", name));
	int n = -2;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/*
 * A FUSE mount whose server never answers: a thread that sends it a request waits until the alarm ends the
 * test. Returns the server's descriptor.
 */
static inline int mount_silent(const char *name)
{
	char *path = at("%s", name);
	char options[64];
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", fd);
	assert_int_equal(mount("silent", path, "fuse", MS_NOSUID | MS_NODEV, options), 0);
	mounted(path);
	alarm(30);
	return fd;
}

/* Goes on as another user, who still reaches /proc/self/fd; scratch_teardown() goes back. */
static inline void become(uid_t uid)
{
	assert_int_equal(seteuid(uid), 0);
	assert_int_equal(prctl(PR_SET_DUMPABLE, 1), 0);
}

static inline int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = -3; /* ., .. and the folder's own */

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

/* Waits until the clock is so far past the last change of NAME that its times are safe to compare. */
static inline void let_age(const char *name)
{
	struct stat st;
	struct timespec now, step = {.tv_nsec = 1000000};

	assert_int_equal(lstat(at("%s", name), &st), 0);
	do {
		nanosleep(&step, NULL);
		clock_gettime(CLOCK_REALTIME, &now);
	} while ((now.tv_sec - st.st_ctim.tv_sec) * 1000000000ll + now.tv_nsec - st.st_ctim.tv_nsec <
		 30000000);
}

#endif
