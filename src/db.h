/* SPDX-License-Identifier: MIT */
/*
 * db.h - the one place where a connection is opened, with its flags and hardening.
 *
 * Every connection has a private cache, no threading mutex (its owner serialises), no automatic checkpoint,
 * no checkpoint on close (except DB_CLOSER), no memory mapping, no extension loading, untrusted schema,
 * cell_size_check. Its page cache keeps SQLite's default limit: our own reads bypass it, and setting it would
 * need the schema.
 */
#ifndef SQLSNAP_DB_H
#define SQLSNAP_DB_H

#include "error.h"
#include "vfs.h"

struct sqlite3;

struct db {
	struct sqlite3 *handle; /* owned; NULL when closed */
	struct vfs *vfs;	/* owned; NULL for DB_PRIVATE */
};

enum db_kind {
	DB_READER,   /* READONLY, VFS_READER: live databases */
	DB_CLOSER,   /* READWRITE, VFS_CLOSER: the close that an application would have made */
	DB_RESTORER, /* READWRITE, VFS_RESTORER: what a restore writes through */
	DB_STAGED,   /* READONLY, VFS_STAGED: files of the store that do not change, whoever wrote them */
	DB_PRIVATE,  /* READWRITE|CREATE, plain unix VFS: files of the store that nobody else sees */
};

#define DB_INIT ((struct db){NULL, NULL})

/*
 * Opens NAME in the folder DIRFD (an O_PATH descriptor is enough; it must stay open as long as the
 * connection) as /proc/self/fd/DIRFD/NAME. Locks nothing and looks only at the first 100 bytes. -EINVAL: not
 * a file name; else by db_errno(). A failure leaves *DB as it was.
 */
int db_open(struct db *db, int dirfd, const char *name, enum db_kind kind, struct snap_err *err);
/* The same for a known inode: -ESTALE if NAME leads to another one than DEV, INO. Not for DB_PRIVATE. */
int db_open_inode(struct db *db, int dirfd, const char *name, uint64_t dev, uint64_t ino, enum db_kind kind,
		  struct snap_err *err);
/* Accepts a closed or half-opened connection. */
void db_close(struct db *db);

/* Runs SQL whose rows are not needed. Returns SQLite's extended result code, 0 for success. */
int db_exec(struct db *db, const char *sql);

/* SQLite's result code as -errno: BUSY and LOCKED -EBUSY, NOMEM -ENOMEM, FULL -ENOSPC, CANTOPEN the system's
 * errno or -EACCES, PERM and AUTH -EACCES, READONLY -EROFS, IOERR -ENOSPC when the system said so (a -shm
 * that cannot grow), everything else -EIO. */
int db_errno(struct db *db, int rc);
/* The message for the last failure on this connection: SQLite's, or a clearer one; borrowed until the next
 * call. */
const char *db_text(struct db *db);
/* A clearer message than SQLite's for the failure -ERROR of a live database; OTHERS: there is none. */
const char *db_words(int error, const char *others);
/* For a name that exceeds NAME_MAX once "-wal" or "-journal" is appended. */
#define DB_NAME_TOO_LONG "its name is too long for its -journal or -wal: give it one of 247 bytes at most"
#define DB_NO_ROOM                                                                                        \
	"no room for its WAL or journal: its disk is full, or has no inode left, or a quota is used up; " \
	"make room there"
#define DB_LINKED "its -wal, -shm or -journal has another name, by a hard link: remove that one"

#endif
