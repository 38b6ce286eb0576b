/* SPDX-License-Identifier: MIT */
/*
 * restore_view.c - the live database held still for reading, before it is replaced.
 *
 * A pin holds the WAL back, and blocks a checkpoint that waits for readers; SHARED blocks a commit. So a
 * long-lived view gives way now and then. A writer that never rests must not make a restore endless:
 * eventually the pin stays.
 *
 * What must stay true: the view's version is that of the bytes that it reads; in rollback-journal mode a view
 * locks every writer out, our own too, and is closed before the write lock is requested.
 */
#include "restore_private.h"

#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "clock.h"

#define WAIT_NS (2 * NS_PER_S) /* at least, whatever the busy timeout */
#define SHARED_NS (NS_PER_S / 4)
#define LOOK_NS (50 * NS_PER_MS) /* between two looks for a waiting checkpoint */
#define GAP_MAX_NS (10 * NS_PER_S)
#define VAIN 3
#define AGE_MAX_NS (100 * NS_PER_MS) /* longest wait; none where times are whole seconds */

void view_close(struct view *v)
{
	image_unref(v->image);
	live_unpin(v->conn);
	*v = (struct view){.conn = NULL};
}

int restore_unread(const struct restore *r, int rc)
{
	return err_set(
		r->err, rc,
		"the live database cannot be read: %s; check its disk; to restore it all the same, end its "
		"applications, move it away, and write this again",
		strerror(-rc));
}

int view_read(struct restore *r, void *buf, size_t size, uint64_t offset)
{
	struct view *v = &r->view;
	uint8_t *to = buf;
	bool damaged;

	if (v->image) {
		int rc = image_read(v->image, v->max_frame, buf, size, offset, r->err);

		damaged = rc == -EIO && image_is_damaged(v->image);
		r->unreadable |= damaged;
		return rc == -EIO && !damaged && !image_is_dead(v->image) ? restore_unread(r, rc) : rc;
	}
	ssize_t got = vfs_read_db(v->conn->db.vfs, to, size, offset);
	if (got < 0)
		return restore_unread(r, (int)got);
	memset(to + got, 0, size - (size_t)got); /* as SQLite reads a truncated last page */
	return 0;
}

static int read_header(struct restore *r)
{
	uint8_t bytes[HEADER_SIZE];
	int rc = view_read(r, bytes, sizeof(bytes), 0);

	if (!rc && header_decode(&r->view.header, bytes, sizeof(bytes))) {
		r->unreadable = true;
		rc = err_set(r->err, -EIO, "the live database's header is damaged");
	}
	return rc;
}

static int view_of_wal(struct restore *r, struct conn *conn)
{
	struct view *v = &r->view;
	struct wal_header start = conn->start;
	uint32_t page_size;
	int rc = source_image_shape(r->live, &start, &v->size, &page_size);

	if (rc) {
		live_unpin(conn);
		r->unreadable = rc == -EUCLEAN;
		return err_set(r->err, -EIO,
			       r->unreadable ? "the live database's header is damaged"
					     : "cannot read the live database");
	}
	v->max_frame = start.max_frame;
	v->version.incarnation = r->live->incarnation;
	v->version.has_header = true;
	memcpy(v->version.header, start.raw, sizeof(start.raw));
	rc = image_create_pinned(&v->image, conn, page_size);
	return rc ? err_set(r->err, rc, "out of memory") : read_header(r);
}

static int view_of_rollback(struct restore *r, struct conn *conn)
{
	struct view *v = &r->view;
	struct sample sample;
	uint64_t file_size;
	int rc;

	v->conn = conn;
	rc = source_sample_now(r->source, NULL, &sample); /* again: under SHARED */
	if (!rc) {
		v->version = sample.version;
		rc = read_header(r);
	}
	if (!rc)
		rc = vfs_db_size(conn->db.vfs, &file_size);
	if (rc)
		return err_set(r->err, rc, "cannot examine the live database: %s", strerror(-rc));
	v->size = spool_image_size(&v->header, file_size);
	v->version.incarnation = r->live->incarnation;
	v->version.has_counters = true;
	memcpy(v->version.counters, v->header.counters, sizeof(v->version.counters));
	return 0;
}

/* That a file is missing, or another one by now, must not make the kernel try again. */
static int replaced(struct restore *r, int rc)
{
	return rc == -ESTALE || rc == -ENOENT
		       ? err_set(r->err, -EBUSY, "the live file was replaced meanwhile")
		       : rc;
}

int view_open(struct restore *r)
{
	int64_t wait = r->order->busy_timeout_ms * NS_PER_MS;
	struct sample sample;
	struct conn *conn;
	int rc = source_sample_now(r->source, NULL, &sample);

	if (rc)
		return replaced(r,
				err_set(r->err, rc, "cannot examine the live database: %s", strerror(-rc)));
	r->view.version = sample.version;
	rc = live_pin(r->live, monotonic_ns() + (wait > WAIT_NS ? wait : WAIT_NS), &conn, r->err);
	r->view.since = monotonic_ns();
	if (rc == 0)
		return view_of_wal(r, conn);
	if (rc == PIN_ROLLBACK)
		return replaced(r, view_of_rollback(r, conn));
	if (rc < 0)
		return replaced(r, rc);
	live_unpin(conn);
	return rc == PIN_UNRELIABLE ? err_set(r->err, -EROFS, "its -shm cannot be written")
				    : err_set(r->err, -EBUSY, "it changed while it was looked at");
}

/* ---- giving way ---------------------------------------------------------------------------------------- */

/* Half of the limit: the WAL starts over only some time after its readers have gone. */
static bool holds_too_much(const struct restore *r)
{
	return live_held_back(r->live) >= r->core->config.wal_max / 2 + live_forgiven(r->live);
}

bool view_is_awaited(struct restore *r)
{
	bool before = r->yield.awaited;

	r->yield.awaited = live_observe(r->live);
	return r->yield.awaited && before;
}

static bool is_in_the_way(struct restore *r)
{
	int64_t now = monotonic_ns();

	if (r->watch.armed) /* others wait for our own lock */
		return false;
	if (r->view.conn)
		return now - r->view.since >= SHARED_NS;
	if (!r->view.image || r->yield.stays)
		return false;
	if (holds_too_much(r))
		return true;
	if (now - r->yield.looked < LOOK_NS)
		return false;
	r->yield.looked = now;
	return view_is_awaited(r);
}

/* Waits until the WAL has started over and nobody waits for readers, but only while we may be the cause of
 * the WAL's size: until a second after the last checkpoint was seen. */
static void leave_gap(struct restore *r)
{
	int64_t now = monotonic_ns(), until = now + LIVE_GAP_NS, last = now + GAP_MAX_NS;

	r->yield.awaited = false;
	while (now < until && now < last && !restore_is_cancelled(r) &&
	       (holds_too_much(r) || live_observe(r->live))) {
		nanosleep(&(struct timespec){.tv_nsec = NS_PER_MS}, NULL);
		now = monotonic_ns();
		if (live_observe_gap(r->live))
			until = now + LIVE_GAP_NS;
	}
	if (now >= until || now >= last)
		r->yield.stays = ++r->yield.vain == VAIN;
}

/* For versions of one incarnation. In rollback-journal mode every commit counts. */
static bool is_same_state(const struct version *a, const struct version *b)
{
	if (a->has_header)
		return memcmp(a->header, b->header, sizeof(a->header)) == 0;
	return a->ino == b->ino && memcmp(a->counters, b->counters, sizeof(a->counters)) == 0 &&
	       a->db.size == b->db.size && a->db.mtime_ns == b->db.mtime_ns &&
	       a->db.ctime_ns == b->db.ctime_ns;
}

int view_give_way(struct restore *r)
{
	struct version before = r->view.version;
	bool is_pin = r->view.image != NULL;
	int rc;

	if (!is_in_the_way(r))
		return VIEW_STAYS;
	view_close(&r->view);
	if (is_pin)
		leave_gap(r);
	rc = view_open(r);
	if (rc)
		return rc;
	if (is_pin != (r->view.image != NULL))
		return err_set(r->err, -EBUSY, "its journal mode is being changed");
	return is_same_state(&before, &r->view.version) ? VIEW_STAYS : VIEW_MOVED;
}

/* ---- moving on ----------------------------------------------------------------------------------------- */

int view_advance(struct restore *r, const struct version *now, uint32_t *from_frame)
{
	struct view *v = &r->view;
	struct wal_header header;
	struct header file;
	uint64_t file_size;
	uint8_t copies[2 * WAL_INDEX_HEADER];

	*from_frame = v->max_frame;
	if (memcmp(now->header, v->version.header, sizeof(now->header)) == 0)
		return 0;
	memcpy(copies, now->header, WAL_INDEX_HEADER);
	memcpy(copies + WAL_INDEX_HEADER, now->header, WAL_INDEX_HEADER);
	if (wal_header_decode(&header, copies))
		return err_set(r->err, -EIO, "its wal-index is damaged");
	if (header.max_frame == 0) {
		/* Recovered, or started over without a frame: nothing was committed. */
		if (source_read_header(r->live, &file, &file_size))
			return err_set(r->err, -EIO, "the live database is damaged");
		return v->max_frame == 0 ? 0 : err_set(r->err, -EBUSY, "its WAL started over");
	}
	if (!image_accepts(v->image, &header, UINT64_MAX))
		return err_set(r->err, -EBUSY, "the read lock on the live database was lost");
	v->max_frame = header.max_frame;
	v->size = (uint64_t)header.page_count * header.page_size;
	v->version = *now;
	return 0;
}

void version_age(struct restore *r, struct version *version)
{
	int64_t margin = VERSION_RACY_NS + NS_PER_MS, began = realtime_ns(), now = began;
	struct sample sample;

	if (version->db.ctime_ns % NS_PER_S == 0)
		return;
	while (now <= version->db.ctime_ns + margin && now - began < AGE_MAX_NS && now >= began) {
		nanosleep(&(struct timespec){.tv_nsec = NS_PER_MS}, NULL);
		now = realtime_ns();
	}
	if (source_sample_now(r->source, NULL, &sample))
		return;
	version->db = sample.version.db;
	version->wal = sample.version.wal;
	version->seen_ns = sample.version.seen_ns;
}
