/* SPDX-License-Identifier: MIT */
/*
 * restore_undo.c - keeping what a restore replaces.
 *
 * WAL mode: the bulk is copied under a pin, or several one after the other, while applications go on, and the
 * pages of the frames that were committed since follow under the write lock; all of it does when the pin had
 * to be given up there.
 * Rollback-journal mode: all of it under the write lock, through the handle that holds it. What SQLite cannot
 * read, or 0 bytes with sidecars: the files as they are, before SQLite looks at them, for it deletes what it
 * finds beside an empty database.
 *
 * What must stay true: the snapshot is on the disk and has its name before the live database is written; it
 * is the content right before the restore, to the last commit.
 */
#include "restore_private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <limits.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "headstart.h"
#include "progress.h"
#include "spool_private.h"

#define CHUNK (1u << 20)
#define SYNC_EVERY (64u << 20) /* bytes: what is held back meanwhile is looked at in between */
#define BLOCK 8192u	       /* bytes that are compared at a time: few are written for a changed page */

static const char *const sidecars[] = {"-wal", "-journal"};

static uint64_t size_beside(const struct restore *r, const char *suffix)
{
	struct stat st;

	return place_stat(&r->source->place, suffix, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* Whether there is anything to keep. Also what came from a restore itself: the file that it came from may be
 * nobody's any more, as after mv(1), and a restore that changed nothing has kept nothing. */
static bool is_wanted(const struct restore *r)
{
	if (r->order->keep == 0)
		return false;
	if (r->kind == RESTORE_EMPTY || r->kind == RESTORE_MISSING)
		return size_beside(r, "-wal") > 0 || size_beside(r, "-journal") > 0;
	return true;
}

/* Where the headstart has copied: what is there and right need not be written. */
static int write_changes(struct restore *r, const uint8_t *buf, size_t size, uint64_t offset)
{
	uint8_t there[BLOCK];
	int rc = 0;

	for (size_t done = 0, part; done < size && !rc; done += part) {
		part = size - done < BLOCK ? size - done : BLOCK;
		if (pread(keep_fd(r->keep), there, part, (off_t)(offset + done)) != (ssize_t)part ||
		    memcmp(there, buf + done, part) != 0)
			rc = spool_write(keep_fd(r->keep), buf + done, part, offset + done, r->err);
	}
	return rc;
}

static int write_keep(struct restore *r, const uint8_t *buf, size_t size, uint64_t offset)
{
	size_t begun = 0;
	int rc;

	if (offset < r->begun)
		begun = r->begun - offset < size ? (size_t)(r->begun - offset) : size;
	rc = write_changes(r, buf, begun, offset);
	return rc ? rc : spool_write(keep_fd(r->keep), buf + begun, size - begun, offset + begun, r->err);
}

/* ---- under a pin --------------------------------------------------------------------------------------- */

/* The live file's blocks, shared: false where that cannot be had. */
static bool clone_file(struct restore *r)
{
	return spool_clone_into(r->live, keep_fd(r->keep));
}

/* SIZE bytes at AT are kept. Those of a view that was given up are compared under the write lock. */
static void count(struct restore *r, uint64_t at, size_t size)
{
	uint64_t before = r->counted > at ? r->counted - at : 0;

	if (before < size)
		progress_add(r->order->progress, size - before);
}

static int copy_range(struct restore *r, uint8_t *buf, uint64_t from, uint64_t to)
{
	for (uint64_t at = from; at < to;) {
		size_t part = to - at < CHUNK ? (size_t)(to - at) : CHUNK;
		int rc = view_read(r, buf, part, at);

		rc = rc ? rc : write_keep(r, buf, part, at);
		if (rc)
			return rc;
		if (restore_is_cancelled(r))
			return err_set(r->err, -ECANCELED, "cancelled");
		count(r, at, part);
		at += part;
	}
	return 0;
}

static int compare_pages(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* Copies the pages that frames FROM + 1..TO hold, as they are now. */
static int copy_frames(struct restore *r, struct vfs *vfs, uint32_t from, uint32_t to)
{
	uint32_t page_size = r->view.header.page_size, n = to - from;
	autofree uint32_t *pages = n ? malloc(n * sizeof(*pages)) : NULL;
	autofree uint8_t *buf = malloc(page_size);
	int rc = 0;

	if (n == 0)
		return 0;
	if (!pages || !buf)
		return err_set(r->err, -ENOMEM, "out of memory");
	rc = vfs_wal_pgnos(vfs, from + 1, to, pages);
	if (rc)
		return err_set(r->err, rc, "its wal-index cannot be read: %s", strerror(-rc));
	qsort(pages, n, sizeof(*pages), compare_pages);
	for (uint32_t i = 0; i < n && !rc; i++) {
		uint64_t at = (uint64_t)(pages[i] - 1) * page_size;

		if ((i > 0 && pages[i] == pages[i - 1]) || pages[i] == 0 || at >= r->view.size)
			continue;
		rc = copy_range(r, buf, at, at + page_size);
	}
	return rc;
}

static int resize(struct restore *r)
{
	return ftruncate(keep_fd(r->keep), (off_t)r->view.size) ? err_errno(r->err, "cannot write the store")
								: 0;
}

/* -ENOSPC, before a copy that cannot end fills the disk for others. */
static int check_store(struct restore *r, uint64_t size)
{
	struct statvfs vfs;

	size -= r->begun < size ? r->begun : size;
	if (fstatvfs(keep_fd(r->keep), &vfs) == 0 && (uint64_t)vfs.f_bavail * vfs.f_frsize < size)
		return err_set(r->err, -ENOSPC, "%s", strerror(ENOSPC));
	return 0;
}

static int sync_keep(struct restore *r)
{
	return fdatasync(keep_fd(r->keep)) ? err_errno(r->err, "cannot write the store") : 0;
}

/* The first BYTES are there, and may be right. */
static void count_begun(struct restore *r, uint64_t bytes)
{
	r->begun = bytes > r->begun ? bytes : r->begun;
	r->counted = bytes > r->counted ? bytes : r->counted;
}

/*
 * All of the view. When another takes its place, what was copied is not of one state: it goes on from there,
 * around the end, until one view has been seen whole, and what is there already is only compared. After twice
 * the whole in pieces one view stays.
 */
static int copy_around(struct restore *r, uint8_t *buf)
{
	uint64_t at = 0, top = 0, seen = 0, total = 0;

	while (seen < r->view.size) {
		uint64_t left = r->view.size - seen, to = r->view.size - at < left ? r->view.size : at + left;
		int rc;

		to = to - at < CHUNK ? to : at + CHUNK;
		rc = copy_range(r, buf, at, to);
		if (!rc && to / SYNC_EVERY > at / SYNC_EVERY)
			rc = sync_keep(r);
		seen += to - at;
		total += to - at;
		at = to;
		r->stays |= total >= 2 * r->view.size;
		top = at > top ? at : top;
		rc = rc || seen == r->view.size ? rc : view_give_way(r);
		if (rc < 0)
			return rc;
		if (rc == VIEW_MOVED) {
			count_begun(r, top);
			seen = 0;
		}
		at = at < r->view.size ? at : 0;
	}
	return 0;
}

/* Puts the frames over a clone of the file. What the file is short of must be among them: who cut it has cut
 * the clone, too, and the view says so. It is asked for the last page at least, for it tells of a lost lock.
 */
static int complete_clone(struct restore *r, uint8_t *buf)
{
	struct vfs *vfs = r->live->hub->db.vfs;
	uint64_t last = r->view.size - r->view.header.page_size, size;
	int rc = vfs_db_size(vfs, &size);

	if (rc)
		return err_set(r->err, rc, "cannot examine the live database: %s", strerror(-rc));
	rc = resize(r);
	if (!rc)
		rc = copy_frames(r, vfs, 0, r->view.max_frame);
	size -= size % r->view.header.page_size;
	return rc ? rc : copy_range(r, buf, size < last ? size : last, r->view.size);
}

static int copy_view(struct restore *r)
{
	autofree uint8_t *buf = malloc(CHUNK);
	int rc;

	if (!buf)
		return err_set(r->err, -ENOMEM, "out of memory");
	if (clone_file(r)) {
		rc = complete_clone(r, buf);
	} else {
		rc = check_store(r, r->view.size);
		rc = rc ? rc : copy_around(r, buf);
		rc = rc ? rc : resize(r); /* more may have been copied under a view that is gone */
	}
	if (!rc)
		rc = sync_keep(r); /* the rest will be synced under the write lock */
	if (!rc)
		r->counted = r->view.size;
	return rc;
}

/* What was committed since the copy. The write lock is held. */
static int complete_wal(struct restore *r)
{
	uint64_t copied = r->view.size;
	autofree uint8_t *buf = NULL;
	uint32_t from;
	int rc;

	if (!r->watch.has_base)
		return err_set(r->err, -EIO, "the live database cannot be examined");
	rc = view_advance(r, &r->watch.base, &from);
	if (rc)
		return rc;
	rc = copy_frames(r, r->live->hub->db.vfs, from, r->view.max_frame);
	if (!rc && r->view.size > copied) {
		/* Pages that came without a frame: that of the lock bytes. */
		buf = malloc(CHUNK);
		rc = buf ? copy_range(r, buf, copied, r->view.size)
			 : err_set(r->err, -ENOMEM, "out of memory");
	}
	return rc ? rc : resize(r);
}

/* ---- under the write lock ------------------------------------------------------------------------------ */

/* Whether the file has become shorter than FILE_SIZE, and so what was copied of it. */
static bool is_cut(struct restore *r, uint64_t file_size)
{
	uint64_t now;
	bool is = vfs_db_size(r->dest.vfs, &now) == 0 && now < file_size;

	r->unreadable |= is;
	return is;
}

static int copy_rollback(struct restore *r)
{
	autofree uint8_t *buf = malloc(CHUNK);
	struct header *header = &r->view.header;
	uint64_t file_size, size;

	if (!buf)
		return err_set(r->err, -ENOMEM, "out of memory");
	if (!r->watch.base_is_database || header_decode(header, r->watch.base_bytes, HEADER_SIZE) ||
	    vfs_db_size(r->dest.vfs, &file_size))
		return err_set(r->err, -EIO, "the live database cannot be examined");
	size = spool_image_size(header, file_size);
	progress_begin(r->order->progress, SNAP_PHASE_KEEPING, 1, size);
	if (!clone_file(r)) {
		int room = check_store(r, size);

		if (room)
			return room;
		for (uint64_t at = 0; at < size;) {
			size_t part = size - at < CHUNK ? (size_t)(size - at) : CHUNK;
			ssize_t got = vfs_read_db(r->dest.vfs, buf, part, at);
			int rc = got < 0 ? err_set(r->err, (int)got, "cannot read the live database")
					 : write_keep(r, buf, (size_t)got, at);

			if (rc)
				return rc;
			if (restore_is_cancelled(r))
				return err_set(r->err, -ECANCELED, "cancelled");
			at += part;
			progress_add(r->order->progress, part);
		}
	}
	r->view.size = size;
	return is_cut(r, file_size) ? err_set(r->err, -EIO, "the live database was cut meanwhile")
				    : resize(r);
}

/* ---- as it is ------------------------------------------------------------------------------------------ */

static int copy_raw_file(struct restore *r, const char *suffix, int to)
{
	char name[NAME_MAX + 16];
	struct rawfd raw = RAWFD_INIT;
	autofree uint8_t *buf = malloc(CHUNK);
	uint64_t at = 0;
	int rc;

	if (!buf)
		return err_set(r->err, -ENOMEM, "out of memory");
	snprintf(name, sizeof(name), "%s%s", r->source->place.name, suffix);
	rc = rawfd_open(r->core->raw, r->dirfd, name, RESOLVE_NO_SYMLINKS, &raw, NULL);
	if (rc)
		return err_set(r->err, rc, "cannot open %s: %s", name, strerror(-rc));
	while (!rc) {
		ssize_t got = pread(raw.fd, buf, CHUNK, (off_t)at);

		if (got < 0)
			rc = err_errno(r->err, "cannot read %s", name);
		if (got <= 0)
			break;
		rc = spool_write(to, buf, (size_t)got, at, r->err);
		at += (uint64_t)got;
		progress_add(r->order->progress, (uint64_t)got);
	}
	rawfd_close(r->core->raw, &raw);
	return rc;
}

/* What SQLite does with a journal beside garbage changes the file, and it deletes a -wal beside what is next
 * to nothing: then it cannot be told who did. */
static void note_raw(struct restore *r)
{
	memset(r->raw, 0, sizeof(r->raw));
	r->raw_kept = r->kind == RESTORE_BROKEN && size_beside(r, "-journal") == 0 &&
		      place_stat(&r->source->place, "", &r->raw[0]) == 0 && r->raw[0].st_size >= HEADER_SIZE;
	if (r->raw_kept && place_stat(&r->source->place, "-wal", &r->raw[1]))
		memset(&r->raw[1], 0, sizeof(r->raw[1]));
}

static bool is_as_it_was(const struct stat *was, const struct stat *is)
{
	return (was->st_size == 0 && is->st_size == 0) || /* a -wal that SQLite has made for us */
	       (was->st_size == is->st_size && timespec_ns(was->st_mtim) == timespec_ns(is->st_mtim));
}

bool restore_is_as_kept(struct restore *r)
{
	struct stat db, wal = {0};

	if (!r->raw_kept)
		return true;
	if (place_stat(&r->source->place, "-wal", &wal))
		memset(&wal, 0, sizeof(wal));
	return place_stat(&r->source->place, "", &db) == 0 && is_as_it_was(&r->raw[0], &db) &&
	       is_as_it_was(&r->raw[1], &wal);
}

static int copy_raw(struct restore *r)
{
	note_raw(r);
	int rc = r->kind == RESTORE_MISSING ? 0 : copy_raw_file(r, "", keep_fd(r->keep));

	for (size_t i = 0; i < sizeof(sidecars) / sizeof(sidecars[0]) && !rc; i++) {
		int fd;

		if (size_beside(r, sidecars[i]) == 0)
			continue;
		fd = keep_add_file(r->keep, sidecars[i]);
		rc = fd < 0 ? err_set(r->err, fd, "cannot write the store: %s", strerror(-fd))
			    : copy_raw_file(r, sidecars[i], fd);
		r->kept_sidecar = true;
	}
	return rc;
}

/* ---- the snapshot -------------------------------------------------------------------------------------- */

static int commit(struct restore *r)
{
	struct stat wal, st = r->st;
	int rc;

	/* As it is by now: there may have been commits since the look. */
	if (place_stat(&r->source->place, "", &st) || st.st_dev != r->st.st_dev || st.st_ino != r->st.st_ino)
		st = r->st;
	struct keep_meta meta = {.made_ns = realtime_ns(),
				 .mtime_ns = timespec_ns(st.st_mtim),
				 .mode = st.st_mode,
				 .uid = st.st_uid,
				 .gid = st.st_gid,
				 .page_size = r->view.header.page_size,
				 .why = "replaced by a restore"};

	if (place_stat(&r->source->place, "-wal", &wal) == 0 && wal.st_size > 0 &&
	    timespec_ns(wal.st_mtim) > meta.mtime_ns)
		meta.mtime_ns = timespec_ns(wal.st_mtim);
	rc = keep_commit(r->keep, &meta, r->err);
	if (rc)
		return rc;
	r->kept = true;
	snprintf(r->out->undo, sizeof(r->out->undo), "%s", keep_name(r->keep));
	return 0;
}

/* -ENOSPC with words that say what to do. */
static int explain(struct restore *r, int rc)
{
	uint64_t need = r->view.size ? r->view.size : (uint64_t)r->st.st_size;
	struct statvfs vfs;

	if (rc != -ENOSPC || statvfs(store_dir(r->core->store), &vfs))
		return rc;
	return err_set(
		r->err, rc,
		"keeping the old one needs %llu MiB in %s, %llu MiB free; rmdir an old snapshot, or mount "
		"with -o store=DIR or keep=0",
		(unsigned long long)(need >> 20) + 1, store_dir(r->core->store),
		(unsigned long long)((uint64_t)vfs.f_bavail * vfs.f_frsize >> 20));
}

/* What is only shown is given up for what must be kept. */
static void make_room(struct restore *r)
{
	uint64_t need = (r->view.size ? r->view.size : (uint64_t)r->st.st_size) + STORE_RESERVE;
	struct statvfs vfs;

	need -= r->begun < need ? r->begun : need;
	if (statvfs(store_dir(r->core->store), &vfs) == 0 && (uint64_t)vfs.f_bavail * vfs.f_frsize < need)
		core_make_room(r->core);
}

static int begin(struct restore *r)
{
	time_t now = time(NULL);
	char name[64];
	struct tm tm;

	if (!r->source->path)
		return err_set(r->err, -EIO,
			       "its path cannot be told, by which the old content would be kept");
	if (r->kind == RESTORE_WAL || r->kind == RESTORE_ROLLBACK)
		r->keep = headstart_take(r->order->headstart, r->source, &r->begun);
	make_room(r);
	gmtime_r(&now, &tm);
	strftime(name, sizeof(name), KEEP_UNDO "%Y%m%dT%H%M%SZ", &tm);
	return r->keep ? keep_retitle(r->keep, name)
		       : keep_begin(&r->keep, r->core->store, r->source->path, name, r->err);
}

int restore_undo_begin(struct restore *r)
{
	int rc;

	if (!is_wanted(r))
		return 0;
	rc = begin(r);
	r->vain = 0;
	r->stays = false;
	if (r->kind != RESTORE_ROLLBACK) /* that one follows under the write lock */
		progress_begin(r->order->progress, SNAP_PHASE_KEEPING, 1,
			       r->view.size ? r->view.size : (uint64_t)r->st.st_size);
	if (!rc && r->kind == RESTORE_WAL)
		rc = copy_view(r);
	else if (!rc && r->kind != RESTORE_ROLLBACK)
		rc = copy_raw(r);
	if (!rc && r->kind != RESTORE_WAL && r->kind != RESTORE_ROLLBACK)
		rc = commit(r);
	return explain(r, rc);
}

/* All of it, under the write lock: the view that was copied before is gone. */
static int copy_now(struct restore *r)
{
	uint32_t from;
	int rc = view_open(r);

	rc = rc ? rc : view_advance(r, &r->watch.base, &from);
	return rc ? rc : copy_view(r);
}

int restore_undo_commit(struct restore *r)
{
	int rc;

	if (r->kept || !r->keep)
		return 0;
	progress_wait(r->order->progress, SNAP_PHASE_KEEPING);
	if (r->kind != RESTORE_WAL)
		rc = copy_rollback(r);
	else
		rc = r->view.image ? complete_wal(r) : copy_now(r);
	if (!rc)
		rc = commit(r);
	return explain(r, rc);
}

void restore_undo_drop(struct restore *r)
{
	/* What SQLite deletes as soon as it looks may be gone. */
	if (r->kept && !r->kept_sidecar &&
	    keep_drop(r->core->store, r->source->path, r->out->undo, NULL) == 0)
		r->out->undo[0] = '\0';
}
