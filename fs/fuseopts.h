/* SPDX-License-Identifier: MIT */
/* fuseopts.h - the options given to libfuse and the kernel for a mount. */
#ifndef SQLSNAPFS_FUSEOPTS_H
#define SQLSNAPFS_FUSEOPTS_H

#include "fs.h"
#include "options.h"
#include "plan.h"

/* Whether the mount is read-only. */
bool fuseopts_read_only(const struct options *options);

/* ARGS for fuse_session_new(), to be freed with fuse_opt_free_args() even after a failure. -ENOMEM. */
int fuseopts_build(struct fuse_args *args, const struct options *options, const struct plan *plan);

#endif
