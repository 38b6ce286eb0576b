/* SPDX-License-Identifier: MIT */
/* calls.h - what the files of the preloaded library share: finding the functions that it replaces. */
#ifndef SQLSNAP_FAULT_CALLS_H
#define SQLSNAP_FAULT_CALLS_H

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "control.h"
#include "record.h"

/* Seen from outside, unlike all else here. */
#define REPLACED __attribute__((visibility("default")))

/* The next function of this name in the order of loading: REAL, of TYPE. */
#define NEXT(type, name)              \
	static __typeof__(type) real; \
	if (!real)                    \
	find_next(name, &real)

static inline void find_next(const char *name, void *out)
{
	void *fn = dlsym(RTLD_NEXT, name);

	if (!fn)
		abort();
	memcpy(out, &fn, sizeof(fn));
}

/* stat(2) without being counted. False: it fails. */
bool quiet_fstat(int fd, struct stat *st);
bool quiet_stat(int dirfd, const char *path, struct stat *st); /* no symlink is followed */
bool is_regular(int fd);

#endif
