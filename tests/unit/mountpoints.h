/* SPDX-License-Identifier: MIT */
/* mountpoints.h - what the tests of a mount's life share: a folder of each test, and looks at what is in it.
 */
#ifndef SQLSNAP_TEST_MOUNTPOINTS_H
#define SQLSNAP_TEST_MOUNTPOINTS_H

#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[PATH_MAX]; /* of one test; the working directory meanwhile */

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline int setup(void **state)
{
	char template[] = "/tmp/sqlsnapfs-mount.XXXXXX";

	(void)state;
	if (!mkdtemp(template) || !realpath(template, folder))
		return -1;
	return chdir(folder);
}

static inline int teardown(void **state)
{
	(void)state;
	if (chdir("/") < 0)
		return -1;
	return nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline const char *at(const char *name)
{
	static char path[2 * PATH_MAX];

	snprintf(path, sizeof(path), "%s%s%s", folder, *name ? "/" : "", name);
	return path;
}

static inline void touch(const char *name)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	assert_return_code(fd, errno);
	close(fd);
}

static inline unsigned mode_of(const char *path)
{
	struct stat st;

	assert_return_code(lstat(path, &st), errno);
	return st.st_mode & 07777;
}

static inline bool exists(const char *path)
{
	return access(path, F_OK) == 0;
}

#endif
