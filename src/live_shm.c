/* SPDX-License-Identifier: MIT */
/*
 * live_shm.c - see live.h: the -shm beside the database: which database it is open for, and who has locks on
 * it.
 */
#include "live_private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>

#include "cleanup.h"
#include "clock.h"
#include "proclocks.h"

#define LOCKS_AGE_NS \
	(15 * NS_PER_MS) /* all sources of a janitor's round, and all waiters, work on one text */

int live_shm_is_anothers(struct core *core, const struct place *place, uint64_t dev, uint64_t ino)
{
	struct stat shm;
	int rc = place_stat(place, "-shm", &shm);

	if (rc)
		return rc == -ENOENT ? 0 : rc;
	return (rawfd_is_shm(shm.st_dev, shm.st_ino) || rawfd_connected(core->raw, shm.st_dev, shm.st_ino)) &&
	       !rawfd_connected(core->raw, dev, ino);
}

int live_shm_is_elsewhere(const struct place *place, uint64_t dev, uint64_t ino)
{
	uint64_t shm_dev, shm_ino;
	struct stat shm;
	int rc;

	if (!rawfd_shm_of(dev, ino, &shm_dev, &shm_ino))
		return 0;
	rc = place_stat(place, "-shm", &shm);
	if (rc)
		return rc == -ENOENT ? 1 : rc;
	return shm.st_dev != shm_dev || shm.st_ino != shm_ino;
}

/* ---- who has locks on it ------------------------------------------------------------------------------- */

/* Who holds which locks, as of MAX_AGE_NS ago or later; false when unknown. */
static bool scan(struct live *live, int64_t max_age_ns, struct proclocks_seen *seen)
{
	char name[NAME_MAX + 8];
	struct stat st;

	snprintf(name, sizeof(name), "%s-shm", live->name);
	return fstatat(live->dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       proclocks_look(live->core->locks, max_age_ns, st.st_dev, st.st_ino, getpid(), seen) == 0;
}

bool live_shm_has_others(struct live *live)
{
	struct proclocks_seen seen;

	return scan(live, 0, &seen) && proclocks_others_in_shm(&seen);
}

bool live_others_read(struct live *live)
{
	struct proclocks_seen seen;

	if (!scan(live, 0, &seen) ||
	    proclocks_others_hold(&seen, PROCLOCKS_WAL_READ(1), PROCLOCKS_WAL_READ(4)))
		return true;
	lock_scope(&live->lock);
	return live->pins > 1;
}

bool live_observe_gap(struct live *live)
{
	struct proclocks_seen seen;
	pid_t writer;

	if (!scan(live, LOCKS_AGE_NS, &seen))
		return false;
	writer = proclocks_writer(&seen, PROCLOCKS_WAL_CKPT);
	if (writer == 0 || writer == getpid())
		return false;
	lock_scope(&live->lock);
	if (live->pins == 0)
		live->gap_since = monotonic_ns();
	return true;
}

bool live_observe(struct live *live)
{
	struct proclocks_seen seen;

	if (!atomic_load(&live->was_wal) || !scan(live, LOCKS_AGE_NS, &seen))
		return false;
	if (proclocks_others_in_shm(&seen))
		atomic_store(&live->had_others, true);
	return proclocks_readers_awaited(&seen, getpid());
}
