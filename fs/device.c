/* SPDX-License-Identifier: MIT */
/*
 * device.c - see device.h. read(2) remains a cancellation point, which libfuse's shutdown relies on. Nobody
 * waits for a reply that comes after the connection has ended (its descriptor is then session.c's pipe): it
 * gets ENOENT, as for an interrupted request; otherwise libfuse 3.17 would complain of it.
 */
#include "device.h"

#include <errno.h>
#include <sys/uio.h>
#include <unistd.h>

static ssize_t device_read(int fd, void *buf, size_t size, void *userdata)
{
	ssize_t got = read(fd, buf, size);

	(void)userdata;
	if (got < 0 && errno == ECONNABORTED)
		errno = ENODEV;
	return got;
}

static ssize_t device_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	ssize_t sent = writev(fd, iov, count);

	(void)userdata;
	if (sent < 0 && (errno == EPIPE || errno == EBADF))
		errno = ENOENT;
	return sent;
}

int device_attach(struct fuse_session *session)
{
	static const struct fuse_custom_io io = {.read = device_read, .writev = device_writev};
	int rc = fuse_session_custom_io(session, &io, fuse_session_fd(session));

	return rc == -ENOTSUP ? 0 : rc;
}
