/* SPDX-License-Identifier: MIT */
/*
 * moments.c - see moments.h. Every connection of the program is one that sqlite3_open_v2() opened (the
 * linker's
 * --wrap), its database file has our methods over its own, and the VFS "unix" our calls over the system's.
 */
#include "moments.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

static struct {
	bool armed;
	int first, second;
	int (*act)(void *arg, enum moments_which which, int done);
	void *arg;
	struct moments_seen seen;
} moments;

static _Noreturn void die(const char *why)
{
	fprintf(stderr, "moments: %s\n", why);
	exit(1);
}

void moments_begin(const int at[2], int (*act)(void *arg, enum moments_which which, int done), void *arg)
{
	moments.first = at[0];
	moments.second = at[1];
	moments.act = act;
	moments.arg = arg;
	moments.seen = (struct moments_seen){0};
	moments.armed = true;
}

struct moments_seen moments_end(void)
{
	moments.armed = false;
	return moments.seen;
}

static void moment(void)
{
	enum moments_which which = MOMENT_AFTER;

	if (!moments.armed || ++moments.seen.n < moments.first)
		return;
	if (moments.seen.n == moments.first)
		which = MOMENT_FIRST;
	else if (moments.seen.n == moments.second)
		which = MOMENT_SECOND;
	moments.armed = false;
	moments.seen.done += moments.act(moments.arg, which, moments.seen.done);
	moments.armed = true;
}

/* The calls of a database file, which a connection makes of the VFS. One set for each that stands below. */
struct methods {
	sqlite3_io_methods hooked; /* first: a file leads back here */
	const sqlite3_io_methods *real;
};

static const sqlite3_io_methods *real_of(sqlite3_file *file)
{
	moment();
	return ((const struct methods *)file->pMethods)->real;
}

static int hook_read(sqlite3_file *f, void *buf, int n, sqlite3_int64 at)
{
	return real_of(f)->xRead(f, buf, n, at);
}

static int hook_write(sqlite3_file *f, const void *buf, int n, sqlite3_int64 at)
{
	return real_of(f)->xWrite(f, buf, n, at);
}

static int hook_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	return real_of(f)->xTruncate(f, size);
}

static int hook_sync(sqlite3_file *f, int flags)
{
	return real_of(f)->xSync(f, flags);
}

static int hook_size(sqlite3_file *f, sqlite3_int64 *size)
{
	return real_of(f)->xFileSize(f, size);
}

static int hook_lock(sqlite3_file *f, int level)
{
	return real_of(f)->xLock(f, level);
}

static int hook_unlock(sqlite3_file *f, int level)
{
	return real_of(f)->xUnlock(f, level);
}

static int hook_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
	return real_of(f)->xShmLock(f, offset, n, flags);
}

static int hook_shm_unmap(sqlite3_file *f, int delete_it)
{
	return real_of(f)->xShmUnmap(f, delete_it);
}

/* The one between the header of the wal-index and what is done by it, where that header has changed. */
static int hook_unfetch(sqlite3_file *f, sqlite3_int64 at, void *page)
{
	return real_of(f)->xUnfetch(f, at, page);
}

static void hook_methods(sqlite3_file *file)
{
	static struct methods known[4];
	struct methods *m = known;

	for (; m < known + 4 && m->real && m->real != file->pMethods; m++)
		;
	if (m == known + 4)
		die("more kinds of files than were thought of");
	m->real = file->pMethods;
	m->hooked = *file->pMethods;
	m->hooked.xRead = hook_read;
	m->hooked.xWrite = hook_write;
	m->hooked.xTruncate = hook_truncate;
	m->hooked.xSync = hook_sync;
	m->hooked.xFileSize = hook_size;
	m->hooked.xLock = hook_lock;
	m->hooked.xUnlock = hook_unlock;
	m->hooked.xShmLock = hook_shm_lock;
	m->hooked.xShmUnmap = hook_shm_unmap;
	m->hooked.xUnfetch = hook_unfetch;
	file->pMethods = &m->hooked;
}

int __real_sqlite3_open_v2(const char *path, sqlite3 **db, int flags, const char *vfs);
int __wrap_sqlite3_open_v2(const char *path, sqlite3 **db, int flags, const char *vfs);

/* Every connection, those of the library too. */
int __wrap_sqlite3_open_v2(const char *path, sqlite3 **db, int flags, const char *vfs)
{
	int rc = __real_sqlite3_open_v2(path, db, flags, vfs);
	sqlite3_file *file = NULL;

	if (rc == SQLITE_OK &&
	    sqlite3_file_control(*db, "main", SQLITE_FCNTL_FILE_POINTER, &file) == SQLITE_OK && file &&
	    file->pMethods)
		hook_methods(file);
	return rc;
}

/* What the VFS "unix" calls: of the -wal and of names, too. */
static int (*real_unlink)(const char *path);
static ssize_t (*real_pread)(int fd, void *buf, size_t n, off_t at);
static ssize_t (*real_pwrite)(int fd, const void *buf, size_t n, off_t at);
static int (*real_truncate)(int fd, off_t size);
static int (*real_close)(int fd);

static int hook_sys_unlink(const char *path)
{
	moment();
	return real_unlink(path);
}

static ssize_t hook_sys_pread(int fd, void *buf, size_t n, off_t at)
{
	moment();
	return real_pread(fd, buf, n, at);
}

static ssize_t hook_sys_pwrite(int fd, const void *buf, size_t n, off_t at)
{
	moment();
	return real_pwrite(fd, buf, n, at);
}

static int hook_sys_truncate(int fd, off_t size)
{
	moment();
	return real_truncate(fd, size);
}

static int hook_sys_close(int fd)
{
	moment();
	return real_close(fd);
}

/* NAME's function goes to *REAL (both are pointers to functions). */
static void hook_system(const char *name, void *real, sqlite3_syscall_ptr hook)
{
	sqlite3_vfs *vfs = sqlite3_vfs_find("unix");
	sqlite3_syscall_ptr was = vfs->xGetSystemCall(vfs, name);

	if (!was || vfs->xSetSystemCall(vfs, name, hook) != SQLITE_OK)
		die(name);
	memcpy(real, &was, sizeof(was));
}

void moments_hook(void)
{
	hook_system("unlink", &real_unlink, (sqlite3_syscall_ptr)hook_sys_unlink);
	hook_system("pread64", &real_pread, (sqlite3_syscall_ptr)hook_sys_pread);
	hook_system("pwrite64", &real_pwrite, (sqlite3_syscall_ptr)hook_sys_pwrite);
	hook_system("ftruncate", &real_truncate, (sqlite3_syscall_ptr)hook_sys_truncate);
	hook_system("close", &real_close, (sqlite3_syscall_ptr)hook_sys_close);
}
