/* SPDX-License-Identifier: MIT */
/* keep_read.c - see keep.h: reading kept snapshots. Changes nothing, and accepts nothing that is
 * incomplete. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "keep_private.h"
#include "opath.h"
#include "store_private.h"

#define LIST_MAX 100000u /* entries of one source */

/* RC, or -ENOENT for those errors which say that it is not there or not in our format, rather than that this
 * process or the disk failed. */
static int not_there(int rc)
{
	return rc == -ELOOP || rc == -ENOTDIR || rc == -ENXIO || rc == -EISDIR || rc == -EINVAL ? -ENOENT
												: rc;
}

int keep_read_record(int folder, struct keep_record *out)
{
	char text[KEEP_RECORD_SIZE + 1];
	autoclose int fd = openat(folder, "meta", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text));

	return n < 0 ? -errno : keep_record_parse(out, text, (size_t)n);
}

int keep_load(int kept, const char *name, int part, struct keep_entry *entry)
{
	autoclose int folder = openat(kept, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	autoclose int found = -1;
	struct keep_record record;
	int rc = folder < 0 ? -errno : keep_read_record(folder, &record);

	*entry = (struct keep_entry){.name = NULL};
	/* NOLINTNEXTLINE(clang-analyzer-core.uninitialized.Branch): read when rc is 0 */
	if (!rc && record.group[0]) {
		int whole = keep_group_is(kept, record.group);

		rc = whole > 0 ? 0 : whole == 0 ? -ENOENT : whole;
	}
	for (int i = 0; !rc && i < KEEP_PARTS; i++) {
		autoclose int fd = -1;
		struct stat st;

		if (!record.has[i])
			continue;
		fd = openat(folder, keep_files[i], O_PATH | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0 || fstat(fd, &st))
			rc = -errno;
		else if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != record.sizes[i])
			rc = -ENOENT;
		if (!rc && i == KEEP_DB) {
			/* NOLINTNEXTLINE(clang-analyzer-core.uninitialized.Assign): read when rc is 0 */
			entry->dev = st.st_dev;
			entry->ino = st.st_ino;
		}
		if (!rc && i == part)
			found = steal_fd(&fd);
	}
	if (rc)
		return not_there(rc);
	entry->meta = record.meta;
	entry->has_wal = record.has[KEEP_WAL];
	entry->has_journal = record.has[KEEP_JOURNAL];
	if (part < 0)
		return 0;
	return found < 0 ? -ENOENT : steal_fd(&found);
}

/* ---- one ----------------------------------------------------------------------------------------------- */

static int open_kept_of(struct store *store, const char *source)
{
	autoclose int folder = store_open_source(store, source, false, NULL);

	return folder < 0 ? folder : keep_open_kept(folder, false);
}

static int load(struct store *store, const char *source, const char *name, int part, struct keep_entry *entry)
{
	autoclose int kept = -1;

	if (!keep_name_valid(name))
		return -ENOENT;
	kept = open_kept_of(store, source);
	return kept < 0 ? not_there(kept) : keep_load(kept, name, part, entry);
}

int keep_find(struct store *store, const char *source, const char *name, struct keep_entry *entry)
{
	return load(store, source, name, -1, entry);
}

int keep_reach(struct store *store, const char *source, const char *name, const char *suffix,
	       struct keep_entry *entry)
{
	int part = keep_part(suffix);

	return part < 0 ? -ENOENT : load(store, source, name, part, entry);
}

/* ---- all ----------------------------------------------------------------------------------------------- */

struct listing {
	struct keep_entry *entries; /* owned */
	size_t count;
};

static int append(struct listing *l, struct keep_entry *entry)
{
	struct keep_entry *more;

	if (l->count == LIST_MAX)
		return -EOVERFLOW;
	if ((l->count & (l->count - 1)) == 0) { /* 0 and the powers of two: full */
		more = realloc(l->entries, (l->count ? l->count * 2 : 1) * sizeof(*more));
		if (!more)
			return -ENOMEM;
		l->entries = more;
	}
	l->entries[l->count++] = *entry;
	return 0;
}

static int list_one(void *arg, int kept, const char *name)
{
	struct listing *l = arg;
	struct keep_entry entry;
	int rc;

	if (!keep_name_valid(name))
		return 0;
	rc = keep_load(kept, name, -1, &entry);
	if (rc)
		return opath_transient(rc) ? rc : 0;
	entry.name = strdup(name);
	rc = entry.name ? append(l, &entry) : -ENOMEM;
	if (rc)
		free(entry.name);
	return rc;
}

static int compare(const void *a, const void *b)
{
	const struct keep_entry *x = a, *y = b;

	if (x->meta.made_ns != y->meta.made_ns)
		return x->meta.made_ns < y->meta.made_ns ? -1 : 1;
	return strcmp(x->name, y->name);
}

int keep_list(struct store *store, const char *source, struct keep_entry **out, size_t *count)
{
	autoclose int kept = open_kept_of(store, source);
	struct listing l = {.entries = NULL};
	int rc = kept < 0 ? not_there(kept) : store_each_name(kept, list_one, &l);

	if (rc == -ENOENT)
		rc = 0;
	if (rc) {
		keep_list_free(l.entries, l.count);
		return rc;
	}
	if (l.count > 0)
		qsort(l.entries, l.count, sizeof(l.entries[0]), compare);
	*out = l.entries;
	*count = l.count;
	return 0;
}

void keep_list_free(struct keep_entry *entries, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(entries[i].name);
	free(entries);
}

struct visit {
	int (*fn)(void *arg, const char *source);
	void *arg;
};

static int visit_source(void *arg, int folder, const char *source)
{
	const struct visit *visit = arg;

	(void)folder;
	return source ? visit->fn(visit->arg, source) : 0;
}

int keep_sources(struct store *store, int (*fn)(void *arg, const char *source), void *arg)
{
	struct visit visit = {.fn = fn, .arg = arg};

	return store_each(store, visit_source, &visit);
}
