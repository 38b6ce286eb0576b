/* SPDX-License-Identifier: MIT */
/*
 * superjournal.h - the super-journal of a transaction over several databases (ATTACH). Its name is stored at
 * the end of each database's rollback journal; while the file exists, the transaction is not committed.
 * Source: https://www.sqlite.org/atomiccommit.html part 5; readSuperJournal() in pager.c for the bytes.
 *
 * SQLite trusts the name: it opens that file and those named in it, and deletes it. But a user who may write
 * a journal may name any file, which a daemon with more rights would then delete; opening a fifo would block;
 * and closing a file to which we are connected elsewhere would drop our locks. So no file named there is ever
 * opened or deleted here, and the name is hidden from SQLite.
 */
#ifndef SQLSNAP_SUPERJOURNAL_H
#define SQLSNAP_SUPERJOURNAL_H

#include <limits.h>

#include "place.h"

enum superjournal {
	SUPER_NONE,
	SUPER_THERE,   /* the transaction is to be rolled back */
	SUPER_GONE,    /* it was committed: the journal no longer counts */
	SUPER_UNKNOWN, /* by its name it is in another folder, where we do not look */
};

/* Reads the name at the end of the journal FD, terminated. Returns its length; 0: there is none; -errno. */
int superjournal_read(int fd, char name[PATH_MAX]);
/* Changes the journal FD, a copy of our own, so that SQLite finds no name in it. -errno */
int superjournal_hide(int fd);
/* Finds out what became of the super-journal NAME, with which the journal of the database at PLACE ends.
 * SQLite creates the file in the folder of one of the databases. A container may know that folder by another
 * path, so the file in our folder counts, whatever path NAME gives it. An enum superjournal, or -errno. */
int superjournal_look(const struct place *place, const char *name);
/* What to say of SUPER_UNKNOWN: a format for NAME. */
#define SUPERJOURNAL_UNKNOWN                                                                             \
	"its journal is of a transaction over several databases, and whether that was committed stands " \
	"elsewhere: open it with its application (\"%.200s\")"

#endif
