/* SPDX-License-Identifier: MIT */
/*
 * backing.h - FUSE passthrough: registers files with the kernel, which then reads them itself instead of
 * sending READ requests (FUSE_DEV_IOC_BACKING_OPEN, Linux 6.9). This is a separate file because the kernel's
 * header and libfuse's define the same names. libfuse's own two functions are no help: they need a request,
 * and log every refusal.
 */
#ifndef SQLSNAPFS_BACKING_H
#define SQLSNAPFS_BACKING_H

/*
 * Registers the file open as FD with the mount whose /dev/fuse descriptor is DEVICE. Returns the backing id,
 * above 0, which backing_close() gives back. -EPERM: no CAP_SYS_ADMIN; -ELOOP: the file is on a stacked file
 * system such as overlayfs; -ENOTTY: the kernel, or the header we were built with, does not support it;
 * -errno.
 */
int backing_open(int device, int fd);
/* Descriptors that already read from the file go on doing so. */
void backing_close(int device, int number);

#endif
