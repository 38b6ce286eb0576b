/* SPDX-License-Identifier: MIT */
/*
 * vfs_calls.c - what stands in for the system calls of SQLite's unix VFS, which tells nobody what it does:
 * its table of them is one for the process. What a call has met is noted for its thread, and asked right
 * after.
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

/* ---- what it looks at, and whom it meets --------------------------------------------------------------- */

static _Thread_local uint64_t looked_dev, looked_ino;

/* Stands in for fstat(2) in the unix VFS, which shows nobody its descriptors. */
static int fstat_and_note(int fd, struct stat *st)
{
	int rc = fstat(fd, st);

	if (rc == 0) {
		looked_dev = st->st_dev;
		looked_ino = st->st_ino;
	}
	return rc;
}

void vfs_forget_look(void)
{
	looked_dev = looked_ino = 0;
}

void vfs_looked_at(uint64_t *dev, uint64_t *ino)
{
	*dev = looked_dev;
	*ino = looked_ino;
}

/* Of the dead man's switch of a -shm, which the unix VFS asks for when it is the first of this process to
 * open that. */
static _Thread_local int switch_asked = -1;

/* Whose request for WRITE the unix VFS makes a lock of on this thread. */
static _Thread_local struct vfs *asks_write;

void vfs_asks_write(struct vfs *vfs)
{
	asks_write = vfs;
}

/* Whether LOCK on FD, which is WRITE, may be had. A writer that was held up in the middle of the header may
 * end right now, and begin again: nobody has the lock first, and then the header still is torn. */
static bool may_have_write(int fd, const struct flock *lock)
{
	struct flock met = *lock;

	return fcntl(fd, F_GETLK, &met) == 0 && met.l_type == F_UNLCK && vfs_may_recover(asks_write);
}

/* Stands in for fcntl(2) in the unix VFS, which tells nobody whom it has met. */
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
	if (asks_write && cmd == F_SETLK && lock->l_type != F_UNLCK && !may_have_write(fd, lock)) {
		errno = EAGAIN;
		return -1;
	}
	rc = fcntl(fd, cmd, lock);
	if (rc == 0 && cmd == F_GETLK)
		switch_asked = lock->l_type != F_UNLCK;
	return rc;
}

void vfs_forget_switch(void)
{
	switch_asked = -1;
}

int vfs_switch_asked(void)
{
	return switch_asked;
}

/* ---- what it opens, and lets go of --------------------------------------------------------------------- */

/* Whether the unix VFS is mapping a -shm on this thread: what it opens then is that, whatever its name: a
 * database may be called x-shm. */
static _Thread_local const struct vfs *maps_shm;

void vfs_maps_shm(const struct vfs *vfs)
{
	maps_shm = vfs;
}

static _Thread_local const struct vfs *removes_shm;

void vfs_removes_shm(const struct vfs *vfs)
{
	removes_shm = vfs;
}

/* Stands in for unlink(2) in the unix VFS, which has one -shm for all connections and removes it by the path
 * that the first one had: a descriptor's number, which may be another folder's by now. */
static int unlink_own(const char *path)
{
	char own[PATH_MAX + 8];

	if (!removes_shm)
		return unlink(path);
	snprintf(own, sizeof(own), "%s-shm", removes_shm->path);
	return unlink(own);
}

static _Thread_local int make_errno; /* of the last file that could not be made; 0: none */

void vfs_forget_make(void)
{
	make_errno = 0;
}

int vfs_make_errno(void)
{
	return make_errno;
}

/* Stands in for open(2) in the unix VFS: what somebody has put there in place of a -wal or a journal, or has
 * a lease on, is an error, and nothing to wait for. The reads of a regular file do not know O_NONBLOCK. A
 * -shm that rawfd cannot be told of is not opened: its locks would be anybody's to drop. */
static int open_at_once(const char *path, int flags, int mode)
{
	int fd = open(path, flags | O_NONBLOCK, (mode_t)mode);
	int rc = fd >= 0 && maps_shm ? rawfd_shm_opened(fd) : 0;

	if (fd < 0 && (flags & O_CREAT))
		make_errno = errno;
	if (rc == 0) {
		if (fd >= 0 && maps_shm)
			rawfd_shm_belongs(fd, maps_shm->db_dev, maps_shm->db_ino);
		return fd;
	}
	close(fd);
	errno = -rc;
	return -1;
}

/*
 * Stands in for fchown(2) in the unix VFS. As root it gives -wal and -shm to the database's owner at every
 * open (robustFchown()), which moves the ctime of a file that has the right owner already: a trace of
 * reading, and the very thing by which an untouched -wal is known to be untouched. A file of several names is
 * given to nobody: it was not made here.
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
