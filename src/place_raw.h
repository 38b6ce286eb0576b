/* SPDX-License-Identifier: MIT */
/* place_raw.h - the files of a database, opened as they are, without SQLite. */
#ifndef SQLSNAP_PLACE_RAW_H
#define SQLSNAP_PLACE_RAW_H

#include "place.h"
#include "rawfd.h"

/* Opens the file NAME + SUFFIX of PLACE; closed by rawfd_close(). -errno with a message; -EMLINK: a sidecar
 * with several hard links. ST may be NULL. */
int place_open_raw(struct rawfd_table *table, const struct place *place, const char *suffix,
		   struct rawfd *raw, struct stat *st, struct snap_err *err);

/* Whether the file says WAL mode: 1; 0, also when it cannot be read; -errno: what this process ran out of. */
int place_is_wal(struct rawfd_table *table, const struct place *place);

#endif
