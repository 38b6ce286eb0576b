/* SPDX-License-Identifier: MIT */
/* spool_private.h - what the files spool*.c share with other code that copies a file as it is. */
#ifndef SQLSNAP_SPOOL_PRIVATE_H
#define SQLSNAP_SPOOL_PRIVATE_H

#include "core.h"
#include "place.h"

/* Opens the file NAME + SUFFIX of PLACE; -errno with a message. ST may be NULL. */
int spool_open_raw(struct core *core, const struct place *place, const char *suffix, struct rawfd *raw,
		   struct stat *st, struct snap_err *err);
/* Writes all of it; -errno. */
int spool_write(int fd, const void *buf, size_t size, uint64_t offset, struct snap_err *err);

#endif
