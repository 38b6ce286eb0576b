/* SPDX-License-Identifier: MIT */
/*
 * vfs_file.c - the files that SQLite opens through the shim: what may be done to them, and reading them past
 * SQLite.
 *
 * What must stay true:
 *  - VFS_CLOSER changes files only under EXCLUSIVE on the database. Nobody else is connected then, so its
 *    checkpoint cannot meet another process's commit, without which the WAL-reset bug of SQLite before 3.51.3
 *    does not occur: it needs no further guard.
 *  - SQLite never maps a database (xFetch gives nothing, FCNTL_MMAP_SIZE answers 0): a read is a pread(2),
 *    which several threads may do at once on one handle.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "header.h"
#include "progress.h"
#include "vfs_private.h"

#define READ_CHUNK 65536u /* seekAndRead() of os_unix.c takes less than 128 KiB */
#define READ_TRIES 8	  /* a file's end that moves while it is being read */

/* ---- files --------------------------------------------------------------------------------------------- */

/* SQLite's own temporary files are not restricted. */
static bool is_live_file(int kind)
{
	return kind &
	       (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_SUPER_JOURNAL);
}

bool vfs_may_change(const struct vfs *vfs, int kind)
{
	if (!is_live_file(kind))
		return true;
	if (vfs->policy == VFS_RESTORER)
		return kind & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL);
	return vfs->policy == VFS_CLOSER && atomic_load(&vfs->exclusive) &&
	       (kind & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL));
}

/* Whether writes to FILE are collected into larger pieces. */
static bool streams_writes(const struct vfs_file *file)
{
	return file->vfs->policy == VFS_RESTORER && file->kind == SQLITE_OPEN_WAL;
}

static int flush_stream(struct vfs_file *file)
{
	return streams_writes(file) ? vfs_stream_flush(&file->vfs->stream, vfs_real_file(file)) : SQLITE_OK;
}

static int file_close(sqlite3_file *base)
{
	struct vfs_file *file = (struct vfs_file *)base;
	struct vfs *vfs = file->vfs;
	sqlite3_file *real = vfs_real_file(file);

	if (file->kind == SQLITE_OPEN_WAL) {
		flush_stream(file); /* nothing that was committed waits */
		atomic_store(&vfs->wal, NULL);
	} else if (file->kind == SQLITE_OPEN_MAIN_DB) {
		/* The unix VFS would unmap what SQLite has left mapped; we must have forgotten it by then. */
		vfs_shm_unmap(base, 0);
		atomic_store(&vfs->exclusive, false);
		atomic_store(&vfs->db, NULL);
	}
	file->base.pMethods = NULL;
	return real->pMethods->xClose(real);
}

/* Bytes 18 and 19 of the first page say the journal mode. */
static void set_journal_version(uint8_t *page, int n, sqlite3_int64 offset, uint8_t version)
{
	for (sqlite3_int64 at = 18; at <= 19; at++) {
		if (at >= offset && at < offset + n)
			page[at - offset] = version;
	}
}

static void store32(uint8_t *to, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		to[i] = (uint8_t)(value >> (24 - 8 * i));
}

/* The first N bytes of an empty database, which are all that matters of its only page. SQLite's file format.
 */
static void store_empty(const struct vfs *vfs, uint8_t *page, int n)
{
	uint8_t first[HEADER_SIZE + 8] = "SQLite format 3";

	first[16] = (uint8_t)(vfs->emptied >> 8); /* 65536 is 1 */
	first[17] = (uint8_t)(vfs->emptied >> 16);
	first[18] = first[19] = 2; /* WAL */
	first[21] = 64;
	first[22] = first[23] = 32;
	store32(first + 28, 1); /* page */
	store32(first + 40, vfs->schema);
	store32(first + 44, 4);	 /* schema format */
	store32(first + 56, 1);	 /* UTF-8 */
	first[HEADER_SIZE] = 13; /* a leaf without cells */
	first[HEADER_SIZE + 5] = (uint8_t)(vfs->emptied >> 8);
	first[HEADER_SIZE + 6] = (uint8_t)vfs->emptied;
	memcpy(page, first, (size_t)n < sizeof(first) ? (size_t)n : sizeof(first));
}

static int file_read(sqlite3_file *base, void *buf, int n, sqlite3_int64 offset)
{
	struct vfs_file *file = (struct vfs_file *)base;
	sqlite3_file *real = vfs_real_file(file);
	int rc = vfs_ask_fault(file->vfs, VFS_READ);

	if (rc != SQLITE_OK)
		return rc;
	rc = flush_stream(file);
	if (rc != SQLITE_OK)
		return rc;
	if (file->vfs->policy == VFS_STAGED && file->kind == SQLITE_OPEN_MAIN_DB) {
		rc = vfs_stream_read(&file->vfs->stream, real, buf, n, offset);
		progress_add(file->vfs->reads, (uint64_t)n);
	} else {
		rc = real->pMethods->xRead(real, buf, n, offset);
	}
	if (file->vfs->journal_version && file->kind == SQLITE_OPEN_MAIN_DB)
		set_journal_version(buf, n, offset, file->vfs->journal_version);
	if (file->vfs->emptied && file->kind == SQLITE_OPEN_MAIN_DB && offset == 0 &&
	    (rc == SQLITE_OK || rc == SQLITE_IOERR_SHORT_READ))
		store_empty(file->vfs, buf, n);
	return rc;
}

/* After the page was written, writes its header once more, with the numbers that it is to have. Nobody else
 * reads it in between, and one sync covers both writes. */
static int write_counters(const struct vfs *vfs, sqlite3_file *real, const void *page)
{
	uint8_t header[HEADER_SIZE];

	memcpy(header, page, sizeof(header));
	store32(header + 24, vfs->changes);
	store32(header + 92, vfs->changes);
	store32(header + 40, vfs->schema);
	return real->pMethods->xWrite(real, header, sizeof(header), 0);
}

static int file_write(sqlite3_file *base, const void *buf, int n, sqlite3_int64 offset)
{
	struct vfs_file *file = (struct vfs_file *)base;
	sqlite3_file *real = vfs_real_file(file);
	int rc = vfs_ask_fault(file->vfs, VFS_WRITE);

	if (rc != SQLITE_OK)
		return rc;
	if (!vfs_may_change(file->vfs, file->kind))
		return SQLITE_READONLY;
	if (streams_writes(file))
		return vfs_stream_write(&file->vfs->stream, real, buf, n, offset);
	rc = real->pMethods->xWrite(real, buf, n, offset);
	if (rc == SQLITE_OK && file->vfs->recount && file->kind == SQLITE_OPEN_MAIN_DB && offset == 0)
		rc = write_counters(file->vfs, real, buf);
	return rc;
}

static int file_truncate(sqlite3_file *base, sqlite3_int64 size)
{
	struct vfs_file *file = (struct vfs_file *)base;
	sqlite3_file *real = vfs_real_file(file);
	int rc = vfs_ask_fault(file->vfs, VFS_TRUNCATE);

	if (rc != SQLITE_OK)
		return rc;
	if (!vfs_may_change(file->vfs, file->kind))
		return SQLITE_READONLY;
	rc = flush_stream(file);
	return rc != SQLITE_OK ? rc : real->pMethods->xTruncate(real, size);
}

static int file_sync(sqlite3_file *base, int flags)
{
	struct vfs_file *file = (struct vfs_file *)base;
	sqlite3_file *real = vfs_real_file(file);
	int rc = vfs_ask_fault(file->vfs, VFS_SYNC);

	if (rc == SQLITE_OK)
		rc = flush_stream(file);
	return rc != SQLITE_OK ? rc : real->pMethods->xSync(real, flags);
}

static int file_size(sqlite3_file *base, sqlite3_int64 *size)
{
	struct vfs_file *file = (struct vfs_file *)base;
	sqlite3_file *real = vfs_real_file(file);
	int rc = flush_stream(file);

	return rc != SQLITE_OK ? rc : real->pMethods->xFileSize(real, size);
}

/* RESERVED begins a write transaction, which only a restore has. */
static bool may_lock(const struct vfs *vfs, int level)
{
	return vfs->policy == VFS_RESTORER || (vfs->policy == VFS_CLOSER && level == SQLITE_LOCK_EXCLUSIVE);
}

static int file_lock(sqlite3_file *base, int level)
{
	struct vfs_file *file = (struct vfs_file *)base;
	struct vfs *vfs = file->vfs;
	sqlite3_file *real = vfs_real_file(file);
	bool db = file->kind == SQLITE_OPEN_MAIN_DB;
	int rc = vfs_ask_fault(vfs, VFS_LOCK);

	if (rc != SQLITE_OK)
		return rc;
	if (db && level > SQLITE_LOCK_SHARED && !may_lock(vfs, level))
		return SQLITE_BUSY;
	rc = real->pMethods->xLock(real, level);
	/* Nobody else is connected now, and what the -shm that we have mapped counts is checkpointed. If a
	 * name leads to another file, there were commits of which ours knows nothing. */
	if (db && rc == SQLITE_OK && level == SQLITE_LOCK_EXCLUSIVE && vfs->policy == VFS_CLOSER &&
	    !vfs_sidecars_have_their_names(vfs))
		rc = SQLITE_BUSY;
	if (db && level == SQLITE_LOCK_EXCLUSIVE) {
		if (rc == SQLITE_OK) {
			atomic_store(&vfs->exclusive, true);
			vfs->was_exclusive = true;
		}
		if (rc == SQLITE_OK && vfs->policy == VFS_RESTORER)
			vfs_note_write(vfs, true);
		/* PENDING remains and keeps new readers out; SQLite would drop it a little later. A restore
		 * is meant to wait for the readers. */
		if (rc != SQLITE_OK && vfs->policy == VFS_CLOSER)
			real->pMethods->xUnlock(real, SQLITE_LOCK_SHARED);
	}
	return rc;
}

static int file_unlock(sqlite3_file *base, int level)
{
	struct vfs_file *file = (struct vfs_file *)base;
	sqlite3_file *real = vfs_real_file(file);

	if (file->kind == SQLITE_OPEN_MAIN_DB) {
		if (file->vfs->policy == VFS_RESTORER && atomic_load(&file->vfs->exclusive))
			vfs_note_write(file->vfs, false);
		atomic_store(&file->vfs->exclusive, false);
	}
	return real->pMethods->xUnlock(real, level);
}

static int file_check_reserved(sqlite3_file *base, int *out)
{
	sqlite3_file *real = vfs_real_file((struct vfs_file *)base);

	return real->pMethods->xCheckReservedLock(real, out);
}

static int file_control(sqlite3_file *base, int op, void *arg)
{
	struct vfs_file *file = (struct vfs_file *)base;
	sqlite3_file *real = vfs_real_file(file);

	switch (op) {
	case SQLITE_FCNTL_MMAP_SIZE:
		*(sqlite3_int64 *)arg = 0;
		return SQLITE_OK;
	case SQLITE_FCNTL_SIZE_HINT: /* with a chunk size it extends the file */
	case SQLITE_FCNTL_CHUNK_SIZE:
	case SQLITE_FCNTL_BEGIN_ATOMIC_WRITE:
		if (!vfs_may_change(file->vfs, file->kind))
			return SQLITE_NOTFOUND;
		break;
	default:
		break;
	}
	return real->pMethods->xFileControl(real, op, arg);
}

static int file_sector_size(sqlite3_file *base)
{
	sqlite3_file *real = vfs_real_file((struct vfs_file *)base);

	return real->pMethods->xSectorSize(real);
}

static int file_characteristics(sqlite3_file *base)
{
	struct vfs_file *file = (struct vfs_file *)base;
	sqlite3_file *real = vfs_real_file(file);
	int real_ones = real->pMethods->xDeviceCharacteristics(real);

	return file->vfs->policy == VFS_STAGED ? real_ones | SQLITE_IOCAP_IMMUTABLE : real_ones;
}

static int file_fetch(sqlite3_file *base, sqlite3_int64 offset, int n, void **out)
{
	(void)base;
	(void)offset;
	(void)n;
	*out = NULL;
	return SQLITE_OK;
}

static int file_unfetch(sqlite3_file *base, sqlite3_int64 offset, void *page)
{
	(void)base;
	(void)offset;
	(void)page;
	return SQLITE_OK;
}

const sqlite3_io_methods vfs_file_methods = {
	.iVersion = 3,
	.xClose = file_close,
	.xRead = file_read,
	.xWrite = file_write,
	.xTruncate = file_truncate,
	.xSync = file_sync,
	.xFileSize = file_size,
	.xLock = file_lock,
	.xUnlock = file_unlock,
	.xCheckReservedLock = file_check_reserved,
	.xFileControl = file_control,
	.xSectorSize = file_sector_size,
	.xDeviceCharacteristics = file_characteristics,
	.xShmMap = vfs_shm_map,
	.xShmLock = vfs_shm_lock,
	.xShmBarrier = vfs_shm_barrier,
	.xShmUnmap = vfs_shm_unmap,
	.xFetch = file_fetch,
	.xUnfetch = file_unfetch,
};

/* ---- reading past SQLite ------------------------------------------------------------------------------- */

/*
 * Up to READ_CHUNK bytes. A short read does not say how short it was: the rest is filled with zeros. So the
 * file's size tells how much there is, and exactly that much is read again.
 */
static ssize_t read_chunk(struct vfs *vfs, sqlite3_file *file, void *buf, size_t size, uint64_t offset)
{
	for (int i = 0; i < READ_TRIES; i++) {
		sqlite3_int64 end;
		int rc = vfs_ask_fault(vfs, VFS_READ);

		if (rc == SQLITE_OK)
			rc = file->pMethods->xRead(file, buf, (int)size, (sqlite3_int64)offset);
		if (rc == SQLITE_OK)
			return (ssize_t)size;
		if (rc != SQLITE_IOERR_SHORT_READ || file->pMethods->xFileSize(file, &end) != SQLITE_OK ||
		    end < 0)
			return -EIO;
		if ((uint64_t)end <= offset)
			return 0;
		if (size > (uint64_t)end - offset)
			size = (size_t)((uint64_t)end - offset);
	}
	return -EIO;
}

static ssize_t read_file(struct vfs *vfs, sqlite3_file *file, void *buf, size_t size, uint64_t offset)
{
	size_t done = 0;

	if (!file)
		return -ENXIO;
	if (size > SSIZE_MAX || offset > (uint64_t)INT64_MAX - size)
		return -EINVAL;
	while (done < size) {
		size_t part = size - done < READ_CHUNK ? size - done : READ_CHUNK;
		ssize_t got = read_chunk(vfs, file, (char *)buf + done, part, offset + done);

		if (got < 0)
			return got;
		done += (size_t)got;
		if ((size_t)got < part)
			break;
	}
	return (ssize_t)done;
}

ssize_t vfs_read_db(struct vfs *vfs, void *buf, size_t size, uint64_t offset)
{
	return read_file(vfs, atomic_load(&vfs->db), buf, size, offset);
}

ssize_t vfs_read_wal(struct vfs *vfs, void *buf, size_t size, uint64_t offset)
{
	return read_file(vfs, atomic_load(&vfs->wal), buf, size, offset);
}

int vfs_db_size(struct vfs *vfs, uint64_t *size)
{
	sqlite3_file *file = atomic_load(&vfs->db);
	sqlite3_int64 bytes;

	if (!file)
		return -ENXIO;
	if (file->pMethods->xFileSize(file, &bytes) != SQLITE_OK || bytes < 0)
		return -EIO;
	*size = (uint64_t)bytes;
	return 0;
}

int vfs_sync(struct vfs *vfs)
{
	sqlite3_file *db = atomic_load(&vfs->db), *wal = atomic_load(&vfs->wal);
	int rc = vfs_ask_fault(vfs, VFS_SYNC);

	if (!db)
		return -ENXIO;
	if (rc == SQLITE_OK && wal)
		rc = wal->pMethods->xSync(wal, SQLITE_SYNC_NORMAL);
	if (rc == SQLITE_OK)
		rc = db->pMethods->xSync(db, SQLITE_SYNC_NORMAL);
	return rc == SQLITE_OK ? 0 : -EIO;
}
