/* SPDX-License-Identifier: MIT */
/*
 * holders.c - see holders.h.
 *
 * What must stay true: descriptors are opened and closed through rawfd, because our own connections may hold
 * locks on these files; a process that we may not look at counts as absent. Of a process's descriptors only
 * the names are read: they may lie in our own mount, where stat(2) would wait for this very process.
 */
#include "holders.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "opath.h"
#include "place_raw.h"
#include "proclocks.h"

#define SHARED_SIZE (PROCLOCKS_SHARED_LAST - PROCLOCKS_SHARED_FIRST + 1)
#define CHECK_NS NS_PER_S
#define CHECK_POLL_NS (10 * NS_PER_MS)

/* A lock of another process. */
struct holder {
	bool any;
	bool shared;
	pid_t pid; /* 0, -1: not known */
};

/* Whether RC says nothing about the file: -EIO, or a resource that this process ran out of. */
static bool is_no_answer(int rc)
{
	return rc == -EIO || opath_transient(rc);
}

/* Finds who holds a lock on the SIZE bytes from FIRST of PLACE's file with SUFFIX. -errno: unknown. */
static int holder_of(struct core *core, const struct place *place, const char *suffix, off_t first,
		     off_t size, struct holder *out)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = first, .l_len = size};
	struct rawfd raw = RAWFD_INIT;
	int rc = place_open_raw(core->raw, place, suffix, &raw, NULL, NULL);

	*out = (struct holder){.any = false};
	if (rc)
		return is_no_answer(rc) ? rc : 0;
	if (fcntl(raw.fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK)
		*out = (struct holder){.any = true, .shared = lock.l_type == F_RDLCK, .pid = lock.l_pid};
	rawfd_close(core->raw, &raw);
	return 0;
}

static int holder_of_shm(struct core *core, const struct place *place, struct holder *out)
{
	return holder_of(core, place, "-shm", PROCLOCKS_WAL_DMS, 1, out);
}

static int holder_of_db(struct core *core, const struct place *place, struct holder *out)
{
	return holder_of(core, place, "", PROCLOCKS_SHARED_FIRST, SHARED_SIZE, out);
}

int holders_have_shm(struct core *core, const struct place *place)
{
	struct holder holder;
	int rc = holder_of_shm(core, place, &holder);

	return rc ? rc : holder.any;
}

int holders_have_db(struct core *core, const struct place *place)
{
	struct holder holder;
	int rc = holder_of_db(core, place, &holder);

	return rc ? rc : holder.any;
}

/* ---- whether they are of one database ------------------------------------------------------------------ */

static bool ends_with(const char *text, size_t size, const char *end)
{
	size_t n = strlen(end);

	return size >= n && memcmp(text + size - n, end, n) == 0;
}

/* Whether the process's descriptor FD may be of the inode number INO, which proc_pid_fdinfo(5) does not tell
 * before Linux 5.14. */
static bool may_be_inode(pid_t pid, const char *fd, uint64_t ino)
{
	char path[64], line[128];
	bool may_be = true;
	FILE *info;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%.20s", (int)pid, fd);
	info = fopen(path, "re");
	while (info && fgets(line, sizeof(line), info)) {
		if (strncmp(line, "ino:", 4) == 0)
			may_be = strtoull(line + 4, NULL, 10) == ino;
	}
	if (info)
		fclose(info);
	return may_be;
}

/* Whether the process has no file NAME + SUFFIX open, in any folder, with the inode number INO (0: any). A
 * file that was removed while open has another name, see proc_pid_fd(5). -errno: unknown. */
static int lacks(pid_t pid, const char *name, const char *suffix, uint64_t ino)
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
		else if (size > 0 && ends_with(text, (size_t)size, end) &&
			 (!ino || may_be_inode(pid, e->d_name, ino)))
			rc = 0;
	}
	closedir(dir);
	return rc;
}

/* Whether the process that holds the lock DB on the database does not have the -shm beside it open: 1, 0,
 * -errno. HELD: some process has that -shm open. If none has, a -shm of that name that the process has open
 * may be one beside another path of the database. */
static int lacks_shm(struct core *core, const struct place *place, const struct holder *db, bool held)
{
	struct stat st;
	int rc;

	/* A process that writes in rollback-journal mode, closes, or has exclusive access needs no -shm. */
	if (!db->any || !db->shared || db->pid < 0)
		return 0;
	rc = place_is_wal(core->raw, place);
	if (rc <= 0)
		return rc;
	rc = place_stat(place, "-shm", &st);
	if (rc == -ENOENT || is_no_answer(rc))
		return rc == -ENOENT ? 1 : rc;
	rc = db->pid > 0 ? lacks(db->pid, place->name, "-shm", rc || held ? 0 : st.st_ino) : -ESRCH;
	return rc >= 0 || is_no_answer(rc) ? rc : 0;
}

/* *WHY stays NULL if all is well. -errno: unknown. */
static int judge(struct core *core, const struct place *place, const char **why)
{
	struct holder db, shm;
	int rc = holder_of_db(core, place, &db);

	if (!rc)
		rc = holder_of_shm(core, place, &shm);
	if (rc || (db.any && shm.any && db.pid == shm.pid))
		return rc;
	rc = lacks_shm(core, place, &db, shm.any);
	if (rc > 0)
		*why = "an application has it open with another -wal and -shm: these were removed "
		       "or replaced under it (end it first), or it was given this file alone (bind the "
		       "directory)";
	if (rc || !shm.any || shm.pid <= 0)
		return rc < 0 ? rc : 0;
	rc = lacks(shm.pid, place->name, "", 0);
	if (rc > 0)
		*why = "an application still has the database open that this one has replaced, and both "
		       "share the -shm: end that first";
	return is_no_answer(rc) ? rc : 0;
}

int holders_check(struct core *core, const struct place *place, int64_t deadline, struct snap_err *err)
{
	int64_t end = monotonic_ns() + CHECK_NS;

	for (;;) {
		const char *why = NULL;
		int rc = judge(core, place, &why);

		if (rc)
			return err_set(err, rc, "cannot tell who has it open: %s", strerror(-rc));
		if (!why)
			return 0;
		if (monotonic_ns() >= (end < deadline ? end : deadline))
			return err_set(err, -EBUSY, "%s", why);
		nanosleep(&(struct timespec){.tv_nsec = CHECK_POLL_NS}, NULL);
	}
}
