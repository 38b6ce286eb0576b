/* SPDX-License-Identifier: MIT */
/*
 * rawfd.h - every descriptor on a regular file of the tree, except SQLite's.
 *
 * Why: closing any descriptor of a database file (or of its -shm) drops all POSIX locks that this process
 * holds on that inode, including SQLite's, and the database gets corrupted (howtocorrupt.html 2.2). A plain
 * file may become a database while it is open. So all descriptors are opened and closed here. While a
 * connection has an inode open, closing any other descriptor of it is put off until the last connection is
 * gone. A database counts as open while it is in the table, into which it is entered before SQLite opens it;
 * a -shm, while SQLite's unix VFS has it open, as its system calls report (vfs_calls.c). A descriptor whose
 * close is put off is reused by the next open of the inode, so there are never more descriptors than were in
 * use at once. O_PATH descriptors and stat(2) are safe and need none of this.
 */
#ifndef SQLSNAP_RAWFD_H
#define SQLSNAP_RAWFD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

struct rawfd_table;

/* An open descriptor, O_RDONLY | O_CLOEXEC. It may have been used before, so its offset is undefined: use
 * pread(2). */
struct rawfd {
	int fd; /* -1: none */
	uint64_t dev, ino;
};

#define RAWFD_INIT ((struct rawfd){.fd = -1})

int rawfd_table_create(struct rawfd_table **out);
/* No connection may be open any more. Performs the closes that were put off. Accepts NULL. */
void rawfd_table_destroy(struct rawfd_table *table);

/*
 * Opens NAME in the folder DIRFD; never follows a symlink, never blocks on a fifo. -EINVAL when it is not a
 * regular file, else openat2's errno. ST (may be NULL) receives fstat(2).
 */
int rawfd_open(struct rawfd_table *table, int dirfd, const char *name, struct rawfd *out, struct stat *st);
/* The same for the inode of PATH_FD, an O_PATH descriptor that stays the caller's. */
int rawfd_reopen(struct rawfd_table *table, int path_fd, struct rawfd *out, struct stat *st);
/* Accepts RAWFD_INIT, and sets *RAW to it. The caller must first release locks of its own (F_OFD_SETLK). */
void rawfd_close(struct rawfd_table *table, struct rawfd *raw);

/* Whether the file of FD can be opened with O_DIRECT; FD itself is left as it is. */
bool rawfd_takes_direct(struct rawfd_table *table, int fd);

/*
 * To be called before SQLite opens the inode DEV, INO by NAME in DIRFD. -ESTALE: the name leads to another
 * inode; else openat2's errno; -ENOMEM. Calls are counted; each needs a rawfd_disconnect() after
 * sqlite3_close() of that connection. Until then no other file can get the inode number, even if SQLite has
 * closed the file: the table keeps an O_PATH descriptor of it.
 */
int rawfd_connect(struct rawfd_table *table, int dirfd, const char *name, uint64_t dev, uint64_t ino);
void rawfd_disconnect(struct rawfd_table *table, uint64_t dev, uint64_t ino);

/* Whether a connection has the inode open as a database. */
bool rawfd_connected(struct rawfd_table *table, uint64_t dev, uint64_t ino);

/* ---- the -shm that SQLite has open: one set for the process ---- */

/* SQLite has opened a -shm as FD, and has no lock on it yet. -errno: the table could not note that, so
 * SQLite must not get the descriptor. */
int rawfd_shm_opened(int fd);
/* FD, noted by rawfd_shm_opened(), is the -shm of the database DEV, INO. All connections to that database
 * share it until it is closed. */
void rawfd_shm_belongs(int fd, uint64_t dev, uint64_t ino);
/* Which -shm SQLite has open for the database DEV, INO, whatever name it has by now. False: none is known. */
bool rawfd_shm_of(uint64_t dev, uint64_t ino, uint64_t *shm_dev, uint64_t *shm_ino);
/* Closes any descriptor of SQLite's, and returns what close(2) does. If it was a -shm, closes what was put
 * off for it, too. */
int rawfd_shm_close(int fd);
/* Whether SQLite has the inode open as a -shm, even if its name is gone. The inode is also a database only if
 * somebody has turned it into one. */
bool rawfd_is_shm(uint64_t dev, uint64_t ino);

#endif
