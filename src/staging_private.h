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

	/* Shared: bytes go into the file or come out of it; exclusive: it is made, or gets another length.
	 * Before LOCK. */
	pthread_rwlock_t gate;
	char folder_name[32]; /* of FOLDER, in the store */
	int folder;	      /* owned; set before FD */
	_Atomic int fd;	      /* owned; -1: nothing stored yet; then set once, with GATE exclusive */

	pthread_mutex_t lock; /* guards what follows */
	struct staging_base base;
	unsigned base_refs;	/* who reads it, and one as long as it shows */
	bool base_shows;	/* some of it can be read yet */
	uint64_t base_size;	/* bytes of it that the file has not been cut to less than */
	struct ranges written;	/* below SIZE */
	struct ranges failed;	/* what writes that failed were about, and was not made good */
	bool lost;		/* there was no memory to note such a failure */
	struct range put_aside; /* has room on the disk, whether written or not */
	uint64_t size;
	uint64_t changes;
	bool touched;	/* written to, or made another size */
	bool was_empty; /* there was a moment when it had no bytes: holes are zeros */
	bool announced; /* it got its length before its first byte */
};

/* Takes the gate, exclusively or shared, with a file behind it. On failure it is not held. */
int staging_close_gate(struct staging *st, struct snap_err *err);
int staging_enter_gate(struct staging *st, struct snap_err *err);

/* Lets go of the base when all of it was written over or cut off: it may hold a live database's WAL. Under no
 * lock. */
void staging_settle_base(struct staging *st);

#endif
