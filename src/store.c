/* SPDX-License-Identifier: MIT */
/*
 * store.c - see store.h: where the store is, spools, private folders. What it knows of each source is in
 * store_source.c; the helpers that all of them share are in store_file.c.
 *
 * What must stay true: nothing here touches a live database.
 */
#include "store_private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cleanup.h"

#define ATTEMPTS 8    /* at a name that nobody mistakes for leftovers */
#define FEW_INODES 16 /* a kept snapshot takes several files, and is removed again if one of them fails */

/*
 * NULL: there is none. One that another user owns is not used: mount(8) clears the environment for ordinary
 * users, and mount.fuse3(8) then sets it to /root.
 */
static const char *home_dir(void)
{
	const char *home = getenv("HOME");
	const struct passwd *user;
	struct stat st;

	if (!home || home[0] != '/')
		return NULL;
	if (stat(home, &st) < 0 || st.st_uid == geteuid())
		return home;
	user = getpwuid(geteuid());
	return user && user->pw_dir && user->pw_dir[0] == '/' ? user->pw_dir : home;
}

/* NULL with ENOENT: there is none. */
static char *default_dir(void)
{
	const char *state = getenv("STATE_DIRECTORY");
	const char *xdg = getenv("XDG_STATE_HOME");
	const char *home;
	char *dir = NULL;
	int n = -1;

	if (state && state[0] == '/')
		n = asprintf(&dir, "%.*s", (int)strcspn(state, ":"), state);
	else if (geteuid() == 0)
		n = asprintf(&dir, "/var/lib/sqlsnapfs");
	else if (xdg && xdg[0] == '/')
		n = asprintf(&dir, "%s/sqlsnapfs", xdg);
	else if ((home = home_dir()) != NULL)
		n = asprintf(&dir, "%s/.local/state/sqlsnapfs", home);
	else
		errno = ENOENT;
	return n < 0 ? NULL : dir;
}

/* Absolute; a path that does not exist yet is used unchanged. */
static char *given_dir(const char *dir)
{
	char *path = realpath(dir, NULL);

	return path || errno != ENOENT || dir[0] != '/' ? path : strdup(dir);
}

int store_create(struct store **out, const char *dir, struct snap_err *err)
{
	autofree struct store *s = calloc(1, sizeof(*s));

	if (!s)
		return err_set(err, -ENOMEM, "out of memory");
	s->dir = dir ? given_dir(dir) : default_dir();
	if (!s->dir && dir)
		return err_errno(err, "%s cannot be the store", dir);
	if (!s->dir && errno == ENOENT)
		return err_set(err, -ENOENT, "no directory for the store: mount with -o store=DIR");
	if (!s->dir)
		return err_set(err, -ENOMEM, "out of memory");
	*out = steal_ptr(&s);
	return 0;
}

void store_destroy(struct store *s)
{
	if (!s)
		return;
	free(s->dir);
	free(s);
}

const char *store_dir(const struct store *s)
{
	return s->dir;
}

/* Syncs the folder above PATH, which was just made, so that its name survives a power cut. */
static void sync_above(const char *path)
{
	const char *slash = strrchr(path, '/');
	autofree char *above = strndup(path, slash > path ? (size_t)(slash - path) : 1);
	autoclose int fd = above ? open(above, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	if (fd >= 0)
		store_sync_folder(fd); /* one that may not be read is not synced */
}

/* Makes DIR and the folders above it. */
static int make_path(const char *dir)
{
	char path[PATH_MAX];
	size_t n = strlen(dir);

	if (n >= sizeof(path))
		return -ENAMETOOLONG;
	memcpy(path, dir, n + 1);
	for (char *p = path + 1;; p++) {
		if (*p != '/' && *p != '\0')
			continue;
		char saved = *p;
		*p = '\0';
		if (mkdir(path, 0700) == 0)
			sync_above(path);
		else if (errno != EEXIST)
			return -errno;
		*p = saved;
		if (!saved)
			return 0;
	}
}

int store_check(const struct store *s, struct snap_err *err)
{
	autofree char *path = strdup(s->dir);
	int rc = path ? 0 : -ENOMEM;

	/* Checks the lowest folder on the path that exists. */
	while (!rc && faccessat(AT_FDCWD, path, W_OK | X_OK, AT_EACCESS)) {
		char *slash = strrchr(path, '/');

		if (errno != ENOENT || !slash || slash[1] == '\0')
			rc = -errno;
		else
			slash[slash == path ? 1 : 0] = '\0';
	}
	return rc ? err_set(err, rc, "the store %s cannot be written: %s", s->dir, strerror(-rc)) : 0;
}

int store_open(struct store *s, bool make, struct snap_err *err)
{
	int fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT && !make)
		return -ENOENT;
	if (fd < 0 && errno == ENOENT) {
		int rc = make_path(s->dir);

		if (rc)
			return err_set(err, rc, "cannot make the store %s: %s (mount with -o store=DIR)",
				       s->dir, strerror(-rc));
		fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (fd < 0)
		return err_errno(err, "cannot open the store %s", s->dir);
	return fd;
}

/* ---- what it lacks ------------------------------------------------------------------------------------- */

const char *store_room(const struct store *s, int error, char text[STORE_ROOM_SIZE])
{
	struct statvfs vfs = {.f_frsize = 1};
	int n;

	if (statvfs(s->dir, &vfs))
		vfs.f_bavail = vfs.f_files = 0;
	n = snprintf(text, STORE_ROOM_SIZE, "%llu MiB free",
		     (unsigned long long)((uint64_t)vfs.f_bavail * vfs.f_frsize >> 20));
	if (error == -EDQUOT)
		snprintf(text + n, STORE_ROOM_SIZE - (size_t)n, ", but a quota is used up");
	else if (error == -ENOSPC && vfs.f_files > 0 && vfs.f_favail < FEW_INODES) /* 0: it has no limit */
		snprintf(text + n, STORE_ROOM_SIZE - (size_t)n, ", but only %llu inodes",
			 (unsigned long long)vfs.f_favail);
	return text;
}

int store_failed(const struct store *s, int error, struct snap_err *err, const char *what)
{
	char room[STORE_ROOM_SIZE];

	if (!store_is_full(error))
		return err_set(err, error, "%s the store %s: %s", what, s->dir, strerror(-error));
	return err_set(err, error,
		       "%s the store %s: %s (%s); rmdir an old snapshot, make room there, or mount with -o "
		       "store=DIR",
		       what, s->dir, strerror(-error), store_room(s, error, room));
}

/* ---- spools -------------------------------------------------------------------------------------------- */

int store_spool(struct store *s, uint64_t bytes, struct snap_err *err)
{
	autoclose int dir = store_open(s, true, err);
	struct statvfs vfs;
	char name[32];
	int fd;

	if (dir < 0)
		return dir;
	if (fstatvfs(dir, &vfs))
		return err_errno(err, "cannot examine the store %s", s->dir);
	uint64_t room = (uint64_t)vfs.f_bavail * vfs.f_frsize;
	if (room < bytes + STORE_RESERVE)
		return err_set(err, -ENOSPC,
			       "a spool needs %llu MiB in %s, %llu MiB free (mount with -o store=DIR)",
			       (unsigned long long)((bytes + STORE_RESERVE) >> 20), s->dir,
			       (unsigned long long)(room >> 20));
	fd = openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR)) {
		fd = store_make_file(dir, ".spool-", name);
		if (fd >= 0)
			unlinkat(dir, name, 0);
		else
			errno = -fd;
	}
	return fd < 0 ? store_failed(s, -errno, err, "cannot make a spool in") : fd;
}

int store_make_folder(struct store *s, char name[STORE_NAME_SIZE], struct snap_err *err)
{
	autoclose int dir = store_open(s, true, err);
	int fd = -EAGAIN;

	if (dir < 0)
		return dir;
	for (int i = 0; i < ATTEMPTS && (fd == -EEXIST || fd == -EAGAIN); i++) {
		if (store_random_name(name, ".work-"))
			return err_set(err, -EIO, "no random numbers");
		fd = store_make_locked(dir, name);
	}
	return fd < 0 ? store_failed(s, fd, err, "cannot make a directory in") : fd;
}

void store_drop_folder(struct store *s, const char *name)
{
	autoclose int dir = store_open(s, false, NULL);
	autoclose int fd = dir < 0 ? -1 : openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd >= 0)
		store_remove(dir, name, fd);
}

/* ---- leftovers ---------------------------------------------------------------------------------------- */

static int clean_source(void *arg, int folder, const char *name)
{
	(void)arg;
	if (strncmp(name, ".seen-", 6) == 0 || strncmp(name, ".source-", 8) == 0 ||
	    strncmp(name, ".opened-", 8) == 0)
		store_remove_stale(folder, name);
	return 0;
}

static int clean_sources(void *arg, int folder, const char *source)
{
	(void)source;
	store_each_name(folder, clean_source, arg);
	return 0;
}

static int clean_one(void *arg, int dir, const char *name)
{
	(void)arg;
	if (strncmp(name, ".work-", 6) == 0 || strncmp(name, ".spool-", 7) == 0)
		store_remove_stale(dir, name);
	return 0;
}

int store_clean(struct store *s, struct snap_err *err)
{
	autoclose int dir = store_open(s, false, err);
	int rc;

	if (dir < 0)
		return dir == -ENOENT ? 0 : dir;
	rc = store_each_name(dir, clean_one, NULL);
	if (!rc)
		rc = store_each(s, clean_sources, NULL);
	return rc ? err_set(err, rc, "cannot look through the store %s: %s", s->dir, strerror(-rc)) : 0;
}
