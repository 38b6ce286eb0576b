/* SPDX-License-Identifier: MIT */
/*
 * rawfd.c - the table of inodes that connections have open, and of the closes that wait for them. Inodes that
 * SQLite has open as a -shm are in rawfd_shm.c.
 *
 * What must stay true:
 *  - close(2) of a raw descriptor happens under the table's lock (and that of rawfd_shm.c) and only while no
 *    connection has the inode open. Connecting takes the same lock, so no close can drop the locks of a new
 *    connection.
 *  - A close never fails: the memory to put it off is reserved when the descriptor is opened.
 *  - A reused descriptor has a single user: it is taken off the list under the lock.
 *  - Only regular files are ever opened: open(2) may make a device act, and blocks on a fifo.
 *  - The table keeps a descriptor of each inode in it: otherwise a new file with the inode number of a
 *    deleted database would be mistaken for it.
 *  - That descriptor is opened and closed without the lock, which every lookup takes: it may be the last one
 *    of a large file, whose blocks the kernel then frees.
 * Order of locks: table->lock, then that of rawfd_shm.c.
 */
#include "rawfd_private.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "opath.h"

#define LEASE_MS 10 /* between two attempts while a lease is held, */
#define LEASE_LOOKS 25

struct connected {
	struct connected *next;
	uint64_t dev, ino;
	unsigned count;
	int held;		 /* owned; O_PATH: keeps the inode number from being reused */
	struct put_off *put_off; /* owned: descriptors to close after the last connection */
};

struct rawfd_table {
	pthread_mutex_t lock;
	struct connected *buckets[RAWFD_BUCKETS]; /* guarded by lock; owned */
	struct put_off *spare; /* guarded by lock; owned: one for every descriptor that is open */
};

int rawfd_table_create(struct rawfd_table **out)
{
	struct rawfd_table *table = calloc(1, sizeof(*table));

	if (!table)
		return -ENOMEM;
	pthread_mutex_init(&table->lock, NULL);
	*out = table;
	return 0;
}

/* Closes what was put off for ENTRY, which has left the table; the table's lock is held. entry_free() does
 * the rest, without the lock. */
static void close_put_off(struct connected *entry)
{
	struct put_off *one;

	while ((one = put_off_pop(&entry->put_off)))
		put_off_close(one, entry->dev, entry->ino);
}

/* Accepts NULL. */
static void entry_free(struct connected *entry)
{
	if (!entry)
		return;
	close(entry->held);
	free(entry);
}

void rawfd_table_destroy(struct rawfd_table *table)
{
	if (!table)
		return;
	for (size_t i = 0; i < RAWFD_BUCKETS; i++) {
		while (table->buckets[i]) {
			struct connected *entry = table->buckets[i];

			table->buckets[i] = entry->next;
			close_put_off(entry);
			entry_free(entry);
		}
	}
	for (struct put_off *spare; (spare = put_off_pop(&table->spare));)
		free(spare);
	pthread_mutex_destroy(&table->lock);
	free(table);
}

/* The pointer to the inode's entry, or the one to set to add it. Under the lock. */
static struct connected **find(struct rawfd_table *table, uint64_t dev, uint64_t ino)
{
	struct connected **at = &table->buckets[opath_mix(dev, ino) % RAWFD_BUCKETS];

	while (*at && ((*at)->dev != dev || (*at)->ino != ino))
		at = &(*at)->next;
	return at;
}

/* Leaves the file's access time unchanged where permitted: reading leaves no trace. */
static int open_once(const char *path)
{
	int flags = O_RDONLY | O_CLOEXEC | O_NOATIME;
	int fd = open(path, flags | O_NONBLOCK);

	if (fd < 0 && errno == EPERM) {
		flags &= ~O_NOATIME;
		fd = open(path, flags | O_NONBLOCK);
	}
	if (fd < 0)
		return -errno;
	fcntl(fd, F_SETFL, flags); /* O_NONBLOCK was for open(2) only */
	return fd;
}

/*
 * -EAGAIN: another process holds a lease on the file (fcntl(2), F_SETLEASE). It is told to release the lease
 * and has 45 seconds for that; a file server does so at once. Our threads must not wait that long.
 */
static int open_quietly(int path_fd)
{
	struct opath_name name = opath_name(path_fd);
	int fd = open_once(name.text);

	for (int i = 0; fd == -EAGAIN && i < LEASE_LOOKS; i++) {
		nanosleep(&(struct timespec){.tv_nsec = LEASE_MS * NS_PER_MS}, NULL);
		fd = open_once(name.text);
	}
	return fd;
}

/* A descriptor of the inode whose close was put off, in its list node. NULL: there is none. */
static struct put_off *take_put_off(struct rawfd_table *table, uint64_t dev, uint64_t ino)
{
	lock_scope(&table->lock);
	struct connected *entry = *find(table, dev, ino);
	struct put_off *taken = entry ? put_off_pop(&entry->put_off) : NULL;

	return taken ? taken : put_off_take_shm(dev, ino);
}

int rawfd_reopen(struct rawfd_table *table, int path_fd, struct rawfd *out, struct stat *st)
{
	struct rawfd raw = RAWFD_INIT;
	struct put_off *spare;
	struct stat now;

	if (fstat(path_fd, &now) < 0)
		return -errno;
	if (!S_ISREG(now.st_mode))
		return -EINVAL;
	raw.dev = now.st_dev;
	raw.ino = now.st_ino;
	spare = take_put_off(table, raw.dev, raw.ino);
	if (spare) {
		raw.fd = spare->fd;
	} else {
		spare = malloc(sizeof(*spare));
		if (!spare)
			return -ENOMEM;
		raw.fd = open_quietly(path_fd);
	}
	if (raw.fd < 0) {
		free(spare);
		return raw.fd;
	}
	{
		lock_scope(&table->lock);
		put_off_push(&table->spare, spare);
	}
	if (st && fstat(raw.fd, st) < 0) {
		int code = -errno;

		rawfd_close(table, &raw);
		return code;
	}
	*out = raw;
	return 0;
}

int rawfd_open(struct rawfd_table *table, int dirfd, const char *name, struct rawfd *out, struct stat *st)
{
	autoclose int path_fd = opath_open(dirfd, name, O_PATH | O_NOFOLLOW, RESOLVE_NO_SYMLINKS);

	if (path_fd < 0)
		return path_fd;
	return rawfd_reopen(table, path_fd, out, st);
}

void rawfd_close(struct rawfd_table *table, struct rawfd *raw)
{
	int saved = errno;

	if (raw->fd >= 0) {
		lock_scope(&table->lock);
		struct connected *entry = *find(table, raw->dev, raw->ino);
		struct put_off *spare = put_off_pop(&table->spare);

		spare->fd = raw->fd;
		if (entry)
			put_off_push(&entry->put_off, spare);
		else
			put_off_close(spare, raw->dev, raw->ino);
	}
	*raw = RAWFD_INIT;
	errno = saved;
}

/* An O_PATH descriptor of NAME, which must lead to the inode DEV, INO; -errno. */
static int hold(int dirfd, const char *name, uint64_t dev, uint64_t ino)
{
	autoclose int fd = opath_open(dirfd, name, O_PATH | O_NOFOLLOW, RESOLVE_NO_SYMLINKS);
	struct stat st;

	if (fd < 0)
		return fd == -ENOENT ? -ESTALE : fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	return st.st_dev == dev && st.st_ino == ino ? steal_fd(&fd) : -ESTALE;
}

/* Counts another connection to an inode that already has one; false: it has none. */
static bool add_to_known(struct rawfd_table *table, uint64_t dev, uint64_t ino)
{
	lock_scope(&table->lock);
	struct connected *entry = *find(table, dev, ino);

	if (entry)
		entry->count++;
	return entry != NULL;
}

/* Adds ENTRY with its first connection. False: another thread was faster, whose entry counts it; ENTRY stays
 * the caller's. */
static bool add_new(struct rawfd_table *table, struct connected *entry)
{
	lock_scope(&table->lock);
	struct connected **at = find(table, entry->dev, entry->ino);
	struct put_off *one;

	if (*at) {
		(*at)->count++;
		return false;
	}
	while ((one = put_off_take_shm(entry->dev, entry->ino)))
		put_off_push(&entry->put_off, one);
	*at = entry;
	return true;
}

int rawfd_connect(struct rawfd_table *table, int dirfd, const char *name, uint64_t dev, uint64_t ino)
{
	struct connected *entry;
	int held;

	if (add_to_known(table, dev, ino))
		return 0;
	entry = malloc(sizeof(*entry));
	held = entry ? hold(dirfd, name, dev, ino) : -ENOMEM;
	if (held < 0) {
		free(entry);
		return held;
	}
	*entry = (struct connected){.dev = dev, .ino = ino, .count = 1, .held = held};
	if (!add_new(table, entry))
		entry_free(entry);
	return 0;
}

bool rawfd_takes_direct(struct rawfd_table *table, int fd)
{
	struct rawfd raw = RAWFD_INIT;
	bool takes;
	int flags;

	if (rawfd_reopen(table, fd, &raw, NULL))
		return false;
	/* The check that open(2) makes, on a descriptor of our own; its flags are reset before it is
	 * reused. */
	flags = fcntl(raw.fd, F_GETFL);
	takes = flags != -1 && fcntl(raw.fd, F_SETFL, flags | O_DIRECT) == 0;
	if (takes)
		fcntl(raw.fd, F_SETFL, flags);
	rawfd_close(table, &raw);
	return takes;
}

static struct connected *remove_one(struct rawfd_table *table, uint64_t dev, uint64_t ino)
{
	lock_scope(&table->lock);
	struct connected **at = find(table, dev, ino);
	struct connected *entry = *at;

	if (!entry || --entry->count > 0)
		return NULL;
	*at = entry->next;
	close_put_off(entry);
	return entry;
}

void rawfd_disconnect(struct rawfd_table *table, uint64_t dev, uint64_t ino)
{
	int saved = errno;

	entry_free(remove_one(table, dev, ino));
	errno = saved;
}

bool rawfd_connected(struct rawfd_table *table, uint64_t dev, uint64_t ino)
{
	lock_scope(&table->lock);

	return *find(table, dev, ino) != NULL;
}
