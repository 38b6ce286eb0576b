/* SPDX-License-Identifier: MIT */
/*
 * proclocks.h - who holds SQLite's locks on a file, according to /proc/locks (proc_locks(5)): a hint, because
 * nothing is held still while it is read.
 *
 * A lock that is listed was held a moment ago. A lock that is not listed proves nothing: a long list is read
 * in pieces and may skip a line when locks come and go; processes of other pid namespaces and other machines'
 * locks on network file systems are not in it; a rollback-journal connection holds nothing between its
 * transactions. Where it matters, take the lock.
 *
 * A line names the superblock's device. On btrfs (each subvolume) and on overlays of several file systems,
 * st_dev is a different one, and stat(2) does not tell which device is listed. So the inode number decides,
 * and the device as far as it is known: lines with st_dev if there are any; else those with the device under
 * which this process itself holds locks on that inode; else all. In the last case, and where two subvolumes
 * have the same inode number, another file's locks may be mistaken for this file's.
 */
#ifndef SQLSNAP_PROCLOCKS_H
#define SQLSNAP_PROCLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Bytes of the -shm: walformat.html 2.3; UNIX_SHM_BASE and UNIX_SHM_DMS in os_unix.c. */
#define PROCLOCKS_WAL_WRITE 120u
#define PROCLOCKS_WAL_CKPT 121u
#define PROCLOCKS_WAL_RECOVER 122u
#define PROCLOCKS_WAL_READ(n) (123u + (n)) /* n = 0..4 */
#define PROCLOCKS_WAL_DMS 128u		   /* shared by every process that has the -shm open */

/* Bytes of the database: PENDING_BYTE and what follows it in os.h. */
#define PROCLOCKS_PENDING 1073741824u
#define PROCLOCKS_RESERVED 1073741825u
#define PROCLOCKS_SHARED_FIRST 1073741826u /* WAL: held as long as a connection is open */
#define PROCLOCKS_SHARED_LAST 1073742335u

/* The locks above: one a byte, but a single one for SHARED. */
#define PROCLOCKS_COUNT 12

struct proclocks_held {
	bool self;    /* by the process that asks */
	bool others;  /* by another process, or an unknown one */
	pid_t writer; /* the process that holds it for writing, SELF included; 0: none; -1: an unknown one */
};

/* Only the bytes above; locks elsewhere in the file are not recorded. */
struct proclocks_seen {
	struct proclocks_held held[PROCLOCKS_COUNT];
};

/*
 * The last reading of /proc/locks, shared by all callers within a short time: while it is read, nobody on the
 * machine gets a file lock, for as long as ten milliseconds where every processor is busy
 * (percpu_down_write() in locks_start(), fs/locks.c).
 */
struct proclocks;
int proclocks_create(struct proclocks **out);	 /* -ENOMEM */
void proclocks_destroy(struct proclocks *locks); /* accepts NULL */

/*
 * The locks on inode INO of device DEV (st_dev), as of at most MAX_AGE_NS ago, divided into SELF's (getpid())
 * and others'. Locks of open file descriptions (F_OFD_SETLK) name no process and count as others'. Waiting
 * requests hold nothing and are skipped. 0, -ENOMEM, -EFBIG (more than 16 MiB of locks), or the error of
 * reading /proc/locks; *OUT is set only on 0.
 */
int proclocks_look(struct proclocks *locks, int64_t max_age_ns, uint64_t dev, uint64_t ino, pid_t self,
		   struct proclocks_seen *out);

/* The same from the SIZE bytes of TEXT. Any bytes are safe; a line that cannot be parsed, or does not end, is
 * skipped. */
void proclocks_parse(struct proclocks_seen *out, const char *text, size_t size, uint64_t dev, uint64_t ino,
		     pid_t self);

/* Whether a lock that overlaps the bytes FIRST..LAST is held, for reading or writing. */
bool proclocks_others_hold(const struct proclocks_seen *seen, uint64_t first, uint64_t last);
bool proclocks_self_holds(const struct proclocks_seen *seen, uint64_t first, uint64_t last);

/* Who holds the lock of BYTE for writing, as in struct proclocks_held. */
pid_t proclocks_writer(const struct proclocks_seen *seen, uint64_t byte);

/* For a -shm: whether another process has it open. */
static inline bool proclocks_others_in_shm(const struct proclocks_seen *shm)
{
	return proclocks_others_hold(shm, PROCLOCKS_WAL_DMS, PROCLOCKS_WAL_DMS);
}

/*
 * For a -shm: whether another process waits for readers to end, as FULL, RESTART and TRUNCATE checkpoints do:
 * it holds WRITE and CKPT. A checkpoint that finds no reader holds both as well, for a moment. Recovery does
 * not count: it holds RECOVER too, and waits for nobody.
 */
bool proclocks_readers_awaited(const struct proclocks_seen *shm, pid_t self);

#endif
