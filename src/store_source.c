/* SPDX-License-Identifier: MIT */
/*
 * store_source.c - what the store knows of each source: its folder, its path, what was shown last.
 *
 * What must stay true: a reader of the store finds a file whole or not at all; a folder belongs to the source
 * whose path stands in it, until it is forgotten (store_forget.c); one whose path file was truncated by a
 * power failure belongs to nobody until somebody claims it.
 */
#include "store_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "hash.h"
#include "opath.h"

#define SEEN_MAGIC "sqlsnapfs seen 1\n"
#define OPENED_MAGIC "sqlsnapfs opened 1\n"
#define HASHES 4 /* folders that a source may have, by as many hashes */
#define ATTEMPTS 8

/* What the seen file holds: host byte order, for a store belongs to one machine. */
struct seen_file {
	char magic[sizeof(SEEN_MAGIC) - 1];
	struct store_seen seen;
};

struct opened_file {
	char magic[sizeof(OPENED_MAGIC) - 1];
	struct snap_opened opened;
};

/* The name differs for each HASH that is tried. Two sources may get the same one, because the folder says
 * whose it is. */
static void folder_name(const char *source, unsigned hash, char out[24])
{
	uint64_t h = hash_text(HASH_START ^ hash * 0x9e3779b97f4a7c15ull, source);

	snprintf(out, 24, "%016llx", (unsigned long long)h);
}

bool store_is_source_name(const char *name)
{
	return strlen(name) == 16 && strspn(name, "0123456789abcdef") == 16;
}

/* ---- the path file ------------------------------------------------------------------------------------- */

int store_read_path(int folder, char path[STORE_PATH_SIZE])
{
	autoclose int fd = openat(folder, "source", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return errno == ELOOP || errno == ENXIO ? -ENOENT : -errno;
	n = read(fd, path, STORE_PATH_SIZE);
	if (n < 0)
		return errno == EISDIR ? -ENOENT : -errno;
	if (n < 2 || path[0] != '/' || path[n - 1] != '\n' || memchr(path, '\0', (size_t)n))
		return -ENOENT;
	path[n - 1] = '\0';
	return 0;
}

/* Renames TMP to its final name unless another process was faster: -EEXIST. */
static int name_path_file(int folder, const char *tmp)
{
	char other[STORE_PATH_SIZE];

	if (renameat2(folder, tmp, folder, "source", RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EEXIST && errno != EINVAL)
		return -errno;
	/* A partial file may be replaced; EINVAL: the file system does not support such a rename. */
	if (store_read_path(folder, other) != -ENOENT)
		return -EEXIST;
	return renameat(folder, tmp, folder, "source") ? -errno : 0;
}

/* Makes FOLDER the one of SOURCE. 0; -EEXIST: somebody has claimed it meanwhile. */
static int write_path(int folder, const char *source)
{
	autofree char *line = NULL;
	char tmp[STORE_NAME_SIZE];
	int n = asprintf(&line, "%s\n", source);
	int rc;

	if (n < 0) {
		line = NULL;
		return -ENOMEM;
	}
	if (n > STORE_PATH_SIZE)
		return -ENAMETOOLONG;
	autoclose int fd = store_make_file(folder, ".source-", tmp);
	if (fd < 0)
		return fd;
	rc = store_write(fd, line, (size_t)n);
	if (!rc)
		rc = name_path_file(folder, tmp);
	if (rc)
		unlinkat(folder, tmp, 0);
	return rc;
}

/* ---- folders ------------------------------------------------------------------------------------------- */

/*
 * Opens the folder that says it is SOURCE's. -ENOENT: none does; then *CLAIM is the first hash that is free,
 * HASHES if none is, and *OLD (-1: none) the folder of an older program, owned by the caller.
 */
static int find_folder(int dir, const char *source, unsigned *claim, int *old)
{
	*claim = HASHES;
	*old = -1;
	for (unsigned i = 0; i < HASHES; i++) {
		char name[24], path[STORE_PATH_SIZE];
		int rc;

		folder_name(source, i, name);
		autoclose int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0 && (errno == ENOTDIR || errno == ELOOP))
			continue;
		if (fd < 0 && errno != ENOENT)
			return -errno;
		rc = fd < 0 ? -ENOENT : store_read_path(fd, path);
		if (rc == 0 && strcmp(path, source) == 0)
			return steal_fd(&fd);
		if (rc == -ENOENT && *claim == HASHES)
			*claim = i;
		if (rc == -ENOENT && i == 0)
			*old = steal_fd(&fd);
		if (rc && rc != -ENOENT)
			return rc;
	}
	return -ENOENT;
}

/* Whether FOLDER still has a name under which SOURCE is looked for: forgetting a source renames its folder
 * first. */
static bool has_name(int dir, const char *source, int folder)
{
	for (unsigned i = 0; i < HASHES; i++) {
		char name[24];

		folder_name(source, i, name);
		if (store_is(dir, name, folder))
			return true;
	}
	return false;
}

/* Takes a shared lock on FOLDER, whose path file has just named SOURCE. -EEXIST: somebody has forgotten it
 * meanwhile. */
static int share_folder(int dir, int folder, const char *source)
{
	char path[STORE_PATH_SIZE];
	int rc = store_share(folder);

	if (!rc)
		rc = store_read_path(folder, path);
	if (rc)
		return rc == -ENOENT ? -EEXIST : rc;
	return strcmp(path, source) == 0 && has_name(dir, source, folder) ? 0 : -EEXIST;
}

/* Makes the folder of hash number CLAIM SOURCE's. -EEXIST: somebody else was faster, even if only to forget
 * it. */
static int claim_folder(int dir, const char *source, unsigned claim)
{
	char name[24];
	int rc;

	folder_name(source, claim, name);
	if (mkdirat(dir, name, 0700) && errno != EEXIST)
		return -errno;
	autoclose int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	rc = fd < 0 ? -errno : store_share(fd);
	if (!rc && !store_is(dir, name, fd))
		rc = -EEXIST;
	if (!rc)
		rc = write_path(fd, source);
	if (rc)
		return rc == -ENOENT ? -EEXIST : rc;
	return steal_fd(&fd);
}

/* As find_folder(), but claims a folder if there is none; its lock is shared with others that write to it. */
static int make_folder(int dir, const char *source)
{
	for (int i = 0; i < ATTEMPTS; i++) {
		autoclose int old = -1;
		unsigned claim;
		autoclose int fd = find_folder(dir, source, &claim, &old);
		int rc = fd < 0 ? fd : share_folder(dir, fd, source);

		if (rc == -ENOENT) {
			fd = claim == HASHES ? -EBUSY : claim_folder(dir, source, claim);
			rc = fd < 0 ? fd : 0;
		}
		if (rc != -EEXIST)
			return rc ? rc : steal_fd(&fd);
	}
	return -EBUSY;
}

int store_open_source(struct store *s, const char *source, bool make, struct snap_err *err)
{
	autoclose int dir = store_open(s, make, err);
	autoclose int old = -1;
	unsigned claim;
	int fd;

	if (dir < 0)
		return dir;
	fd = make ? make_folder(dir, source) : find_folder(dir, source, &claim, &old);
	if (fd == -ENOENT && old >= 0)
		return steal_fd(&old);
	if (make && fd < 0)
		return store_failed(s, fd, err, "cannot write to");
	return fd;
}

int store_sync_source(struct store *s, int folder, struct snap_err *err)
{
	autoclose int dir = store_open(s, false, err);
	autoclose int path = openat(folder, "source", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	int rc = dir < 0 ? dir : path < 0 || fsync(path) ? -errno : 0;

	if (!rc)
		rc = store_sync_folder(folder);
	if (!rc)
		rc = store_sync_folder(dir);
	return rc ? store_failed(s, rc, err, "cannot write to") : 0;
}

bool store_is_source(struct store *s, const char *source, int folder)
{
	autoclose int dir = store_open(s, false, NULL);

	return dir >= 0 && has_name(dir, source, folder);
}

bool store_knows(struct store *s, const char *source)
{
	char path[STORE_PATH_SIZE];
	autoclose int fd = store_open_source(s, source, false, NULL);

	/* The folder of an older program does not say whose it is. */
	return fd >= 0 && store_read_path(fd, path) == 0;
}

struct each {
	int (*fn)(void *arg, int folder, const char *source);
	void *arg;
};

static int visit(void *arg, int dir, const char *name)
{
	const struct each *each = arg;
	char path[STORE_PATH_SIZE];
	int rc;

	if (!store_is_source_name(name))
		return 0;
	autoclose int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR || errno == ELOOP || errno == EACCES ? 0 : -errno;
	rc = store_read_path(fd, path);
	return opath_transient(rc) ? rc : each->fn(each->arg, fd, rc ? NULL : path);
}

int store_each(struct store *s, int (*fn)(void *arg, int folder, const char *source), void *arg)
{
	autoclose int dir = store_open(s, false, NULL);
	struct each each = {.fn = fn, .arg = arg};

	if (dir < 0)
		return dir == -ENOENT ? 0 : dir;
	return store_each_name(dir, visit, &each);
}

/* ---- what was shown, and to whom ----------------------------------------------------------------------- */

/* Reads the file NAME of SOURCE, which has SIZE bytes; -ENOENT: it is not there, or not whole. */
static int load(struct store *s, const char *source, const char *name, void *bytes, size_t size)
{
	autoclose int folder = store_open_source(s, source, false, NULL);

	if (folder < 0)
		return folder;
	autoclose int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return read(fd, bytes, size) == (ssize_t)size ? 0 : -ENOENT;
}

/* Whether the byte is a valid bool. */
static bool is_bool(const bool *at)
{
	unsigned char byte;

	memcpy(&byte, at, sizeof(byte));
	return byte <= 1;
}

int store_load_seen(struct store *s, const char *source, struct store_seen *out)
{
	struct seen_file file;
	int rc = load(s, source, "seen", &file, sizeof(file));

	if (rc)
		return rc;
	if (memcmp(file.magic, SEEN_MAGIC, sizeof(file.magic)) != 0 ||
	    !is_bool(&file.seen.version.has_header) || !is_bool(&file.seen.version.has_counters))
		return -ENOENT;
	*out = file.seen;
	out->version.incarnation = 0; /* another process's numbers */
	return 0;
}

/* Writes the file NAME of SOURCE, whole. */
static int save(struct store *s, const char *source, const char *name, const void *bytes, size_t size)
{
	char tmp[STORE_NAME_SIZE], prefix[16];
	int rc;

	autoclose int folder = store_open_source(s, source, true, NULL);
	if (folder < 0)
		return folder;
	snprintf(prefix, sizeof(prefix), ".%s-", name);
	autoclose int fd = store_make_file(folder, prefix, tmp);
	rc = fd < 0 ? fd : store_write(fd, bytes, size);
	if (!rc && renameat(folder, tmp, folder, name))
		rc = -errno;
	if (rc && fd >= 0)
		unlinkat(folder, tmp, 0);
	return rc;
}

int store_save_seen(struct store *s, const char *source, const struct store_seen *seen)
{
	struct seen_file file;

	memset(&file, 0, sizeof(file)); /* padding included: it goes to disk */
	memcpy(file.magic, SEEN_MAGIC, sizeof(file.magic));
	file.seen = *seen;
	return save(s, source, "seen", &file, sizeof(file));
}

int store_load_opened(struct store *s, const char *source, struct snap_opened *out)
{
	struct opened_file file;
	int rc = load(s, source, "opened", &file, sizeof(file));

	if (rc)
		return rc;
	if (memcmp(file.magic, OPENED_MAGIC, sizeof(file.magic)) != 0 || file.opened.time_ns < 0)
		return -ENOENT; /* nobody opened it before 1970: how long ago that is would not fit */
	*out = file.opened;
	out->who.command[sizeof(out->who.command) - 1] = '\0';
	out->snapshot[sizeof(out->snapshot) - 1] = '\0';
	return 0;
}

int store_save_opened(struct store *s, const char *source, const struct snap_opened *opened)
{
	struct opened_file file;

	memset(&file, 0, sizeof(file));
	memcpy(file.magic, OPENED_MAGIC, sizeof(file.magic));
	file.opened = *opened;
	return save(s, source, "opened", &file, sizeof(file));
}
