/* SPDX-License-Identifier: MIT */
/*
 * validate.h - whether a file is a database that we accept. The file is hostile until it has passed.
 *
 * validate_header.c  the checks before SQLite: pure bytes, in this process
 * validate.c         starts the child that asks SQLite, waits for its verdict, ends it in time
 * validate_child.c   what that child does, and in what order
 * validate_sql.c     the questions that it asks
 * validate_fit.c     the copy with another page size
 * validate_vfs.c     SQLite over one descriptor: it opens, finds and deletes nothing
 * validate_jail.c    the privileges that the child drops, and its limits
 * validate_private.h what passes between parent and child
 *
 * SQLite never parses a file in this process. A child does: it has no privileges, no files, no network and
 * bounded memory, and we decide when it ends. Files beside the file (-wal, -journal) are not looked at.
 */
#ifndef SQLSNAP_VALIDATE_H
#define SQLSNAP_VALIDATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "header.h"

/* argv[1] of the child. */
#define VALIDATE_ARGUMENT SNAP_CHILD_ARGUMENT

/* The most bytes of table names that a report holds. */
#define VALIDATE_NAMES_MAX (256u << 10)

struct validate_report {
	struct header header;
	uint64_t size;	 /* bytes of the image: PAGES whole pages; the file may be longer */
	uint32_t pages;	 /* also where the header does not say */
	uint32_t tables; /* the user's: without SQLite's own (sqlite_...) */
	char *names; /* owned; their names in UTF-8, each NUL-terminated, sorted by strcmp(); NULL: none */
	size_t names_size; /* bytes, with the NULs */
	bool names_cut;	   /* there are more than VALIDATE_NAMES_MAX bytes of them */
	char note[200];	   /* what could not be checked, and why; "": everything was */
};

#define VALIDATE_REPORT_INIT ((struct validate_report){.names = NULL})

/* Frees what it owns. Accepts one that is VALIDATE_REPORT_INIT. */
void validate_report_finish(struct validate_report *report);

/*
 * The checks before SQLite, for a file of SIZE bytes open at FD: integrity_check passes files of 0, 1 and 108
 * bytes, and one that is cut inside its last page. Fills HEADER, SIZE and PAGES of *OUT and clears the rest;
 * a failure leaves *OUT alone.
 *   -EMEDIUMTYPE  no SQLite database, a format that SQLite does not know, an impossible page size
 *   -EIO          shorter than its header says; or it cannot be read
 */
int validate_header(int fd, uint64_t size, struct validate_report *out, struct snap_err *err);

/* The longest that anybody waits for a verdict: 100 GiB at 170 MB/s. */
#define VALIDATE_PATIENCE_MS 600000

struct validate_order {
	int fd;	       /* borrowed; readable; nobody writes to it meanwhile */
	uint64_t size; /* bytes of the file */
	bool full;     /* integrity_check instead of quick_check */
	bool fit_only; /* the file has passed already: only FIT_FD is made */
	int fit_fd;    /* borrowed; an empty file, readable and writable, that receives the same content with
			  FIT_PAGE_SIZE (VACUUM INTO; header bytes 18 and 19 are 1) unsynced; -1: none */
	uint32_t fit_page_size;
	int timeout_ms;		      /* of all of it; 0: none */
	bool (*cancelled)(void *arg); /* asked about ten times a second, on the calling thread; NULL: never */
	void *arg;
	struct snap_progress
		*progress;   /* its DONE advances, up to 2 * SIZE, by FD's file offset; NULL: not reported */
	const char *program; /* borrowed; absolute path of the child's program; NULL: this one */
};

#define VALIDATE_ORDER_INIT ((struct validate_order){.fd = -1, .fit_fd = -1})

/*
 * The whole gate: validate_header(), then SQLite's own check in a child. May take minutes; from any thread,
 * several at once. 0 and *OUT filled (about FD, not FIT_FD), which validate_report_finish() frees; a failure
 * leaves *OUT alone, and the content of FIT_FD is then worthless.
 *   -EMEDIUMTYPE, -EIO  as validate_header()
 *   -EUCLEAN    damage, with the first line of what SQLite says; a schema that it cannot read; or it crashed
 *   -ETIMEDOUT  TIMEOUT_MS went by
 *   -ECANCELED  CANCELLED said so
 *   -ENOSPC, -EFBIG  no room for FIT_FD; it grew out of all proportion
 *   -EOPNOTSUPP the content cannot be brought to FIT_PAGE_SIZE here: it needs functions or collations that
 *               this program does not have, or rows would get other rowids
 *   -ENOMEM     here or in the child
 * else the error that kept the child from starting.
 */
int validate_file(const struct validate_order *order, struct validate_report *out, struct snap_err *err);

/* What main() returns when argv[1] is VALIDATE_ARGUMENT, before it does anything else. */
int validate_child_main(int argc, char **argv);

#endif
