/* SPDX-License-Identifier: MIT */
/* opath.c - a descriptor's name in /proc/self/fd, and the path that it leads to. Touches no file. */
#include "opath.h"

#include <stdio.h>

struct opath_name opath_name(int fd)
{
	struct opath_name name;

	snprintf(name.text, sizeof(name.text), "/proc/self/fd/%d", fd);
	return name;
}

int opath_path(int fd, char *path, size_t size)
{
	struct opath_name name = opath_name(fd);
	ssize_t n = readlink(name.text, path, size);

	if (n < 0)
		return -errno;
	if ((size_t)n >= size)
		return -ENAMETOOLONG;
	path[n] = '\0';
	return path[0] == '/' ? 0 : -ENOENT;
}
