/* SPDX-License-Identifier: MIT */
/*
 * passthrough.h - descriptors whose reads the kernel takes from a file itself, at that file's own speed (FUSE
 * passthrough: libfuse 3.17, Linux 6.9, CAP_SYS_ADMIN). Only where a file holds what the descriptor shows and
 * nothing else for ever: snap_gen_lend(), snap_file_lend(). Where any of that is missing, reads come to
 * op_read() as ever, and nobody is told.
 *
 * The kernel reads an inode through its page cache or from one file, never both: an open that does not go
 * with those that there are is EIO (fs/fuse/iomode.c). So the first of the descriptors that a node has at a
 * time decides for the others. The kernel is done with a descriptor before its RELEASE is read here: those
 * that are counted here are all that it has, and more.
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
/* In init(): asks for it where there is any use. */
void passthrough_ask(struct passthrough *p, struct fuse_conn_info *conn);

/*
 * H is about to be answered to an open for reading through the page cache, which FI says: FI is made one of a
 * file, if that can be. Each such open comes here, and passthrough_close() before its handle_close().
 */
void passthrough_open(struct passthrough *p, struct handle *h, struct fuse_file_info *fi);
void passthrough_close(struct passthrough *p, struct handle *h); /* also of what never came to the above */

uint64_t passthrough_opens(struct passthrough *p);

#endif
