/* SPDX-License-Identifier: MIT */
/*
 * superjournal.h - the super-journal of a transaction over several databases (ATTACH): its name is the end of
 * each one's rollback journal, and while it is there the transaction is not committed. Source:
 * https://www.sqlite.org/atomiccommit.html part 5; readSuperJournal() in pager.c for the bytes.
 *
 * SQLite takes the name for what it says: it opens that file, and those that are named in it, and deletes it.
 * But whoever may write a journal may name any file, which a daemon with more rights would delete; a fifo
 * never opens; and closing what we have connected elsewhere drops our locks. So nothing of what is named is
 * ever opened or deleted here, and SQLite is not told of it.
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

/* The name at the end of the journal FD, terminated: its bytes; 0: there is none; -errno. */
int superjournal_read(int fd, char name[PATH_MAX]);
/* Changes the journal FD, a copy of our own, so that SQLite finds no name in it. -errno */
int superjournal_hide(int fd);
/* What became of NAME, which the journal of the database at PLACE ends with: SQLite makes it in the folder of
 * one of the databases. A container has other names for that folder: what is in ours counts whatever it is
 * called. An enum superjournal, or -errno. */
int superjournal_look(const struct place *place, const char *name);

#endif
