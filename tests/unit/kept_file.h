/* SPDX-License-Identifier: MIT */
/* kept_file.h - the bytes of a kept snapshot, which the program itself reaches in other ways. */
#ifndef KEPT_FILE_H
#define KEPT_FILE_H

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "../../src/cleanup.h"
#include "../../src/keep.h"
#include "../../src/opath.h"

/* Opens the file of SUFFIX ("", "-wal", "-journal") for reading. META may be NULL. -errno */
static inline int kept_file_open(struct store *store, const char *source, const char *name,
				 const char *suffix, struct keep_meta *meta)
{
	struct keep_entry entry;
	autoclose int path = keep_reach(store, source, name, suffix, &entry);
	int fd;

	if (path < 0)
		return path;
	fd = open(opath_name(path).text, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (meta)
		*meta = entry.meta;
	return fd;
}

#endif
