/* SPDX-License-Identifier: MIT */
/*
 * passthrough.h - lets the kernel serve a descriptor's reads from a file itself, at the speed of that file
 * (FUSE passthrough: libfuse 3.17, Linux 6.9, CAP_SYS_ADMIN). Only for files that hold exactly what the
 * descriptor shows and never change: snap_gen_lend(), snap_file_lend(). If any requirement is not met, reads
 * go to op_read() as usual, without a message.
 *
 * The kernel reads an inode either through its page cache or from one file, never both: an open that does not
 * match the ones already there is EIO (fs/fuse/iomode.c). So the first descriptor of a node decides for those
 * that follow while it is open. The kernel is done with a descriptor before we read its RELEASE, so the
 * descriptors counted here include all that the kernel still has.
 */
#ifndef SQLSNAPFS_PASSTHROUGH_H
#define SQLSNAPFS_PASSTHROUGH_H

#include "fs.h"
#include "handle.h"

struct passthrough {
	pthread_mutex_t lock; /* guards all below, and each node's part; held while the file of a node's first
				 descriptor, which is already open, is opened again */
	int device;	      /* borrowed: the session's; -1: none */
	bool on;	      /* requested from the kernel, which supports it */
	uint64_t opens;	      /* descriptors that it was used for */
};

void passthrough_init(struct passthrough *p);
void passthrough_finish(struct passthrough *p);
/* SESSION: the session, once it is mounted; NULL before it is destroyed. */
void passthrough_attach(struct passthrough *p, struct fuse_session *session);
/* In init(): requests it from the kernel if it can be used. */
void passthrough_ask(struct passthrough *p, struct fuse_conn_info *conn);

/*
 * To be called for each open for reading through the page cache, as set in FI, before the reply for H: if
 * possible, makes FI read from a file. Each such open is followed by passthrough_close() before
 * handle_close().
 */
void passthrough_open(struct passthrough *p, struct handle *h, struct fuse_file_info *fi);
void passthrough_close(struct passthrough *p, struct handle *h); /* also without passthrough_open() */

uint64_t passthrough_opens(struct passthrough *p);

#endif
