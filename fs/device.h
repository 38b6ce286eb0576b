/* SPDX-License-Identifier: MIT */
/*
 * device.h - how libfuse reads requests from /dev/fuse and writes answers to it.
 *
 * An unmount while a request is on its way reads as ECONNABORTED instead of ENODEV (fuse_dev_do_read() in the
 * kernel). libfuse takes that for a failure: it ends its loop with an error and says so with perror(3), in
 * threads that it cancels meanwhile; one that is cancelled there keeps stderr's lock, and whoever prints next
 * waits for ever. Here both are the end of the mount.
 */
#ifndef SQLSNAPFS_DEVICE_H
#define SQLSNAPFS_DEVICE_H

#include "fs.h"

/* Once a session is mounted and before its loop. 0, or -errno. */
int device_attach(struct fuse_session *session);

#endif
