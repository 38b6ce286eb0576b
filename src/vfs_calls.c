/* SPDX-License-Identifier: MIT */
/*
 * vfs_calls.c - what stands in for the system calls of SQLite's unix VFS, which does not report what it does.
 * Its table of them is one for the process, so what a call has met is noted per thread, and read right after.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rawfd.h"
#include "shmguard.h"
#include "vfs_private.h"

/* ---- what is noted ------------------------------------------------------------------------------------- */

static _Thread_local struct {
	enum vfs_doing doing;
	struct vfs *vfs; /* borrowed; for whom */
	struct vfs_met met;
} now = {.met.others = -1};

void vfs_calls_begin(struct vfs *vfs, enum vfs_doing doing)
{
	now.doing = doing;
	now.vfs = vfs;
	now.met = (struct vfs_met){.others = -1};
}

struct vfs_met vfs_calls_end(void)
{
	now.doing = VFS_NOTHING;
	return now.met;
}

/* ---- what it looks at, and whom it meets --------------------------------------------------------------- */

/* Stands in for fstat(2) in the unix VFS, which does not expose its descriptors. */
static int fstat_and_note(int fd, struct stat *st)
{
	int rc = fstat(fd, st);

	if (rc == 0) {
		now.met.dev = st->st_dev;
		now.met.ino = st->st_ino;
	}
	return rc;
}

/* Whether LOCK on FD, which is WRITE, may be taken. A writer that was held up in the middle of the header may
 * finish right now, and begin again: so it is first checked that nobody has the lock, and then that the
 * header still is torn. */
static bool may_have_write(int fd, const struct flock *lock)
{
	struct flock met = *lock;

	return fcntl(fd, F_GETLK, &met) == 0 && met.l_type == F_UNLCK && vfs_may_recover(now.vfs);
}

/* Stands in for fcntl(2) in the unix VFS, which does not report whom it has met: F_GETLK asks for the "dead
 * man's switch" of a -shm, when this is the first connection of the process to open it. */
static int fcntl_and_note(int fd, int cmd, ...)
{
	struct flock *lock;
	va_list ap;
	int arg, rc;

	va_start(ap, cmd);
	if (cmd != F_GETLK && cmd != F_SETLK && cmd != F_SETLKW) {
		arg = va_arg(ap, int);
		va_end(ap);
		return fcntl(fd, cmd, arg);
	}
	lock = va_arg(ap, struct flock *);
	va_end(ap);
	if (now.doing == VFS_RECOVERING && cmd == F_SETLK && lock->l_type != F_UNLCK &&
	    !may_have_write(fd, lock)) {
		errno = EAGAIN;
		return -1;
	}
	rc = fcntl(fd, cmd, lock);
	if (rc == 0 && cmd == F_GETLK)
		now.met.others = lock->l_type != F_UNLCK;
	return rc;
}

/* ---- what it opens, and releases ----------------------------------------------------------------------- */

/* Stands in for unlink(2) in the unix VFS, which has one -shm for all connections and removes it by the path
 * that the first one had: there is a descriptor's number in it, which may be another folder's by now. */
static int unlink_own(const char *path)
{
	char own[PATH_MAX + 8];

	if (now.doing != VFS_REMOVING_SHM)
		return unlink(path);
	snprintf(own, sizeof(own), "%s-shm", now.vfs->path);
	return unlink(own);
}

/* Stands in for open(2) in the unix VFS: a file of another type in place of a -wal or a journal, or one under
 * a lease, is an error, and not waited for. O_NONBLOCK does not change reads of a regular file. A -shm that
 * cannot be registered with rawfd is not opened: any close could drop its locks. */
static int open_at_once(const char *path, int flags, int mode)
{
	int fd = open(path, flags | O_NONBLOCK, (mode_t)mode);
	bool is_shm = fd >= 0 && now.doing == VFS_MAPPING_SHM;
	int rc = is_shm ? rawfd_shm_opened(fd) : 0;

	if (fd < 0 && (flags & O_CREAT))
		now.met.make_errno = errno;
	if (rc == 0) {
		if (is_shm)
			rawfd_shm_belongs(fd, now.vfs->db_dev, now.vfs->db_ino);
		return fd;
	}
	close(fd);
	errno = -rc;
	return -1;
}

/*
 * Stands in for fchown(2) in the unix VFS. As root it gives -wal and -shm to the database's owner at every
 * open (robustFchown()), which changes the ctime even of a file that has the right owner already: a trace of
 * reading, and the very field by which a -wal is known to be untouched. A file with several hard links keeps
 * its owner: it was not made here.
 */
static int fchown_if_needed(int fd, uid_t uid, gid_t gid)
{
	struct stat st;

	if (fstat(fd, &st) == 0 && ((st.st_uid == uid && st.st_gid == gid) || st.st_nlink > 1))
		return 0;
	return fchown(fd, uid, gid);
}

/* Stands in for munmap(2) in the unix VFS: it alone knows when the last connection of the process has gone,
 * also one that never used the region. */
static int forget_and_unmap(void *addr, size_t size)
{
	shmguard_forget(addr, size);
	return munmap(addr, size);
}

/* ---- the table ----------------------------------------------------------------------------------------- */

static void set_calls(void)
{
	sqlite3_vfs *real = sqlite3_vfs_find("unix");

	if (!real || real->iVersion < 3 || !real->xSetSystemCall)
		return;
	real->xSetSystemCall(real, "close", (sqlite3_syscall_ptr)rawfd_shm_close);
	real->xSetSystemCall(real, "fchown", (sqlite3_syscall_ptr)fchown_if_needed);
	real->xSetSystemCall(real, "fcntl", (sqlite3_syscall_ptr)fcntl_and_note);
	real->xSetSystemCall(real, "open", (sqlite3_syscall_ptr)open_at_once);
	real->xSetSystemCall(real, "fstat", (sqlite3_syscall_ptr)fstat_and_note);
	real->xSetSystemCall(real, "unlink", (sqlite3_syscall_ptr)unlink_own);
	real->xSetSystemCall(real, "munmap", (sqlite3_syscall_ptr)forget_and_unmap);
}

int vfs_set_calls(sqlite3_vfs *real)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, set_calls);
	return real->iVersion >= 3 && real->xGetSystemCall &&
			       real->xGetSystemCall(real, "munmap") == (sqlite3_syscall_ptr)forget_and_unmap
		       ? 0
		       : -ENOSYS;
}
