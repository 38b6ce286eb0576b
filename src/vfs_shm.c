/* SPDX-License-Identifier: MIT */
/*
 * vfs_shm.c - the wal-index as the shim sees it: which read slot is locked, what may not be locked, where the
 * regions are mapped, and what they hold.
 *
 * What must stay true:
 *  - A region is registered with shmguard from before SQLite or we touch it until just before it is unmapped
 *    (vfs_calls.c stands in for munmap(2)).
 *  - SQLite maps and unmaps on the connection's own thread only; other threads read regions under vfs->lock,
 *    which unmapping takes first. Order: vfs->lock, then the unix VFS's own mutexes; SQLite's calls come
 *    without vfs->lock.
 *  - Once a region was lost, this connection maps and locks nothing any more: all it could share is private
 *    zeros.
 *
 * The wal-index is never written here. Its layout: walformat.html part 2; wal.c asserts it in
 * sqlite3WalOpen().
 */
#include <errno.h>
#include <sched.h>
#include <string.h>

#include "cleanup.h"
#include "shmguard.h"
#include "vfs_private.h"

/* Word offsets in region 0 (struct WalCkptInfo). */
#define READ_SLOTS 5
#define WORD_MAX_FRAME 4u
#define WORD_BACKFILL 24u
#define WORD_READ_MARK 25u
#define HEADER_WORDS (WAL_INDEX_HEADER / 4u)

#define SAMPLE_TRIES                                                                                       \
	32	       /* a writer is between the two copies for nanoseconds, unless it is preempted there \
			*/
#define SAMPLE_SPINS 8 /* tries before the processor is offered to the writer */

/* In order: what is loaded later was not there earlier. */
static uint32_t load(const volatile uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

/* ---- regions ------------------------------------------------------------------------------------------- */

/* -ENOMEM. Under vfs->lock. */
static int remember_region(struct vfs *vfs, uint32_t index, volatile void *addr)
{
	if (index >= vfs->region_count) {
		size_t count = index + 1u + index / 2u;
		volatile uint32_t **grown = realloc(vfs->regions, count * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		memset(grown + vfs->region_count, 0, (count - vfs->region_count) * sizeof(*grown));
		vfs->regions = grown;
		vfs->region_count = count;
	}
	if (!vfs->regions[index]) {
		if (shmguard_add((void *)addr, WAL_INDEX_REGION) < 0)
			return -ENOMEM;
		vfs->regions[index] = addr;
	}
	return 0;
}

/* Under vfs->lock. */
static const volatile uint32_t *known_region(const struct vfs *vfs, uint32_t index)
{
	return index < vfs->region_count ? vfs->regions[index] : NULL;
}

/* Under vfs->lock. */
static bool region_is_lost(struct vfs *vfs, const volatile uint32_t *region)
{
	if (!shmguard_lost((const void *)region))
		return false;
	atomic_store(&vfs->region_lost, true);
	return true;
}

static bool any_region_is_lost(struct vfs *vfs)
{
	lock_scope(&vfs->lock);

	for (size_t i = 0; i < vfs->region_count; i++) {
		if (vfs->regions[i] && region_is_lost(vfs, vfs->regions[i]))
			return true;
	}
	return atomic_load(&vfs->region_lost);
}

void vfs_shm_forget(struct vfs *vfs)
{
	lock_scope(&vfs->lock);

	for (size_t i = 0; i < vfs->region_count; i++) {
		if (!vfs->regions[i])
			continue;
		/* Checked a last time: afterwards it may be unmapped. */
		region_is_lost(vfs, vfs->regions[i]);
		vfs->regions[i] = NULL;
	}
}

/* ---- xShm* --------------------------------------------------------------------------------------------- */

int vfs_shm_map(sqlite3_file *base, int region, int size, int extend, void volatile **out)
{
	struct vfs_file *file = (struct vfs_file *)base;
	struct vfs *vfs = file->vfs;
	sqlite3_file *real = vfs_real_file(file);
	int rc = vfs_ask_fault(vfs, VFS_SHM_MAP);
	struct vfs_met met;

	*out = NULL;
	if (rc != SQLITE_OK)
		return rc;
	if (real->pMethods->iVersion < 2 || !real->pMethods->xShmMap)
		return SQLITE_IOERR_SHMMAP;
	vfs_calls_begin(vfs, VFS_MAPPING_SHM);
	rc = real->pMethods->xShmMap(real, region, size, extend, out);
	met = vfs_calls_end();
	if (rc != SQLITE_OK && vfs_met_no_room(&met))
		errno = met.make_errno; /* SQLite reads it right after */
	if (met.others >= 0)
		atomic_store(&vfs->met, met.others);
	if (rc != SQLITE_OK && rc != SQLITE_READONLY && rc != SQLITE_READONLY_CANTINIT)
		return rc;
	atomic_store(&vfs->read_only, rc == SQLITE_READONLY);
	atomic_store(&vfs->unreliable, rc == SQLITE_READONLY_CANTINIT);
	if (rc == SQLITE_READONLY_CANTINIT || !*out)
		return rc;
	vfs_note_shm(vfs);

	lock_scope(&vfs->lock);
	if (remember_region(vfs, (uint32_t)region, *out) < 0) {
		*out = NULL;
		return SQLITE_IOERR_NOMEM;
	}
	/* All connections of this process share one mapping: a new connection may be handed a region that
	 * another one lost. */
	if (region_is_lost(vfs, *out)) {
		*out = NULL;
		return SQLITE_IOERR_SHMMAP;
	}
	return rc;
}

/*
 * Whether a request for slot 0 is answered SQLITE_BUSY, upon which walTryBeginRead() takes one of the
 * slots 1..4.
 *
 * Not where the wal-index is private memory (SQLITE_READONLY_CANTINIT): walBeginShmUnreliable() insists on
 * slot 0 and would try for ten seconds. A read-only -shm with a live writer is fine as long as one of the
 * marks there suits the reader, because it cannot set one itself; without any, BUSY would make
 * walTryBeginRead() start over until it gives up.
 */
static bool refuses_slot0(struct vfs *vfs)
{
	const volatile uint32_t *index;

	if (vfs->policy != VFS_READER || atomic_load(&vfs->unreliable))
		return false;
	if (!atomic_load(&vfs->read_only))
		return true;
	lock_scope(&vfs->lock);
	index = known_region(vfs, 0);
	for (uint32_t i = 1; index && i < READ_SLOTS; i++) {
		if (load(&index[WORD_READ_MARK + i]) <= load(&index[WORD_MAX_FRAME]))
			return true;
	}
	return false;
}

/* Records that a read slot was locked or unlocked. */
static void note_slot(struct vfs *vfs, int slot, bool locked)
{
	if (locked) {
		atomic_store(&vfs->slot, slot);
		return;
	}
	if (atomic_load(&vfs->slot) != slot)
		return;
	atomic_store(&vfs->slot, -1);
	if (atomic_load(&vfs->watching))
		atomic_store(&vfs->slot_lost, true);
}

/*
 * A connection that reads the header in the middle of a commit asks for WRITE, to recover what a dead writer
 * left. The writer is done by then, nothing needs recovery, and for a moment BEGIN IMMEDIATE in an
 * application without a busy timeout fails with "database is locked". So the header is looked at first, and
 * if it is whole, SQLite is told to try again. The close in an application's stead writes without WRITE,
 * where nobody else is connected.
 */
bool vfs_may_recover(struct vfs *vfs)
{
	struct wal_header header;

	return vfs_wal_header(vfs, &header) != 0;
}

int vfs_shm_lock(sqlite3_file *base, int offset, int n, int flags)
{
	struct vfs_file *file = (struct vfs_file *)base;
	struct vfs *vfs = file->vfs;
	sqlite3_file *real = vfs_real_file(file);
	bool lock = flags & SQLITE_SHM_LOCK, shared = flags & SQLITE_SHM_SHARED;
	/* On a read-only -shm SQLite asks for WRITE as SHARED, to see whether there is a writer. */
	bool recovers = lock && offset == VFS_LOCK_WRITE && vfs->policy != VFS_RESTORER;
	int rc;

	if (lock) {
		rc = vfs_ask_fault(vfs, VFS_SHM_LOCK);
		if (rc != SQLITE_OK)
			return rc;
		if (any_region_is_lost(vfs))
			return SQLITE_IOERR_SHMLOCK;
		if (shared && offset == VFS_LOCK_READ0 && refuses_slot0(vfs))
			return SQLITE_BUSY;
		if (recovers && !vfs_may_recover(vfs))
			return SQLITE_BUSY;
	}
	if (real->pMethods->iVersion < 2 || !real->pMethods->xShmLock)
		return SQLITE_IOERR_SHMLOCK;
	/* An unlock counts even if it fails: it is then unknown what is held. */
	if (!lock && shared && offset >= VFS_LOCK_READ0)
		note_slot(vfs, offset - VFS_LOCK_READ0, false);
	if (!lock && !shared && offset == VFS_LOCK_WRITE && vfs->policy == VFS_RESTORER)
		vfs_note_write(vfs, false);
	vfs_calls_begin(vfs, recovers ? VFS_RECOVERING : VFS_NOTHING);
	rc = real->pMethods->xShmLock(real, offset, n, flags);
	vfs_calls_end();
	if (rc == SQLITE_OK && lock && !shared && vfs->policy == VFS_RESTORER &&
	    !vfs_note_shm_exclusive(vfs, offset, n)) {
		real->pMethods->xShmLock(real, offset, n, SQLITE_SHM_UNLOCK | SQLITE_SHM_EXCLUSIVE);
		return SQLITE_BUSY;
	}
	if (rc == SQLITE_OK && lock && shared && offset >= VFS_LOCK_READ0)
		note_slot(vfs, offset - VFS_LOCK_READ0, true);
	return rc;
}

void vfs_shm_barrier(sqlite3_file *base)
{
	sqlite3_file *real = vfs_real_file((struct vfs_file *)base);

	if (real->pMethods->iVersion >= 2 && real->pMethods->xShmBarrier)
		real->pMethods->xShmBarrier(real);
}

int vfs_shm_unmap(sqlite3_file *base, int delete_flag)
{
	struct vfs_file *file = (struct vfs_file *)base;
	struct vfs *vfs = file->vfs;
	sqlite3_file *real = vfs_real_file(file);
	int rc;

	if (vfs->policy != VFS_CLOSER || !atomic_load(&vfs->exclusive) || !vfs_is_still_there(vfs))
		delete_flag = 0;
	if (atomic_load(&vfs->slot) >= 0)
		note_slot(vfs, atomic_load(&vfs->slot), false);
	vfs_shm_forget(vfs);
	if (real->pMethods->iVersion < 2 || !real->pMethods->xShmUnmap)
		return SQLITE_OK;
	vfs_calls_begin(vfs, VFS_REMOVING_SHM);
	rc = real->pMethods->xShmUnmap(real, delete_flag);
	vfs_calls_end();
	return rc;
}

/* ---- what the connection holds ------------------------------------------------------------------------- */

int vfs_read_slot(const struct vfs *vfs)
{
	return atomic_load(&vfs->slot);
}

int vfs_met_others(const struct vfs *vfs)
{
	return atomic_load(&vfs->met);
}

bool vfs_shm_unreliable(const struct vfs *vfs)
{
	return atomic_load(&vfs->unreliable) || (vfs->policy == VFS_READER && atomic_load(&vfs->slot) == 0);
}

void vfs_watch(struct vfs *vfs)
{
	atomic_store(&vfs->slot_lost, atomic_load(&vfs->slot) < 0);
	atomic_store(&vfs->watching, true);
}

void vfs_unwatch(struct vfs *vfs)
{
	atomic_store(&vfs->watching, false);
	atomic_store(&vfs->slot_lost, false);
}

bool vfs_lost(struct vfs *vfs)
{
	return atomic_load(&vfs->slot_lost) || any_region_is_lost(vfs);
}

int vfs_shm_words(struct vfs *vfs, uint32_t *out, uint32_t first, uint32_t n)
{
	const volatile uint32_t *index;
	lock_scope(&vfs->lock);

	index = known_region(vfs, 0);
	if (!index)
		return -ENXIO;
	/* In the order of walIndexTryHdr(): the first copy, then the second, which writers change first. */
	for (uint32_t i = 0; i < n; i++)
		out[i] = load(&index[first + i]);
	return region_is_lost(vfs, index) ? -ENXIO : 0;
}

int vfs_wal_header(struct vfs *vfs, struct wal_header *out)
{
	uint32_t words[2 * HEADER_WORDS];

	for (int i = 0; i < SAMPLE_TRIES; i++) {
		int rc = vfs_shm_words(vfs, words, 0, 2 * HEADER_WORDS);

		if (rc != 0)
			return rc;
		rc = wal_header_decode(out, (const uint8_t *)words);
		if (rc != WAL_TORN)
			return rc;
		if (i >= SAMPLE_SPINS)
			sched_yield();
	}
	return WAL_TORN;
}

int vfs_wal_backfill(struct vfs *vfs, uint32_t *frames)
{
	return vfs_shm_words(vfs, frames, WORD_BACKFILL, 1);
}

/*
 * Region INDEX, mapped if SQLite has not needed it yet; the real xShmMap() is thread-safe. Never extends the
 * file. -ENOMEM, -EIO. Under vfs->lock, and so before the region can be unmapped.
 */
static int map_region(struct vfs *vfs, uint32_t index, const volatile uint32_t **out)
{
	sqlite3_file *db = atomic_load(&vfs->db);
	volatile void *addr = NULL;
	int rc;

	*out = known_region(vfs, index);
	if (*out)
		return 0;
	/* Without region 0 SQLite has no wal-index open, and xShmMap() would open one. */
	if (!db || !known_region(vfs, 0) || index > INT32_MAX / WAL_INDEX_REGION)
		return -EIO;
	rc = vfs_ask_fault(vfs, VFS_SHM_MAP);
	if (rc == SQLITE_OK)
		rc = db->pMethods->xShmMap(db, (int)index, (int)WAL_INDEX_REGION, 0, &addr);
	if ((rc & 0xff) == SQLITE_NOMEM || rc == SQLITE_IOERR_NOMEM)
		return -ENOMEM;
	if ((rc != SQLITE_OK && rc != SQLITE_READONLY) || !addr)
		return -EIO;
	rc = remember_region(vfs, index, addr);
	if (rc == 0)
		*out = known_region(vfs, index);
	return rc;
}

static int copy_pgnos(struct vfs *vfs, const struct wal_slot *slot, uint32_t n, uint32_t *pgnos)
{
	const volatile uint32_t *region;
	int rc;
	lock_scope(&vfs->lock);

	rc = map_region(vfs, slot->region, &region);
	if (rc < 0)
		return rc;
	region += slot->offset / sizeof(*region) + slot->entry;
	for (uint32_t i = 0; i < n; i++)
		pgnos[i] = load(&region[i]);
	return region_is_lost(vfs, known_region(vfs, slot->region)) ? -EIO : 0;
}

int vfs_wal_pgnos(struct vfs *vfs, uint32_t first, uint32_t last, uint32_t *pgnos)
{
	if (first == 0)
		return -EINVAL;
	for (uint64_t frame = first; frame <= last;) {
		struct wal_slot slot = wal_frame_slot((uint32_t)frame);
		uint64_t n = slot.count - slot.entry, left = last - frame + 1;
		int rc;

		/* Frame numbers near 2^32, which no WAL reaches. */
		if (slot.entry >= slot.count)
			return -EIO;
		if (n > left)
			n = left;
		rc = copy_pgnos(vfs, &slot, (uint32_t)n, pgnos);
		if (rc < 0)
			return rc;
		pgnos += n;
		frame += n;
	}
	return 0;
}
