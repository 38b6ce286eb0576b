/* SPDX-License-Identifier: MIT */
/*
 * restore_live.c - what is at the place of a restore, and the connection to it.
 *
 * What must stay true: the inode is announced to rawfd before a restore's connection opens it: by the
 * incarnation if SQLite can read the database, else here. The inode that is connected to is the one that was
 * looked at.
 */
#include "restore_private.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "holders.h"
#include "place_raw.h"
#include "superjournal.h"

#define TRIES 8
#define CONNECT_NS (2 * NS_PER_S) /* at least, whatever the busy timeout */
#define DEPART_NS (3 * NS_PER_S)  /* at most: another mount closes it two seconds after a read */

/* ---- looking ------------------------------------------------------------------------------------------- */

/* Whether the folder now at the place is the one in which a file may be created. */
static bool is_folder(const struct restore *r)
{
	const struct snap_inode *folder = &r->order->folder;
	struct stat st;

	return !folder->ino ||
	       (fstat(r->dirfd, &st) == 0 && st.st_dev == folder->dev && st.st_ino == folder->ino);
}

/* What stat(2) tells: a kind, or -errno; RESTORE_WAL stands for any kind that only an open can tell. */
static int look(struct restore *r)
{
	int rc = place_stat(&r->source->place, "", &r->st);

	if (rc == -ENOENT && !r->order->file.ino)
		return is_folder(r) ? RESTORE_MISSING
				    : err_set(r->err, -EBUSY, "its directory was replaced meanwhile");
	if (rc && rc != -ENOENT)
		return err_set(r->err, rc, "cannot examine the live file: %s", strerror(-rc));
	if (rc || (r->order->file.ino &&
		   (r->st.st_dev != r->order->file.dev || r->st.st_ino != r->order->file.ino)))
		return err_set(r->err, -EBUSY, "the live file was replaced meanwhile");
	if (!S_ISREG(r->st.st_mode))
		return err_set(r->err, -EINVAL, "no regular file stands there");
	if (r->st.st_nlink > 1)
		return err_set(r->err, -EMLINK,
			       "the live file has %lu names, and each would have a WAL of its own",
			       (unsigned long)r->st.st_nlink);
	return r->st.st_size == 0 ? RESTORE_EMPTY : RESTORE_WAL;
}

/* Drops our incarnation: like any reader it locks the inode, and what its pins read is gone. */
static void let_go(struct source *s)
{
	struct live *live;

	pthread_mutex_lock(&s->lock);
	live = steal_ptr(&s->live);
	pthread_mutex_unlock(&s->lock);
	if (live)
		source_kill_pinned(s);
	live_unref(live);
}

/* Whether this process has the -shm at the place open for another database than R's: 1, 0, -errno */
static int shm_is_anothers(const struct restore *r, int kind)
{
	uint64_t dev, ino;
	struct stat shm;
	int rc = place_stat(&r->source->place, "-shm", &shm);

	if (rc)
		return rc == -ENOENT ? 0 : rc;
	if (!rawfd_is_shm(shm.st_dev, shm.st_ino))
		return 0;
	return kind == RESTORE_MISSING || !rawfd_shm_of(r->st.st_dev, r->st.st_ino, &dev, &ino) ||
	       dev != shm.st_dev || ino != shm.st_ino;
}

/* Whether a reader of ours still uses the old database after its incarnation was dropped and its pins killed:
 * a thread may be in the middle of a read. 1, 0, -errno. */
static int is_still_read(const struct restore *r, int kind)
{
	int rc = shm_is_anothers(r, kind);

	if (rc <= 0)
		return rc;
	let_go(r->source);
	source_kill_pinned(r->source);
	return shm_is_anothers(r, kind);
}

/*
 * Whether an application still uses the old database, at a place where SQLite would find no file, an empty
 * one, or a single byte, which it treats as empty: 1, 0, -errno. A database created beside the old one's -shm
 * would share it, and show the old one's commits. If the file was emptied under the application, its whole
 * content is in the -wal, which SQLite deletes as soon as it looks at an empty database.
 */
static int is_in_use(const struct restore *r, int kind)
{
	const struct place *place = &r->source->place;
	struct stat wal;
	int rc;

	if (kind < 0 || (kind == RESTORE_WAL && r->st.st_size > 1))
		return 0;
	rc = holders_have_shm(r->core, place);
	if (!rc)
		rc = is_still_read(r, kind);
	if (rc || kind == RESTORE_MISSING)
		return rc;
	rc = place_stat(place, "-wal", &wal);
	if (rc == -ENOENT || (rc == 0 && wal.st_size == 0))
		return 0;
	return rc ? rc : holders_have_db(r->core, place);
}

/* 0; -EAGAIN: its users have gone after a wait, look again; -EBUSY: they did not go in time. */
static int check_in_use(struct restore *r, int kind)
{
	int64_t wait = r->order->busy_timeout_ms * NS_PER_MS;
	int64_t end = monotonic_ns() + (wait < DEPART_NS ? wait : DEPART_NS);
	bool waited = false;
	int rc;

	while ((rc = is_in_use(r, kind)) > 0) {
		waited = true;
		if (restore_is_cancelled(r))
			return err_set(r->err, -ECANCELED, "cancelled");
		if (monotonic_ns() >= end)
			return err_set(
				r->err, -EBUSY,
				"an application, or a reader here, still has the database open that was %s: "
				"end it first",
				kind == RESTORE_MISSING ? "removed" : "emptied or replaced");
		nanosleep(&(struct timespec){.tv_nsec = 20 * NS_PER_MS}, NULL);
	}
	if (rc)
		return err_set(r->err, rc, "cannot tell whether an application has it open: %s",
			       strerror(-rc));
	return waited ? -EAGAIN : 0;
}

/* Sidecars created by neither root nor the owner lock the application out. */
static int check_owner(struct restore *r)
{
	int rc = geteuid() == 0 || geteuid() == r->st.st_uid ? 0 : source_lacks_sidecars(r->source);

	if (rc < 0)
		return err_set(r->err, rc, "cannot examine its -wal and -shm: %s", strerror(-rc));
	return rc ? err_set(r->err, -EACCES, "only root or the owner of the live file can restore it now")
		  : 0;
}

/* Announces an inode that no incarnation announces. */
static int announce(struct restore *r)
{
	int rc;

	let_go(r->source);
	rc = live_shm_is_anothers(r->core, &r->source->place, r->st.st_dev, r->st.st_ino);
	if (rc < 0)
		return err_set(r->err, rc, "cannot examine its -shm: %s", strerror(-rc));
	if (rc)
		source_kill_pinned(r->source);
	rc = rawfd_connect(r->core->raw, r->dirfd, r->source->place.name, r->st.st_dev, r->st.st_ino);
	r->announced = rc == 0;
	if (rc == -ESTALE)
		return err_set(r->err, -EBUSY, "the live file was replaced meanwhile");
	return rc ? err_set(r->err, rc, "%s", strerror(-rc)) : 0;
}

static void disannounce(struct restore *r)
{
	if (r->announced)
		rawfd_disconnect(r->core->raw, r->st.st_dev, r->st.st_ino);
	r->announced = false;
}

int restore_db_open(const struct restore *r, struct db *db, enum db_kind kind, struct snap_err *err)
{
	int rc = r->live ? live_db_open(r->live, db, kind, err)
			 : db_open_inode(db, r->dirfd, r->source->place.name, r->st.st_dev, r->st.st_ino,
					 kind, err);

	if (!rc && kind == DB_RESTORER && r->kind != RESTORE_BROKEN)
		vfs_set_place(db->vfs, &r->source->place);
	return rc == -ESTALE ? err_set(err, -EBUSY, "the live file was replaced meanwhile") : rc;
}

int restore_check_decided(const struct restore *r)
{
	const struct place *place = &r->source->place;
	struct rawfd raw = RAWFD_INIT;
	char name[PATH_MAX];
	int rc = place_open_raw(r->core->raw, place, "-journal", &raw, NULL, NULL);

	if (rc)
		return 0;
	rc = superjournal_read(raw.fd, name);
	rawfd_close(r->core->raw, &raw);
	if (rc <= 0 || superjournal_look(place, name) != SUPER_UNKNOWN)
		return 0;
	return err_set(r->err, -EIO, SUPERJOURNAL_UNKNOWN, name);
}

/* Rolls back a hot journal, as the application's next open would. -EAGAIN: it is done, look again; -errno.
 * Not with a LIVE, which may hold a lock. */
static int roll_back(struct restore *r)
{
	struct db db = DB_INIT;
	int rc = restore_check_decided(r);

	if (rc)
		return rc;
	rc = announce(r);
	if (!rc)
		rc = restore_db_open(r, &db, DB_RESTORER, r->err);
	if (!rc) {
		int sql;

		sqlite3_busy_timeout(db.handle, r->order->busy_timeout_ms);
		sql = db_exec(&db, "PRAGMA user_version");
		/* If the journal is gone, it was rolled back, perhaps to damage that SQLite cannot read. */
		if (sql && restore_has_journal(r))
			rc = err_set(r->err, db_errno(&db, sql), "its journal cannot be rolled back: %s",
				     db_text(&db));
	}
	db_close(&db);
	disannounce(r);
	return rc ? rc : -EAGAIN;
}

/* Whether the database is at fault, and not the disk or a lack of memory: RESTORE_BROKEN; -EAGAIN: it can be
 * read after all; or RC, why it could not be read before. */
static int confirm_broken(struct restore *r, int rc)
{
	struct snap_err ignored;
	struct db db = DB_INIT;
	int sql;

	if (announce(r) || restore_db_open(r, &db, DB_READER, &ignored)) {
		disannounce(r);
		return rc;
	}
	sqlite3_busy_timeout(db.handle, 1000);
	sql = db_exec(&db, "PRAGMA user_version") & 0xff;
	if (sql == SQLITE_NOTADB || sql == SQLITE_CORRUPT)
		rc = RESTORE_BROKEN;
	else if (sql == SQLITE_OK)
		rc = -EAGAIN;
	db_close(&db);
	disannounce(r);
	return rc;
}

/* ---- connecting ---------------------------------------------------------------------------------------- */

/* 0: r->live is set; RESTORE_BROKEN: nobody can read it; -EAGAIN: try again; -errno. */
static int connect_once(struct restore *r, int64_t deadline)
{
	struct source *s = r->source;
	int rc = source_connect(s, &r->st, deadline, true, &r->live, r->err);

	switch (rc) {
	case 0:
		if (!r->live)
			return err_set(r->err, -EBUSY, "another process holds the live database exclusively");
		/* An application may have connected after r->live did. */
		if (!live_is_lost(r->live) && live_sidecars_are_there(r->live))
			return holders_check(r->core, &s->place, deadline, r->err);
		source_lose(s, r->live);
		live_unref(steal_ptr(&r->live));
		return -EAGAIN;
	case PIN_HOT_JOURNAL:
		return roll_back(r);
	case -EDEADLK:
		source_kill_pinned(s);
		return -EAGAIN;
	case -ESTALE:
	case -ENOENT:
		return -EAGAIN;
	case -EIO:
		return confirm_broken(r, rc);
	default:
		return rc;
	}
}

/* The kind of a database that SQLite can read. */
static int classify(struct restore *r, int64_t deadline)
{
	struct conn *conn;
	int rc = live_pin(r->live, deadline, &conn, r->err);

	live_unpin(conn);
	switch (rc) {
	case 0:
		return RESTORE_WAL;
	case PIN_ROLLBACK:
		return RESTORE_ROLLBACK;
	case PIN_EMPTY:
		return RESTORE_BROKEN; /* one byte, which SQLite treats as empty */
	case PIN_UNRELIABLE:
		return err_set(r->err, -EROFS, "its -shm cannot be written");
	case PIN_HOT_JOURNAL: /* left by a crash since the source was connected */
		live_unref(steal_ptr(&r->live));
		return roll_back(r);
	case -ESTALE:
		return -EAGAIN;
	case -EIO:
		return confirm_broken(r, rc);
	default:
		return rc;
	}
}

/* One look: a kind, or -EAGAIN, -errno. */
static int look_once(struct restore *r, int64_t deadline)
{
	int kind = look(r), rc = check_in_use(r, kind);

	if (rc || kind != RESTORE_WAL)
		return rc ? rc : kind;
	rc = check_owner(r);
	if (!rc)
		rc = connect_once(r, deadline);
	if (rc)
		return rc;
	kind = classify(r, deadline);
	if (kind != RESTORE_WAL && kind != RESTORE_ROLLBACK)
		live_unref(steal_ptr(&r->live));
	return kind;
}

int restore_live_break(struct restore *r)
{
	bool lost = live_is_lost(r->live);

	view_close(&r->view);
	live_unref(steal_ptr(&r->live));
	if (lost)
		return err_set(r->err, -EBUSY, "it was replaced or cut while it was looked at");
	r->kind = RESTORE_BROKEN;
	return announce(r);
}

/* The last owner and mode known of a missing file: from a look, from the newest snapshot that has them (mode
 * 0: made from no file), or from its folder. The snapshot made now gets them, too. */
static void recall(struct restore *r)
{
	struct source *s = r->source;
	struct keep_entry *kept = NULL;
	struct stat folder, *st = &r->st;
	size_t count = 0;
	bool is_known = fstat(r->dirfd, &folder) == 0;

	*st = (struct stat){.st_mode = 0600,
			    .st_uid = is_known ? folder.st_uid : geteuid(),
			    .st_gid = is_known ? folder.st_gid : getegid()};
	if (s->path && keep_list(r->core->store, s->path, &kept, &count) == 0) {
		for (size_t i = count; i-- > 0;) {
			if (!(kept[i].meta.mode & 0777))
				continue;
			st->st_mode = kept[i].meta.mode & 0777;
			st->st_uid = kept[i].meta.uid;
			st->st_gid = kept[i].meta.gid;
			break;
		}
	}
	keep_list_free(kept, count);
	lock_scope(&s->lock);
	if (s->attr.mode) {
		st->st_mode = s->attr.mode & 0777;
		st->st_uid = s->attr.uid;
		st->st_gid = s->attr.gid;
	}
}

int restore_live_open(struct restore *r)
{
	int64_t wait = r->order->busy_timeout_ms * NS_PER_MS;
	int64_t deadline = monotonic_ns() + (wait > CONNECT_NS ? wait : CONNECT_NS);
	int rc = -EAGAIN;

	r->dirfd = place_open_dir(&r->source->place);
	if (r->dirfd < 0)
		return err_set(r->err, r->dirfd, "cannot open its directory: %s", strerror(-r->dirfd));
	for (int i = 0; i < TRIES && rc == -EAGAIN; i++) {
		if (i > 0)
			nanosleep(&(struct timespec){.tv_nsec = 10 * NS_PER_MS}, NULL);
		rc = look_once(r, deadline);
	}
	if (rc < 0)
		return rc == -EAGAIN ? err_set(r->err, -EBUSY, "the live file is being replaced") : rc;
	r->kind = (enum restore_kind)rc;
	if (r->kind == RESTORE_MISSING)
		recall(r);
	if (r->kind == RESTORE_BROKEN || r->kind == RESTORE_EMPTY)
		return announce(r);
	return 0;
}

void restore_live_close(struct restore *r)
{
	/* A file that we created stays, even if nothing was restored into it: an application may have opened
	 * it, which no lock would show, and would write to a file without a name. To SQLite an empty file is
	 * an empty database, and to an application that creates its database, the same as a missing file. */
	disannounce(r);
	live_unref(steal_ptr(&r->live));
	cleanup_close(&r->dirfd);
	r->dirfd = -1;
}

int restore_live_make(struct restore *r)
{
	const char *name = r->source->place.name;
	const struct stat known = r->st;
	int fd = openat(r->dirfd, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, known.st_mode);
	int rc = 0;

	if (fd < 0 && errno == EEXIST)
		return err_set(r->err, -EBUSY, "the live file has just appeared");
	if (fd < 0)
		return err_errno(r->err, "cannot make the live file");
	/* On failure it stays as well, for the reason given in restore_live_close(). */
	if (fstat(fd, &r->st) || (geteuid() == 0 && fchown(fd, known.st_uid, known.st_gid)) ||
	    fchmod(fd, known.st_mode))
		rc = err_errno(r->err, "cannot make the live file");
	/* Directly: no connection of ours has this inode yet, so closing the descriptor drops no lock. */
	close(fd);
	if (rc)
		return rc;
	r->made = true;
	return announce(r);
}
