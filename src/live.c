/* SPDX-License-Identifier: MIT */
/*
 * live.c - see live.h: connecting, pins, closing.
 *
 * What must stay true: the inode is registered with rawfd before the first connection opens it and
 * unregistered after the last has closed it (the shim reports its -shm); no SQLite call runs under
 * live->lock; the hub outlives every sample.
 */
#include "live.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <string.h>

#include "cleanup.h"
#include "clock.h"
#include "header.h"
#include "holders.h"
#include "live_private.h"
#include "opath.h"

int live_db_open(const struct live *live, struct db *db, enum db_kind kind, struct snap_err *err)
{
	int rc = db_open_inode(db, live->dirfd, live->name, live->dev, live->ino, kind, err);

	if (!rc && live->hub)
		vfs_expect_wal(db->vfs, live->hub->db.vfs);
	return rc;
}

static struct conn *conn_open(struct live *live, int *rc, struct snap_err *err)
{
	struct conn *c = calloc(1, sizeof(*c));

	if (!c) {
		*rc = err_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	c->live = live;
	c->db = DB_INIT;
	list_init(&c->link);
	*rc = live_db_open(live, &c->db, DB_READER, err);
	if (*rc) {
		free(c);
		return NULL;
	}
	return c;
}

static void conn_close(struct conn *c)
{
	if (!c)
		return;
	db_close(&c->db);
	free(c);
}

/* Whether the name still leads to the inode that this incarnation has open. */
static bool same_inode(const struct live *live, struct stat *st)
{
	return fstatat(live->dirfd, live->name, st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       (uint64_t)st->st_dev == live->dev && (uint64_t)st->st_ino == live->ino;
}

bool live_sidecars_are_there(const struct live *live)
{
	struct stat st;

	/* If the database itself was replaced, what is open stays valid. */
	return !vfs_wal_is_open(live->hub->db.vfs) || vfs_sidecars_have_their_names(live->hub->db.vfs) ||
	       !same_inode(live, &st);
}

/* Whether the application may be unable to read pages that we write; also true if unknown. Goes by what the
 * hub's last transaction found: reads nothing. */
static bool may_have_checksums(struct live *live)
{
	int reserved = -1;

	return sqlite3_file_control(live->hub->db.handle, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserved) !=
		       SQLITE_OK ||
	       reserved == HEADER_CHECKSUM_BYTES;
}

/* Whether we should close as the application would have: only for a WAL that we made, or that an application
 * wrote to (and perhaps left behind) while we were connected; only as the user who owns such files; and only
 * if the application could read what we write. */
static bool should_close_for_app(struct live *live)
{
	struct wal_header now;
	struct stat st;

	if (!atomic_load(&live->was_wal) || live_is_lost(live) || !same_inode(live, &st) || st.st_size == 0)
		return false;
	if (geteuid() != 0 && st.st_uid != geteuid())
		return false;
	if (may_have_checksums(live))
		return false;
	if (live->sidecars_ours || atomic_load(&live->had_others))
		return true;
	return vfs_wal_header(live->hub->db.vfs, &now) == 0 &&
	       memcmp(now.raw, live->first.raw, sizeof(now.raw)) != 0;
}

/* Opens the connection that performs the application's close, if there is one to perform. -errno */
static int open_closer(struct live *live, struct db *closer)
{
	int rc;

	if (!live->hub || !should_close_for_app(live))
		return 0;
	rc = live_db_open(live, closer, DB_CLOSER, NULL);
	return rc ? rc : db_errno(closer, db_exec(closer, "PRAGMA user_version"));
}

/* Closes CLOSER; RC is the result of open_closer(). True: the application's close must still be made, because
 * this process ran out of a resource, or was kept from it and no other process will make it. */
static bool owes_close(struct live *live, struct db *closer, int rc)
{
	char here[] = "";
	const struct place place = {.root = live->dirfd, .dir = here, .name = live->name};
	bool kept = rc == 0 && closer->vfs && vfs_wal_is_open(closer->vfs);

	sqlite3_close(steal_ptr(&closer->handle));
	kept = kept && !vfs_was_alone(closer->vfs);
	db_close(closer);
	if (kept)
		rc = holders_have_shm(live->core, &place);
	return opath_transient(rc) || (kept && rc == 0);
}

static void live_destroy(struct live *live)
{
	struct db closer = DB_INIT;
	bool owed;
	int rc;

	/* The closer connects while the hub is still connected, so that there is no moment without a
	 * connection. Its own close changes nothing when somebody else is connected. */
	foldertimes_begin(live->core->folders, live->dirfd);
	rc = open_closer(live, &closer);
	for (struct conn *c = live->idle, *next; c; c = next) {
		next = c->next;
		if (c != live->hub)
			conn_close(c);
	}
	conn_close(live->hub);
	owed = owes_close(live, &closer, rc);
	foldertimes_end(live->core->folders, live->dirfd);
	rawfd_close(live->core->raw, &live->clone);
	rawfd_disconnect(live->core->raw, live->dev, live->ino);
	close(live->dirfd);
	pthread_mutex_destroy(&live->lock);
	pthread_mutex_destroy(&live->clone_lock);
	atomic_fetch_sub(&live->core->connected, 1);
	if (live->closed)
		live->closed(live->arg, owed);
	free(live->name);
	free(live);
}

/* Whether the -wal is empty or missing. One that cannot be examined may be an application's. */
static bool has_empty_wal(const struct place *place)
{
	struct stat wal;
	int rc = place_stat(place, "-wal", &wal);

	return rc == -ENOENT || (rc == 0 && wal.st_size == 0);
}

/* The first connection and its first look. 0, PIN_HOT_JOURNAL, -errno. */
static int connect_hub(struct live *live, const struct place *place, int64_t deadline, struct snap_err *err)
{
	struct stat st;
	int rc, others;

	live->hub = conn_open(live, &rc, err);
	if (!live->hub)
		return rc;
	live->idle = live->hub;
	if (!same_inode(live, &st))
		return err_set(err, -ESTALE, "replaced while it was being opened");
	rc = pin_begin(&live->hub->db, deadline, &live->first, err);
	if (rc >= 0 && !same_inode(live, &st)) /* its -shm was opened by name, and may be another file's */
		rc = err_set(err, -ESTALE, "replaced while it was being opened");
	if (rc >= 0 && !live_sidecars_are_there(live)) /* another incarnation still has what was removed */
		rc = err_set(err, -ESTALE, "its -wal or -shm was removed");
	if (rc < 0 || rc == PIN_HOT_JOURNAL)
		return rc;
	atomic_store(&live->was_wal, rc == 0);
	pin_end(&live->hub->db);
	/* An application's last close, which we have waited for, may have deleted the -wal that was there. */
	live->sidecars_ours = live->sidecars_ours || has_empty_wal(place);
	/* As soon as the hub is connected, an application's last close leaves the files to us, even if it
	 * comes before the janitor's first look. */
	others = vfs_met_others(live->hub->db.vfs);
	if (others < 0 && !live->sidecars_ours)
		others = live_shm_has_others(live);
	atomic_store(&live->had_others, !live->sidecars_ours && others > 0);
	return 0;
}

static int refuse_elsewhere(const struct place *place, uint64_t dev, uint64_t ino, struct snap_err *err)
{
	int rc = live_shm_is_elsewhere(place, dev, ino);

	if (rc < 0)
		return err_set(err, rc, "cannot examine its -shm: %s", strerror(-rc));
	return rc ? err_set(err, -ESTALE, "it was renamed, or its -shm removed, and is still read as it was")
		  : 0;
}

int live_create(struct live **out, struct core *core, const struct place *place, const struct stat *st,
		int64_t deadline, struct snap_err *err)
{
	struct live *live = calloc(1, sizeof(*live));
	int rc;

	if (!live)
		return err_set(err, -ENOMEM, "out of memory");
	live->core = core;
	live->dev = st->st_dev;
	live->ino = st->st_ino;
	live->clone = RAWFD_INIT;
	rc = live_shm_is_anothers(core, place, live->dev, live->ino);
	if (rc > 0)
		rc = err_set(err, -EDEADLK, "its -shm is still open for the file that it replaced");
	else if (rc)
		err_set(err, rc, "cannot examine its -shm: %s", strerror(-rc));
	else
		rc = refuse_elsewhere(place, live->dev, live->ino, err);
	if (!rc)
		rc = holders_check(core, place, deadline, err);
	if (rc) {
		free(live);
		return rc;
	}
	live->name = strdup(place->name);
	live->dirfd = live->name ? place_open_dir(place) : -ENOMEM;
	rc = live->dirfd < 0 ? live->dirfd
			     : rawfd_connect(core->raw, live->dirfd, live->name, live->dev, live->ino);
	if (rc) {
		if (live->dirfd >= 0)
			close(live->dirfd);
		free(live->name);
		free(live);
		return err_set(err, rc, "cannot open it: %s",
			       rc == -ESTALE ? "it is being replaced" : strerror(-rc));
	}
	atomic_init(&live->refs, 1);
	list_init(&live->pinned);
	pthread_mutex_init(&live->lock, NULL);
	pthread_mutex_init(&live->clone_lock, NULL);
	live->incarnation = atomic_fetch_add(&core->incarnations, 1) + 1;
	atomic_fetch_add(&core->connected, 1);
	live->sidecars_ours = has_empty_wal(place);
	foldertimes_begin(core->folders, live->dirfd);
	rc = connect_hub(live, place, deadline, err);
	foldertimes_end(core->folders, live->dirfd);
	if (rc) {
		live_destroy(live);
		return rc;
	}
	live->gap_since = monotonic_ns();
	*out = live;
	return 0;
}

struct live *live_ref(struct live *live)
{
	atomic_fetch_add(&live->refs, 1);
	return live;
}

void live_unref(struct live *live)
{
	if (live && atomic_fetch_sub(&live->refs, 1) == 1)
		live_destroy(live);
}

static void run_destroy(void *arg)
{
	live_destroy(arg);
}

void live_unref_later(struct live *live)
{
	if (live && atomic_fetch_sub(&live->refs, 1) == 1 &&
	    work_submit_urgent(live->core->work, run_destroy, live))
		live_destroy(live);
}

bool live_is_lost(struct live *live)
{
	return atomic_load(&live->spoilt) || vfs_lost(live->hub->db.vfs);
}

/* Checks whether the sidecars that we have open are still those that applications use. */
static bool loses_sidecars(struct live *live)
{
	if (live_sidecars_are_there(live))
		return false;
	atomic_store(&live->spoilt, true);
	return true;
}

int live_sample(struct live *live, struct wal_header *out)
{
	if (live_is_lost(live) || loses_sidecars(live))
		return -ESTALE;
	return vfs_wal_header(live->hub->db.vfs, out);
}

/* Takes back an unpinned connection: it is kept if it is the hub, or no other is idle. */
static void give_back(struct live *live, struct conn *c)
{
	bool keep;

	pthread_mutex_lock(&live->lock);
	keep = c == live->hub || !live->idle;
	if (keep) {
		c->next = live->idle;
		live->idle = c;
	}
	pthread_mutex_unlock(&live->lock);
	if (!keep)
		conn_close(c);
}

/* Notes that the database has switched to WAL mode while we were connected. */
static void note_wal(struct live *live)
{
	lock_scope(&live->lock);
	if (!atomic_load(&live->was_wal)) {
		atomic_store(&live->had_others, true); /* the process that switched it */
		atomic_store(&live->was_wal, true);
	}
}

/* Takes ONE (NULL: any) of the idle connections; NULL when it is not among them. */
static struct conn *take_idle(struct live *live, const struct conn *one)
{
	struct conn **at = &live->idle, *c;

	lock_scope(&live->lock);
	while (*at && one && *at != one)
		at = &(*at)->next;
	c = *at;
	if (c)
		*at = c->next;
	return c;
}

/* See live_pin(). C, which was OPENED for this, or was idle, is given back on failure. */
static int pin_conn(struct conn *c, bool opened, int64_t deadline, struct snap_err *err)
{
	struct live *live = c->live;
	bool had_wal = vfs_wal_is_open(c->db.vfs);
	struct stat st;
	int rc;

	if (atomic_load(&live->spoilt) || !same_inode(live, &st)) {
		/* A connection just opened by name then has another file. It must not be kept, in case the
		 * name leads back later: one image must never mix the bytes of two files. */
		if (opened)
			conn_close(c);
		else
			give_back(live, c);
		return err_set(err, -ESTALE, "replaced while it was being opened");
	}
	rc = pin_begin(&c->db, deadline, &c->start, err);
	if (rc == 0 && !had_wal && !same_inode(live, &st)) {
		/* The -shm was opened by name just now, and may be another file's: nothing may be read
		 * through it. */
		pin_end(&c->db);
		atomic_store(&live->spoilt, true);
		rc = err_set(err, -ESTALE, "replaced while it was being opened");
	}
	if (rc == 0 && loses_sidecars(live)) {
		pin_end(&c->db);
		rc = err_set(err, -ESTALE, "its -wal or -shm was removed");
	}
	if (rc == 0)
		note_wal(live);
	if (rc < 0 || rc == PIN_HOT_JOURNAL) {
		/* C may have lost a part that the hub has not mapped. */
		if (vfs_lost(c->db.vfs) || vfs_met_another_wal(c->db.vfs))
			atomic_store(&live->spoilt, true);
		give_back(live, c);
		return rc;
	}
	pthread_mutex_lock(&live->lock);
	c->since = monotonic_ns();
	c->holds_wal = rc == 0;
	list_append(&live->pinned, &c->link);
	if (rc == 0)
		live_account_pin(live, &c->start, c->since);
	live->pins++;
	pthread_mutex_unlock(&live->lock);
	live_ref(live);
	return rc;
}

int live_pin(struct live *live, int64_t deadline, struct conn **out, struct snap_err *err)
{
	struct conn *c = take_idle(live, NULL);
	bool opened = !c;
	int rc = 0;

	*out = NULL;
	if (opened)
		c = conn_open(live, &rc, err);
	if (c)
		rc = pin_conn(c, opened, deadline, err);
	if (rc >= 0 && rc != PIN_HOT_JOURNAL)
		*out = c;
	return rc;
}

int live_pin_now(struct live *live, struct conn **out)
{
	struct conn *c = take_idle(live, NULL);
	struct wal_header now;
	int rc;

	if (!c)
		return -EAGAIN;
	/* Opening a -wal may create one, and a torn header may need a recovery. */
	if (!vfs_wal_is_open(c->db.vfs) || vfs_wal_header(c->db.vfs, &now) != 0) {
		give_back(live, c);
		return -EAGAIN;
	}
	rc = pin_conn(c, false, monotonic_ns(), NULL);
	if (rc > 0 && rc != PIN_HOT_JOURNAL)
		live_unpin(c);
	if (rc == 0)
		*out = c;
	return rc == 0 ? 0 : -EAGAIN;
}

bool live_has_wal(struct live *live)
{
	return vfs_wal_is_open(live->hub->db.vfs);
}

void live_learn_wal(struct live *live)
{
	struct conn *hub = take_idle(live, live->hub);
	int rc = hub ? pin_conn(hub, false, monotonic_ns(), NULL) : -EBUSY;

	if (rc >= 0 && rc != PIN_HOT_JOURNAL)
		live_unpin(hub);
}

void live_unpin(struct conn *c)
{
	struct live *live;

	if (!c)
		return;
	live = c->live;
	pin_end(&c->db);
	pthread_mutex_lock(&live->lock);
	list_remove(&c->link);
	if (--live->pins == 0)
		live->gap_since = monotonic_ns();
	pthread_mutex_unlock(&live->lock);
	give_back(live, c);
	live_unref(live);
}

bool conn_intact(struct conn *c, uint32_t max_frame, const uint8_t salt[8])
{
	struct wal_header now;
	uint32_t copied;
	int rc;

	/* While the lock is held, no checkpoint copies frames that came after the pin began. */
	if (vfs_lost(c->db.vfs) || vfs_wal_backfill(c->db.vfs, &copied) || copied > c->start.max_frame)
		return false;
	rc = vfs_wal_header(c->db.vfs, &now);
	if (rc == WAL_TORN)
		return true; /* a writer is changing it; the lock that we hold vouches for the rest */
	/* Without frames there is no salt to compare: a WAL may have begun meanwhile, but not started over.
	 */
	if (max_frame == 0)
		return rc == 0 &&
		       (now.max_frame > 0 || memcmp(now.salt, c->start.salt, sizeof(now.salt)) == 0);
	return rc == 0 && memcmp(now.salt, salt, sizeof(now.salt)) == 0 && now.max_frame >= max_frame;
}
