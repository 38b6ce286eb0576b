/* SPDX-License-Identifier: MIT */
/* staging_private.h - what staging.c and staging_write.c share; nobody else includes it. */
#ifndef SQLSNAP_STAGING_PRIVATE_H
#define SQLSNAP_STAGING_PRIVATE_H

#include "staging.h"

#include <pthread.h>
#include <stdatomic.h>

#include "ranges.h"

struct staging {
	struct store *store; /* borrowed */

	/* Shared: bytes are written to the file or read from it; exclusive: it is created, or its length
	 * changes. Taken before LOCK. */
	pthread_rwlock_t gate;
	char folder_name[32]; /* of FOLDER, in the store */
	int folder;	      /* owned; set before FD */
	_Atomic int fd;	      /* owned; -1: nothing stored yet; then set once, with GATE exclusive */

	pthread_mutex_t lock; /* guards what follows */
	struct staging_base base;
	unsigned base_refs;	/* one for each reader, and one while BASE_SHOWS */
	bool base_shows;	/* some of it can still be read */
	uint64_t base_size;	/* bytes of it that no truncation has cut off */
	struct ranges written;	/* below SIZE */
	struct ranges failed;	/* ranges of failed writes that were not made good since */
	bool lost;		/* there was no memory to note such a failure */
	struct range put_aside; /* has disk space, whether written or not */
	uint64_t size;
	uint64_t changes;
	bool touched;	/* written to, or resized */
	bool was_empty; /* there was a moment when it had no bytes: holes are zeros */
	bool announced; /* it got its length before its first byte */
};

/* Take the gate, exclusively or shared, and create the file before that if need be. On failure it is not
 * held. */
int staging_close_gate(struct staging *st, struct snap_err *err);
int staging_enter_gate(struct staging *st, struct snap_err *err);

/* Drops the base once all of it was overwritten or cut off, because it may hold back a live database's WAL.
 * Under no lock. */
void staging_settle_base(struct staging *st);

#endif
