/* SPDX-License-Identifier: MIT */
/*
 * spool.c - see spool.h: copying under a lock. Copies that must do without one are made in spool_copies.c.
 */
#include "spool.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "memory.h"
#include "spool_private.h"

#define STEP_NS (NS_PER_S / 4)
#define LAST_STEP_NS (2 * NS_PER_S)
#define TRIES 3

void spool_finish(struct spool *s)
{
	cleanup_close(&s->db_fd);
	cleanup_close(&s->wal_fd);
	*s = SPOOL_INIT;
}

static ssize_t read_fd(int fd, void *buf, size_t size, uint64_t offset)
{
	ssize_t got = fd < 0 ? 0 : pread(fd, buf, size, (off_t)offset);

	return got < 0 ? -errno : got;
}

ssize_t spool_read_db(const struct spool *s, void *buf, size_t size, uint64_t offset)
{
	return read_fd(s->db_fd, buf, size, offset);
}

ssize_t spool_read_wal(const struct spool *s, void *buf, size_t size, uint64_t offset)
{
	return read_fd(s->wal_fd, buf, size, offset);
}

int spool_db_size(const struct spool *s, uint64_t *size)
{
	struct stat st = {.st_size = 0};

	if (s->db_fd >= 0 && fstat(s->db_fd, &st))
		return -errno;
	*size = (uint64_t)st.st_size;
	return 0;
}

uint64_t spool_image_size(const struct header *h, uint64_t file_size)
{
	uint64_t pages = h->page_count ? h->page_count : (file_size + h->page_size - 1) / h->page_size;

	return pages * h->page_size;
}

int spool_write(int fd, const void *buf, size_t size, uint64_t offset, struct snap_err *err)
{
	const uint8_t *from = buf;

	while (size > 0) {
		ssize_t n = pwrite(fd, from, size, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(err, "cannot write a spool");
		from += n;
		size -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

typedef ssize_t (*read_fn)(struct vfs *vfs, void *buf, size_t size, uint64_t offset);

/* How long one call of copy() goes on. */
struct pace {
	int64_t until;			 /* CLOCK_MONOTONIC */
	const struct spool_order *order; /* NULL: always wanted */
	const struct store *store;	 /* that it is copied to */
};

static bool goes_on(const struct pace *pace)
{
	return monotonic_ns() < pace->until;
}

static bool is_wanted(const struct pace *pace)
{
	return !pace->order || !pace->order->wanted || pace->order->wanted(pace->order->arg);
}

/* Copies [*DONE, END) until the file ends or PACE does; *DONE moves. -ECANCELED: nobody wants it. */
static int copy(read_fn read_from, struct vfs *vfs, int fd, uint64_t *done, uint64_t end,
		const struct pace *pace, struct snap_err *err)
{
	autofree uint8_t *buf = malloc(COPY_CHUNK);

	if (!buf)
		return err_set(err, -ENOMEM, "out of memory");
	while (*done < end && goes_on(pace)) {
		size_t part = end - *done < COPY_CHUNK ? (size_t)(end - *done) : COPY_CHUNK;
		ssize_t got;
		int rc;

		if (!is_wanted(pace))
			return -ECANCELED;
		got = read_from(vfs, buf, part, *done);
		if (got < 0)
			return err_set(err, (int)got, "cannot read the database: %s", strerror((int)-got));
		rc = spool_write(fd, buf, (size_t)got, *done, err);
		if (rc)
			return store_is_full(rc) ? store_failed(pace->store, rc, err, "cannot copy it to")
						 : rc;
		*done = got ? *done + (uint64_t)got : end;
	}
	return 0;
}

bool spool_clone_into(struct live *live, int fd)
{
	lock_scope(&live->clone_lock);
	if (live->clone.fd < 0 &&
	    rawfd_open(live->core->raw, live->dirfd, live->name, &live->clone, NULL) != 0)
		return false;
	return live->clone.dev == live->dev && live->clone.ino == live->ino &&
	       ioctl(fd, FICLONE, live->clone.fd) == 0;
}

/* Clones the whole database file in its own folder; -1 if that is not possible. */
static int clone_db(struct live *live)
{
	autoclose int fd = openat(live->dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	return fd >= 0 && spool_clone_into(live, fd) ? steal_fd(&fd) : -1;
}

int spool_pinned(struct spool *out, struct conn *conn, const struct spool_order *order, struct snap_err *err)
{
	struct store *store = conn->live->core->store;
	struct vfs *vfs = conn->db.vfs;
	struct spool s = SPOOL_INIT;
	struct pace pace = {.until = INT64_MAX, .order = order, .store = store};
	uint64_t wal_bytes = order->max_frame ? wal_frame_offset(order->max_frame + 1, order->page_size) : 0;
	uint64_t db_bytes, done = 0;
	int rc = vfs_db_size(vfs, &db_bytes);

	*out = s;
	if (rc)
		return err_set(err, rc, "cannot examine the database: %s", strerror(-rc));
	if (db_bytes > order->size)
		db_bytes = order->size;
	s.db_fd = clone_db(conn->live);
	if (s.db_fd < 0 && order->clone_only)
		return -EOPNOTSUPP;
	if (s.db_fd < 0) {
		s.db_fd = store_spool(store, db_bytes + wal_bytes, err);
		if (s.db_fd < 0)
			return s.db_fd;
		rc = copy(vfs_read_db, vfs, s.db_fd, &done, db_bytes, &pace, err);
	}
	if (!rc && wal_bytes) {
		done = 0;
		s.wal_fd = store_spool(store, wal_bytes, err);
		rc = s.wal_fd < 0 ? s.wal_fd
				  : copy(vfs_read_wal, vfs, s.wal_fd, &done, wal_bytes, &pace, err);
	}
	s.bytes = db_bytes + wal_bytes;
	if (rc)
		spool_finish(&s);
	*out = s;
	return rc;
}

/* Looks at the database at this moment, under SHARED. */
static int examine(struct conn *conn, struct spool_flat *flat, struct snap_err *err)
{
	uint8_t bytes[HEADER_SIZE];
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): give_way() leaves one */
	ssize_t got = vfs_read_db(conn->db.vfs, bytes, sizeof(bytes), 0);
	int rc = got < 0 ? (int)got : 0;

	flat->seen_ns = realtime_ns();
	if (!rc && fstatat(conn->live->dirfd, conn->live->name, &flat->st, AT_SYMLINK_NOFOLLOW))
		rc = errno == ENOENT ? -ESTALE : -errno;
	if (rc == -ESTALE)
		return err_set(err, rc, "removed while it was being opened");
	if (rc)
		return err_set(err, -EIO, "cannot examine the database: %s", strerror(-rc));
	if ((uint64_t)flat->st.st_dev != conn->live->dev || (uint64_t)flat->st.st_ino != conn->live->ino)
		return err_set(err, -ESTALE, "replaced while it was being opened");
	if (header_decode(&flat->header, bytes, (size_t)got))
		return err_set(err, -EIO, "not a database, or damaged");
	flat->size = spool_image_size(&flat->header, (uint64_t)flat->st.st_size);
	/* As in SQLite: the last page may be truncated, but no whole page may be missing. */
	if (flat->size >= (uint64_t)flat->st.st_size + flat->header.page_size)
		return err_set(err, -EIO, "shorter than its header says");
	return 0;
}

static bool unchanged(const struct spool_flat *a, const struct spool_flat *b)
{
	return memcmp(a->header.counters, b->header.counters, sizeof(a->header.counters)) == 0 &&
	       version_same_stat(&a->st, &b->st);
}

/* Lets a waiting writer in and pins again. *CONN is NULL when that failed. */
static int give_way(struct conn **conn, struct snap_err *err)
{
	struct live *live = live_ref((*conn)->live);
	int rc;

	live_unpin(steal_ptr(conn));
	rc = live_pin(live, monotonic_ns() + LAST_STEP_NS, conn, err);
	if (rc >= 0 && rc != PIN_ROLLBACK) {
		live_unpin(steal_ptr(conn));
		rc = err_set(err, -EBUSY, "its journal mode is being changed");
	}
	live_unref(live);
	return rc < 0 ? rc : 0;
}

/* One attempt, in steps: 0 with OUT filled, -EAGAIN if a writer came in between two steps. */
static int copy_in_steps(struct spool_flat *out, struct conn **conn, int64_t step, struct snap_err *err)
{
	struct spool_flat now = SPOOL_FLAT_INIT;
	autoclose int fd = -1;
	uint64_t done = 0;
	int rc = examine(*conn, out, err);

	if (rc)
		return rc;
	fd = clone_db((*conn)->live);
	if (fd >= 0) {
		out->fd = steal_fd(&fd);
		return 0;
	}
	fd = store_spool((*conn)->live->core->store, out->size, err);
	if (fd < 0)
		return fd;
	for (;;) {
		struct pace pace = {.until = monotonic_ns() + step, .store = (*conn)->live->core->store};

		rc = copy(vfs_read_db, (*conn)->db.vfs, fd, &done, out->size, &pace, err);
		if (rc)
			return rc;
		if (done >= out->size) {
			out->fd = steal_fd(&fd);
			return 0;
		}
		rc = give_way(conn, err);
		if (!rc)
			rc = examine(*conn, &now, err);
		if (rc)
			return rc;
		if (!unchanged(out, &now))
			return -EAGAIN;
	}
}

int spool_rollback(struct spool_flat *out, struct conn *conn, struct snap_err *err)
{
	struct spool_flat flat = SPOOL_FLAT_INIT;
	int rc = -EAGAIN;

	for (int i = 0; i <= TRIES && rc == -EAGAIN; i++)
		rc = copy_in_steps(&flat, &conn, i < TRIES ? STEP_NS : LAST_STEP_NS, err);
	live_unpin(conn);
	if (rc == -EAGAIN)
		rc = err_set(err, -EBUSY, "its writers left no two seconds to copy it");
	if (!rc)
		*out = flat;
	return rc;
}
