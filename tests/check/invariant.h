/* SPDX-License-Identifier: MIT */
/*
 * invariant.h - judges one copy of a database that the writing application (tests/app) made: is it one
 * committed point in time, whole, and which one.
 */
#ifndef SQLSNAP_TEST_INVARIANT_H
#define SQLSNAP_TEST_INVARIANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sqlite3;

struct verdict {
	uint64_t commits; /* number of its last commit */
	char why[256];	  /* the reason for which it is refused; empty: it is not */
};

/*
 * IMAGE holds SIZE bytes from the start of the file; bytes 18 and 19 are changed for the time of the call (an
 * image in memory has no WAL). True when the copy is good.
 */
bool invariant_check_image(struct verdict *v, unsigned char *image, size_t size);

/* The same over an open connection. */
bool invariant_check_db(struct verdict *v, struct sqlite3 *db);

/* Size and header only: the header's page count is the length of the file. */
bool invariant_check_size(struct verdict *v, const unsigned char *image, size_t size);

#endif
