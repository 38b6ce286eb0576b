/* SPDX-License-Identifier: MIT */
/* upload_private.h - what the files upload*.c share; nobody else includes it. */
#ifndef SQLSNAP_UPLOAD_PRIVATE_H
#define SQLSNAP_UPLOAD_PRIVATE_H

#include "snap_private.h"
#include "staging.h"
#include "validate.h"

struct headstart;
struct target;

struct snap_upload {
	struct snap *snap; /* borrowed */

	pthread_rwlock_t lock;	 /* writing: while STAGING is replaced, and BUSY begins */
	struct staging *staging; /* owned */
	uint64_t changes;	 /* of the stagings before */
	bool busy;		 /* a verdict is being made */
	bool spent;		 /* STAGING is shown to readers, and there was no memory for another */

	char *expected;		     /* owned; constant: the database that it may become; NULL: unknown */
	atomic_bool asked;	     /* HEADSTART has been asked for */
	struct headstart *headstart; /* owned; NULL: none. Set by whoever asked, with LOCK for reading */

	/* for whoever has made it busy */
	struct validate_report report;
	bool checked;
	uint64_t checked_at; /* snap_upload_changes() */
	int check_rc;
	struct snap_err check_err;
};

/* Gives STAGING what GEN, of which a reference is taken, shows, to begin with; READABLE: opens it now, so
 * that a failure is told. -errno */
int upload_lend(struct staging *staging, struct snap_gen *gen, bool readable, struct snap_err *err);
/* Lets go of both, which may be NULL. Where that may take long, as freeing a large file's room and a read
 * that is under way do, on a thread of the library's, as long as there is one. */
void upload_let_go(struct snap *snap, struct staging *staging, struct headstart *headstart);
/* What PATH stands for, as target_find(), but that nothing below our own folder can be written. */
int upload_find_target(struct snap *snap, const char *path, struct target *out, struct snap_err *err);

#endif
