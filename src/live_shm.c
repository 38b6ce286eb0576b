/* SPDX-License-Identifier: MIT */
/*
 * live_shm.c - see live.h: the -shm beside the database: what rawfd is told of it, and who has locks on it.
 *
 * What must stay true: a -shm that SQLite may have open is announced to rawfd until the last connection of
 * the incarnation has closed, for SQLite has one descriptor of it for all of them. Which one that is cannot
 * be told when its name has led elsewhere meanwhile: both stay announced then.
 */
#include "live_private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "clock.h"
#include "proclocks.h"

#define LOCKS_AGE_NS \
	(15 * NS_PER_MS) /* all sources of a janitor's round, and all who wait, look at one text */
#define LOOKS 8		 /* at a name that leads elsewhere each time */

/* A -shm that is announced. */
struct live_shm {
	struct live_shm *next;
	uint64_t dev, ino;
};

static bool stat_shm(struct live *live, char name[NAME_MAX + 8], struct stat *st)
{
	snprintf(name, NAME_MAX + 8, "%s-shm", live->name);
	return fstatat(live->dirfd, name, st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* ---- what rawfd is told -------------------------------------------------------------------------------- */

/* Locks live on the -shm too: a plain file that somebody has open may have become one. 0 with *OUT, NULL when
 * nothing stands there that SQLite opens; -errno. */
static int announce(struct live *live, struct live_shm **out)
{
	autofree struct live_shm *shm = calloc(1, sizeof(*shm));
	char name[NAME_MAX + 8];
	struct stat st;
	int rc = shm ? -ESTALE : -ENOMEM;

	*out = NULL;
	for (int i = 0; i < LOOKS && rc == -ESTALE; i++) {
		if (!stat_shm(live, name, &st) || !S_ISREG(st.st_mode))
			return 0;
		rc = rawfd_connect_shm(live->core->raw, live->dirfd, name, st.st_dev, st.st_ino);
	}
	if (rc)
		return rc;
	shm->dev = st.st_dev;
	shm->ino = st.st_ino;
	*out = steal_ptr(&shm);
	return 0;
}

/* Accepts NULL. */
static void take_back(struct live *live, struct live_shm *shm)
{
	if (shm)
		rawfd_disconnect(live->core->raw, shm->dev, shm->ino);
	free(shm);
}

/* SHM (NULL: none) stays announced as long as the incarnation is connected. */
static void keep(struct live *live, struct live_shm *shm)
{
	struct live_shm *same;

	pthread_mutex_lock(&live->lock);
	for (same = live->shms; shm && same; same = same->next) {
		if (same->dev == shm->dev && same->ino == shm->ino)
			break;
	}
	if (shm && !same) {
		shm->next = live->shms;
		live->shms = steal_ptr(&shm);
	}
	pthread_mutex_unlock(&live->lock);
	take_back(live, shm);
}

int live_shm_announce(struct live *live)
{
	struct live_shm *shm;
	int rc = announce(live, &shm);

	keep(live, shm);
	return rc;
}

void live_shm_finish(struct live *live)
{
	for (struct live_shm *shm = live->shms, *next; shm; shm = next) {
		next = shm->next;
		take_back(live, shm);
	}
	live->shms = NULL;
}

int live_begin(struct conn *c, int64_t deadline, struct snap_err *err)
{
	struct live_shm *before;
	int rc, code;

	if (c->announced)
		return pin_begin(&c->db, deadline, err);
	code = announce(c->live, &before);
	if (code)
		return err_set(err, code, "cannot open its -shm: %s", strerror(-code));
	rc = pin_begin(&c->db, deadline, err);
	if (!vfs_wal_is_open(c->db.vfs)) {
		take_back(c->live, before);
		return rc;
	}
	keep(c->live, before);
	code = live_shm_announce(c->live);
	c->announced = code == 0;
	if (code && rc >= 0) {
		pin_end(&c->db);
		rc = err_set(err, code, "cannot open its -shm: %s", strerror(-code));
	}
	return rc;
}

/* ---- who has locks on it ------------------------------------------------------------------------------- */

/* Who holds what, as of MAX_AGE_NS ago or later; false when that cannot be told. */
static bool scan(struct live *live, int64_t max_age_ns, struct proclocks_seen *seen)
{
	char name[NAME_MAX + 8];
	struct stat st;

	return stat_shm(live, name, &st) &&
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
