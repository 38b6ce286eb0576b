/* SPDX-License-Identifier: MIT */
/*
 * store_forget.c - see store.h: sources that are gone. Otherwise an application that makes short-lived
 * databases would fill the store with their folders permanently.
 *
 * What must stay true: a folder is touched only by a process that holds flock(2) on it exclusively, while it
 * has its name, and so while nobody is writing to it; it is renamed, with everything in it, before the first
 * of its files is removed; a kept snapshot, also one that is being written or removed, preserves it.
 */
#include "store_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"

#define MARK "gone"
#define DAY_NS (86400 * NS_PER_S)
#define MONTH_NS (30 * DAY_NS)

struct forgetting {
	int (*is_gone)(void *arg, const char *source);
	void *arg;
	int64_t now_ns;
};

/* When NAME in FOLDER was written; INT64_MIN: it is not there. */
static int64_t written_ns(int folder, const char *name)
{
	struct stat st;

	return fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) ? INT64_MIN : timespec_ns(st.st_mtim);
}

static int64_t later(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* Whether the source has been gone for long enough at NOW. */
static bool is_due(int folder, int64_t now)
{
	int64_t since = later(written_ns(folder, MARK),
			      later(written_ns(folder, "seen"), written_ns(folder, "opened")));
	int64_t known, gone;

	if (__builtin_sub_overflow(now, since, &gone))
		return false;
	if (__builtin_sub_overflow(since, written_ns(folder, "source"), &known) || known < 0)
		known = MONTH_NS; /* somebody has changed the clock, or copied the store */
	return gone >= DAY_NS && (gone >= known || gone >= MONTH_NS);
}

/* 0; -EEXIST: it was marked before; -errno */
static int mark(int folder)
{
	autoclose int fd = openat(folder, MARK, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0600);

	return fd < 0 ? -errno : 0;
}

/* Removes the folder NAME, which is locked, unless something is kept in it. */
static void forget(int dir, const char *name, int folder)
{
	char leaving[STORE_NAME_SIZE];

	if (unlinkat(folder, "kept", AT_REMOVEDIR) && errno != ENOENT)
		return;
	if (store_random_name(leaving, ".work-") || renameat(dir, name, dir, leaving))
		return;
	store_remove(dir, leaving, folder);
}

static int visit(void *arg, int dir, const char *name)
{
	const struct forgetting *f = arg;
	char path[STORE_PATH_SIZE];
	int gone;

	if (!store_is_source_name(name))
		return 0;
	autoclose int folder = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (folder < 0 || store_read_path(folder, path))
		return 0; /* nobody's, or that cannot be told now */
	gone = f->is_gone(f->arg, path);
	if (gone < 0)
		return gone == -ECANCELED ? gone : 0;
	if (!gone && written_ns(folder, MARK) == INT64_MIN)
		return 0;
	/* Whatever has been written since that answer counts: is_due() comes after the lock. */
	if (store_lock(folder) || !store_is(dir, name, folder))
		return 0;
	if (!gone) {
		unlinkat(folder, MARK, 0);
		return 0;
	}
	if (mark(folder) == -EEXIST && is_due(folder, f->now_ns))
		forget(dir, name, folder);
	return 0;
}

int store_forget(struct store *s, int (*is_gone)(void *arg, const char *source), void *arg, int64_t now_ns)
{
	autoclose int dir = store_open(s, false, NULL);
	struct forgetting f = {.is_gone = is_gone, .arg = arg, .now_ns = now_ns};
	int rc;

	if (dir < 0)
		return dir == -ENOENT ? 0 : dir;
	rc = store_each_name(dir, visit, &f);
	return rc == -ECANCELED ? 0 : rc;
}
