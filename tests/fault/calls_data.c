/* SPDX-License-Identifier: MIT */
/*
 * calls_data.c - the calls that move bytes and bring them to the disk. Only files and folders are of
 * interest; of /dev/fuse it is recorded when a request came and when it was answered.
 */
#include "calls.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

static bool is_fuse(int fd)
{
	struct stat st;

	return quiet_fstat(fd, &st) && S_ISCHR(st.st_mode) && st.st_rdev == makedev(10, 229);
}

/* ---- reading ------------------------------------------------------------------------------------------- */

static void note_request(int fd, const void *bytes, ssize_t n)
{
	struct fuse_in_header head;

	if (!record_is_on() || n < (ssize_t)sizeof(head) || !is_fuse(fd))
		return;
	memcpy(&head, bytes, sizeof(head));
	record_begin();
	record_put(RECORD_REQUEST, head.opcode, head.unique, NULL, 0);
	record_end();
}

REPLACED ssize_t read(int fd, void *buf, size_t size)
{
	NEXT(ssize_t(*)(int, void *, size_t), "read");
	ssize_t n;

	if (is_regular(fd) && fault_hit(FAULT_READ, "read", NULL))
		return -1;
	n = real(fd, buf, size);
	note_request(fd, buf, n);
	return n;
}

REPLACED ssize_t __read_chk(int fd, void *buf, size_t size, size_t room)
{
	(void)room;
	return read(fd, buf, size);
}

REPLACED ssize_t pread64(int fd, void *buf, size_t size, off_t offset)
{
	NEXT(ssize_t(*)(int, void *, size_t, off_t), "pread64");

	if (is_regular(fd) && fault_hit(FAULT_READ, "pread", NULL))
		return -1;
	return real(fd, buf, size, offset);
}

REPLACED ssize_t pread(int fd, void *buf, size_t size, off_t offset)
{
	return pread64(fd, buf, size, offset);
}

REPLACED ssize_t __pread64_chk(int fd, void *buf, size_t size, off_t offset, size_t room)
{
	(void)room;
	return pread64(fd, buf, size, offset);
}

/* ---- writing ------------------------------------------------------------------------------------------- */

/* OFFSET -1: where the file stands, which is looked up afterwards. */
static void note_write(int fd, const void *bytes, ssize_t n, off_t offset)
{
	struct stat st;

	if (n <= 0 || !quiet_fstat(fd, &st))
		return;
	if (offset < 0)
		offset = lseek(fd, 0, SEEK_CUR) - n;
	record_put(RECORD_WRITE, st.st_ino, (uint64_t)offset, bytes, (size_t)n);
}

REPLACED ssize_t write(int fd, const void *buf, size_t size)
{
	NEXT(ssize_t(*)(int, const void *, size_t), "write");
	bool regular = is_regular(fd);
	ssize_t n;

	/* A log that cannot be written would hide what is said of the rest. */
	if (regular && fd > 2 && fault_hit(FAULT_WRITE, "write", NULL))
		return -1;
	if (!regular || !record_is_on())
		return real(fd, buf, size);
	record_begin();
	n = real(fd, buf, size);
	note_write(fd, buf, n, -1);
	record_end();
	return n;
}

REPLACED ssize_t pwrite64(int fd, const void *buf, size_t size, off_t offset)
{
	NEXT(ssize_t(*)(int, const void *, size_t, off_t), "pwrite64");
	bool regular = is_regular(fd);
	ssize_t n;

	if (regular && fault_hit(FAULT_WRITE, "pwrite", NULL))
		return -1;
	if (!regular || !record_is_on())
		return real(fd, buf, size, offset);
	record_begin();
	n = real(fd, buf, size, offset);
	note_write(fd, buf, n, offset);
	record_end();
	return n;
}

REPLACED ssize_t pwrite(int fd, const void *buf, size_t size, off_t offset)
{
	return pwrite64(fd, buf, size, offset);
}

/* What answers a request: from here on the caller may know. */
REPLACED ssize_t writev(int fd, const struct iovec *parts, int count)
{
	NEXT(ssize_t(*)(int, const struct iovec *, int), "writev");
	struct fuse_out_header head;

	if (record_is_on() && count > 0 && parts[0].iov_len >= sizeof(head) && is_fuse(fd)) {
		memcpy(&head, parts[0].iov_base, sizeof(head));
		record_begin();
		record_put(RECORD_REPLY, (uint64_t)(int64_t)head.error, head.unique, NULL, 0);
		record_end();
	}
	return real(fd, parts, count);
}

static int set_size(int (*real)(int, off_t), int fd, off_t size)
{
	struct stat st;
	int rc;

	if (fault_hit(FAULT_SIZE, "ftruncate", NULL))
		return -1;
	if (!record_is_on())
		return real(fd, size);
	record_begin();
	rc = real(fd, size);
	if (rc == 0 && quiet_fstat(fd, &st))
		record_put(RECORD_TRUNCATE, st.st_ino, (uint64_t)size, NULL, 0);
	record_end();
	return rc;
}

REPLACED int ftruncate64(int fd, off_t size)
{
	NEXT(int (*)(int, off_t), "ftruncate64");

	return set_size(real, fd, size);
}

REPLACED int ftruncate(int fd, off_t size)
{
	return ftruncate64(fd, size);
}

REPLACED int fallocate64(int fd, int mode, off_t offset, off_t size)
{
	NEXT(int (*)(int, int, off_t, off_t), "fallocate64");
	struct stat st;
	int rc;

	if (fault_hit(FAULT_SIZE, "fallocate", NULL))
		return -1;
	if (!record_is_on())
		return real(fd, mode, offset, size);
	record_begin();
	rc = real(fd, mode, offset, size);
	if (rc == 0 && quiet_fstat(fd, &st)) {
		/* A hole is of no use in what is looked at after a power failure. */
		record_put(RECORD_TRUNCATE, st.st_ino, (uint64_t)st.st_size, NULL, 0);
	}
	record_end();
	return rc;
}

REPLACED int fallocate(int fd, int mode, off_t offset, off_t size)
{
	return fallocate64(fd, mode, offset, size);
}

/* ---- syncing ------------------------------------------------------------------------------------------- */

static int sync_fd(int (*real)(int), int fd, const char *name)
{
	struct stat st;
	int rc;

	if (fault_hit(FAULT_SYNC, name, NULL))
		return -1;
	if (!record_is_on())
		return real(fd);
	record_begin();
	rc = real(fd);
	if (rc == 0 && quiet_fstat(fd, &st))
		record_put(RECORD_SYNC, st.st_ino, 0, NULL, 0);
	record_end();
	return rc;
}

REPLACED int fsync(int fd)
{
	NEXT(int (*)(int), "fsync");

	return sync_fd(real, fd, "fsync");
}

REPLACED int fdatasync(int fd)
{
	NEXT(int (*)(int), "fdatasync");

	return sync_fd(real, fd, "fdatasync");
}

/* ---- ioctl --------------------------------------------------------------------------------------------- */

REPLACED int ioctl(int fd, unsigned long request, ...)
{
	NEXT(int (*)(int, unsigned long, void *), "ioctl");
	bool clone = request == (unsigned long)FICLONE;
	struct stat to, from;
	va_list args;
	void *arg;
	int rc;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	if (clone && fault_hit(FAULT_CLONE, "ioctl(FICLONE)", NULL))
		return -1;
	if (!clone || !record_is_on())
		return real(fd, request, arg);
	record_begin();
	rc = real(fd, request, arg);
	if (rc == 0 && quiet_fstat(fd, &to) && quiet_fstat((int)(intptr_t)arg, &from))
		record_put(RECORD_CLONE, to.st_ino, from.st_ino, NULL, 0);
	record_end();
	return rc;
}
