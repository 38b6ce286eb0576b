/* SPDX-License-Identifier: MIT */
/* spool_private.h - what the files spool*.c share with others that copy a file. */
#ifndef SQLSNAP_SPOOL_PRIVATE_H
#define SQLSNAP_SPOOL_PRIVATE_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

/* Writes all of it; -errno. */
int spool_write(int fd, const void *buf, size_t size, uint64_t offset, struct snap_err *err);

#endif
