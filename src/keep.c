/* SPDX-License-Identifier: MIT */
/*
 * keep.c - see keep.h: making a kept snapshot. keep_read.c finds kept snapshots, keep_tidy.c removes them,
 * keep_meta.c has the format of meta.
 *
 * What must stay true: nothing but the empty folder that reserves a name is called without a leading dot
 * before all of it is on the disk, including the folders on its path; after a failed keep_commit() there is
 * no such name.
 */
#include "keep.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "keep_private.h"
#include "store_private.h"

#define ATTEMPTS 8
#define NUMBERS 1000 /* per name */

/* ---- names --------------------------------------------------------------------------------------------- */

bool keep_name_valid(const char *name)
{
	return name[0] && name[0] != '.' && !strchr(name, '/') && strlen(name) <= KEEP_NAME_MAX;
}

#define PARTIAL_SUFFIX ".partial"

int keep_partial_name(char out[NAME_MAX + 1], const char *name)
{
	char random[STORE_NAME_SIZE];

	if (store_random_name(random, "-"))
		return -EIO;
	snprintf(out, NAME_MAX + 1, ".%.*s%s%s", KEEP_NAME_MAX + 15, name, random, PARTIAL_SUFFIX);
	return 0;
}

bool keep_is_partial(const char *name)
{
	size_t len = strlen(name), end = strlen(PARTIAL_SUFFIX);

	return name[0] == '.' && len > end && strcmp(name + len - end, PARTIAL_SUFFIX) == 0;
}

int keep_open_kept(int source_folder, bool make)
{
	int fd;

	if (make && mkdirat(source_folder, "kept", 0700) && errno != EEXIST)
		return -errno;
	fd = openat(source_folder, "kept", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* ---- beginning ----------------------------------------------------------------------------------------- */

int keep_failed(const struct keep *k, int rc, struct snap_err *err)
{
	char what[KEEP_NAME_MAX + 48];

	snprintf(what, sizeof(what), "cannot keep \"%s\" in", k->name);
	return store_failed(k->store, rc, err, what);
}

static int make_file(struct keep *k, enum keep_part part)
{
	int fd =
		openat(k->folder, keep_files[part], O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return -errno;
	k->files[part] = fd;
	return fd;
}

static int make_partial(struct keep *k)
{
	int rc = -EAGAIN;

	for (int i = 0; i < ATTEMPTS && (rc == -EEXIST || rc == -EAGAIN); i++) {
		rc = keep_partial_name(k->partial, k->name);
		if (!rc)
			rc = store_make_locked(k->kept, k->partial);
	}
	if (rc < 0)
		return rc;
	k->folder = rc;
	rc = make_file(k, KEEP_DB);
	return rc < 0 ? rc : 0;
}

int keep_begin(struct keep **out, struct store *store, const char *source, const char *name,
	       struct snap_err *err)
{
	struct keep *k;
	int rc = 0;

	if (!keep_name_valid(name))
		return err_set(err, -EINVAL, "\"%s\" cannot be the name of a kept snapshot", name);
	k = malloc(sizeof(*k));
	if (!k)
		return err_set(err, -ENOMEM, "out of memory");
	*k = (struct keep){.store = store,
			   .path = strdup(source),
			   .source = -1,
			   .kept = -1,
			   .folder = -1,
			   .reserved = -1,
			   .files = {-1, -1, -1}};
	snprintf(k->name, sizeof(k->name), "%s", name);
	k->source = k->path ? store_open_source(store, source, true, err)
			    : err_set(err, -ENOMEM, "out of memory");
	if (k->source < 0) {
		rc = k->source;
	} else {
		k->kept = keep_open_kept(k->source, true);
		rc = k->kept < 0 ? k->kept : make_partial(k);
		if (rc)
			keep_failed(k, rc, err);
	}
	if (rc)
		keep_destroy(k);
	else
		*out = k;
	return rc;
}

int keep_fd(const struct keep *k)
{
	return k->files[KEEP_DB];
}

int keep_add_file(struct keep *k, const char *suffix)
{
	int part = keep_part(suffix);

	if (part <= KEEP_DB)
		return -EINVAL;
	return k->files[part] >= 0 ? k->files[part] : make_file(k, (enum keep_part)part);
}

int keep_reserve(struct keep *k, struct snap_err *err)
{
	int fd = -EAGAIN;

	k->insists = true;
	for (int i = 0; i < ATTEMPTS && (fd == -EAGAIN || fd == -EEXIST); i++) {
		fd = store_make_locked(k->kept, k->name);
		if (fd == -EEXIST && !keep_free_name(k->kept, k->name, NULL))
			break;
	}
	if (fd < 0)
		return keep_failed(k, fd, err);
	k->reserved = fd;
	return 0;
}

const char *keep_name(const struct keep *k)
{
	return k->name;
}

int keep_retitle(struct keep *k, const char *name)
{
	if (!keep_name_valid(name))
		return -EINVAL;
	snprintf(k->name, sizeof(k->name), "%s", name);
	return 0;
}

void keep_number_after(struct keep *k, const char *last)
{
	k->after = last;
}

/* ---- ending -------------------------------------------------------------------------------------------- */

static int write_meta(struct keep *k, const struct keep_meta *meta, const char *group)
{
	struct keep_record record = {.meta = *meta};
	char text[KEEP_RECORD_SIZE];
	struct stat st;
	int rc;

	snprintf(record.group, sizeof(record.group), "%s", group ? group : "");
	for (int part = 0; part < KEEP_PARTS; part++) {
		if (k->files[part] < 0)
			continue;
		if (fstat(k->files[part], &st))
			return -errno;
		record.has[part] = true;
		record.sizes[part] = (uint64_t)st.st_size;
	}
	size_t size = keep_record_format(&record, text);
	autoclose int fd =
		openat(k->folder, "meta", O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	rc = store_write(fd, text, size);
	return rc ? rc : fsync(fd) ? -errno : 0;
}

/* Syncs everything but the name. */
static int sync_content(struct keep *k)
{
	for (int part = 0; part < KEEP_PARTS; part++)
		if (k->files[part] >= 0 && fsync(k->files[part]))
			return -errno;
	return store_sync_folder(k->folder);
}

/* The number of NAME among the names made from ASKED (1: ASKED itself); 0: it is none of them. */
static int number_of(const char *asked, const char *name)
{
	size_t length = strlen(asked);
	const char *behind;
	long number = 1;
	char *end;

	if (strncmp(name, asked, length) != 0)
		return 0;
	behind = name + length;
	if (*behind) {
		if (behind[0] != '-' || behind[1] < '1' || behind[1] > '9')
			return 0;
		number = strtol(behind + 1, &end, 10);
		if (*end)
			return 0;
	}
	return number < NUMBERS ? (int)number : 0;
}

struct numbers {
	const char *asked;
	int highest;
};

static int note_number(void *arg, int kept, const char *name)
{
	struct numbers *numbers = arg;
	int number = number_of(numbers->asked, name);

	(void)kept;
	if (number > numbers->highest)
		numbers->highest = number;
	return 0;
}

/* The highest number already used, also by what was dropped since: the log still names it. */
static int used_number(const struct keep *k, const char *asked)
{
	struct numbers numbers = {.asked = asked};
	int rc;

	if (!k->after)
		return 0;
	numbers.highest = number_of(asked, k->after);
	rc = store_each_name(k->kept, note_number, &numbers);
	return rc ? rc : numbers.highest;
}

/* Gives the folder its name, or the next free one, which goes to k->name. The rename never replaces a folder
 * that is not empty. */
static int give_name(struct keep *k)
{
	char asked[KEEP_NAME_MAX + 1];
	int used;

	snprintf(asked, sizeof(asked), "%.*s", KEEP_NAME_MAX, k->name);
	used = used_number(k, asked);
	if (used < 0)
		return used;
	for (int i = used + 1; i <= NUMBERS; i++) {
		if (i > 1)
			snprintf(k->name, sizeof(k->name), "%s-%d", asked, i);
		if (!keep_name_valid(k->name))
			break;
		if (renameat(k->kept, k->partial, k->kept, k->name) == 0)
			return 0;
		if (errno != ENOTEMPTY && errno != EEXIST && errno != ENOTDIR)
			return -errno;
		if (k->insists)
			break;
	}
	snprintf(k->name, sizeof(k->name), "%s", asked);
	return -EEXIST;
}

int keep_seal(struct keep *k, const struct keep_meta *meta, const char *group, struct snap_err *err)
{
	int rc = write_meta(k, meta, group);

	if (!rc)
		rc = sync_content(k);
	return rc ? keep_failed(k, rc, err) : store_sync_source(k->store, k->source, err);
}

int keep_give_name(struct keep *k, struct snap_err *err)
{
	int rc;

	if (!store_is_source(k->store, k->path, k->source))
		return err_set(err, -EBUSY,
			       "cannot keep \"%s\": the store %s was moved or replaced meanwhile", k->name,
			       store_dir(k->store));
	rc = give_name(k);
	if (rc)
		return keep_failed(k, rc, err);
	k->named = true;
	rc = store_sync_folder(k->kept);
	return rc ? keep_failed(k, rc, err) : 0;
}

void keep_settle(struct keep *k)
{
	k->committed = true;
	flock(k->folder, LOCK_UN);
}

int keep_commit(struct keep *k, const struct keep_meta *meta, struct snap_err *err)
{
	int rc = keep_seal(k, meta, NULL, err);

	return rc ? rc : keep_publish(&k, 1, NULL, err);
}

void keep_take_name_back(struct keep *k)
{
	if (k->named)
		(void)renameat(k->kept, k->name, k->kept, k->partial); /* or the name stays, empty */
}

/* Takes the name back, and removes all of it. */
static void remove_unfinished(struct keep *k)
{
	keep_take_name_back(k);
	if (k->folder >= 0)
		store_remove(k->kept, k->partial, k->folder);
	if (k->reserved >= 0 && !k->named && !k->leaves_name)
		unlinkat(k->kept, k->name, AT_REMOVEDIR);
}

void keep_leave_name(struct keep *k)
{
	k->leaves_name = true;
}

void keep_destroy(struct keep *k)
{
	if (!k)
		return;
	if (!k->committed)
		remove_unfinished(k);
	for (int part = 0; part < KEEP_PARTS; part++)
		if (k->files[part] >= 0)
			close(k->files[part]);
	if (k->folder >= 0)
		close(k->folder);
	if (k->reserved >= 0)
		close(k->reserved);
	if (k->kept >= 0)
		close(k->kept);
	if (k->source >= 0)
		close(k->source);
	free(k->path);
	free(k);
}
