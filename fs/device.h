/* SPDX-License-Identifier: MIT */
/*
 * device.h - how libfuse reads requests from /dev/fuse and writes replies to it.
 *
 * When the mount goes away while a request is being read, the kernel answers ECONNABORTED instead of ENODEV
 * (fuse_dev_do_read()). libfuse treats that as a failure: it ends its loop with an error and reports it with
 * perror(3), in threads that it cancels at the same time. A thread that is cancelled there still holds
 * stderr's lock, and the next one that prints waits forever. Here both errors mean the end of the mount.
 *
 * libfuse 3.18.3 and later have no custom I/O unless they were built with it. They go without this, and with
 * what libfuse makes of that rare case.
 */
#ifndef SQLSNAPFS_DEVICE_H
#define SQLSNAPFS_DEVICE_H

#include "fs.h"

/* To be called between mounting and the session's loop. 0, also if libfuse has no custom I/O, of which it
 * complains to fuse_log(3)'s function; -errno */
int device_attach(struct fuse_session *session);

#endif
