/* SPDX-License-Identifier: MIT */
/*
 * rawfd.h - every descriptor on a regular file of the tree that is not SQLite's.
 *
 * Why: closing any descriptor of a database file (or of its -shm) drops all POSIX locks that this process
 * holds on that inode, SQLite's with them, and what follows is a corrupt database (howtocorrupt.html 2.2). A
 * plain file may become a database while it is open. So descriptors are opened and closed here, and while a
 * connection has an inode open, a close of another descriptor on it is put off until the last connection has
 * gone: of a database while it is in the table, where it is entered before SQLite opens it; of a -shm while
 * SQLite's unix VFS has it open, which tells by its system calls (vfs_calls.c). What is put off serves
 * whoever opens the inode next, so that there are never more descriptors of it than were in use at once.
 * O_PATH descriptors and stat(2) are safe and need none of this.
 */
#ifndef SQLSNAP_RAWFD_H
#define SQLSNAP_RAWFD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

struct rawfd_table;

/* An open descriptor, O_RDONLY | O_CLOEXEC. It may have served before: its offset is anywhere, for pread(2).
 */
struct rawfd {
	int fd; /* -1: none */
	uint64_t dev, ino;
};

#define RAWFD_INIT ((struct rawfd){.fd = -1})

int rawfd_table_create(struct rawfd_table **out);
/* No connection may be left. Closes what was put off. Accepts NULL. */
void rawfd_table_destroy(struct rawfd_table *table);

/*
 * Opens NAME in the folder DIRFD; never follows a symlink, never blocks on a fifo. -EINVAL when it is not a
 * regular file, else openat2's errno. ST (may be NULL) receives fstat(2).
 */
int rawfd_open(struct rawfd_table *table, int dirfd, const char *name, struct rawfd *out, struct stat *st);
/* The same for the inode of PATH_FD, an O_PATH descriptor that stays the caller's. */
int rawfd_reopen(struct rawfd_table *table, int path_fd, struct rawfd *out, struct stat *st);
/* Accepts RAWFD_INIT; sets it. Locks of its own (F_OFD_SETLK) are the caller's to give up before. */
void rawfd_close(struct rawfd_table *table, struct rawfd *raw);

/* Whether the file of FD, which is left as it is, can be opened with O_DIRECT. */
bool rawfd_takes_direct(struct rawfd_table *table, int fd);

/*
 * Before SQLite opens the inode DEV, INO, which NAME in DIRFD leads to: -ESTALE if it does not (any more),
 * else openat2's errno, -ENOMEM. Counted; taken back after sqlite3_close() of that connection. Until then the
 * number is no other file's, also after SQLite has closed it: the table has an O_PATH descriptor of it.
 */
int rawfd_connect(struct rawfd_table *table, int dirfd, const char *name, uint64_t dev, uint64_t ino);
void rawfd_disconnect(struct rawfd_table *table, uint64_t dev, uint64_t ino);

/* Whether it is a database that a connection has open. */
bool rawfd_connected(struct rawfd_table *table, uint64_t dev, uint64_t ino);

/* ---- the -shm that SQLite has open: one set for the process ---- */

/* SQLite has opened a -shm as FD, and has no lock on it yet. -errno: it does not know of it, and must not get
 * it. */
int rawfd_shm_opened(int fd);
/* FD, which was opened so, is of the database DEV, INO: all connections to that share it until it is closed.
 */
void rawfd_shm_belongs(int fd, uint64_t dev, uint64_t ino);
/* Which -shm SQLite has open for the database DEV, INO, whatever name it has by now. False: none is known. */
bool rawfd_shm_of(uint64_t dev, uint64_t ino, uint64_t *shm_dev, uint64_t *shm_ino);
/* close(2) of any descriptor of SQLite's, with its answer; if it was a -shm, then of what was put off, too.
 */
int rawfd_shm_close(int fd);
/* Whether SQLite has the inode open as a -shm, whose name may be gone. It can be a database too, though only
 * if somebody has made one of it. */
bool rawfd_is_shm(uint64_t dev, uint64_t ino);

#endif
