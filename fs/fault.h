/* SPDX-License-Identifier: MIT */
/* fault.h - error texts for failures on the fs/ side of sqlsnap.h. */
#ifndef SQLSNAPFS_FAULT_H
#define SQLSNAPFS_FAULT_H

#include "../src/sqlsnap.h"

/* Writes the text (cut to fit) and returns CODE, so that a failure is one return statement. */
int fault(struct snap_err *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* -ENOMEM with its text. */
int fault_memory(struct snap_err *err);

/* What to append to the line that tells of CODE, since its text alone does not say whose limit it is: what to
 * do about it, or "". */
const char *fault_remedy(int code);

#endif
