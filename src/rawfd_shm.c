/* SPDX-License-Identifier: MIT */
/*
 * rawfd_shm.c - the set of -shm files that SQLite has open, and the closes that wait for them.
 *
 * What must stay true:
 *  - close(2) of a raw descriptor happens under the set's lock and only while SQLite does not have the inode
 *    open. A -shm is entered under the same lock right after it is opened, before SQLite can lock it.
 *  - SQLite's descriptor is closed and its entry removed under the lock, together: so the set holds no inode
 *    number that the next database may get, and no descriptor number that has been reused.
 * The lock is the last one in the order: nothing that takes another is called under it.
 */
#include "rawfd_private.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "cleanup.h"
#include "opath.h"

/* A -shm that SQLite has open. */
struct shm {
	struct shm *next;
	uint64_t dev, ino;
	int fd;			 /* SQLite's */
	uint64_t db_dev, db_ino; /* the database it belongs to; 0: not known */
	struct put_off *put_off; /* owned: descriptors to close after FD */
};

/*
 * One set for the process, not one per table: POSIX locks belong to the process, and so do the files that
 * SQLite's unix VFS has open. The VFS has one descriptor of a -shm for all connections, and its system calls
 * to open and close it do not know the table.
 */
static struct {
	pthread_mutex_t lock;
	struct shm *buckets[RAWFD_BUCKETS]; /* guarded by lock; owned; by inode */
} shms = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct shm **shm_bucket(uint64_t dev, uint64_t ino)
{
	return &shms.buckets[opath_mix(dev, ino) % RAWFD_BUCKETS];
}

/* The first entry of the inode, from FROM on; NULL: there is none. Under the set's lock. */
static struct shm *find_shm(struct shm *from, uint64_t dev, uint64_t ino)
{
	while (from && (from->dev != dev || from->ino != ino))
		from = from->next;
	return from;
}

void put_off_close(struct put_off *one, uint64_t dev, uint64_t ino)
{
	lock_scope(&shms.lock);
	struct shm *shm = find_shm(*shm_bucket(dev, ino), dev, ino);

	if (shm) {
		put_off_push(&shm->put_off, one);
	} else {
		close(one->fd);
		free(one);
	}
}

struct put_off *put_off_take_shm(uint64_t dev, uint64_t ino)
{
	lock_scope(&shms.lock);
	struct shm *shm = find_shm(*shm_bucket(dev, ino), dev, ino);

	while (shm && !shm->put_off)
		shm = find_shm(shm->next, dev, ino);
	return shm ? put_off_pop(&shm->put_off) : NULL;
}

int rawfd_shm_opened(int fd)
{
	struct shm **bucket, *shm;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode)) /* such as /dev/null, in place of a closed standard descriptor */
		return 0;
	shm = malloc(sizeof(*shm));
	if (!shm)
		return -ENOMEM;
	bucket = shm_bucket(st.st_dev, st.st_ino);
	lock_scope(&shms.lock);
	*shm = (struct shm){.next = *bucket, .dev = st.st_dev, .ino = st.st_ino, .fd = fd};
	*bucket = shm;
	return 0;
}

/* The pointer to the entry that has FD; NULL: there is none. Under the set's lock. */
static struct shm **find_fd(int fd)
{
	for (size_t i = 0; i < RAWFD_BUCKETS; i++) {
		for (struct shm **at = &shms.buckets[i]; *at; at = &(*at)->next) {
			if ((*at)->fd == fd)
				return at;
		}
	}
	return NULL;
}

void rawfd_shm_belongs(int fd, uint64_t dev, uint64_t ino)
{
	lock_scope(&shms.lock);
	struct shm **at = find_fd(fd);

	if (at) {
		(*at)->db_dev = dev;
		(*at)->db_ino = ino;
	}
}

bool rawfd_shm_of(uint64_t dev, uint64_t ino, uint64_t *shm_dev, uint64_t *shm_ino)
{
	lock_scope(&shms.lock);
	for (size_t i = 0; i < RAWFD_BUCKETS; i++) {
		for (const struct shm *shm = shms.buckets[i]; shm; shm = shm->next) {
			if (shm->db_ino != ino || shm->db_dev != dev)
				continue;
			*shm_dev = shm->dev;
			*shm_ino = shm->ino;
			return true;
		}
	}
	return false;
}

/* Closes FD and the descriptors that waited for that, unless SQLite has the inode open a second time. False:
 * FD is not a -shm. */
static bool close_shm(int fd, int *rc)
{
	struct shm *shm, *same, **at;
	struct put_off *one;
	lock_scope(&shms.lock);

	at = find_fd(fd);
	if (!at)
		return false;
	shm = *at;
	*at = shm->next;
	*rc = close(fd);
	same = find_shm(*shm_bucket(shm->dev, shm->ino), shm->dev, shm->ino);
	while ((one = put_off_pop(&shm->put_off))) {
		if (same) {
			put_off_push(&same->put_off, one);
		} else {
			close(one->fd);
			free(one);
		}
	}
	free(shm);
	return true;
}

int rawfd_shm_close(int fd)
{
	int rc;

	/* Not under the lock: the last close of a deleted database frees its blocks. */
	return close_shm(fd, &rc) ? rc : close(fd);
}

bool rawfd_is_shm(uint64_t dev, uint64_t ino)
{
	lock_scope(&shms.lock);

	return find_shm(*shm_bucket(dev, ino), dev, ino) != NULL;
}
