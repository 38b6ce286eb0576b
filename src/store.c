/* SPDX-License-Identifier: MIT */
/*
 * store.c - see store.h.
 *
 * What must stay true: a reader of the store finds a file whole or not at all; nothing here touches a live
 * database.
 */
#include "store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cleanup.h"

#define SEEN_MAGIC "sqlsnapfs seen 1\n"

struct store {
	char *dir; /* owned */
};

/* What the seen file holds: host byte order, for a store belongs to one machine. */
struct seen_file {
	char magic[sizeof(SEEN_MAGIC) - 1];
	struct store_seen seen;
};

/* NULL with ENOENT: there is none. */
static char *default_dir(void)
{
	const char *state = getenv("STATE_DIRECTORY");
	const char *xdg = getenv("XDG_STATE_HOME");
	const char *home = getenv("HOME");
	char *dir = NULL;
	int n = -1;

	errno = ENOENT;
	if (state && state[0] == '/')
		n = asprintf(&dir, "%.*s", (int)strcspn(state, ":"), state);
	else if (geteuid() == 0)
		n = asprintf(&dir, "/var/lib/sqlsnapfs");
	else if (xdg && xdg[0] == '/')
		n = asprintf(&dir, "%s/sqlsnapfs", xdg);
	else if (home && home[0] == '/')
		n = asprintf(&dir, "%s/.local/state/sqlsnapfs", home);
	return n < 0 ? NULL : dir;
}

/* Absolute; what is not there yet is taken as it stands. */
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
		return err_set(err, -ENOENT, "no folder for the store: mount with -o store=DIR");
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
		if (mkdir(path, 0700) && errno != EEXIST)
			return -errno;
		*p = saved;
		if (!saved)
			return 0;
	}
}

/* The store's folder, made if need be; owned by the caller. */
static int open_dir(struct store *s, struct snap_err *err)
{
	int fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

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

/* Eight random bytes in hex; O_TMPFILE's fallback and private folders are named by it. */
static int random_name(char name[32], const char *prefix)
{
	uint64_t r;

	if (getrandom(&r, sizeof(r), 0) != (ssize_t)sizeof(r))
		return -EIO;
	snprintf(name, 32, "%.12s%016llx", prefix, (unsigned long long)r);
	return 0;
}

int store_spool(struct store *s, uint64_t bytes, struct snap_err *err)
{
	autoclose int dir = open_dir(s, err);
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
		if (random_name(name, ".spool-"))
			return err_set(err, -EIO, "no random numbers");
		fd = openat(dir, name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
		if (fd >= 0)
			unlinkat(dir, name, 0);
	}
	if (fd < 0)
		return err_errno(err, "cannot make a spool in %s", s->dir);
	return fd;
}

int store_make_folder(struct store *s, char name[32], struct snap_err *err)
{
	autoclose int dir = open_dir(s, err);
	int fd;

	if (dir < 0)
		return dir;
	if (random_name(name, ".work-"))
		return err_set(err, -EIO, "no random numbers");
	if (mkdirat(dir, name, 0700))
		return err_errno(err, "cannot make a folder in the store %s", s->dir);
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		int saved = errno;

		unlinkat(dir, name, AT_REMOVEDIR);
		errno = saved;
		return err_errno(err, "cannot open a folder of the store %s", s->dir);
	}
	return fd;
}

void store_drop_folder(struct store *s, const char *name)
{
	autoclose int dir = open_dir(s, NULL);
	autoclose int fd = dir < 0 ? -1 : openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d)
		return;
	while ((e = readdir(d)) != NULL) {
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			unlinkat(fd, e->d_name, 0);
	}
	unlinkat(dir, name, AT_REMOVEDIR);
	fd = -1; /* closedir() closes it */
	closedir(d);
}

/* FNV-1a, 64 bits: the subfolder's name need not withstand an adversary, the file in it names its source's
 * version. */
static void source_name(const char *source, char out[24])
{
	uint64_t h = 0xcbf29ce484222325ull;

	for (const unsigned char *p = (const unsigned char *)source; *p; p++)
		h = (h ^ *p) * 0x100000001b3ull;
	snprintf(out, 24, "%016llx", (unsigned long long)h);
}

int store_load_seen(struct store *s, const char *source, struct store_seen *out)
{
	struct seen_file file;
	char name[24];
	autofree char *path = NULL;

	source_name(source, name);
	if (asprintf(&path, "%s/%s/seen", s->dir, name) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	if (read(fd, &file, sizeof(file)) != (ssize_t)sizeof(file) ||
	    memcmp(file.magic, SEEN_MAGIC, sizeof(file.magic)) != 0)
		return -ENOENT;
	*out = file.seen;
	out->version.incarnation = 0; /* another process's numbers */
	return 0;
}

int store_save_seen(struct store *s, const char *source, const struct store_seen *seen, struct snap_err *err)
{
	struct seen_file file;
	char name[24], tmp[32];

	memset(&file, 0, sizeof(file)); /* padding included: it goes to disk */
	memcpy(file.magic, SEEN_MAGIC, sizeof(file.magic));
	file.seen = *seen;
	source_name(source, name);
	autoclose int dir = open_dir(s, err);
	if (dir < 0)
		return dir;
	if (mkdirat(dir, name, 0700) && errno != EEXIST)
		return err_errno(err, "cannot write to the store %s", s->dir);
	autoclose int sub = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (sub < 0 || random_name(tmp, ".seen-"))
		return err_errno(err, "cannot write to the store %s", s->dir);
	autoclose int fd = openat(sub, tmp, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_errno(err, "cannot write to the store %s", s->dir);
	ssize_t written = write(fd, &file, sizeof(file));
	if (written >= 0 && written != (ssize_t)sizeof(file))
		errno = ENOSPC; /* cut short, which sets none */
	if (written != (ssize_t)sizeof(file) || renameat(sub, tmp, sub, "seen")) {
		int rc = err_errno(err, "cannot write to the store %s", s->dir);

		unlinkat(sub, tmp, 0);
		return rc;
	}
	return 0;
}
