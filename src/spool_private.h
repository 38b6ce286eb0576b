/* SPDX-License-Identifier: MIT */
/* spool_private.h - between the two halves of spool.h's implementation. */
#ifndef SQLSNAP_SPOOL_PRIVATE_H
#define SQLSNAP_SPOOL_PRIVATE_H

#include "error.h"

/* Writes all of it; -errno. */
int spool_write(int fd, const void *buf, size_t size, uint64_t offset, struct snap_err *err);

#endif
