/* SPDX-License-Identifier: MIT */
/* store_private.h - what the files store*.c, keep*.c and kept*.c share; nobody else includes it. */
#ifndef SQLSNAP_STORE_PRIVATE_H
#define SQLSNAP_STORE_PRIVATE_H

#include "store.h"

#define STORE_NAME_SIZE 32 /* what store_random_name() fills */

struct store {
	char *dir; /* owned */
};

/* The store's folder, O_RDONLY and owned by the caller. MAKE: made if need be; else -ENOENT without a
 * message. */
int store_open(struct store *store, bool make, struct snap_err *err);

/* PREFIX (12 bytes at most) and sixteen random hex digits. -EIO */
int store_random_name(char name[STORE_NAME_SIZE], const char *prefix);

/* A new file of such a name in the folder DIR, O_RDWR, owned by the caller; other daemons treat it as in use
 * as long as it is open. -errno without a message */
int store_make_file(int dir, const char *prefix, char name[STORE_NAME_SIZE]);
/* One that is called NAME. -EEXIST; -EAGAIN: it was mistaken for a leftover in the moment before it was
 * locked. */
int store_make_named(int dir, const char *name);
/* A new folder called NAME likewise, O_RDONLY. -EEXIST; -EAGAIN: it was mistaken for a leftover in the moment
 * before it was locked. */
int store_make_locked(int dir, const char *name);

/* Whether NAME in DIR is what FD has open. */
bool store_is(int dir, const char *name, int fd);

/* Takes flock(2) of FD without waiting. 0; -EWOULDBLOCK: somebody is working on it; another -errno: the file
 * system has no such locks; then what is made is used all the same, and nothing is treated as a leftover. */
int store_lock(int fd);

/* Takes flock(2) of FD shared with others that write to it. 0, also where the file system has no such locks;
 * -EBUSY: somebody has held it exclusively for a second, which normally takes microseconds. */
int store_share(int fd);
/* The same, exclusively. -EBUSY: somebody has been working on it for a second. */
int store_lock_patiently(int fd);

/* Writes all SIZE bytes to FD, by one write(2); -ENOSPC when that is cut short. -errno */
int store_write(int fd, const void *bytes, size_t size);

/* Removes the folder NAME in DIR, FD, and the files in it. 0 or -errno; what could not be removed stays. */
int store_remove(int dir, const char *name, int fd);
/* Removes the file or folder NAME in DIR unless somebody is working on it. */
void store_remove_stale(int dir, const char *name);

/* Calls FN with every name in the folder FD but . and .., until it answers something other than 0, which is
 * returned. -errno */
int store_each_name(int fd, int (*fn)(void *arg, int fd, const char *name), void *arg);

/* Whether NAME can be that of a source's folder; and the path in such a FOLDER: 0; -ENOENT when there is
 * none, or none that is whole; -errno. */
#define STORE_PATH_SIZE 8192 /* bytes of the path file at most */
bool store_is_source_name(const char *name);
int store_read_path(int folder, char path[STORE_PATH_SIZE]);

/* fsync(2) of a folder; 0 also where the file system does not support that for folders. -errno */
int store_sync_folder(int fd);

#endif
