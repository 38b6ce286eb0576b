/* SPDX-License-Identifier: MIT */
/*
 * keep_group.c - see keep.h: snapshots of several databases, which are kept all together or not at all.
 *
 * STORE/groups/<16 hex digits> holds the absolute path of each source, one a line, and then a line "end". In
 * a path a newline is written \n and a backslash \\. What counts is whether the file exists, not its content,
 * which serves to end the group.
 *
 * Until it has its name it is called .group-<16 hex digits>: what a killed daemon has left in this state was
 * to be kept. Once the group is ended it is called .ended-<16 hex digits>, until the last member is gone. If
 * none of the three exists, somebody else has removed it: the members are not shown, but they are not ours to
 * remove.
 *
 * What must stay true: the file gets its name after every member has its own and is on the disk, while all of
 * them are locked, and loses it before any member is touched; it has none of the three names only when no
 * member has a name. A full disk is no reason to keep a snapshot: if the file cannot be renamed when the
 * group is ended it is unlinked, and a sync that fails then is ignored. What cannot be read or parsed at the
 * moment is left alone: no failure makes a snapshot pass for a leftover.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "keep_private.h"
#include "store_private.h"

#define FOLDER "groups"
#define PENDING ".group-" /* what its name begins with before it gets its own */
#define ENDED ".ended-"	  /* and after it has lost that */
#define MARKED_SIZE (sizeof(PENDING) - 1 + KEEP_GROUP_SIZE) /* of either */
#define ATTEMPTS 8
#define FILE_MAX (64u << 20) /* bytes */

int keep_group_name(char group[KEEP_GROUP_SIZE])
{
	char name[STORE_NAME_SIZE];

	if (store_random_name(name, ""))
		return -EIO;
	snprintf(group, KEEP_GROUP_SIZE, "%.16s", name);
	return 0;
}

/* Whether the file of GROUP is there under the name that begins with PREFIX. */
static int has_file(int kept, const char *prefix, const char *group)
{
	char path[64];

	snprintf(path, sizeof(path), "../../" FOLDER "/%s%s", prefix, group);
	if (faccessat(kept, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return 1;
	return errno == ENOENT ? 0 : -errno;
}

int keep_group_is(int kept, const char *group)
{
	return has_file(kept, "", group);
}

int keep_group_is_unsettled(int kept, const char *group)
{
	int pends = has_file(kept, PENDING, group);

	return pends ? pends : has_file(kept, ENDED, group);
}

/* ---- beginning ----------------------------------------------------------------------------------------- */

static int write_member(int fd, const char *path)
{
	autofree char *line = malloc(2 * strlen(path) + 1);
	size_t n = 0;

	if (!line)
		return -ENOMEM;
	for (const char *p = path; *p; p++) {
		if (*p == '\n' || *p == '\\')
			line[n++] = '\\';
		if (*p == '\n')
			line[n++] = 'n';
		else
			line[n++] = *p;
	}
	line[n++] = '\n';
	return store_write(fd, line, n);
}

static int write_members(int fd, struct keep *const *keeps, size_t count)
{
	int rc = 0;

	for (size_t i = 0; i < count && !rc; i++)
		rc = write_member(fd, keeps[i]->path);
	rc = rc ? rc : store_write(fd, "end\n", 4);
	return rc ? rc : fsync(fd) ? -errno : 0;
}

static int open_folder(int dir)
{
	int fd = openat(dir, FOLDER, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* Writes the group's file under the name PENDING. Returns a descriptor whose lock says that somebody is
 * working on it. */
static int write_group(int folder, struct keep *const *keeps, size_t count, const char *pending)
{
	autoclose int fd = -EAGAIN;
	int rc;

	for (int i = 0; i < ATTEMPTS && fd == -EAGAIN; i++)
		fd = store_make_named(folder, pending);
	if (fd < 0)
		return fd;
	rc = write_members(fd, keeps, count);
	rc = rc ? rc : store_sync_folder(folder);
	if (rc)
		unlinkat(folder, pending, 0);
	return rc ? rc : steal_fd(&fd);
}

static int name_group(int folder, const char *pending, const char *group)
{
	int rc = renameat(folder, pending, folder, group) ? -errno : store_sync_folder(folder);

	if (rc)
		(void)renameat(folder, group, folder, pending);
	return rc;
}

static int give_names(struct keep *const *keeps, size_t count, struct snap_err *err)
{
	int rc = 0;

	for (size_t i = 0; i < count && !rc; i++)
		rc = keep_give_name(keeps[i], err);
	return rc;
}

static int publish_group(struct keep *const *keeps, size_t count, const char *group, struct snap_err *err)
{
	autoclose int dir = store_open(keeps[0]->store, false, err);
	autoclose int folder = -1, fd = -1;
	char pending[MARKED_SIZE];
	int rc = dir < 0 ? dir : 0;

	if (rc)
		return keep_failed(keeps[0], rc, err);
	snprintf(pending, sizeof(pending), PENDING "%s", group);
	if (mkdirat(dir, FOLDER, 0700) && errno != EEXIST)
		return keep_failed(keeps[0], -errno, err);
	folder = open_folder(dir);
	rc = folder < 0 ? folder : store_sync_folder(dir);
	if (!rc)
		fd = write_group(folder, keeps, count, pending);
	if (rc || fd < 0)
		return keep_failed(keeps[0], rc ? rc : fd, err);
	rc = give_names(keeps, count, err);
	if (!rc) {
		rc = name_group(folder, pending, group);
		if (rc)
			keep_failed(keeps[0], rc, err);
	}
	if (rc) {
		for (size_t i = 0; i < count; i++)
			keep_take_name_back(keeps[i]);
		unlinkat(folder, pending, 0);
	}
	return rc;
}

int keep_publish(struct keep *const *keeps, size_t count, const char *group, struct snap_err *err)
{
	int rc = group ? publish_group(keeps, count, group, err) : give_names(keeps, count, err);

	for (size_t i = 0; i < count && !rc; i++)
		keep_settle(keeps[i]);
	return rc;
}

/* ---- ending -------------------------------------------------------------------------------------------- */

/* Unescapes the path in LINE, in place. */
static void unescape(char *line)
{
	char *to = line;

	for (const char *p = line; *p; p++) {
		bool escaped = p[0] == '\\' && (p[1] == 'n' || p[1] == '\\');

		p += escaped;
		if (escaped && *p == 'n')
			*to++ = '\n';
		else
			*to++ = *p;
	}
	*to = '\0';
}

/* Calls FN with each source of the group until it answers something other than 0, which is returned. -EINVAL:
 * the file is not in our format. */
static int each_member(int groups, const char *group, int (*fn)(void *arg, const char *source), void *arg)
{
	autoclose int fd = openat(groups, group, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	autofree char *text = NULL;
	bool ended = false;
	struct stat st;
	ssize_t n;
	int rc = 0;

	if (fd < 0 || fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size > FILE_MAX)
		return -EINVAL;
	text = malloc((size_t)st.st_size + 1);
	if (!text)
		return -ENOMEM;
	n = read(fd, text, (size_t)st.st_size);
	if (n < 0)
		return -errno;
	text[n] = '\0';
	for (char *line = text, *end; !rc && !ended && (end = strchr(line, '\n')) != NULL; line = end + 1) {
		*end = '\0';
		ended = strcmp(line, "end") == 0;
		if (!ended && line[0] != '/')
			return -EINVAL;
		unescape(line);
		rc = ended ? 0 : fn(arg, line);
	}
	return rc || ended ? rc : -EINVAL;
}

static int open_groups(struct store *store)
{
	autoclose int dir = store_open(store, false, NULL);

	return dir < 0 ? dir : open_folder(dir);
}

struct owner {
	bool (*is_ours)(void *arg, const char *source);
	void *arg;
};

static int is_foreign(void *arg, const char *source)
{
	const struct owner *owner = arg;

	return !owner->is_ours(owner->arg, source);
}

/* The record of SOURCE's snapshot NAME, whether it counts or not. */
static int find_record(struct store *store, const char *source, const char *name, struct keep_record *out)
{
	autoclose int folder = store_open_source(store, source, false, NULL);
	autoclose int kept = folder < 0 ? folder : keep_open_kept(folder, false);
	autoclose int fd =
		kept < 0 ? kept : openat(kept, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (kept < 0)
		return kept;
	return fd < 0 ? -errno : keep_read_record(fd, out);
}

int keep_group_end(struct store *store, const char *source, const char *name,
		   bool (*is_ours)(void *arg, const char *source), void *arg, char ended[KEEP_GROUP_SIZE],
		   struct snap_err *err)
{
	struct owner owner = {is_ours, arg};
	struct keep_record record;
	char marked[MARKED_SIZE];
	autoclose int groups = -1;
	int rc;

	ended[0] = '\0';
	if (!keep_name_valid(name) || find_record(store, source, name, &record) || !record.group[0])
		return 0;
	groups = open_groups(store);
	if (groups < 0)
		return 0;
	rc = each_member(groups, record.group, is_foreign, &owner);
	if (rc == 1 || rc == -ENOENT || rc == -EINVAL)
		return 0;
	snprintf(marked, sizeof(marked), ENDED "%s", record.group);
	/* If there is no space for the other name, the file must go all the same. */
	if (!rc && renameat(groups, record.group, groups, marked) && errno != ENOENT &&
	    unlinkat(groups, record.group, 0) && errno != ENOENT)
		rc = -errno;
	if (!rc)
		snprintf(ended, KEEP_GROUP_SIZE, "%s", record.group);
	/* A snapshot must be removable even if this cannot be synced: a full disk may be the reason for
	 * both. */
	store_sync_folder(groups);
	return rc ? err_set(err, rc, "cannot drop the kept snapshot \"%s\": %s", name, strerror(-rc)) : 0;
}

/* ---- leftovers ----------------------------------------------------------------------------------------- */

/* Whether the snapshot of RECORD belongs to no group, or to one that is complete, or may be. */
static bool counts(int kept, const struct keep_record *record)
{
	return !record->group[0] || keep_group_is(kept, record->group) != 0;
}

bool keep_free_name(int kept, const char *name, bool *was_reserved)
{
	autoclose int folder = openat(kept, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct keep_record record;
	bool removed, pends;

	if (was_reserved)
		*was_reserved = false;
	if (folder < 0)
		return errno == ENOENT;
	/* A snapshot that counts is not locked even for a moment: a process dropping it then would find it
	 * busy. */
	if (keep_read_record(folder, &record) == 0 && counts(kept, &record))
		return false;
	if (store_lock(folder) || !store_is(kept, name, folder))
		return false;
	removed = unlinkat(kept, name, AT_REMOVEDIR) == 0;
	if (was_reserved)
		*was_reserved = removed;
	if (removed)
		return true;
	if (keep_read_record(folder, &record) || counts(kept, &record))
		return false;
	/* The file of a group that was to be kept never got its name; that of an ended group has lost it. */
	if (keep_group_is_unsettled(kept, record.group) <= 0)
		return false;
	pends = has_file(kept, PENDING, record.group) > 0;
	removed = keep_drop_locked(kept, name, folder) == 0;
	if (was_reserved)
		*was_reserved = removed && pends;
	return removed;
}

struct search {
	struct store *store;
	const char *group;
};

/* Whether NAME belongs to the group, or may belong to it: 1. */
static int may_be_member(void *arg, int kept, const char *name)
{
	const struct search *search = arg;
	autoclose int folder = openat(kept, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct keep_record record;
	int rc;

	if (!keep_name_valid(name))
		return 0;
	rc = folder < 0 ? -errno : keep_read_record(folder, &record);
	/* NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): read when rc is 0 */
	return rc ? rc != -ENOENT && rc != -ENOTDIR : strcmp(record.group, search->group) == 0;
}

/* Nonzero if SOURCE still has a member of the group, or may have one. */
static int has_member(void *arg, const char *source)
{
	struct search *search = arg;
	autoclose int folder = store_open_source(search->store, source, false, NULL);
	autoclose int kept = folder < 0 ? folder : keep_open_kept(folder, false);

	if (kept < 0)
		return kept == -ENOENT ? 0 : kept;
	return store_each_name(kept, may_be_member, search);
}

static int clean_group(void *arg, int groups, const char *name)
{
	bool pends = strncmp(name, PENDING, strlen(PENDING)) == 0;
	bool marked = pends || strncmp(name, ENDED, strlen(ENDED)) == 0;
	struct search search = {.store = arg, .group = marked ? name + strlen(PENDING) : name};
	int rc;

	if (name[0] == '.' && !marked)
		return 0;
	rc = each_member(groups, name, has_member, &search);
	if (pends && (rc == 0 || rc == -EINVAL)) /* members get their names only once the file is complete */
		store_remove_stale(groups, name);
	else if (rc == 0)
		unlinkat(groups, name, 0);
	return 0;
}

void keep_group_over(struct store *store, const char *ended)
{
	autoclose int groups = open_groups(store);
	char marked[MARKED_SIZE];

	snprintf(marked, sizeof(marked), ENDED "%s", ended);
	if (groups >= 0)
		clean_group(store, groups, marked);
}

int keep_clean_groups(struct store *store)
{
	autoclose int groups = open_groups(store);

	if (groups < 0)
		return groups == -ENOENT ? 0 : groups;
	return store_each_name(groups, clean_group, store);
}
