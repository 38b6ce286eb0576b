/* SPDX-License-Identifier: MIT */
/*
 * spool_copies.c - the half of spool.h that works on copies which SQLite itself then reads or writes, and on
 * files that no lock protects: what was copied counts only if nobody changed the originals meanwhile.
 */
#include "spool_private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sqlite3.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "memory.h"
#include "opath.h"
#include "place_raw.h"
#include "spool.h"
#include "superjournal.h"

/* PENDING_BYTE and what follows it in os.h. */
#define LOCK_PENDING 0x40000000
#define LOCK_SHARED (LOCK_PENDING + 2)
#define LOCK_SHARED_SIZE 510
#define COPY_NAME "db"
#define COPY_JOURNAL "db-journal"
#define COPY_WAL "db-wal"

static bool absent(const struct place *place, const char *suffix)
{
	struct stat st;

	return place_stat(place, suffix, &st) == -ENOENT;
}

/* Copies the first SIZE bytes of RAW to FD: what is appended meanwhile shows in stat(2). */
static int copy_raw(const struct rawfd *raw, int fd, uint64_t size, struct snap_err *err)
{
	autofree uint8_t *buf = malloc(COPY_CHUNK);
	uint64_t done = 0;

	if (!buf)
		return err_set(err, -ENOMEM, "out of memory");
	while (done < size) {
		size_t part = size - done < COPY_CHUNK ? (size_t)(size - done) : COPY_CHUNK;
		ssize_t got = pread(raw->fd, buf, part, (off_t)done);
		int rc;

		if (got < 0)
			return err_errno(err, "cannot read it");
		if (got == 0)
			break;
		rc = spool_write(fd, buf, (size_t)got, done, err);
		if (rc)
			return rc;
		done += (uint64_t)got;
	}
	return 0;
}

static int set_lock(int fd, short type, off_t start, off_t length)
{
	struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};

	return fcntl(fd, F_OFD_SETLK, &lock) ? -errno : 0;
}

/* Takes SQLite's SHARED lock as unixLock() does: past the PENDING byte, so that a writer that waits for
 * readers does not starve. */
static int lock_shared(int fd)
{
	int rc = set_lock(fd, F_RDLCK, LOCK_PENDING, 1);

	if (rc)
		return rc;
	rc = set_lock(fd, F_RDLCK, LOCK_SHARED, LOCK_SHARED_SIZE);
	set_lock(fd, F_UNLCK, LOCK_PENDING, 1);
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

static bool nobody_has_it_open(const struct place *place)
{
	return absent(place, "-wal") && absent(place, "-shm") && absent(place, "-journal");
}

/* The copying of spool_raw(), with SHARED held. */
static int copy_locked(struct spool_flat *flat, struct core *core, const struct place *place,
		       const struct rawfd *raw, struct snap_err *err)
{
	struct stat after;
	int rc;

	if (!nobody_has_it_open(place))
		return err_set(err, -EAGAIN,
			       "an application has it open, or has left a -wal without a -shm, which only "
			       "root may make here");
	autoclose int fd = store_spool(core->store, (uint64_t)flat->st.st_size, err);
	if (fd < 0)
		return fd;
	rc = copy_raw(raw, fd, (uint64_t)flat->st.st_size, err);
	if (rc)
		return rc;
	if (place_stat(place, "", &after) || !version_same_stat(&flat->st, &after) ||
	    !nobody_has_it_open(place))
		return err_set(err, -EAGAIN, "it was changed while it was copied");
	flat->fd = fd;
	rc = examine_copy(flat, err);
	if (!rc)
		steal_fd(&fd);
	return rc;
}

int spool_raw(struct spool_flat *out, struct core *core, const struct place *place, struct snap_err *err)
{
	struct spool_flat flat = SPOOL_FLAT_INIT;
	struct rawfd raw = RAWFD_INIT;
	struct stat st;
	int rc = place_open_raw(core->raw, place, "", &raw, &st, err);

	if (rc)
		return rc;
	rc = lock_shared(raw.fd);
	if (rc)
		rc = err_set(err, -EAGAIN, "an application is writing it");
	flat.seen_ns = realtime_ns();
	if (!rc && fstat(raw.fd, &flat.st))
		rc = err_errno(err, "cannot examine it");
	if (!rc)
		rc = copy_locked(&flat, core, place, &raw, err);
	/* The close may be put off, and the release of the lock with it. */
	set_lock(raw.fd, F_UNLCK, LOCK_SHARED, LOCK_SHARED_SIZE);
	rawfd_close(core->raw, &raw);
	if (!rc)
		*out = flat;
	return rc;
}

/* Opens the finished copy; its name is removed with its folder, by the caller. */
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

/* Opens and copies one of the files; ST: its stat(2) before that. */
static int copy_one(struct core *core, const struct place *place, const char *suffix, int fd, struct stat *st,
		    struct snap_err *err)
{
	struct rawfd raw = RAWFD_INIT;
	int rc = place_open_raw(core->raw, place, suffix, &raw, st, err);

	if (rc)
		return rc == -ENOENT ? -EAGAIN : rc;
	/* NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): filled when rc is 0 */
	rc = copy_raw(&raw, fd, (uint64_t)st->st_size, err);
	rawfd_close(core->raw, &raw);
	return rc;
}

/*
 * A -wal beside a hot journal: SQLite rolls back the journal and then uses the frames as they are, because a
 * journal that was not left by a crash (a copy from elsewhere, one whose deletion was lost) says nothing
 * about them. If the -wal is empty or absent there is nothing to copy. -EAGAIN as copy_files().
 */
static int copy_wal(struct core *core, const struct place *place, int folder, int64_t seen_ns,
		    struct snap_err *err)
{
	struct stat st, now;
	int rc = place_stat(place, "-wal", &st);

	if (rc == -ENOENT || (rc == 0 && st.st_size == 0))
		return 0;
	autoclose int wal = openat(folder, COPY_WAL, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	if (wal < 0)
		return err_errno(err, "cannot make a copy in the store");
	rc = copy_one(core, place, "-wal", wal, &st, err);
	if (rc)
		return rc;
	if (!version_is_settled(timespec_ns(st.st_ctim), seen_ns) || place_stat(place, "-wal", &now) ||
	    !version_same_stat(&st, &now))
		return err_set(err, -EAGAIN, "it was changed while it was copied");
	return 0;
}

/*
 * Treats the super-journal that the copied journal names as SQLite would, but hides it from SQLite. A
 * committed transaction is not rolled back.
 */
static int settle_super(const struct place *place, int folder, struct snap_err *err)
{
	autoclose int journal = openat(folder, COPY_JOURNAL, O_RDWR | O_CLOEXEC);
	char name[PATH_MAX];
	int rc = journal < 0 ? -errno : superjournal_read(journal, name);

	if (rc > 0)
		rc = superjournal_look(place, name);
	if (rc < 0)
		return err_set(err, rc, "cannot examine its journal: %s", strerror(-rc));
	if (rc == SUPER_UNKNOWN)
		return err_set(err, -EIO, SUPERJOURNAL_UNKNOWN, name);
	if (rc == SUPER_GONE)
		return unlinkat(folder, COPY_JOURNAL, 0) ? err_errno(err, "cannot change a copy in the store")
							 : 0;
	rc = superjournal_hide(journal);
	return rc ? err_set(err, rc, "cannot change a copy in the store: %s", strerror(-rc)) : 0;
}

/* Copies the files into FOLDER, and settles the super-journal there. -EAGAIN: they were changed meanwhile, or
 * may have been. */
static int copy_files(struct spool_flat *flat, struct core *core, const struct place *place, int folder,
		      struct snap_err *err)
{
	autoclose int db = openat(folder, COPY_NAME, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	autoclose int journal = openat(folder, COPY_JOURNAL, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	struct stat journal_st, now;
	int rc;

	if (db < 0 || journal < 0)
		return err_errno(err, "cannot make a copy in the store");
	flat->seen_ns = realtime_ns();
	rc = copy_one(core, place, "-journal", journal, &journal_st, err);
	if (!rc)
		rc = copy_one(core, place, "", db, &flat->st, err);
	if (!rc)
		rc = copy_wal(core, place, folder, flat->seen_ns, err);
	if (rc)
		return rc;
	/* Now, because the super-journal goes when somebody has rolled back the journals as well. */
	rc = settle_super(place, folder, err);
	if (opath_transient(rc))
		return rc;
	if (!version_is_settled(timespec_ns(flat->st.st_ctim), flat->seen_ns) ||
	    !version_is_settled(timespec_ns(journal_st.st_ctim), flat->seen_ns) ||
	    place_stat(place, "", &now) || !version_same_stat(&flat->st, &now) ||
	    place_stat(place, "-journal", &now) || !version_same_stat(&journal_st, &now))
		return err_set(err, -EAGAIN, "it was changed while it was copied");
	return rc;
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
	rc = copy_files(&flat, core, place, folder, err);
	if (!rc)
		rc = db_open(&db, folder, COPY_NAME, DB_PRIVATE, err);
	if (!rc) {
		/* Neither reads the schema, which may be damaged; without a WAL the second does nothing. */
		int sql = db_exec(&db, "PRAGMA user_version");

		if (!sql)
			sql = sqlite3_wal_checkpoint_v2(db.handle, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL,
							NULL);
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
	if (!rc &&
	    ((uint64_t)flat.st.st_dev != conn->live->dev || (uint64_t)flat.st.st_ino != conn->live->ino))
		rc = err_set(err, -ESTALE, "replaced while it was copied");
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
