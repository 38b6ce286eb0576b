/* SPDX-License-Identifier: MIT */
/* snap_tidy.c - see snap_private.h: what is removed from the store, when a mount starts and once a day. */
#include <errno.h>
#include <string.h>

#include "clock.h"
#include "keep.h"
#include "snap_private.h"

#define EVERY_NS (86400 * NS_PER_S)

/* Only for sources in this mount's folder: those of another mount may be unreachable, and block a call
 * forever. */
static int is_gone(void *arg, const char *source)
{
	struct snap *snap = arg;
	const char *path = kept_shown_path(snap->kept, source);
	struct store_seen seen;

	if (core_is_ending(&snap->core))
		return -ECANCELED;
	if (!path || store_load_seen(snap->core.store, source, &seen))
		return -EAGAIN;
	return tree_is_gone(snap->tree, path, seen.version.dev);
}

static bool is_ours(void *arg, const char *source)
{
	struct snap *snap = arg;

	return kept_shown_path(snap->kept, source) != NULL;
}

static void tell_lost(void *arg, const char *source, const char *name)
{
	struct snap *snap = arg;

	snapshots_tell_killed(snap->snapshots, name, source);
}

/* Only for this mount's sources: the mount does not show these snapshots. */
static void tell_damaged(void *arg, const char *source, const char *name, const char *folder)
{
	struct snap *snap = arg;

	if (is_ours(snap, source))
		snapshots_tell_damaged(snap->snapshots, name, folder);
}

static void tidy(void *arg)
{
	struct snap *snap = arg;
	struct snap_err err;
	int rc = keep_clean(snap->core.store, is_ours, tell_lost, snap, &err);

	if (!rc && ((rc = keep_each_damaged(snap->core.store, tell_damaged, snap)) != 0 ||
		    (rc = store_forget(snap->core.store, is_gone, snap, realtime_ns())) != 0))
		err_set(&err, rc, "cannot look through the store %s: %s", store_dir(snap->core.store),
			strerror(-rc));
	if (rc)
		core_event(&snap->core, SNAP_WARNING, "%s", err.text);
}

int snap_tidy_store(struct snap *snap, int64_t now)
{
	struct core *core = &snap->core;
	int64_t due = atomic_load(&core->tidy_at);

	if (now < due || !atomic_compare_exchange_strong(&core->tidy_at, &due, now + EVERY_NS))
		return 0;
	return work_submit(core->work, tidy, snap);
}
