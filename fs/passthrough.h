/* SPDX-License-Identifier: MIT */
/*
 * passthrough.h - lets the kernel read a descriptor from a file itself, at the speed of that file (FUSE
 * passthrough: libfuse 3.17, Linux 6.9, CAP_SYS_ADMIN). Only for files that hold exactly what the descriptor
 * shows and never change: snap_gen_lend(), snap_file_lend(). Where anything is missing for that, reads go to
 * op_read() as usual, without a message.
 *
 * The kernel reads an inode either through its page cache or from one file, never both: an open that does
 * not match the ones already there is EIO (fs/fuse/iomode.c). So the first descriptor of a node decides for
 * those that follow while it is open. The kernel is done with a descriptor before we read its RELEASE, so
 * the descriptors counted here include all that it has.
 */
#ifndef SQLSNAPFS_PASSTHROUGH_H
#define SQLSNAPFS_PASSTHROUGH_H

#include "fs.h"
#include "handle.h"

struct passthrough {
	pthread_mutex_t lock; /* guards all below, and each node's part; held while the first
			       * descriptor of a node has its file opened again, which is open already */
	int device;	      /* borrowed: the session's; -1: none */
	bool on;	      /* the kernel was asked for it, and can */
	uint64_t opens;	      /* descriptors that it was used for */
};

void passthrough_init(struct passthrough *p);
void passthrough_finish(struct passthrough *p);
/* From the mount on the session; NULL before it is destroyed. */
void passthrough_attach(struct passthrough *p, struct fuse_session *session);
/* In init(): asks the kernel for it if it is of any use. */
void passthrough_ask(struct passthrough *p, struct fuse_conn_info *conn);

/*
 * To be called for each open for reading through the page cache, as FI says, before the reply for H: makes
 * FI one that reads from a file, if possible. Each such open is followed by passthrough_close() before
 * handle_close().
 */
void passthrough_open(struct passthrough *p, struct handle *h, struct fuse_file_info *fi);
void passthrough_close(struct passthrough *p, struct handle *h); /* also of what never came to the above */

uint64_t passthrough_opens(struct passthrough *p);

#endif
