/* SPDX-License-Identifier: MIT */
/*
 * spool.h - copies of images in unlinked files: cloned (FICLONE) into the database's own folder if that file
 * system can, else copied to the store. They are made at the speed of the disks, so a slow reader delays
 * nobody else.
 *
 * Every function that makes one reads the live database under one of SQLite's locks, or proves afterwards
 * that nobody wrote.
 */
#ifndef SQLSNAP_SPOOL_H
#define SQLSNAP_SPOOL_H

#include "header.h"
#include "live.h"

/* A database file and the WAL frames over it. */
struct spool {
	int db_fd;	/* owned; -1: nothing, reads as 0 bytes */
	int wal_fd;	/* owned; the -wal from its first byte; -1: no frames */
	uint64_t bytes; /* of both */
};

#define SPOOL_INIT ((struct spool){.db_fd = -1, .wal_fd = -1})

void spool_finish(struct spool *spool);
/* Bytes read, 0 at the end, -errno. */
ssize_t spool_read_db(const struct spool *spool, void *buf, size_t size, uint64_t offset);
int spool_db_size(const struct spool *spool, uint64_t *size);
ssize_t spool_read_wal(const struct spool *spool, void *buf, size_t size, uint64_t offset);

/* Which part of what a pin holds still is to be copied. */
struct spool_order {
	uint32_t page_size;	   /* bytes */
	uint32_t max_frame;	   /* frames of the WAL */
	uint64_t size;		   /* bytes of the database file, at most */
	bool clone_only;	   /* -EOPNOTSUPP where the database file cannot be cloned */
	bool (*wanted)(void *arg); /* asked between two steps: false ends the copying with -ECANCELED. NULL:
				      always */
	void *arg;
};

/* Copies it. The caller checks conn_intact() afterwards. -ENOSPC and others with a message; *out is then
 * SPOOL_INIT. */
int spool_pinned(struct spool *out, struct conn *conn, const struct spool_order *order, struct snap_err *err);

/* Clones the whole database file into the empty file FD; false if that is not possible. Under a pin, what a
 * checkpoint is writing at the moment does not matter: the pin's frames cover those pages. */
bool spool_clone_into(struct live *live, int fd);

/* A whole database in one file, and what was known of the live file while it had this content. */
struct spool_flat {
	int fd;	       /* owned by the caller */
	uint64_t size; /* bytes of the image: whole pages */
	struct header header;
	struct stat st;	 /* of the live file */
	int64_t seen_ns; /* CLOCK_REALTIME before ST was taken */
};

#define SPOOL_FLAT_INIT ((struct spool_flat){.fd = -1})

/*
 * Copies a rollback-journal database. CONN holds SHARED (PIN_ROLLBACK) and is taken over, also on failure.
 * Holds SHARED for a quarter of a second at a time; after writers have made it start over three times, for
 * two seconds at most; then -EBUSY.
 */
int spool_rollback(struct spool_flat *out, struct conn *conn, struct snap_err *err);

/* Copies a database that only SQLite itself can read (PIN_UNRELIABLE), by sqlite3_backup. CONN is taken
 * over. Bytes 24..27, 40..43 and 92..99 of the header are the copy's own. */
int spool_backup(struct spool_flat *out, struct conn *conn, struct snap_err *err);

/* Copies a database with a hot journal (PIN_HOT_JOURNAL): copies both files, and rolls back in the copy.
 * -EAGAIN: somebody changed them meanwhile. */
int spool_hot(struct spool_flat *out, struct core *core, const struct place *place, struct snap_err *err);

/* Copies a WAL database that nobody has open, or one on read-only media. The descriptor itself holds
 * SQLite's SHARED lock; there is no -wal, -shm or journal before or after; size and times do not change.
 * -EAGAIN if any of this does not hold. */
int spool_raw(struct spool_flat *out, struct core *core, const struct place *place, struct snap_err *err);

/* Size of the image of a database whose file is FILE_SIZE bytes long: as SQLite counts its pages (lockBtree
 * in btree.c). */
uint64_t spool_image_size(const struct header *header, uint64_t file_size);

#endif
