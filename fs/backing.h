/* SPDX-License-Identifier: MIT */
/*
 * backing.h - files that the kernel reads from itself instead of asking for their bytes: how it is told of
 * one and that it is over (FUSE_DEV_IOC_BACKING_OPEN, Linux 6.9). Apart, for the kernel's header and
 * libfuse's define the same names; libfuse's own two functions want a request and log what is refused.
 */
#ifndef SQLSNAPFS_BACKING_H
#define SQLSNAPFS_BACKING_H

/*
 * Has the kernel keep the file of FD for the mount of DEVICE, which is its /dev/fuse: its number there, above
 * 0, to be given back by backing_close(). -EPERM: without CAP_SYS_ADMIN; -ELOOP: it stands on a stacked file
 * system as overlayfs; -ENOTTY: neither kernel nor its header knows of it; -errno.
 */
int backing_open(int device, int fd);
/* Whoever has it open goes on reading. */
void backing_close(int device, int number);

#endif
