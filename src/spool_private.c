/* SPDX-License-Identifier: MIT */
/*
 * spool_private.c - the half of spool.h that works on copies which SQLite itself then reads or writes, and on
 * files that no lock protects: what was copied counts only if nobody changed the originals meanwhile.
 */
#include "spool_private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "spool.h"

#define CHUNK (1u << 20)
#define COPY_NAME "db"
#define COPY_JOURNAL "db-journal"

static bool absent(const struct place *place, const char *suffix)
{
	struct stat st;

	return place_stat(place, suffix, &st) == -ENOENT;
}

static bool same_stat(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       timespec_ns(a->st_mtim) == timespec_ns(b->st_mtim) &&
	       timespec_ns(a->st_ctim) == timespec_ns(b->st_ctim);
}

/* Copies NAME + SUFFIX of PLACE to FD and fills ST as it was before. */
static int copy_raw(struct core *core, const struct place *place, const char *suffix, int fd, struct stat *st,
		    struct snap_err *err)
{
	struct rawfd raw = RAWFD_INIT;
	autofree uint8_t *buf = malloc(CHUNK);
	autofree char *name = NULL;
	autoclose int dir = place_open_dir(place);
	uint64_t done = 0;
	ssize_t got = 1;
	int rc;

	if (!buf || asprintf(&name, "%s%s", place->name, suffix) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	rc = dir < 0 ? dir : rawfd_open(core->raw, dir, name, RESOLVE_NO_SYMLINKS, &raw, st);
	if (rc)
		return err_set(err, rc, "cannot open %s: %s", name, strerror(-rc));
	while (got > 0 && !rc) {
		got = pread(raw.fd, buf, CHUNK, (off_t)done);
		if (got < 0)
			rc = err_errno(err, "cannot read %s", name);
		else
			rc = spool_write(fd, buf, (size_t)got, done, err);
		done += got > 0 ? (uint64_t)got : 0;
	}
	rawfd_close(core->raw, &raw);
	return rc;
}

/* Reads the header of the copy FD. */
static int examine_copy(struct spool_flat *flat, struct snap_err *err)
{
	uint8_t bytes[HEADER_SIZE];
	struct stat st;
	ssize_t got = pread(flat->fd, bytes, sizeof(bytes), 0);

	if (got < 0 || fstat(flat->fd, &st))
		return err_errno(err, "cannot read a spool");
	if (header_decode(&flat->header, bytes, (size_t)got))
		return err_set(err, -EIO, "not a database, or damaged");
	flat->size = spool_image_size(&flat->header, (uint64_t)st.st_size);
	return 0;
}

int spool_raw(struct spool_flat *out, struct core *core, const struct place *place, struct snap_err *err)
{
	struct spool_flat flat = SPOOL_FLAT_INIT;
	struct stat before, after;
	int rc = place_stat(place, "", &before);

	flat.seen_ns = realtime_ns();
	if (rc)
		return err_set(err, rc, "cannot examine it: %s", strerror(-rc));
	if (!absent(place, "-wal") || !absent(place, "-shm") || !absent(place, "-journal"))
		return err_set(err, -EAGAIN, "an application has it open");
	autoclose int fd = store_spool(core->store, (uint64_t)before.st_size, err);
	if (fd < 0)
		return fd;
	rc = copy_raw(core, place, "", fd, &flat.st, err);
	if (rc)
		return rc;
	if (place_stat(place, "", &after) || !same_stat(&before, &after) || !same_stat(&before, &flat.st) ||
	    !absent(place, "-wal") || !absent(place, "-shm") || !absent(place, "-journal"))
		return err_set(err, -EAGAIN, "it was changed while it was copied");
	flat.fd = fd;
	rc = examine_copy(&flat, err);
	if (rc)
		return rc;
	steal_fd(&fd);
	*out = flat;
	return 0;
}

/* Opens the finished copy and forgets its name with its folder. */
static int take_copy(struct spool_flat *flat, int folder, struct snap_err *err)
{
	int rc;

	flat->fd = openat(folder, COPY_NAME, O_RDONLY | O_CLOEXEC);
	if (flat->fd < 0)
		return err_errno(err, "cannot open a copy in the store");
	rc = examine_copy(flat, err);
	if (rc)
		cleanup_close(&flat->fd);
	return rc;
}

/* Copies both files into FOLDER. -EAGAIN: they were changed meanwhile. */
static int copy_pair(struct spool_flat *flat, struct core *core, const struct place *place, int folder,
		     struct snap_err *err)
{
	autoclose int db = openat(folder, COPY_NAME, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	autoclose int journal = openat(folder, COPY_JOURNAL, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	struct stat journal_st, now;
	int rc;

	if (db < 0 || journal < 0)
		return err_errno(err, "cannot make a copy in the store");
	flat->seen_ns = realtime_ns();
	rc = copy_raw(core, place, "-journal", journal, &journal_st, err);
	if (!rc)
		rc = copy_raw(core, place, "", db, &flat->st, err);
	if (rc)
		return rc == -ENOENT ? -EAGAIN : rc;
	if (place_stat(place, "", &now) || !same_stat(&flat->st, &now) ||
	    place_stat(place, "-journal", &now) || !same_stat(&journal_st, &now))
		return err_set(err, -EAGAIN, "it was changed while it was copied");
	return 0;
}

int spool_hot(struct spool_flat *out, struct core *core, const struct place *place, struct snap_err *err)
{
	struct spool_flat flat = SPOOL_FLAT_INIT;
	struct db db = DB_INIT;
	char name[32];
	autoclose int folder = store_make_folder(core->store, name, err);
	int rc;

	if (folder < 0)
		return folder;
	rc = copy_pair(&flat, core, place, folder, err);
	if (!rc)
		rc = db_open(&db, folder, COPY_NAME, DB_PRIVATE, err);
	if (!rc) {
		int sql = db_exec(&db, "PRAGMA user_version");

		if (sql)
			rc = err_set(err, -EIO, "its journal cannot be rolled back in a copy: %s",
				     db_text(&db));
	}
	db_close(&db);
	if (!rc)
		rc = take_copy(&flat, folder, err);
	store_drop_folder(core->store, name);
	if (!rc)
		*out = flat;
	return rc;
}

/* The whole database in one step, for the transaction that CONN holds open. */
static int run_backup(struct conn *conn, struct db *to, struct snap_err *err)
{
	sqlite3_backup *backup = sqlite3_backup_init(to->handle, "main", conn->db.handle, "main");
	int rc;

	if (!backup)
		return err_set(err, -EIO, "cannot copy it: %s", sqlite3_errmsg(to->handle));
	rc = sqlite3_backup_step(backup, -1);
	sqlite3_backup_finish(backup);
	if (rc == SQLITE_DONE)
		return 0;
	return err_set(err, db_errno(to, rc), "cannot copy it: %s", sqlite3_errstr(rc));
}

int spool_backup(struct spool_flat *out, struct conn *conn, struct snap_err *err)
{
	struct spool_flat flat = SPOOL_FLAT_INIT;
	struct core *core = conn->live->core;
	struct db to = DB_INIT;
	char name[32];
	autoclose int folder = store_make_folder(core->store, name, err);
	int rc = folder < 0 ? folder : 0;

	flat.seen_ns = realtime_ns();
	if (!rc && fstatat(conn->live->dirfd, conn->live->name, &flat.st, AT_SYMLINK_NOFOLLOW))
		rc = err_errno(err, "cannot examine it");
	if (!rc)
		rc = db_open(&to, folder, COPY_NAME, DB_PRIVATE, err);
	if (!rc)
		rc = run_backup(conn, &to, err);
	db_close(&to);
	live_unpin(conn);
	if (!rc)
		rc = take_copy(&flat, folder, err);
	if (folder >= 0)
		store_drop_folder(core->store, name);
	if (!rc)
		*out = flat;
	return rc;
}
