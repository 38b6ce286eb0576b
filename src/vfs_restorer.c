/* SPDX-License-Identifier: MIT */
/*
 * vfs_restorer.c - what the shim adds for the connection that writes: reports of its write lock, the guard of
 * its checkpoints, truncating and syncing the -wal.
 *
 * The guard: SQLite 3.7.0 to 3.51.2 reads the header of the wal-index before a checkpoint locks READ0, and
 * copies according to it even if another process has committed in between and thereby restarted the WAL;
 * frames of the new WAL then count as copied and are lost (wal.html part 11). Later versions compare the salt
 * under that lock, and so does this, for our own checkpoints.
 */
#include <errno.h>
#include <string.h>

#include "vfs_private.h"

#define WORD_SALT 8u /* aSalt of the header's first copy */

void vfs_set_write_watch(struct vfs *vfs, vfs_write_fn fn, void *arg)
{
	vfs->write_fn = fn;
	vfs->write_arg = arg;
}

bool vfs_write_is_held(const struct vfs *vfs)
{
	return atomic_load(&vfs->write_held);
}

void vfs_watch_reads(struct vfs *vfs, struct snap_progress *progress)
{
	vfs->reads = progress;
}

void vfs_set_journal_version(struct vfs *vfs, uint8_t version)
{
	vfs->journal_version = version;
}

void vfs_set_counters(struct vfs *vfs, uint32_t changes, uint32_t schema)
{
	vfs->changes = changes;
	vfs->schema = schema;
	vfs->recount = changes != 0;
}

void vfs_set_emptied(struct vfs *vfs, uint32_t page_size, uint32_t schema)
{
	vfs->emptied = page_size;
	vfs->schema = schema;
}

void vfs_set_place(struct vfs *vfs, const struct place *place)
{
	vfs->place = place;
}

void vfs_note_write(struct vfs *vfs, bool held)
{
	if (held)
		atomic_store(&vfs->write_held, true);
	if (vfs->write_fn)
		vfs->write_fn(vfs->write_arg, held);
	if (!held)
		atomic_store(&vfs->write_held, false);
}

bool vfs_note_shm_exclusive(struct vfs *vfs, int offset, int n)
{
	uint32_t salt[2];

	if (offset == VFS_LOCK_WRITE) {
		vfs_note_write(vfs, true);
	} else if (offset == VFS_LOCK_CKPT && n == 1) {
		return vfs_shm_words(vfs, vfs->checkpoint_salt, WORD_SALT, 2) == 0;
	} else if (offset == VFS_LOCK_READ0 && n == 1) {
		return vfs_shm_words(vfs, salt, WORD_SALT, 2) == 0 &&
		       memcmp(salt, vfs->checkpoint_salt, sizeof(salt)) == 0;
	}
	return true;
}

int vfs_cut_wal(struct vfs *vfs)
{
	sqlite3_file *wal = atomic_load(&vfs->wal);
	struct wal_header header;
	sqlite3_int64 end, size;

	if (!wal)
		return 0;
	if (!vfs_write_is_held(vfs))
		return -EBUSY;
	vfs->stream.used = 0; /* frames that are not committed */
	if (vfs_wal_header(vfs, &header) || wal->pMethods->xFileSize(wal, &size) != SQLITE_OK)
		return -EIO;
	end = header.max_frame ? (sqlite3_int64)wal_frame_offset(header.max_frame + 1, header.page_size) : 0;
	if (size <= end)
		return 0;
	return wal->pMethods->xTruncate(wal, end) == SQLITE_OK ? 0 : -EIO;
}

int vfs_sync_wal(struct vfs *vfs)
{
	sqlite3_file *wal = atomic_load(&vfs->wal);
	int rc = vfs_ask_fault(vfs, VFS_SYNC);

	if (!wal)
		return 0;
	if (rc == SQLITE_OK)
		rc = vfs_stream_flush(&vfs->stream, wal);
	if (rc == SQLITE_OK)
		rc = wal->pMethods->xSync(wal, SQLITE_SYNC_NORMAL);
	return rc == SQLITE_OK ? 0 : -EIO;
}
