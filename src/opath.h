/* SPDX-License-Identifier: MIT */
/*
 * opath.h - reaching files without opening them: openat2(2), for which glibc 2.36 has no wrapper, and a
 * statx(2) that never sends a request to a file system's server. O_PATH descriptors hold no file open, so
 * closing one drops no POSIX lock (for other descriptors see rawfd.h).
 */
#ifndef SQLSNAP_OPATH_H
#define SQLSNAP_OPATH_H

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* Only below the folder and on its mount; -EXDEV: a mount is in the way. */
#define OPATH_BELOW (RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)
/* Anywhere, by a path that is already resolved. */
#define OPATH_RESOLVED (RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)

/* openat2(2): a descriptor with O_CLOEXEC owned by the caller, or -errno. */
static inline int opath_open(int dirfd, const char *path, int flags, uint64_t resolve)
{
	struct open_how how = {.flags = (uint64_t)(unsigned)flags | O_CLOEXEC, .resolve = resolve};
	long fd = syscall(SYS_openat2, dirfd, path, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

/*
 * stat(2) of NAME in DIRFD ("" is DIRFD itself) without following a link, without an automount and from what
 * the kernel has cached: a file system whose server is this very process is not asked. Fills type, mode,
 * owner, size, links, inode and times. *MOUNT (may be NULL) receives the mount's id, 0 where the kernel does
 * not tell. -errno
 */
static inline int opath_stat(int dirfd, const char *name, struct stat *st, uint64_t *mount)
{
	int flags = AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC;
	struct statx sx;

	memset(st, 0, sizeof(*st));
	if (mount)
		*mount = 0;
	if (statx(dirfd, name, flags, STATX_BASIC_STATS | STATX_MNT_ID, &sx) < 0)
		return -errno;
	st->st_dev = makedev(sx.stx_dev_major, sx.stx_dev_minor);
	st->st_rdev = makedev(sx.stx_rdev_major, sx.stx_rdev_minor);
	st->st_ino = sx.stx_ino;
	st->st_mode = sx.stx_mode;
	st->st_nlink = sx.stx_nlink;
	st->st_uid = sx.stx_uid;
	st->st_gid = sx.stx_gid;
	st->st_size = (off_t)sx.stx_size;
	st->st_blocks = (blkcnt_t)sx.stx_blocks;
	st->st_atim = (struct timespec){.tv_sec = sx.stx_atime.tv_sec, .tv_nsec = sx.stx_atime.tv_nsec};
	st->st_mtim = (struct timespec){.tv_sec = sx.stx_mtime.tv_sec, .tv_nsec = sx.stx_mtime.tv_nsec};
	st->st_ctim = (struct timespec){.tv_sec = sx.stx_ctime.tv_sec, .tv_nsec = sx.stx_ctime.tv_nsec};
	if (mount && (sx.stx_mask & STATX_MNT_ID))
		*mount = sx.stx_mnt_id;
	return 0;
}

/* A path by which the file of a descriptor can be opened again, without walking its own path. */
struct opath_name {
	char text[32];
};
struct opath_name opath_name(int fd);

/* The absolute path of FD, as the kernel knows it now, without any I/O. -ENAMETOOLONG, -ENOENT */
int opath_path(int fd, char *path, size_t size);

/* Whether CODE is about this process, a shortage or an interruption, and says nothing about the file. */
static inline bool opath_transient(int code)
{
	return code == -EMFILE || code == -ENFILE || code == -ENOMEM || code == -EINTR || code == -EAGAIN;
}

static inline bool opath_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* A 64-bit hash of the two numbers of an inode, or of any two numbers; never 0 (the finaliser of MurmurHash3,
 * twice). */
static inline uint64_t opath_mix(uint64_t a, uint64_t b)
{
	uint64_t h = a * 0x9e3779b97f4a7c15u;

	for (int round = 0; round < 2; round++) {
		h ^= h >> 33;
		h *= 0xff51afd7ed558ccdu;
		h ^= h >> 33;
		h *= 0xc4ceb9fe1a85ec53u;
		h ^= h >> 33;
		h += round == 0 ? b : 0;
	}
	return h ? h : 1;
}

#endif
