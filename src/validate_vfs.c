/* SPDX-License-Identifier: MIT */
/*
 * validate_vfs.c - SQLite over descriptors that are open already.
 *
 * VALIDATE_FILE is read from one descriptor and never changes: no locks, no journal, and no -wal even if its
 * header asks for one. SQLITE_IOCAP_IMMUTABLE would say the same, but with it VACUUM INTO mistakes the
 * database for one in memory and keeps its page size. It may be opened READWRITE, for a reason given in
 * validate_sql.c, but writes are refused. VALIDATE_FIT is another descriptor. No other file exists or can be
 * made, so neither a name inside the database nor a file beside it leads anywhere. The journal that SQLite
 * wants for VALIDATE_FIT accepts everything and keeps nothing: it would only be read to roll back a file that
 * is then thrown away.
 *
 * The child has one thread; its one struct is static.
 */
#include "validate_private.h"

#include <errno.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"

#define SECTOR 4096
#define TELL_EVERY (1u << 20) /* bytes */

struct file {
	sqlite3_file base;
	int fd;	       /* borrowed; -1: a journal that keeps nothing */
	bool readonly; /* VALIDATE_FILE */
};

static struct state {
	sqlite3_vfs vfs;
	uint64_t size;
	uint64_t read, told; /* bytes of VALIDATE_FILE; those of them that were reported */
	int failed;
} state;

static int file_close(sqlite3_file *base)
{
	(void)base;
	return SQLITE_OK;
}

/* Makes bytes 18 and 19 of the header say rollback journal, whatever they are. */
static void hide_wal(char *buf, ssize_t size, sqlite3_int64 offset)
{
	for (sqlite3_int64 at = 18; at <= 19; at++) {
		if (at >= offset && at < offset + size)
			buf[at - offset] = 1;
	}
}

/* Progress of the second pass, which follows no order: as far as counting bytes can tell. */
static void tell_read(uint64_t n)
{
	state.read += n;
	if (state.read - state.told < TELL_EVERY || state.read > state.size)
		return;
	state.told = state.read;
	validate_tell(state.size + state.read);
}

static int file_read(sqlite3_file *base, void *buf, int size, sqlite3_int64 offset)
{
	struct file *file = (struct file *)base;
	char *to = buf;

	while (size > 0 && file->fd >= 0) {
		ssize_t n = pread(file->fd, to, (size_t)size, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			state.failed = errno;
			return SQLITE_IOERR_READ;
		}
		if (n == 0)
			break;
		if (file->readonly) {
			hide_wal(to, n, offset);
			tell_read((uint64_t)n);
		}
		to += n;
		size -= (int)n;
		offset += n;
	}
	if (size <= 0)
		return SQLITE_OK;
	memset(to, 0, (size_t)size);
	return SQLITE_IOERR_SHORT_READ;
}

static int file_write(sqlite3_file *base, const void *buf, int size, sqlite3_int64 offset)
{
	struct file *file = (struct file *)base;
	const char *from = buf;

	if (file->readonly)
		return SQLITE_READONLY;
	while (size > 0 && file->fd >= 0) {
		ssize_t n = pwrite(file->fd, from, (size_t)size, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			state.failed = n < 0 ? errno : ENOSPC;
			return state.failed == ENOSPC || state.failed == EDQUOT ? SQLITE_FULL
										: SQLITE_IOERR_WRITE;
		}
		from += n;
		size -= (int)n;
		offset += n;
	}
	return SQLITE_OK;
}

static int file_truncate(sqlite3_file *base, sqlite3_int64 size)
{
	struct file *file = (struct file *)base;

	if (file->readonly)
		return SQLITE_READONLY;
	return file->fd < 0 || ftruncate(file->fd, size) == 0 ? SQLITE_OK : SQLITE_IOERR_TRUNCATE;
}

static int file_sync(sqlite3_file *base, int flags)
{
	(void)base;
	(void)flags;
	return SQLITE_OK;
}

static int file_size(sqlite3_file *base, sqlite3_int64 *size)
{
	struct file *file = (struct file *)base;
	off_t end = 0;

	if (file->readonly)
		end = (off_t)state.size;
	else if (file->fd >= 0)
		end = lseek(file->fd, 0, SEEK_END);
	*size = end;
	return end < 0 ? SQLITE_IOERR_FSTAT : SQLITE_OK;
}

static int file_lock(sqlite3_file *base, int level)
{
	(void)base;
	(void)level;
	return SQLITE_OK;
}

static int file_reserved(sqlite3_file *base, int *out)
{
	(void)base;
	*out = 0;
	return SQLITE_OK;
}

static int file_control(sqlite3_file *base, int op, void *arg)
{
	(void)base;
	(void)op;
	(void)arg;
	return SQLITE_NOTFOUND;
}

static int file_sector(sqlite3_file *base)
{
	(void)base;
	return SECTOR;
}

static int file_characteristics(sqlite3_file *base)
{
	(void)base;
	return 0;
}

static const sqlite3_io_methods methods = {
	.iVersion = 1, /* neither shared memory nor mappings */
	.xClose = file_close,
	.xRead = file_read,
	.xWrite = file_write,
	.xTruncate = file_truncate,
	.xSync = file_sync,
	.xFileSize = file_size,
	.xLock = file_lock,
	.xUnlock = file_lock,
	.xCheckReservedLock = file_reserved,
	.xFileControl = file_control,
	.xSectorSize = file_sector,
	.xDeviceCharacteristics = file_characteristics,
};

/* ---- the VFS ------------------------------------------------------------------------------------------- */

static int vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *base, int flags, int *out_flags)
{
	struct file *file = (struct file *)base;

	(void)vfs;
	*file = (struct file){.fd = -1};
	if (!name)
		return SQLITE_CANTOPEN; /* temp_store is memory: nobody asks */
	if (flags & SQLITE_OPEN_MAIN_DB && strcmp(name, VALIDATE_FILE) == 0) {
		file->fd = VALIDATE_FD_FILE;
		file->readonly = true;
	} else if (flags & SQLITE_OPEN_MAIN_DB && strcmp(name, VALIDATE_FIT) == 0) {
		file->fd = VALIDATE_FD_FIT;
	} else if (!(flags & SQLITE_OPEN_MAIN_JOURNAL)) {
		return SQLITE_CANTOPEN;
	}
	file->base.pMethods = &methods;
	if (out_flags)
		*out_flags = flags & (SQLITE_OPEN_READONLY | SQLITE_OPEN_READWRITE);
	return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *name, int sync)
{
	(void)vfs;
	(void)name;
	(void)sync;
	return SQLITE_OK;
}

static int vfs_access(sqlite3_vfs *vfs, const char *name, int flags, int *out)
{
	(void)vfs;
	(void)name;
	(void)flags;
	*out = 0;
	return SQLITE_OK;
}

static int vfs_full_pathname(sqlite3_vfs *vfs, const char *name, int size, char *out)
{
	(void)vfs;
	return sqlite3_snprintf(size, out, "%s", name) && !strcmp(out, name) ? SQLITE_OK : SQLITE_CANTOPEN;
}

static int vfs_randomness(sqlite3_vfs *vfs, int size, char *out)
{
	(void)vfs;
	memset(out, 0, (size_t)size);
	return (int)getrandom(out, (size_t)size, GRND_NONBLOCK);
}

static int vfs_sleep(sqlite3_vfs *vfs, int microseconds)
{
	(void)vfs;
	return microseconds; /* there is nobody to wait for */
}

static int vfs_current_time(sqlite3_vfs *vfs, sqlite3_int64 *out)
{
	static const sqlite3_int64 unix_epoch = 210866760000000; /* Julian day 2440587.5 in milliseconds */

	(void)vfs;
	*out = unix_epoch + realtime_ns() / NS_PER_MS;
	return SQLITE_OK;
}

static int vfs_last_error(sqlite3_vfs *vfs, int size, char *out)
{
	(void)vfs;
	(void)size;
	(void)out;
	return state.failed;
}

int validate_vfs_register(uint64_t size)
{
	state.size = size;
	state.read = state.told = 0;
	state.failed = 0;
	if (state.vfs.zName)
		return SQLITE_OK; /* SQLite's list leads through it already */
	state.vfs = (sqlite3_vfs){
		.iVersion = 2,
		.szOsFile = sizeof(struct file),
		.mxPathname = 64,
		.zName = VALIDATE_VFS,
		.xOpen = vfs_open,
		.xDelete = vfs_delete,
		.xAccess = vfs_access,
		.xFullPathname = vfs_full_pathname,
		.xRandomness = vfs_randomness,
		.xSleep = vfs_sleep,
		.xGetLastError = vfs_last_error,
		.xCurrentTimeInt64 = vfs_current_time,
	};
	return sqlite3_vfs_register(&state.vfs, 1);
}

int validate_vfs_errno(void)
{
	return state.failed;
}
