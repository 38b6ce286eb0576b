/* SPDX-License-Identifier: MIT */
/*
 * restore_sense.c - checks before anything is written: whether an upload looks like a mistake, whether it
 * changes anything, the page size, the free space.
 *
 * Nothing here is proof of anything: it keeps people from overwriting one application's database with
 * another's, and a disk from being filled.
 */
#include "restore_private.h"

#include <errno.h>
#include <stdio.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sqlite3.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cleanup.h"
#include "memory.h"

#define TRIES 3
#define FIT_NAME "fit.sqlite3"
#define SLACK (1ull << 20) /* bytes that a commit needs beside its pages */
#define JOURNAL_PAGE 8u	   /* bytes that a journal adds to each page, at most */

/* ---- is it a mistake? ---------------------------------------------------------------------------------- */

static bool uploaded_has(const struct validate_report *report, const char *name)
{
	for (size_t at = 0; at < report->names_size; at += strlen(report->names + at) + 1) {
		if (strcasecmp(report->names + at, name) == 0)
			return true;
	}
	return false;
}

/* Counts the live database's tables; COMMON becomes 1 if the upload has one of them, too. An unreadable
 * schema counts as no tables. */
static void count_tables(struct restore *r, size_t *tables, size_t *common)
{
	static const char sql[] = "SELECT name FROM sqlite_schema "
				  "WHERE type='table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
	struct db db = DB_INIT;
	sqlite3_stmt *stmt = NULL;

	*tables = *common = 0;
	if (live_db_open(r->live, &db, DB_READER, NULL))
		return;
	sqlite3_busy_timeout(db.handle, 1000);
	/* The live schema is the application's own, so it is trusted: otherwise SQLite 3.40 calls one with
	 * json_extract() in an index or a generated column malformed. Nothing of it is run here. */
	sqlite3_db_config(db.handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 1, NULL);
	if (sqlite3_prepare_v2(db.handle, sql, -1, &stmt, NULL) == SQLITE_OK) {
		while (sqlite3_step(stmt) == SQLITE_ROW) {
			const char *name = (const char *)sqlite3_column_text(stmt, 0);

			++*tables;
			*common += name && *common == 0 && uploaded_has(r->order->report, name);
		}
	}
	sqlite3_finalize(stmt);
	db_close(&db);
}

static int check_tables(struct restore *r)
{
	const struct validate_report *report = r->order->report;
	size_t tables, common;

	count_tables(r, &tables, &common);
	if (tables == 0)
		return 0;
	if (report->tables == 0)
		return err_set(
			r->err, -EINVAL,
			"it holds no table, the live database %zu; if that is meant, mount with -o force",
			tables);
	if (common == 0 && !report->names_cut)
		return err_set(r->err, -EINVAL,
			       "none of its tables has the name of one in the live database; if another "
			       "application's database is meant, mount with -o force");
	return 0;
}

int restore_make_sense(struct restore *r)
{
	const struct header *uploaded = &r->order->report->header, *live = &r->view.header;

	if (!restore_is_readable(r))
		return 0;
	r->out->old_user_version = live->user_version;
	if (uploaded->text_encoding && live->text_encoding && uploaded->text_encoding != live->text_encoding)
		return err_set(r->err, -EINVAL,
			       "its text encoding is not the live database's, which would break the "
			       "applications that have it open");
	if (r->order->force)
		return 0;
	if (uploaded->application_id && live->application_id &&
	    uploaded->application_id != live->application_id)
		return err_set(r->err, -EINVAL,
			       "its application_id is %u, the live database's %u; if that is meant, mount "
			       "with -o force",
			       (unsigned)uploaded->application_id, (unsigned)live->application_id);
	if (live->reserved == HEADER_CHECKSUM_BYTES)
		return err_set(r->err, -EINVAL,
			       "the live database has 8 reserved bytes a page, as of SQLite's checksum VFS, "
			       "which could not read what is restored; if its applications do not use that, "
			       "mount with -o force");
	return check_tables(r);
}

/* ---- does it change anything? -------------------------------------------------------------------------- */

static void clear(uint8_t *page, size_t from, size_t to)
{
	memset(page + from, 0, to - from);
}

/* Clears what differs between two copies of the same content: journal mode, counters, the library's
 * version. */
static void mask_header(uint8_t *page)
{
	clear(page, 18, 20);
	clear(page, 24, 28);
	clear(page, 40, 44);
	clear(page, 92, 100);
}

static int read_staged(struct restore *r, uint8_t *buf, size_t size, uint64_t offset)
{
	ssize_t got = pread(staging_fd(r->order->staging), buf, size, (off_t)offset);

	if (got < 0)
		return err_errno(r->err, "cannot read the upload");
	return got == (ssize_t)size ? 0 : err_set(r->err, -EIO, "the upload was cut");
}

/* One attempt; VIEW_MOVED: the database has moved on meanwhile. */
static int compare_once(struct restore *r, uint8_t *live, uint8_t *staged)
{
	const struct validate_report *report = r->order->report;

	if (r->view.size != report->size || r->view.header.page_size != report->header.page_size)
		return 0;
	/* Most of those that differ do so in the first page. */
	for (uint64_t at = 0, part = report->header.page_size; at < report->size; at += part) {
		int rc;

		if (at > 0)
			part = report->size - at < COPY_CHUNK ? report->size - at : COPY_CHUNK;
		if (restore_is_cancelled(r))
			return err_set(r->err, -ECANCELED, "cancelled");
		rc = view_read(r, live, (size_t)part, at);
		rc = rc ? rc : read_staged(r, staged, (size_t)part, at);
		if (rc)
			return rc;
		if (at == 0) {
			mask_header(live);
			mask_header(staged);
		}
		if (memcmp(live, staged, (size_t)part) != 0)
			return 0;
		rc = at + part < report->size ? view_give_way(r) : VIEW_STAYS;
		if (rc != VIEW_STAYS)
			return rc;
	}
	return 1;
}

int restore_compare(struct restore *r)
{
	autofree uint8_t *live = NULL, *staged = NULL;
	int rc = VIEW_MOVED;

	if (!restore_is_readable(r))
		return 0;
	live = malloc(COPY_CHUNK);
	staged = malloc(COPY_CHUNK);
	if (!live || !staged)
		return err_set(r->err, -ENOMEM, "out of memory");
	for (int i = 0; i < TRIES && rc == VIEW_MOVED; i++)
		rc = compare_once(r, live, staged);
	return rc == VIEW_MOVED ? 0 : rc;
}

/* ---- page size ----------------------------------------------------------------------------------------- */

static int use_upload(struct restore *r)
{
	const struct validate_report *report = r->order->report;
	const char *name;
	int folder = staging_folder(r->order->staging, &name);

	if (folder < 0)
		return err_set(r->err, -EIO, "the upload has gone");
	r->fit.dir = folder;
	snprintf(r->fit.name, sizeof(r->fit.name), "%s", name);
	r->fit.size = report->size;
	r->fit.page_size = report->header.page_size;
	r->fit.pages = report->pages;
	return 0;
}

void restore_unfit(struct restore *r)
{
	if (r->fit.own_dir < 0)
		return;
	store_drop_folder(r->core->store, r->fit.own_name);
	cleanup_close(&r->fit.own_fd);
	cleanup_close(&r->fit.own_dir);
	r->fit.own_fd = r->fit.own_dir = -1;
}

/* Outside WAL mode, the live database accepts any page size, so nothing has to be converted. */
static int refuse_misfit(struct restore *r, uint32_t want, int rc, const char *why)
{
	return err_set(r->err, rc,
		       "its page size (%u) is not the live database's (%u), and it cannot be brought to that "
		       "(PRAGMA journal_mode=DELETE in the live database, until it is restored, helps): %s",
		       (unsigned)r->order->report->header.page_size, (unsigned)want, why);
}

int restore_fit(struct restore *r, uint32_t want)
{
	struct validate_order order = VALIDATE_ORDER_INIT;
	struct validate_report report = VALIDATE_REPORT_INIT;
	struct snap_err why;
	struct stat st;
	int rc;

	restore_unfit(r); /* the page size may have changed since the first time */
	rc = use_upload(r);
	if (rc || want == r->fit.page_size)
		return rc;
	r->fit.own_dir = store_make_folder(r->core->store, r->fit.own_name, r->err);
	if (r->fit.own_dir < 0)
		return r->fit.own_dir;
	r->fit.own_fd = openat(r->fit.own_dir, FIT_NAME, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	if (r->fit.own_fd < 0)
		return err_errno(r->err, "cannot make a file in the store");
	order.fd = staging_fd(r->order->staging);
	order.size = staging_size(r->order->staging);
	order.fit_only = true;
	order.fit_fd = r->fit.own_fd;
	order.fit_page_size = want;
	order.timeout_ms = VALIDATE_PATIENCE_MS;
	order.cancelled = r->order->cancelled;
	order.arg = r->order->arg;
	rc = validate_file(&order, &report, &why);
	if (rc == -EOPNOTSUPP || rc == -EFBIG)
		refuse_misfit(r, want, rc, why.text);
	else if (rc)
		err_set(r->err, rc, "%s", why.text);
	if (!rc && fstat(r->fit.own_fd, &st))
		rc = err_errno(r->err, "cannot examine a file of the store");
	validate_report_finish(&report);
	if (!rc)
		rc = validate_header(r->fit.own_fd, (uint64_t)st.st_size, &report, r->err);
	if (!rc && report.header.page_size != want)
		rc = refuse_misfit(r, want, -EOPNOTSUPP, "too much of each page is reserved");
	if (rc)
		return rc;
	r->fit.dir = r->fit.own_dir;
	snprintf(r->fit.name, sizeof(r->fit.name), "%s", FIT_NAME);
	r->fit.size = report.size;
	r->fit.page_size = want;
	r->fit.pages = report.pages;
	return 0;
}

/* ---- room ---------------------------------------------------------------------------------------------- */

static unsigned long long mib(uint64_t bytes)
{
	return (bytes + (1u << 20) - 1) >> 20;
}

/* Bytes that the transaction needs beside the live file; by which the file grows; and that it, or the
 * checkpoint, overwrites if overwriting is not done IN_PLACE. */
static uint64_t needed(const struct restore *r, bool in_place)
{
	uint64_t old = (uint64_t)r->st.st_size;
	uint64_t growth = r->fit.size > old ? r->fit.size - old : 0;

	if (!in_place)
		growth = r->fit.size;
	if (r->kind == RESTORE_WAL)
		return (uint64_t)r->fit.pages * (r->fit.page_size + WAL_FRAME_HEADER) + growth + SLACK;
	return old + old / r->fit.page_size * JOURNAL_PAGE + growth + SLACK;
}

/* Whether our first frame starts the WAL over: all of the WAL is in the database file, and nobody reads from
 * it except our view, which ends before that. A reader that begins in between makes this wrong, and the
 * transaction may fill the disk: then it is rolled back, and its frames are cut off. */
static bool will_start_over(const struct restore *r, const struct wal_header *header)
{
	uint32_t copied;

	return vfs_wal_backfill(r->live->hub->db.vfs, &copied) == 0 && copied == header->max_frame &&
	       !live_others_read(r->live);
}

/* Bytes of the -wal that hold no valid frames, and will be overwritten. */
static uint64_t reusable(const struct restore *r)
{
	struct wal_header header;
	struct stat wal;
	uint64_t used;

	if (r->kind != RESTORE_WAL || place_stat(&r->source->place, "-wal", &wal) ||
	    live_sample(r->live, &header))
		return 0;
	if (will_start_over(r, &header))
		return (uint64_t)wal.st_size;
	used = header.max_frame ? wal_frame_offset(header.max_frame + 1, header.page_size) : 0;
	return (uint64_t)wal.st_size > used ? (uint64_t)wal.st_size - used : 0;
}

/*
 * btrfs writes nothing in place, and statfs(2) does not see its quotas: if a quota stops a transaction in the
 * middle, what was written cannot even be rolled back. So on btrfs the space is requested through a file
 * without a name; -1: another file system.
 */
static int open_probe(const struct restore *r)
{
	struct statfs fs;

	if (fstatfs(r->dirfd, &fs) || fs.f_type != BTRFS_SUPER_MAGIC)
		return -1;
	return openat(r->dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}

/* Whether a database of that folder is written in place: "chattr +C", which files inherit from their
 * folder. */
static bool is_in_place(int probe)
{
	int flags = 0;

	return probe < 0 || (ioctl(probe, FS_IOC_GETFLAGS, &flags) == 0 && (flags & FS_NOCOW_FL));
}

static bool is_granted(int probe, uint64_t need)
{
	return probe < 0 || need == 0 || fallocate(probe, FALLOC_FL_KEEP_SIZE, 0, (off_t)need) == 0 ||
	       (errno != EDQUOT && errno != ENOSPC);
}

int restore_check_room(struct restore *r)
{
	autoclose int probe = open_probe(r);
	bool in_place = is_in_place(probe);
	uint64_t need = needed(r, in_place && !r->undo.cloned), again = in_place ? reusable(r) : 0, room;
	struct statvfs vfs;

	if (fstatvfs(r->dirfd, &vfs))
		return err_errno(r->err, "cannot examine the live database's file system");
	need = need > again ? need - again : 0;
	room = (uint64_t)(geteuid() == 0 ? vfs.f_bfree : vfs.f_bavail) * vfs.f_frsize;
	if (room >= need && is_granted(probe, need))
		return 0;
	if (room >= need)
		return err_set(
			r->err, -ENOSPC,
			"replacing it in one transaction needs %llu MiB beside the live database, which "
			"its file system or a quota does not give",
			mib(need));
	return err_set(
		r->err, -ENOSPC,
		"replacing it in one transaction needs %llu MiB beside the live database, %llu MiB free",
		mib(need), mib(room));
}
