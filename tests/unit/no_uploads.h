/* SPDX-License-Identifier: MIT */
/* no_uploads.h - stand-ins for fs/upload.h in programs in which nothing is written. Included once in each. */
#ifndef SQLSNAP_NO_UPLOADS_H
#define SQLSNAP_NO_UPLOADS_H

#include <errno.h>
#include <stdlib.h>

#include "../../fs/upload.h"

struct upload *upload_ref(struct upload *u)
{
	return u;
}

void upload_unref(struct upload *u)
{
	if (u)
		abort();
}

int upload_opened(struct upload *u, pid_t tid)
{
	(void)u;
	(void)tid;
	abort();
}

void upload_closed(struct upload *u)
{
	(void)u;
	abort();
}

ssize_t upload_read(struct upload *u, void *buf, size_t size, uint64_t offset, struct snap_err *err)
{
	(void)u;
	(void)buf;
	(void)size;
	(void)offset;
	(void)err;
	return -EIO;
}

#endif
