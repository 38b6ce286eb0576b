/* SPDX-License-Identifier: MIT */
/*
 * restore_undo.c - keeping what a restore replaces.
 *
 * Of a database that SQLite can read: its content (restore_copy.c). Of any other, or of 0 bytes with
 * sidecars: the files as they are, before SQLite looks at them, because it deletes what it finds beside an
 * empty database.
 *
 * What must stay true: the snapshot is synced and has its name before the live database is written; it is the
 * content right before the restore, up to the last commit.
 */
#include "restore_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <limits.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "headstart.h"
#include "memory.h"
#include "progress.h"
#include "spool_private.h"

static const char *const suffixes[RESTORE_FILES] = {"", "-wal", "-journal"};

/* Looks at the files now at the place; all zero: there is none. A file that cannot be looked at may be the
 * only copy of what is to be kept: -errno with a message. */
static int look_raw(const struct restore *r, struct stat out[RESTORE_FILES], struct snap_err *err)
{
	for (int i = 0; i < RESTORE_FILES; i++) {
		int rc = place_stat(&r->source->place, suffixes[i], &out[i]);

		if (rc == -ENOENT)
			memset(&out[i], 0, sizeof(out[i]));
		else if (rc)
			return err_set(err, rc, "cannot examine %s%s, to keep it: %s", r->source->place.name,
				       suffixes[i], strerror(-rc));
	}
	return 0;
}

/* Whether there is anything to keep: 1, 0, -errno. Content that came from a restore is kept as well: the
 * uploaded file may be gone, as after mv(1), and a restore that changed nothing has kept nothing. */
static int is_wanted(const struct restore *r)
{
	struct stat now[RESTORE_FILES];
	int rc;

	if (r->order->keep == 0)
		return 0;
	if (r->kind != RESTORE_EMPTY && r->kind != RESTORE_MISSING)
		return 1;
	rc = look_raw(r, now, r->err);
	return rc ? rc : now[1].st_size > 0 || now[2].st_size > 0;
}

/* ---- as it is ------------------------------------------------------------------------------------------ */

static int copy_raw_file(struct restore *r, const char *suffix, int to)
{
	char name[NAME_MAX + 16];
	struct rawfd raw = RAWFD_INIT;
	autofree uint8_t *buf = malloc(COPY_CHUNK);
	uint64_t at = 0;
	int rc;

	if (!buf)
		return err_set(r->err, -ENOMEM, "out of memory");
	snprintf(name, sizeof(name), "%s%s", r->source->place.name, suffix);
	rc = rawfd_open(r->core->raw, r->dirfd, name, &raw, NULL);
	if (rc)
		return err_set(r->err, rc, "cannot open %s: %s", name, strerror(-rc));
	while (!rc) {
		ssize_t got = pread(raw.fd, buf, COPY_CHUNK, (off_t)at);

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

/* SQLite changes the file when it finds a journal beside garbage, and deletes a -wal beside a nearly empty
 * file. In these cases, nobody can tell afterwards who changed it. */
static int note_raw(struct restore *r)
{
	int rc = look_raw(r, r->undo.raw, r->err);

	r->undo.raw_tells = !rc && r->kind == RESTORE_BROKEN && r->undo.raw[2].st_size == 0 &&
			    r->undo.raw[0].st_size >= HEADER_SIZE;
	return rc;
}

/* Whether the first COUNT files are as they were kept; false if that is unknown. */
static bool are_as_they_were(const struct restore *r, int count)
{
	struct stat now[RESTORE_FILES];

	if (look_raw(r, now, NULL))
		return false;
	for (int i = 0; i < count; i++) {
		const struct stat *was = &r->undo.raw[i], *is = &now[i];

		if (was->st_size == 0 && is->st_size == 0)
			continue; /* a -wal that SQLite has made for us */
		if (was->st_dev != is->st_dev || was->st_ino != is->st_ino || was->st_size != is->st_size ||
		    timespec_ns(was->st_mtim) != timespec_ns(is->st_mtim))
			return false;
	}
	return true;
}

bool restore_is_as_kept(struct restore *r)
{
	return !r->undo.raw_tells || are_as_they_were(r, 2);
}

static int copy_raw(struct restore *r)
{
	int rc = note_raw(r);

	if (!rc && r->kind != RESTORE_MISSING)
		rc = copy_raw_file(r, "", keep_fd(r->undo.keep));
	for (int i = 1; i < RESTORE_FILES && !rc; i++) {
		int fd;

		if (r->undo.raw[i].st_size == 0)
			continue;
		fd = keep_add_file(r->undo.keep, suffixes[i]);
		rc = fd < 0 ? err_set(r->err, fd, "cannot write the store: %s", strerror(-fd))
			    : copy_raw_file(r, suffixes[i], fd);
		r->undo.has_sidecar = true;
	}
	return rc;
}

/* ---- the snapshot -------------------------------------------------------------------------------------- */

static int commit(struct restore *r)
{
	struct stat wal, st = r->st;
	int rc;

	/* The current values: there may have been commits since the look. */
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
	rc = keep_commit(r->undo.keep, &meta, r->err);
	if (rc)
		return rc;
	r->undo.committed = true;
	snprintf(r->out->undo, sizeof(r->out->undo), "%s", keep_name(r->undo.keep));
	snprintf(r->source->undo, sizeof(r->source->undo), "%s", keep_name(r->undo.keep));
	r->out->undo_raw = !restore_is_readable(r);
	return 0;
}

/* Explains a lack of space with a message that says what to do. */
static int explain(struct restore *r, int rc)
{
	uint64_t need = r->view.size ? r->view.size : (uint64_t)r->st.st_size;
	char room[STORE_ROOM_SIZE];

	if (!store_is_full(rc))
		return rc;
	return err_set(r->err, rc,
		       "keeping the old one needs %llu MiB in %s, %s; rmdir an old snapshot, or mount with "
		       "-o store=DIR or keep=0",
		       (unsigned long long)(need >> 20) + 1, store_dir(r->core->store),
		       store_room(r->core->store, rc, room));
}

/* Gives up uploaded bytes that are only shown, for what must be kept. */
static void make_room(struct restore *r)
{
	uint64_t need = (r->view.size ? r->view.size : (uint64_t)r->st.st_size) + STORE_RESERVE;
	struct statvfs vfs;

	need -= r->undo.begun < need ? r->undo.begun : need;
	if (statvfs(store_dir(r->core->store), &vfs) == 0 && (uint64_t)vfs.f_bavail * vfs.f_frsize < need)
		core_make_room(r->core);
}

static int begin(struct restore *r)
{
	time_t now = time(NULL);
	char name[64];
	struct tm tm;
	int rc;

	if (!r->source->path)
		return err_set(r->err, -EIO,
			       "its path cannot be told, by which the old content would be kept");
	if (restore_is_readable(r))
		r->undo.keep = headstart_take(r->order->headstart, r->source, &r->undo.begun);
	make_room(r);
	gmtime_r(&now, &tm);
	strftime(name, sizeof(name), KEEP_UNDO "%Y%m%dT%H%M%SZ", &tm);
	rc = r->undo.keep ? keep_retitle(r->undo.keep, name)
			  : keep_begin(&r->undo.keep, r->core->store, r->source->path, name, r->err);
	if (!rc)
		keep_number_after(r->undo.keep, r->source->undo); /* the log refers to each by its name */
	return rc;
}

int restore_undo_begin(struct restore *r)
{
	int rc = is_wanted(r);

	if (rc <= 0)
		return rc;
	rc = begin(r);
	r->yield.vain = 0;
	r->yield.stays = false;
	if (r->kind != RESTORE_ROLLBACK) /* RESTORE_ROLLBACK follows under the write lock */
		progress_begin(r->order->progress, SNAP_PHASE_KEEPING, 1,
			       r->view.size ? r->view.size : (uint64_t)r->st.st_size);
	if (!rc && r->kind == RESTORE_WAL)
		rc = restore_copy_view(r);
	else if (!rc && r->kind != RESTORE_ROLLBACK)
		rc = copy_raw(r);
	if (!rc && !restore_is_readable(r))
		rc = commit(r);
	return explain(r, rc);
}

/* Copies everything under the write lock: the view that was copied before is gone. */
static int copy_now(struct restore *r)
{
	uint32_t from;
	int rc = view_open(r);

	rc = rc ? rc : view_advance(r, &r->watch.base.version, &from);
	return rc ? rc : restore_copy_view(r);
}

int restore_undo_commit(struct restore *r)
{
	int rc;

	if (r->undo.committed || !r->undo.keep)
		return 0;
	progress_wait(r->order->progress, SNAP_PHASE_KEEPING);
	if (r->kind != RESTORE_WAL)
		rc = restore_copy_rollback(r);
	else
		rc = r->view.image ? restore_copy_since(r) : copy_now(r);
	if (!rc)
		rc = commit(r);
	return explain(r, rc);
}

void restore_undo_drop(struct restore *r)
{
	if (r->undo.committed && (!r->undo.has_sidecar || are_as_they_were(r, RESTORE_FILES)) &&
	    keep_drop(r->core->store, r->source->path, r->out->undo, NULL) == 0)
		r->out->undo[0] = '\0';
}
