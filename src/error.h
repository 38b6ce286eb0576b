/* SPDX-License-Identifier: MIT */
/* error.h - error messages, in the caller's memory so that they work even when memory has run out. */
#ifndef SQLSNAP_ERROR_H
#define SQLSNAP_ERROR_H

#include "sqlsnap.h"

/* Writes the text (cut to fit) and returns CODE, so that a failure is one return statement. ERR may be NULL.
 */
int err_set(struct snap_err *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The same with ": strerror(errno)" appended; returns -errno. */
int err_errno(struct snap_err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
