/* SPDX-License-Identifier: MIT */
/* no_custom_io.c - to preload: a libfuse that was built without custom I/O, as 3.18.3 and later are. Each
 * refusal adds a byte to the file $NO_CUSTOM_IO. */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

int fuse_session_custom_io(void *session, const void *io, int fd);
int fuse_session_custom_io_317(void *session, const void *io, size_t size, int fd);

static int refuse(void)
{
	int fd = open(getenv("NO_CUSTOM_IO"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, "!", 1) != 1)
		abort();
	close(fd);
	return -ENOTSUP;
}

int fuse_session_custom_io(void *session, const void *io, int fd)
{
	(void)session;
	(void)io;
	(void)fd;
	return refuse();
}

int fuse_session_custom_io_317(void *session, const void *io, size_t size, int fd)
{
	(void)size;
	return fuse_session_custom_io(session, io, fd);
}
