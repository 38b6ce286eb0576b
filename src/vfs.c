/* SPDX-License-Identifier: MIT */
/*
 * vfs.c - the VFS shim as SQLite knows it: its life, what may be opened and deleted.
 *
 * vfs_file.c      the files, and reading them past SQLite
 * vfs_shm.c       the wal-index
 * vfs_wal.c       which -wal and -shm a connection may have
 * vfs_calls.c     the system calls below it all
 * vfs_restorer.c  what the connection that writes needs
 * vfs_stream.c    what it moves, in larger pieces
 *
 * What must stay true:
 *  - Every way in which SQLite can change the database, the -wal or a journal, or delete a file, asks
 *    vfs_may_change(). The -shm is written by the unix VFS itself (marks, recovery), as every reader does.
 *  - Nothing is opened or deleted but the database and its own sidecars: see superjournal.h. If another
 *    database has taken its place, the files at those names belong to that one: they would be truncated, or
 *    rolled back.
 *  - The path is passed to the unix VFS as the same pointer that SQLite passed: it looks for parameters after
 *    the path's end.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "clock.h"
#include "shmguard.h"
#include "superjournal.h"
#include "vfs_private.h"

#define SIDECARS (SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL) /* that are opened by name */

static struct vfs *of_vfs(sqlite3_vfs *base)
{
	return base->pAppData;
}

/* ---- the VFS ------------------------------------------------------------------------------------------- */

/* A journal may be looked at (whether it is hot), the -wal is opened for writing as every reader does. */
static bool may_open(const struct vfs *vfs, int kind, int flags)
{
	if (kind == SQLITE_OPEN_MAIN_DB)
		return !(flags & SQLITE_OPEN_CREATE) && !atomic_load(&vfs->db);
	if (kind == SQLITE_OPEN_MAIN_JOURNAL && vfs->policy == VFS_RESTORER)
		return true;
	if (kind & (SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_SUPER_JOURNAL))
		return flags & SQLITE_OPEN_READONLY;
	return true;
}

/* Whether PATH is the database's path with SUFFIX. */
static bool is_own(const struct vfs *vfs, const char *path, const char *suffix)
{
	size_t len = vfs->path ? strlen(vfs->path) : 0;

	return len > 0 && strncmp(path, vfs->path, len) == 0 && strcmp(path + len, suffix) == 0;
}

/* An errno; 0: it is a regular file with one hard link, or does not exist. */
static int unfit(const char *path)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return 0;
	if (!S_ISREG(st.st_mode))
		return EINVAL;
	return st.st_nlink > 1 ? EMLINK : 0;
}

/*
 * An errno when the sidecar PATH, or the -shm beside a -wal, which is opened later, has another hard link, or
 * is no regular file. A user who may write into a folder can link another user's file there under that name
 * (protected_hardlinks in proc_sys_fs(5) prevents this, where it is on), and root would write to it; or a
 * fifo, which nobody ever opens at the other end. The unix VFS does not follow symlinks. ESTALE: the database
 * has another path by now, or the -wal there is not the expected one.
 */
static int look_beside(struct vfs *vfs, const char *path, int kind)
{
	size_t base = strlen(path) - (kind == SQLITE_OPEN_WAL ? strlen("-wal") : 0);
	char shm[PATH_MAX + 8];
	int code;

	if (!(kind & SIDECARS))
		return 0;
	if (!vfs_is_still_there(vfs) || (kind == SQLITE_OPEN_WAL && !vfs_wal_is_expected(vfs)))
		return ESTALE; /* nor may one be made beside another database */
	code = unfit(path);
	if (!code && kind == SQLITE_OPEN_WAL && base < PATH_MAX &&
	    snprintf(shm, sizeof(shm), "%.*s-shm", (int)base, path) > 0)
		code = unfit(shm);
	return code;
}

static int vfs_open(sqlite3_vfs *base, const char *path, sqlite3_file *out, int flags, int *out_flags)
{
	struct vfs *vfs = of_vfs(base);
	struct vfs_file *file = (struct vfs_file *)out;
	sqlite3_file *real = vfs_real_file(file);
	int rc = vfs_ask_fault(vfs, VFS_OPEN), code;
	struct vfs_met met;

	*file = (struct vfs_file){.vfs = vfs, .kind = flags & 0x0fff00};
	if (rc != SQLITE_OK)
		return rc;
	if (!may_open(vfs, file->kind, flags)) {
		errno = EACCES;
		return SQLITE_CANTOPEN;
	}
	code = look_beside(vfs, path, file->kind);
	if (code) {
		errno = code;
		return SQLITE_CANTOPEN;
	}
	if (file->kind == SQLITE_OPEN_SUPER_JOURNAL)
		path = "/dev/null"; /* it names no other journals, and has had its use */
	memset(real, 0, (size_t)vfs->real->szOsFile);
	vfs_calls_begin(vfs, VFS_OPENING);
	rc = vfs->real->xOpen(vfs->real, path, real, flags, out_flags);
	met = vfs_calls_end();
	if (rc != SQLITE_OK) {
		code = met.make_errno && (file->kind == SQLITE_OPEN_MAIN_JOURNAL || vfs_met_no_room(&met))
			       ? met.make_errno
			       : errno;
		if (real->pMethods)
			real->pMethods->xClose(real);
		errno = code;
		return rc;
	}
	if (look_beside(vfs, path, file->kind) == ESTALE) { /* by now */
		real->pMethods->xClose(real);
		errno = ESTALE;
		return SQLITE_CANTOPEN;
	}
	file->base.pMethods = &vfs_file_methods;
	if (file->kind == SQLITE_OPEN_MAIN_DB) {
		vfs->db_dev = met.dev;
		vfs->db_ino = met.ino;
		vfs->path = path;
		atomic_store(&vfs->db, real);
	} else if (file->kind == SQLITE_OPEN_WAL) {
		vfs_note_wal(vfs, met.dev, met.ino);
		atomic_store(&vfs->wal, real);
	} else if (file->kind == SQLITE_OPEN_MAIN_JOURNAL) {
		vfs->journal_dev = met.dev;
		vfs->journal_ino = met.ino;
	}
	return SQLITE_OK;
}

/* A last close deletes the -wal; a restore the journal that ends its transaction, and the -wal that stands
 * beside a 0-byte database. All else stays. */
static bool may_delete(const struct vfs *vfs, const char *path)
{
	if (is_own(vfs, path, "-wal"))
		return vfs_may_change(vfs, SQLITE_OPEN_WAL);
	return vfs->policy == VFS_RESTORER && is_own(vfs, path, "-journal");
}

static bool leads_to(const char *path, uint64_t dev, uint64_t ino)
{
	struct stat st;

	return lstat(path, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

bool vfs_is_still_there(const struct vfs *vfs)
{
	return vfs->path && leads_to(vfs->path, vfs->db_dev, vfs->db_ino);
}

bool vfs_was_alone(const struct vfs *vfs)
{
	return vfs->was_exclusive;
}

/* Whether PATH is the file that this connection has beside its database, and not that of another database
 * which has taken its place since, whose content an application may have acknowledged. -errno: this cannot be
 * determined. */
static int is_ours(const struct vfs *vfs, const char *path)
{
	bool journal = is_own(vfs, path, "-journal") && vfs->journal_ino;
	struct stat st;

	if (lstat(journal ? path : vfs->path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	return journal ? st.st_dev == vfs->journal_dev && st.st_ino == vfs->journal_ino
		       : st.st_dev == vfs->db_dev && st.st_ino == vfs->db_ino;
}

static bool is_known(const struct vfs *vfs, const char *path)
{
	return is_own(vfs, path, "") || is_own(vfs, path, "-journal") || is_own(vfs, path, "-wal");
}

static int vfs_delete(sqlite3_vfs *base, const char *path, int sync_dir)
{
	struct vfs *vfs = of_vfs(base);
	int rc = vfs_ask_fault(vfs, VFS_DELETE);

	if (rc != SQLITE_OK)
		return rc;
	/* A super-journal stays: the other databases may need it, and it may be something else. */
	if (vfs->policy == VFS_RESTORER && !is_known(vfs, path))
		return SQLITE_OK;
	if (!may_delete(vfs, path))
		return SQLITE_IOERR_DELETE;
	rc = is_ours(vfs, path);
	if (rc <= 0) /* a journal that may still exist would undo what was reported as committed */
		return rc == 0 ? SQLITE_OK : SQLITE_IOERR_DELETE;
	/* If a file becomes shorter, SQLite truncates it after it has deleted the journal, which does not
	 * hold what is cut off: the two must not reach the disk in the other order. "PRAGMA
	 * synchronous=EXTRA" does the same, but needs a schema that can be read at that moment. */
	if (vfs->policy == VFS_RESTORER && is_own(vfs, path, "-journal"))
		sync_dir = 1;
	return vfs->real->xDelete(vfs->real, path, sync_dir);
}

static int vfs_access(sqlite3_vfs *base, const char *path, int flags, int *out)
{
	struct vfs *vfs = of_vfs(base);

	if (!is_known(vfs, path)) {
		int super = vfs->place ? superjournal_look(vfs->place, path) : SUPER_THERE;

		*out = super == SUPER_THERE;
		return super == SUPER_THERE || super == SUPER_GONE ? SQLITE_OK : SQLITE_IOERR_ACCESS;
	}
	return vfs->real->xAccess(vfs->real, path, flags, out);
}

static int vfs_full_pathname(sqlite3_vfs *base, const char *path, int size, char *out)
{
	size_t len = strlen(path);

	(void)base;
	if (size <= 0 || len >= (size_t)size) {
		errno = ENAMETOOLONG;
		return SQLITE_CANTOPEN;
	}
	memcpy(out, path, len + 1);
	return SQLITE_OK;
}

static void *vfs_dl_open(sqlite3_vfs *base, const char *path)
{
	(void)base;
	(void)path;
	return NULL;
}

static void vfs_dl_error(sqlite3_vfs *base, int size, char *out)
{
	(void)base;
	sqlite3_snprintf(size, out, "extensions are not loaded");
}

static void (*vfs_dl_sym(sqlite3_vfs *base, void *handle, const char *symbol))(void)
{
	(void)base;
	(void)handle;
	(void)symbol;
	return NULL;
}

static void vfs_dl_close(sqlite3_vfs *base, void *handle)
{
	(void)base;
	(void)handle;
}

static int vfs_randomness(sqlite3_vfs *base, int size, char *out)
{
	struct vfs *vfs = of_vfs(base);

	return vfs->real->xRandomness(vfs->real, size, out);
}

static int vfs_sleep(sqlite3_vfs *base, int us)
{
	struct vfs *vfs = of_vfs(base);
	int64_t deadline = atomic_load(&vfs->deadline);

	if (deadline != INT64_MAX) {
		int64_t left = (deadline - monotonic_ns()) / 1000;

		if (left <= 0)
			return 0;
		if (us > left)
			us = (int)left;
	}
	return vfs->real->xSleep(vfs->real, us);
}

static int vfs_current_time(sqlite3_vfs *base, double *out)
{
	struct vfs *vfs = of_vfs(base);

	return vfs->real->xCurrentTime(vfs->real, out);
}

static int vfs_last_error(sqlite3_vfs *base, int size, char *out)
{
	struct vfs *vfs = of_vfs(base);

	return vfs->real->xGetLastError(vfs->real, size, out);
}

static int vfs_current_time64(sqlite3_vfs *base, sqlite3_int64 *out)
{
	struct vfs *vfs = of_vfs(base);

	return vfs->real->xCurrentTimeInt64(vfs->real, out);
}

/* ---- life ---------------------------------------------------------------------------------------------- */

static void init_methods(struct vfs *vfs)
{
	vfs->base = (sqlite3_vfs){
		.iVersion = 2,
		.szOsFile = (int)sizeof(struct vfs_file) + vfs->real->szOsFile,
		.mxPathname = vfs->real->mxPathname,
		.zName = vfs->name,
		.pAppData = vfs,
		.xOpen = vfs_open,
		.xDelete = vfs_delete,
		.xAccess = vfs_access,
		.xFullPathname = vfs_full_pathname,
		.xDlOpen = vfs_dl_open,
		.xDlError = vfs_dl_error,
		.xDlSym = vfs_dl_sym,
		.xDlClose = vfs_dl_close,
		.xRandomness = vfs_randomness,
		.xSleep = vfs_sleep,
		.xCurrentTime = vfs_current_time,
		.xGetLastError = vfs_last_error,
		.xCurrentTimeInt64 = vfs_current_time64,
	};
}

int vfs_create(struct vfs **out, enum vfs_policy policy)
{
	autofree struct vfs *vfs = NULL;
	int rc = shmguard_install();

	if (rc < 0)
		return rc;
	vfs = calloc(1, sizeof(*vfs));
	if (!vfs)
		return -ENOMEM;
	vfs->real = sqlite3_vfs_find("unix");
	if (!vfs->real)
		return -ENOMEM;
	rc = vfs_set_calls(vfs->real);
	if (rc < 0)
		return rc;
	vfs->policy = policy;
	atomic_init(&vfs->slot, -1);
	atomic_init(&vfs->met, -1);
	atomic_init(&vfs->deadline, INT64_MAX);
	/* Unique for as long as it is registered. */
	sqlite3_snprintf((int)sizeof(vfs->name), vfs->name, "sqlsnap-%p", (void *)vfs);
	init_methods(vfs);
	rc = pthread_mutex_init(&vfs->lock, NULL);
	if (rc != 0)
		return -rc;
	if (sqlite3_vfs_register(&vfs->base, 0) != SQLITE_OK) {
		pthread_mutex_destroy(&vfs->lock);
		return -ENOMEM;
	}
	*out = steal_ptr(&vfs);
	return 0;
}

void vfs_destroy(struct vfs *vfs)
{
	if (!vfs)
		return;
	sqlite3_vfs_unregister(&vfs->base);
	vfs_shm_forget(vfs);
	vfs_stream_finish(&vfs->stream);
	pthread_mutex_destroy(&vfs->lock);
	free(vfs->regions);
	free(vfs);
}

void vfs_set_fault(struct vfs *vfs, vfs_fault_fn fn, void *arg)
{
	vfs->fault = fn;
	vfs->fault_arg = arg;
}

const char *vfs_name(const struct vfs *vfs)
{
	return vfs->name;
}

void vfs_set_deadline(struct vfs *vfs, int64_t deadline)
{
	atomic_store(&vfs->deadline, deadline);
}

bool vfs_is_inode(const struct vfs *vfs, uint64_t dev, uint64_t ino)
{
	return vfs->db_dev == dev && vfs->db_ino == ino;
}

bool vfs_wal_is_open(const struct vfs *vfs)
{
	return atomic_load(&vfs->wal) != NULL;
}
