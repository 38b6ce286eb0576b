/* SPDX-License-Identifier: MIT */
/*
 * restore_view.c - the live database held still for reading, before it is replaced.
 *
 * What must stay true: the view's version is of the bytes that it reads; in rollback-journal mode a view
 * keeps every writer out, our own too, and is closed before the write lock is asked for.
 */
#include "restore_private.h"

#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "clock.h"

#define WAIT_NS (2 * NS_PER_S)
#define AGE_MAX_NS (100 * NS_PER_MS) /* where times are whole seconds, not waited for */

void view_close(struct view *v)
{
	image_unref(v->image);
	if (v->conn)
		live_unpin(v->conn);
	*v = (struct view){.conn = NULL};
}

int view_read(struct restore *r, void *buf, size_t size, uint64_t offset)
{
	struct view *v = &r->view;
	uint8_t *to = buf;

	if (v->image) {
		int rc = image_read(v->image, v->max_frame, buf, size, offset, r->err);

		r->unreadable |= rc == -EIO && image_is_damaged(v->image);
		return rc;
	}
	ssize_t got = vfs_read_db(v->conn->db.vfs, to, size, offset);
	if (got < 0)
		return err_set(r->err, (int)got, "cannot read the live database: %s", strerror((int)-got));
	memset(to + got, 0, size - (size_t)got); /* a last page that is cut, as SQLite reads it */
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
	struct header header;
	uint64_t file_size;
	uint32_t page_size = start.page_size;
	int rc;

	v->size = (uint64_t)start.page_count * start.page_size;
	if (start.page_count == 0) {
		rc = source_read_header(r->live, &header, &file_size);
		if (rc) {
			live_unpin(conn);
			r->unreadable = rc == -EUCLEAN;
			return err_set(r->err, -EIO,
				       r->unreadable ? "the live database's header is damaged"
						     : "cannot read the live database");
		}
		v->size = spool_image_size(&header, file_size);
		page_size = header.page_size;
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
	v->version = sample.version;
	if (!rc)
		rc = read_header(r);
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

int view_open(struct restore *r)
{
	struct sample sample;
	struct conn *conn;
	int rc = source_sample_now(r->source, NULL, &sample);

	if (rc)
		return err_set(r->err, rc, "cannot examine the live database: %s", strerror(-rc));
	r->view.version = sample.version;
	rc = live_pin(r->live, monotonic_ns() + WAIT_NS, &conn, r->err);
	if (rc == 0)
		return view_of_wal(r, conn);
	if (rc == PIN_ROLLBACK)
		return view_of_rollback(r, conn);
	if (rc < 0)
		return rc;
	if (rc != PIN_HOT_JOURNAL)
		live_unpin(conn);
	return rc == PIN_UNRELIABLE ? err_set(r->err, -EROFS, "its -shm cannot be written")
				    : err_set(r->err, -EBUSY, "it changed while it was looked at");
}

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
