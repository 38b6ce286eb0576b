/* SPDX-License-Identifier: MIT */
/*
 * sniff.h - tells by its first bytes whether a file is a database, and caches the answers: in at most 1 MiB,
 * whatever the size of the tree. Thread-safe; no lock is held over I/O.
 */
#ifndef SQLSNAP_SNIFF_H
#define SQLSNAP_SNIFF_H

#include <stdbool.h>
#include <sys/stat.h>

#include "header.h"
#include "rawfd.h"

struct sniff;

struct sniffed {
	bool database;
	bool has_header; /* HEADER is what the file began with when its stat(2) was as in ST */
	struct header header;
	int refused; /* -errno: it could not be read, and may be a database */
};

/* TABLE is borrowed. -ENOMEM */
int sniff_create(struct sniff **out, struct rawfd_table *table);
/* Accepts NULL. */
void sniff_destroy(struct sniff *sniff);

/*
 * Classifies the regular file that FD (O_PATH) refers to, with its fstat(2) in ST; ST is refreshed if the
 * file had to be read. A file that a connection has open counts as a database, its -shm does not; neither is
 * touched. A file that we may not or cannot read does not count either: reading it through us gives the same
 * error. -EMFILE, -ENFILE, -ENOMEM, -EINTR, -EAGAIN, -EIO: unknown.
 */
int sniff_look(struct sniff *sniff, int fd, struct stat *st, struct sniffed *out);

#endif
