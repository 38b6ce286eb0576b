/* SPDX-License-Identifier: MIT */
/*
 * superjournal.h - the super-journal of a transaction over several databases (ATTACH). Its name stands at
 * the end of the rollback journal of each; while it exists the transaction is not committed. Source:
 * https://www.sqlite.org/atomiccommit.html part 5; readSuperJournal() in pager.c for the bytes.
 *
 * SQLite trusts the name: it opens that file and those named in it, and deletes it. But whoever may write a
 * journal may name any file, and a daemon with more rights would delete it; opening a fifo would block; and
 * closing a file that we have connected elsewhere would drop our locks. So nothing that is named is ever
 * opened or deleted here, and SQLite does not get to see the name.
 */
#ifndef SQLSNAP_SUPERJOURNAL_H
#define SQLSNAP_SUPERJOURNAL_H

#include <limits.h>

#include "place.h"

enum superjournal {
	SUPER_NONE,
	SUPER_THERE,   /* the transaction is to be rolled back */
	SUPER_GONE,    /* it was committed: the journal says nothing any more */
	SUPER_UNKNOWN, /* it is said to stand in another folder, where we do not look */
};

/* Reads the name at the end of the journal FD, terminated. Returns its length; 0: there is none; -errno. */
int superjournal_read(int fd, char name[PATH_MAX]);
/* Changes the journal FD, a copy of our own, so that SQLite finds no name in it. -errno */
int superjournal_hide(int fd);
/* Finds out what became of NAME, which the journal of the database at PLACE ends with. SQLite makes the file
 * in the folder of one of the databases. A container may know that folder by another name, so the file in
 * our folder counts whatever NAME calls it. An enum superjournal, or -errno. */
int superjournal_look(const struct place *place, const char *name);

#endif
