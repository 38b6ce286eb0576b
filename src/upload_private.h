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

	pthread_rwlock_t lock;	 /* for writing: to replace STAGING, and to change BUSY */
	struct staging *staging; /* owned */
	uint64_t changes;	 /* of the previous stagings */
	bool busy;		 /* a verdict is being made */
	bool spent;		 /* STAGING is shown to readers, and there was no memory for another */

	char *expected;		     /* owned; constant: the database that it may become; NULL: unknown */
	atomic_bool asked;	     /* HEADSTART has been asked for */
	struct headstart *headstart; /* owned; NULL: none. Set by whoever asked, with LOCK for reading */

	/* for the thread that made it busy */
	struct validate_report report;
	bool checked;
	uint64_t checked_at; /* snap_upload_changes() */
	int check_rc;
	struct snap_err check_err;
};

/* Makes what GEN shows the initial content of STAGING; takes a reference to GEN. READABLE: opens GEN now, so
 * that a failure is reported. -errno */
int upload_lend(struct staging *staging, struct snap_gen *gen, bool readable, struct snap_err *err);
/* Releases both, which may be NULL. Where that may take long (freeing a large file's space, or a read under
 * way), on a thread of the library, if one is available. */
void upload_let_go(struct snap *snap, struct staging *staging, struct headstart *headstart);
/* What PATH stands for, as target_find(), except that nothing below our own folder can be written. */
int upload_find_target(struct snap *snap, const char *path, struct target *out, struct snap_err *err);

#endif
