/* SPDX-License-Identifier: MIT */
/*
 * backing.h - FUSE passthrough: registers files with the kernel, which then reads them itself instead of
 * sending READ requests (FUSE_DEV_IOC_BACKING_OPEN, Linux 6.9). In a file of its own because the kernel's
 * header and libfuse's define the same names. libfuse's own two functions need a request, and log every
 * refusal.
 */
#ifndef SQLSNAPFS_BACKING_H
#define SQLSNAPFS_BACKING_H

/*
 * Registers the file of FD with the mount of DEVICE, its descriptor of /dev/fuse. Returns the backing id,
 * above 0, which backing_close() gives back. -EPERM: no CAP_SYS_ADMIN; -ELOOP: the file is on a stacked file
 * system such as overlayfs; -ENOTTY: the kernel, or the header we were built with, does not know it; -errno.
 */
int backing_open(int device, int fd);
/* Descriptors that already read from the file go on doing so. */
void backing_close(int device, int number);

#endif
