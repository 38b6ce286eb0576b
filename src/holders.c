/* SPDX-License-Identifier: MIT */
/*
 * holders.c - see holders.h.
 *
 * What must stay true: descriptors are opened and closed by rawfd, for our own connections may have locks on
 * these files; what cannot be told is nobody. Of a process's descriptors only the names are looked at: they
 * may be of our own mount, and stat(2) of them would wait for ourselves.
 */
#include "holders.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "proclocks.h"
#include "spool.h"
#include "spool_private.h"

#define SHARED_SIZE (PROCLOCKS_SHARED_LAST - PROCLOCKS_SHARED_FIRST + 1)
#define CHECK_NS NS_PER_S
#define CHECK_POLL_NS (10 * NS_PER_MS)

/* A lock of another process. */
struct holder {
	bool any;
	bool shared;
	pid_t pid; /* 0, -1: not known */
};

/* Who has a lock on the SIZE bytes of PLACE's file with SUFFIX from FIRST on. */
static struct holder holder_of(struct core *core, const struct place *place, const char *suffix, off_t first,
			       off_t size)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = first, .l_len = size};
	struct holder holder = {.any = false};
	struct rawfd raw = RAWFD_INIT;

	if (spool_open_raw(core, place, suffix, &raw, NULL, NULL))
		return holder;
	if (fcntl(raw.fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK)
		holder = (struct holder){.any = true, .shared = lock.l_type == F_RDLCK, .pid = lock.l_pid};
	rawfd_close(core->raw, &raw);
	return holder;
}

static struct holder holder_of_shm(struct core *core, const struct place *place)
{
	return holder_of(core, place, "-shm", PROCLOCKS_WAL_DMS, 1);
}

static struct holder holder_of_db(struct core *core, const struct place *place)
{
	return holder_of(core, place, "", PROCLOCKS_SHARED_FIRST, SHARED_SIZE);
}

bool holders_have_shm(struct core *core, const struct place *place)
{
	return holder_of_shm(core, place).any;
}

bool holders_have_db(struct core *core, const struct place *place)
{
	return holder_of_db(core, place).any;
}

/* ---- whether they are of one database ------------------------------------------------------------------ */

static bool ends_with(const char *text, size_t size, const char *end)
{
	size_t n = strlen(end);

	return size >= n && memcmp(text + size - n, end, n) == 0;
}

/* Whether the process has no file open of NAME + SUFFIX, wherever that stands; what it has open and was
 * removed has another name, proc_pid_fd(5). -errno: that cannot be told. */
static int lacks(pid_t pid, const char *name, const char *suffix)
{
	char path[32], end[NAME_MAX + 16], text[PATH_MAX + 32];
	int rc = 1;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	snprintf(end, sizeof(end), "/%s%s", name, suffix);
	dir = opendir(path);
	if (!dir)
		return -errno;
	for (struct dirent *e; rc == 1 && (e = readdir(dir));) {
		ssize_t size =
			e->d_name[0] == '.' ? 0 : readlinkat(dirfd(dir), e->d_name, text, sizeof(text));

		if (size < 0 && errno != ENOENT)
			rc = -errno;
		else if (size > 0 && ends_with(text, (size_t)size, end))
			rc = 0;
	}
	closedir(dir);
	return rc;
}

static bool is_missing(const struct place *place, const char *suffix)
{
	struct stat st;

	return place_stat(place, suffix, &st) == -ENOENT;
}

/* NULL: all is well. */
static const char *judge(struct core *core, const struct place *place)
{
	struct holder db = holder_of_db(core, place), shm = holder_of_shm(core, place);
	int rc;

	if (db.any && shm.any && db.pid == shm.pid)
		return NULL;
	/* Who writes in rollback-journal mode, closes, or has it exclusively needs none. */
	if (db.any && db.shared && db.pid >= 0 && spool_is_wal(core, place)) {
		rc = db.pid > 0 ? lacks(db.pid, place->name, "-shm") : -ESRCH;
		if (rc > 0 || (rc < 0 && is_missing(place, "-shm")))
			return "its -wal and -shm were removed or replaced under an application that has it "
			       "open: end that first";
	}
	if (shm.any && shm.pid > 0 && lacks(shm.pid, place->name, "") > 0)
		return "an application still has the database open that this one has replaced, and both "
		       "share the -shm: end that first";
	return NULL;
}

int holders_check(struct core *core, const struct place *place, int64_t deadline, struct snap_err *err)
{
	int64_t end = monotonic_ns() + CHECK_NS;
	const char *why;

	while ((why = judge(core, place))) {
		if (monotonic_ns() >= (end < deadline ? end : deadline))
			return err_set(err, -EBUSY, "%s", why);
		nanosleep(&(struct timespec){.tv_nsec = CHECK_POLL_NS}, NULL);
	}
	return 0;
}
