/* SPDX-License-Identifier: MIT */
/*
 * keep_tidy.c - see keep.h: removing kept snapshots, and what a killed daemon has left.
 *
 * What must stay true: a snapshot loses its name, on the disk as well if that can be synced, before the first
 * of its files goes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "keep_private.h"
#include "opath.h"
#include "store_private.h"

int keep_drop_locked(int kept, const char *name, int folder)
{
	char partial[NAME_MAX + 1];
	int rc = keep_partial_name(partial, name);

	if (rc)
		return rc;
	if (renameat(kept, name, kept, partial))
		return -errno;
	/* A snapshot must be removable even if this cannot be synced: a full disk may be the reason for
	 * both. */
	store_sync_folder(kept);
	return store_remove(kept, partial, folder);
}

static int drop(int kept, const char *name)
{
	autoclose int folder = openat(kept, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (folder < 0)
		return errno == ENOTDIR || errno == ELOOP ? -ENOENT : -errno;
	/* A process that names it, or removes what a killed daemon has left of its group, is done in a
	 * moment. */
	if (store_lock_patiently(folder))
		return -EBUSY;
	return store_is(kept, name, folder) ? keep_drop_locked(kept, name, folder) : -ENOENT;
}

int keep_drop(struct store *store, const char *source, const char *name, struct snap_err *err)
{
	autoclose int folder = -1, kept = -1;
	int rc;

	if (!keep_name_valid(name))
		return err_set(err, -EINVAL, "\"%s\" cannot be the name of a kept snapshot", name);
	folder = store_open_source(store, source, false, NULL);
	kept = folder < 0 ? folder : keep_open_kept(folder, false);
	rc = kept < 0 ? kept : drop(kept, name);
	return rc ? err_set(err, rc, "cannot drop the kept snapshot \"%s\": %s", name, strerror(-rc)) : 0;
}

/* ---- too many ------------------------------------------------------------------------------------------ */

static bool is_young(const struct keep_entry *entry, int64_t now_ns)
{
	int64_t age;

	return !__builtin_sub_overflow(now_ns, entry->meta.made_ns, &age) && age < KEEP_DAY_NS;
}

static bool is_named(const struct keep_entry *entry, const char *name)
{
	return name && strcmp(entry->name, name) == 0;
}

/* Moves those that may be dropped to the front, in their order, and returns their number. */
static size_t pick_undo(struct keep_entry *entries, size_t count, int64_t now_ns)
{
	size_t n = 0;

	for (size_t i = 0; i < count; i++) {
		struct keep_entry entry = entries[i];

		if (strncmp(entry.name, KEEP_UNDO, strlen(KEEP_UNDO)) != 0 || entry.meta.made_ns > now_ns)
			continue;
		entries[i] = entries[n];
		entries[n++] = entry;
	}
	return n;
}

int keep_prune(struct store *store, const char *source, unsigned keep, const char *but, int64_t now_ns,
	       struct snap_err *err)
{
	struct keep_entry *entries = NULL;
	size_t count = 0, undo;
	bool young_seen = false;
	int rc = keep_list(store, source, &entries, &count);

	if (rc)
		return err_set(err, rc, "cannot list the kept snapshots: %s", strerror(-rc));
	undo = pick_undo(entries, count, now_ns);
	for (size_t i = 0; undo > keep && i < undo - keep; i++) {
		bool first_young = !young_seen && is_young(&entries[i], now_ns);
		int dropped;

		young_seen |= first_young;
		dropped = first_young || is_named(&entries[i], but)
				  ? 0
				  : keep_drop(store, source, entries[i].name, rc ? NULL : err);
		if (dropped && dropped != -ENOENT && dropped != -EBUSY && !rc)
			rc = dropped; /* and continue with the next */
	}
	keep_list_free(entries, count);
	return rc;
}

/* ---- leftovers ----------------------------------------------------------------------------------------- */

struct clean {
	bool (*ours)(void *arg, const char *source);		       /* NULL: all are */
	void (*lost)(void *arg, const char *source, const char *name); /* NULL: not wanted */
	void *arg;
	const char *source; /* borrowed: the folder's; NULL: unknown */
};

static int clean_partial(void *arg, int kept, const char *name)
{
	const struct clean *clean = arg;
	bool was_reserved = false;

	if (keep_is_partial(name))
		store_remove_stale(kept, name);
	else if (keep_name_valid(name) &&
		 (!clean->ours || !clean->source || clean->ours(clean->arg, clean->source)))
		keep_free_name(kept, name, &was_reserved);
	if (was_reserved && clean->lost)
		clean->lost(clean->arg, clean->source, name);
	return 0;
}

static int clean_source(void *arg, int folder, const char *source)
{
	autoclose int kept = keep_open_kept(folder, false);
	struct clean *clean = arg;

	clean->source = source;
	if (kept >= 0)
		store_each_name(kept, clean_partial, arg);
	return 0;
}

struct damaged {
	void (*fn)(void *arg, const char *source, const char *name, const char *folder);
	void *arg;
	const char *source; /* borrowed: the folder's */
};

/* Whether it belongs to a group that is being kept or dropped, by us or by a daemon that was killed. */
static bool is_unsettled(int kept, int folder)
{
	struct keep_record record;

	return keep_read_record(folder, &record) == 0 && record.group[0] &&
	       keep_group_is_unsettled(kept, record.group) != 0;
}

static int look_at_one(void *arg, int kept, const char *name)
{
	const struct damaged *d = arg;
	autoclose int folder = -1;
	struct keep_entry entry;
	char path[PATH_MAX];

	if (!keep_name_valid(name) || keep_load(kept, name, -1, &entry) != -ENOENT)
		return 0;
	/* Checked again under the lock: what is being written or dropped is not damaged. While a group is
	 * being dropped only one member is locked at a time, and the process that drops it must not find the
	 * others busy. */
	folder = openat(kept, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (folder >= 0 && !is_unsettled(kept, folder) && !store_lock(folder) &&
	    store_is(kept, name, folder) && keep_load(kept, name, -1, &entry) == -ENOENT &&
	    !opath_path(folder, path, sizeof(path)))
		d->fn(d->arg, d->source, name, path);
	return 0;
}

static int look_through_source(void *arg, int folder, const char *source)
{
	autoclose int kept = source ? keep_open_kept(folder, false) : -1;
	struct damaged *d = arg;

	d->source = source;
	return kept < 0 ? 0 : store_each_name(kept, look_at_one, d);
}

int keep_each_damaged(struct store *store,
		      void (*fn)(void *arg, const char *source, const char *name, const char *folder),
		      void *arg)
{
	struct damaged d = {.fn = fn, .arg = arg};

	return store_each(store, look_through_source, &d);
}

int keep_clean(struct store *store, bool (*ours)(void *arg, const char *source),
	       void (*lost)(void *arg, const char *source, const char *name), void *arg, struct snap_err *err)
{
	struct clean clean = {.ours = ours, .lost = lost, .arg = arg};
	int rc = store_clean(store, err);

	if (rc)
		return rc;
	rc = store_each(store, clean_source, &clean);
	if (!rc)
		rc = keep_clean_groups(store);
	return rc ? err_set(err, rc, "cannot look through the store %s: %s", store_dir(store), strerror(-rc))
		  : 0;
}
