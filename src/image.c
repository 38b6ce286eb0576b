/* SPDX-License-Identifier: MIT */
/*
 * image.c - see image.h.
 *
 * What must stay true: bytes read under a pin are returned only after conn_intact() has vouched for them; a
 * backing is released only when nobody reads from it; the image's lock is never held during I/O (building the
 * page map copies from shared memory).
 */
#include "image_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"

#define PAGES_AT_ONCE 256     /* pages whose frames are looked up at a time: 1 KiB of stack */
#define LOCK_BYTE 0x40000000u /* PENDING_BYTE in os.h: its page is never used */

void shared_spool_put(struct shared_spool *shared)
{
	if (!shared || atomic_fetch_sub(&shared->refs, 1) != 1)
		return;
	spool_finish(&shared->spool);
	free(shared);
}

void backing_destroy(struct backing *b)
{
	if (!b)
		return;
	live_unpin(b->conn);
	shared_spool_put(b->shared);
	free(b);
}

struct backing *backing_create(struct conn *conn, struct shared_spool *shared)
{
	struct backing *b = calloc(1, sizeof(*b));

	if (b)
		*b = (struct backing){.refs = 1, .conn = conn, .shared = shared};
	return b;
}

struct backing *backing_get(struct image *im)
{
	lock_scope(&im->lock);
	if (im->backing)
		im->backing->refs++;
	return im->backing;
}

void backing_put(struct image *im, struct backing *b)
{
	bool last;

	if (!b)
		return;
	pthread_mutex_lock(&im->lock);
	last = --b->refs == 0;
	pthread_mutex_unlock(&im->lock);
	if (last)
		backing_destroy(b);
}

/* Takes ownership of BACKING, also on failure; NULL is -ENOMEM. */
static int create(struct image **out, struct backing *backing, uint32_t page_size)
{
	struct image *im = backing ? calloc(1, sizeof(*im)) : NULL;

	if (!im) {
		backing_destroy(backing);
		return -ENOMEM;
	}
	pthread_mutex_init(&im->lock, NULL);
	pagemap_init(&im->map);
	im->refs = 1;
	im->backing = backing;
	im->page_size = page_size;
	*out = im;
	return 0;
}

int image_create_pinned(struct image **out, struct conn *conn, uint32_t page_size)
{
	struct backing *b = backing_create(conn, NULL);
	struct wal_header start = conn->start;
	int rc;

	if (!b)
		live_unpin(conn);
	rc = create(out, b, page_size);
	if (rc)
		return rc;
	(*out)->has_salt = start.max_frame > 0;
	memcpy((*out)->salt, start.salt, sizeof((*out)->salt));
	return 0;
}

int image_create_flat(struct image **out, int fd, uint32_t page_size)
{
	struct shared_spool *shared = calloc(1, sizeof(*shared));
	struct backing *b = shared ? backing_create(NULL, shared) : NULL;
	struct stat st = {.st_size = 0};

	if (!b) {
		free(shared);
		if (fd >= 0)
			close(fd);
		return -ENOMEM;
	}
	atomic_init(&shared->refs, 1);
	shared->spool = SPOOL_INIT;
	shared->spool.db_fd = fd;
	if (fd >= 0 && fstat(fd, &st) == 0)
		shared->spool.bytes = (uint64_t)st.st_size;
	return create(out, b, page_size);
}

struct image *image_ref(struct image *im)
{
	lock_scope(&im->lock);
	im->refs++;
	return im;
}

void image_unref(struct image *im)
{
	bool last;

	if (!im)
		return;
	pthread_mutex_lock(&im->lock);
	last = --im->refs == 0;
	pthread_mutex_unlock(&im->lock);
	if (!last)
		return;
	backing_destroy(im->backing);
	pagemap_finish(&im->map);
	pthread_mutex_destroy(&im->lock);
	free(im);
}

/* The connection whose pin IM is read under; NULL: it is read from a spool, or not at all. Lock held. */
static const struct conn *pin_of(const struct image *im)
{
	return im->backing ? im->backing->conn : NULL;
}

bool image_is_pinned(struct image *im, int64_t *since)
{
	const struct conn *pin;

	lock_scope(&im->lock);
	pin = pin_of(im);
	if (pin && since)
		*since = pin->since;
	return pin != NULL;
}

const void *image_live(struct image *im)
{
	lock_scope(&im->lock);
	return pin_of(im) ? pin_of(im)->live : NULL;
}

bool image_is_on(struct image *im, const struct live *live)
{
	const struct conn *pin;

	lock_scope(&im->lock);
	pin = pin_of(im);
	return pin && pin->live->dev == live->dev && pin->live->ino == live->ino;
}

uint64_t image_count_spool(struct image *im, uint64_t pass)
{
	struct shared_spool *shared;

	lock_scope(&im->lock);
	shared = im->backing ? im->backing->shared : NULL;
	if (!shared || shared->counted == pass)
		return 0;
	shared->counted = pass;
	return shared->spool.bytes;
}

bool image_count_pin(struct image *im, uint64_t pass, int64_t *since)
{
	lock_scope(&im->lock);
	if (!pin_of(im) || im->counted == pass)
		return false;
	im->counted = pass;
	*since = pin_of(im)->since;
	return true;
}

bool image_covers(struct image *im, uint32_t max_frame)
{
	lock_scope(&im->lock);
	return im->backing && (im->backing->conn || im->spooled >= max_frame);
}

bool image_is_damaged(struct image *im)
{
	lock_scope(&im->lock);
	return im->damaged;
}

bool image_is_dead(struct image *im)
{
	lock_scope(&im->lock);
	return !im->backing;
}

void image_kill(struct image *im)
{
	struct backing *old;

	pthread_mutex_lock(&im->lock);
	old = steal_ptr(&im->backing);
	pthread_mutex_unlock(&im->lock);
	backing_put(im, old);
}

bool image_accepts(struct image *im, const struct wal_header *now, uint64_t limit)
{
	const struct conn *c;

	lock_scope(&im->lock);
	c = pin_of(im);
	if (!c || vfs_lost(c->db.vfs) || now->max_frame < c->start.max_frame ||
	    now->max_frame < im->map.upto || (now->page_size && now->page_size != im->page_size))
		return false;
	if (im->has_salt ? memcmp(now->salt, im->salt, sizeof(im->salt)) != 0 : now->max_frame == 0)
		return false;
	if ((uint64_t)(now->max_frame - c->start.max_frame) * (im->page_size + WAL_FRAME_HEADER) >= limit)
		return false;
	if (!im->has_salt) /* readers of frames compare it without the lock, and there are none yet */
		memcpy(im->salt, now->salt, sizeof(im->salt));
	im->has_salt = true;
	uint64_t size = (uint64_t)now->page_count * im->page_size;
	if (now->max_frame > im->promised)
		im->promised = now->max_frame;
	if (size > im->promised_size)
		im->promised_size = size;
	return true;
}

uint32_t image_promised(struct image *im, uint64_t *size)
{
	lock_scope(&im->lock);
	*size = im->promised_size;
	return im->promised;
}

int image_extend_map(struct image *im, struct backing *b, uint32_t max_frame)
{
	autofree uint32_t *pgnos = NULL;
	uint32_t n = max_frame - im->map.upto;
	int rc;

	pgnos = malloc(n * sizeof(*pgnos));
	if (!pgnos)
		return -ENOMEM;
	rc = vfs_wal_pgnos(b->conn->db.vfs, im->map.upto + 1, max_frame, pgnos);
	return rc ? rc : pagemap_extend(&im->map, pgnos, n);
}

int image_find_frames(struct image *im, struct backing *b, uint32_t max_frame, uint32_t first, size_t n,
		      uint32_t *frames)
{
	int rc = 0;

	lock_scope(&im->lock);
	if (im->map.upto < max_frame)
		rc = b->conn ? image_extend_map(im, b, max_frame) : -EIO;
	if (!rc)
		pagemap_find(&im->map, first, n, max_frame, frames);
	return rc;
}

static int db_size(const struct backing *b, uint64_t *size)
{
	return b->conn ? vfs_db_size(b->conn->db.vfs, size) : spool_db_size(&b->shared->spool, size);
}

/*
 * A read of the database file ended at OFFSET: *ZEROS receives the number of zeros to return for the rest of
 * the page. SQLite does not write the lock-byte page if it is the last one, and reads a truncated last page
 * as if zeros followed. Any other page that is neither in the file nor in the WAL means that somebody
 * truncated the file.
 */
static int past_end(const struct image *im, const struct backing *b, uint64_t offset, size_t *zeros)
{
	uint64_t page = offset / im->page_size, size = 0;
	int rc = db_size(b, &size);

	if (!rc && page != LOCK_BYTE / im->page_size && page * im->page_size >= size)
		rc = -ENXIO;
	*zeros = (size_t)((page + 1) * im->page_size - offset);
	return rc;
}

/* Reads from the database file. */
static int read_db(const struct image *im, const struct backing *b, uint8_t *buf, size_t size,
		   uint64_t offset)
{
	while (size > 0) {
		ssize_t got = b->conn ? vfs_read_db(b->conn->db.vfs, buf, size, offset)
				      : spool_read_db(&b->shared->spool, buf, size, offset);

		if (got < 0)
			return (int)got;
		if (got == 0) {
			size_t zeros;
			int rc = past_end(im, b, offset, &zeros);

			if (rc)
				return rc;
			got = (ssize_t)(zeros < size ? zeros : size);
			memset(buf, 0, (size_t)got);
		}
		buf += got;
		size -= (size_t)got;
		offset += (uint64_t)got;
	}
	return 0;
}

/* Reads part of page PGNO from FRAME, whose header must name the page and have the image's salt. -EBADMSG:
 * the -wal was truncated or overwritten. */
static int read_frame(struct image *im, struct backing *b, uint32_t frame, uint32_t pgno, uint8_t *buf,
		      size_t size, size_t skip)
{
	uint8_t header[WAL_FRAME_HEADER];
	uint64_t at = wal_frame_offset(frame, im->page_size);
	ssize_t got;

	got = b->conn ? vfs_read_wal(b->conn->db.vfs, header, sizeof(header), at)
		      : spool_read_wal(&b->shared->spool, header, sizeof(header), at);
	if (got < 0)
		return (int)got;
	if (got != (ssize_t)sizeof(header) || !wal_frame_matches(header, pgno, im->salt))
		return -EBADMSG;
	at += WAL_FRAME_HEADER + skip;
	got = b->conn ? vfs_read_wal(b->conn->db.vfs, buf, size, at)
		      : spool_read_wal(&b->shared->spool, buf, size, at);
	if (got < 0)
		return (int)got;
	return got == (ssize_t)size ? 0 : -EBADMSG;
}

/* Reads one batch of pages: each run in the database file by one read, others frame by frame. Byte SKIP of
 * page FIRST is the first one wanted. */
static int read_pages(struct image *im, struct backing *b, uint32_t max_frame, uint8_t *buf, size_t size,
		      uint64_t offset)
{
	uint32_t frames[PAGES_AT_ONCE];
	uint32_t first = (uint32_t)(offset / im->page_size) + 1;
	size_t skip = (size_t)(offset % im->page_size);
	size_t n = (skip + size + im->page_size - 1) / im->page_size;
	size_t done = 0;
	int rc = image_find_frames(im, b, max_frame, first, n, frames);

	for (size_t i = 0; i < n && !rc;) {
		size_t begin = i, bytes = im->page_size - skip;

		if (frames[i++] == 0) {
			while (i < n && frames[i] == 0) {
				bytes += im->page_size;
				i++;
			}
		}
		if (bytes > size - done)
			bytes = size - done;
		if (frames[begin])
			rc = read_frame(im, b, frames[begin], first + (uint32_t)begin, buf + done, bytes,
					skip);
		else
			rc = read_db(im, b, buf + done, bytes, offset + done);
		done += bytes;
		skip = 0;
	}
	return rc;
}

/* The bytes read are not the image's, although the read itself succeeded. */
static int note_damage(struct image *im, int rc, struct snap_err *err)
{
	pthread_mutex_lock(&im->lock);
	im->damaged = true;
	pthread_mutex_unlock(&im->lock);
	return err_set(err, -EIO,
		       rc == -ENXIO ? "somebody cut the live file off below it"
				    : "somebody cut, removed or overwrote its WAL: end its applications");
}

int image_read(struct image *im, uint32_t max_frame, void *buf, size_t size, uint64_t offset,
	       struct snap_err *err)
{
	struct backing *b = backing_get(im);
	uint8_t *to = buf;
	int rc = 0;

	if (!b)
		return err_set(err, -EIO, "the snapshot was given up");
	for (size_t done = 0; done < size && !rc;) {
		/* Whole batches of pages, so that a batch never holds more than PAGES_AT_ONCE. */
		uint64_t end = ((offset + done) / im->page_size + PAGES_AT_ONCE) * im->page_size;
		size_t part =
			end - (offset + done) < size - done ? (size_t)(end - (offset + done)) : size - done;

		rc = read_pages(im, b, max_frame, to + done, part, offset + done);
		done += part;
	}
	if (b->conn && !conn_intact(b->conn, max_frame, im->salt)) {
		image_kill(im);
		rc = err_set(err, -EIO,
			     "the read lock on the database was lost; other versions can still be read");
	} else if (rc == -ENXIO || rc == -EBADMSG) {
		rc = note_damage(im, rc, err);
	} else if (rc) {
		err_set(err, rc, "reading failed: %s", strerror(-rc));
	}
	backing_put(im, b);
	return rc;
}
