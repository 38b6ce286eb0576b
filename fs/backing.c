/* SPDX-License-Identifier: MIT */
/* backing.c - see backing.h. */
#include "backing.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdint.h>
#include <sys/ioctl.h>

#ifdef FUSE_DEV_IOC_BACKING_OPEN

int backing_open(int device, int fd)
{
	struct fuse_backing_map map = {.fd = fd};
	int number = ioctl(device, FUSE_DEV_IOC_BACKING_OPEN, &map);

	return number < 0 ? -errno : number;
}

void backing_close(int device, int number)
{
	uint32_t id = (uint32_t)number;

	ioctl(device, FUSE_DEV_IOC_BACKING_CLOSE,
	      &id); /* fails only if the mount is gone, and every registration with it */
}

#else

int backing_open(int device, int fd)
{
	(void)device;
	(void)fd;
	return -ENOTTY;
}

void backing_close(int device, int number)
{
	(void)device;
	(void)number;
}

#endif
