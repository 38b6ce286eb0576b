/* SPDX-License-Identifier: MIT */
/*
 * restore_write.c - the transaction that replaces the content, and whether it was committed.
 *
 * sqlite3_backup writes every page through SQLite itself: readers keep what they read, open connections see
 * the new content in their next transaction. The destination of a backup must not be in a transaction, so a
 * step of no pages takes the write lock; the step that writes waits for nobody. A busy handler serves for one
 * step, and is set again before each.
 *
 * What must stay true: only the holder of the write lock can commit, so the version that the shim samples
 * right before the lock is released is of this commit and no other; after a failure to write, and no other
 * failure, the -wal is cut while the lock is still held.
 */
#include "restore_private.h"

#include <errno.h>
#include <sqlite3.h>
#include <string.h>

#include "cleanup.h"
#include "clock.h"
#include "opath.h"
#include "progress.h"

#define SLICE_MS 250   /* between two checks whether the restore is still wanted, and who waits for us */
#define POLL_NS 500000 /* between two attempts to get the lock */
#define CHANGE_FROM 8  /* of the wal-index header: iChange, which counts commits */
#define CHANGE_TO 12

/* ---- what the shim sees -------------------------------------------------------------------------------- */

/* Samples the file now at the place. False: it is another one, or missing. */
static bool sample_place(struct restore *r, struct version *out)
{
	struct sample sample;

	if (source_sample_now(r->source, NULL, &sample) || sample.version.dev != r->st.st_dev ||
	    sample.version.ino != r->st.st_ino)
		return false;
	*out = sample.version;
	return true;
}

/* Samples the current state through the writing connection. */
static void sample_dest(struct restore *r, struct dest_sample *out)
{
	struct version *v = &out->version;
	struct wal_header wal;
	struct header header;

	out->is_database = false;
	*v = (struct version){.dev = 0};
	out->known = sample_place(r, v);
	v->incarnation = r->live ? r->live->incarnation : 0;
	if (vfs_wal_is_open(r->dest.vfs)) {
		v->has_header = vfs_wal_header(r->dest.vfs, &wal) == 0;
		if (v->has_header)
			memcpy(v->header, wal.raw, sizeof(v->header));
		out->known = out->known && v->has_header;
		return;
	}
	memset(out->bytes, 0, HEADER_SIZE);
	out->is_database = vfs_read_db(r->dest.vfs, out->bytes, HEADER_SIZE, 0) >= 0;
	out->known = out->known && out->is_database;
	/* A header that says WAL takes effect at the next open, and such a database has no counters. */
	if (out->is_database && header_decode(&header, out->bytes, HEADER_SIZE) == 0 &&
	    !header_is_wal(&header)) {
		v->has_counters = true;
		memcpy(v->counters, header.counters, sizeof(v->counters));
	}
}

bool restore_has_journal(const struct restore *r)
{
	struct stat st;
	int rc = place_stat(&r->source->place, "-journal", &st);

	return rc ? rc != -ENOENT : st.st_size > 0;
}

static void note_write(struct restore *r, bool held)
{
	struct watch *w = &r->watch;

	if (held) {
		w->since = monotonic_ns();
		w->after.known = w->after.is_database = w->after.version.has_header = false;
		sample_dest(r, &w->base);
		if (w->checkpointing && w->base.known)
			source_commit_expected(r->source, &w->base.version);
		return;
	}
	sample_dest(r, &w->after);
	w->has_journal = w->after.is_database && restore_has_journal(r);
	if (w->after.known && w->age && !w->after.version.has_header)
		version_age(r, &w->after.version);
	if (w->armed)
		w->held_ns += monotonic_ns() - w->since;
}

void restore_on_write(void *arg, bool held)
{
	int why = errno; /* of an earlier failure, which SQLite asks for after the lock was released */

	note_write(arg, held);
	errno = why;
}

/* ---- opening ------------------------------------------------------------------------------------------- */

/* Best effort: these need a readable schema, and change the duration, not the result. */
static void tune(struct restore *r)
{
	/* KiB. Every page is written once and not looked at again, so a larger cache only takes memory. */
	db_exec(&r->dest, "PRAGMA cache_size=-1024");
	if (r->kind == RESTORE_WAL) /* the sync follows after the lock was released */
		db_exec(&r->dest, "PRAGMA synchronous=NORMAL");
}

static int begin_backup(struct restore *r)
{
	r->backup = sqlite3_backup_init(r->dest.handle, "main", r->staged.handle, "main");
	return r->backup ? SQLITE_OK : sqlite3_errcode(r->dest.handle);
}

int restore_is_still_there(struct restore *r)
{
	struct stat st;
	int rc = place_stat(&r->source->place, "", &st);

	if (opath_transient(rc))
		return err_set(r->err, rc, "cannot examine the live file: %s", strerror(-rc));
	if (rc || st.st_dev != r->st.st_dev || st.st_ino != r->st.st_ino)
		return err_set(r->err, -EBUSY, "the live file was replaced meanwhile");
	return 0;
}

int restore_dest_open(struct restore *r)
{
	int rc = 0;

	if (r->kind == RESTORE_MISSING && !r->made)
		rc = restore_live_make(r);
	if (!rc)
		rc = restore_db_open(r, &r->dest, DB_RESTORER, r->err);
	if (!rc)
		rc = restore_is_still_there(r);
	if (!rc)
		rc = db_open(&r->staged, r->fit.dir, r->fit.name, DB_STAGED, r->err);
	if (rc)
		return rc;
	vfs_set_fault(r->dest.vfs, r->order->fault, r->order->fault_arg);
	vfs_set_fault(r->staged.vfs, r->order->fault, r->order->fault_arg);
	vfs_set_journal_version(r->staged.vfs, r->kind == RESTORE_WAL	     ? 2
					       : r->kind == RESTORE_ROLLBACK ? 1
									     : 0);
	vfs_set_write_watch(r->dest.vfs, restore_on_write, r);
	restore_begin_anew(r);
	/* What is asked here can be done without; the time to wait is for the lock. */
	vfs_set_deadline(r->dest.vfs, monotonic_ns() + SLICE_MS * NS_PER_MS);
	tune(r);
	if (begin_backup(r) != SQLITE_OK)
		return err_set(r->err, db_errno(&r->dest, sqlite3_errcode(r->dest.handle)),
			       "cannot be restored: %s", db_text(&r->dest));
	return 0;
}

/* A failed step does not tell the destination; this does, and errno must still be that of the failure. */
void restore_finish_backup(struct restore *r, bool failed)
{
	int why = errno;

	if (!r->backup)
		return;
	if (failed && vfs_write_is_held(r->dest.vfs))
		vfs_cut_wal(r->dest.vfs);
	errno = why;
	sqlite3_backup_finish(steal_ptr(&r->backup));
}

void restore_dest_close(struct restore *r)
{
	restore_finish_backup(r, false); /* nothing was written, or the write is over */
	db_close(&r->dest);
	db_close(&r->staged);
}

/* ---- the lock ------------------------------------------------------------------------------------------ */

static bool is_busy(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
	case SQLITE_PROTOCOL:
		return true;
	default:
		return false;
	}
}

/* SQLite's own waits grow to 100 ms: with an application that commits without a pause, it would rarely try
 * between two commits. */
static int wait_a_little(void *arg, int count)
{
	const int64_t *until = arg;

	(void)count;
	if (monotonic_ns() >= *until)
		return 0;
	nanosleep(&(struct timespec){.tv_nsec = POLL_NS}, NULL);
	return 1;
}

/* SQLITE_OK, or the result of the last attempt. */
static int try_lock(struct restore *r, int64_t deadline)
{
	int64_t until = monotonic_ns() + SLICE_MS * NS_PER_MS;
	int rc = r->backup ? SQLITE_OK : begin_backup(r);

	until = until < deadline ? until : deadline;
	sqlite3_busy_handler(r->dest.handle, wait_a_little, &until);
	vfs_set_deadline(r->dest.vfs, until); /* for pauses that SQLite makes without the busy handler */
	if (rc == SQLITE_OK)
		rc = sqlite3_backup_step(r->backup, 0);
	vfs_set_deadline(r->dest.vfs, INT64_MAX);
	sqlite3_busy_handler(r->dest.handle, NULL, NULL);
	/* After any other error, such as that of a wal-index under recovery, a backup only repeats it without
	 * another try (isFatalError() in backup.c): begin a new backup. */
	if (is_busy(rc) && rc != SQLITE_BUSY && rc != SQLITE_LOCKED) {
		restore_finish_backup(r, false);
		nanosleep(&(struct timespec){.tv_nsec = POLL_NS}, NULL);
	}
	return rc;
}

/* Whether SQLite refuses to write because the page sizes differ. */
static bool is_misfit(struct restore *r)
{
	sqlite3_stmt *stmt = NULL;

	r->dest_page_size = 0;
	if (sqlite3_prepare_v2(r->dest.handle, "PRAGMA page_size", -1, &stmt, NULL) == SQLITE_OK &&
	    sqlite3_step(stmt) == SQLITE_ROW)
		r->dest_page_size = (uint32_t)sqlite3_column_int(stmt, 0);
	sqlite3_finalize(stmt);
	return r->dest_page_size != 0 && r->dest_page_size != r->fit.page_size;
}

/*
 * An application's checkpoint that waits for readers holds the write lock: it would wait for our view until
 * its busy timeout ends, and we for its lock. So the view is closed. The copy made so far counts as a
 * headstart, because the WAL may start over now: all of it is compared once we have the lock.
 */
static void yield_view(struct restore *r)
{
	if (r->kind != RESTORE_WAL || !r->view.image || !view_is_awaited(r))
		return;
	r->undo.begun = r->undo.keep ? r->view.size : 0;
	view_close(&r->view);
}

/* Where there was no database, nothing was kept or checked: so none may have appeared meanwhile. */
static bool is_still_nothing(struct restore *r)
{
	uint64_t size;

	return (r->kind != RESTORE_EMPTY && r->kind != RESTORE_MISSING) ||
	       (vfs_db_size(r->dest.vfs, &size) == 0 && size == 0);
}

/* Asks for the lock until it is granted or the time is up. Returns what restore_lock() does. */
static int await_lock(struct restore *r)
{
	int64_t deadline = monotonic_ns() + r->order->busy_timeout_ms * NS_PER_MS;
	int rc, error;

	r->watch.armed = true;
	r->yield.awaited = false;
	progress_wait(r->order->progress, SNAP_PHASE_LOCKING);
	for (;;) {
		rc = try_lock(r, deadline);
		if (!is_busy(rc) || monotonic_ns() >= deadline)
			break;
		if (restore_is_cancelled(r))
			return err_set(r->err, -ECANCELED, "cancelled");
		yield_view(r);
	}
	if (is_busy(rc))
		return err_set(r->err, -EBUSY,
			       "an application kept it locked for %g seconds; try again, or mount with "
			       "a longer -o busy_timeout",
			       r->order->busy_timeout_ms / 1e3);
	if (rc == SQLITE_READONLY && is_misfit(r))
		return RESTORE_MISFIT;
	if (rc != SQLITE_OK) {
		r->unreadable |= (rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB;
		restore_finish_backup(r, false);
		error = db_errno(&r->dest, rc);
		if ((rc & 0xff) == SQLITE_IOERR && restore_check_decided(r))
			return -EIO; /* an application has died meanwhile */
		return err_set(r->err, error, "cannot write the live database: %s",
			       error == -ESTALE ? "it, or its -wal, was replaced meanwhile"
						: db_words(-error, sqlite3_errstr(rc)));
	}
	return 0;
}

int restore_lock(struct restore *r)
{
	int rc = await_lock(r);

	if (rc)
		return rc;
	/* Now that nobody else can write: is the database still the one that was looked at, and kept? */
	if (!vfs_write_is_held(r->dest.vfs))
		return err_set(r->err, -EIO, "SQLite has not taken the write lock");
	/* The application may have changed the journal mode since it was looked at. */
	if ((r->kind == RESTORE_WAL || r->broken_wal) != vfs_wal_is_open(r->dest.vfs))
		return err_set(r->err, -EBUSY, "its journal mode is being changed");
	rc = restore_is_still_there(r);
	if (rc)
		return rc;
	if (!vfs_sidecars_have_their_names(r->dest.vfs))
		return err_set(r->err, -EBUSY, "its -wal or -shm was removed meanwhile");
	if (!r->watch.base.known)
		return err_set(r->err, -EIO, "the live database cannot be examined");
	if (!restore_is_as_kept(r))
		return err_set(r->err, -EBUSY, "somebody has written to the damaged database meanwhile");
	return is_still_nothing(r) ? 0 : err_set(r->err, -EBUSY, "an application has just recreated it");
}

/* ---- the truth ----------------------------------------------------------------------------------------- */

/* Has SQLite roll back the rest of the transaction, and checks whether the database is as it was. */
static bool is_rolled_back(struct restore *r)
{
	uint8_t bytes[HEADER_SIZE] = {0};
	struct db db = DB_INIT;
	bool same;

	if (restore_db_open(r, &db, DB_RESTORER, NULL))
		return false;
	sqlite3_busy_timeout(db.handle, r->order->busy_timeout_ms);
	same = db_exec(&db, "PRAGMA user_version") == SQLITE_OK &&
	       vfs_read_db(db.vfs, bytes, HEADER_SIZE, 0) >= 0 &&
	       memcmp(bytes, r->watch.base.bytes, HEADER_SIZE) == 0;
	db_close(&db);
	return same;
}

/* A WAL that starts over has another header, too, but only a commit changes these bytes. */
static bool counts_a_commit(const uint8_t *before, const uint8_t *after)
{
	return memcmp(before + CHANGE_FROM, after + CHANGE_FROM, CHANGE_TO - CHANGE_FROM) != 0;
}

/* Whether the transaction was committed, whatever SQLite returned: compares the state right after the lock
 * was granted with that right before it was released, because nobody else can have changed it in between. A
 * later state proves one thing only: if it is unchanged, nobody has committed. */
static bool is_committed(struct restore *r)
{
	const struct watch *w = &r->watch;
	struct wal_header now;
	struct header header;

	if (w->base.version.has_header) {
		if (w->after.version.has_header)
			return counts_a_commit(w->base.version.header, w->after.version.header);
		r->out->doubtful = !r->live || live_sample(r->live, &now) != 0 ||
				   memcmp(now.raw, w->base.version.header, sizeof(now.raw)) != 0;
		return false;
	}
	/* A single byte, which SQLite treats as an empty file, is rolled back to an empty file. */
	if (w->after.is_database && !w->has_journal)
		return memcmp(w->base.bytes, w->after.bytes, HEADER_SIZE) != 0 &&
		       header_decode(&header, w->after.bytes, HEADER_SIZE) == 0;
	r->out->doubtful = !is_rolled_back(r);
	return false;
}

static const char *what_is_true(const struct restore *r)
{
	if (r->out->committed)
		return "restored, but afterwards";
	return r->out->doubtful ? "it cannot be told whether it was restored"
				: "cannot write the live database";
}

/* ---- the commit ---------------------------------------------------------------------------------------- */

/* Readers are not to blame for the WAL that a restore writes. */
static void forgive(struct restore *r)
{
	if (r->live)
		live_forgive(r->live, (uint64_t)r->fit.pages * (r->fit.page_size + WAL_FRAME_HEADER));
}

int restore_commit(struct restore *r)
{
	struct watch *w = &r->watch;
	int rc;

	forgive(r);
	source_commit_expected(r->source, &w->base.version);
	w->age = true;
	progress_begin(r->order->progress, SNAP_PHASE_WRITING, 2, r->fit.size);
	vfs_watch_reads(r->staged.vfs, r->order->progress);
	rc = sqlite3_backup_step(r->backup, -1);
	vfs_watch_reads(r->staged.vfs, NULL);
	vfs_set_emptied(r->dest.vfs, 0, 0);
	vfs_set_counters(r->dest.vfs, 0, 0); /* a rollback must write the header as it was */
	if (rc == SQLITE_DONE) {
		r->out->committed = true;
	} else {
		int error;

		w->age = false;
		restore_finish_backup(r, true);
		error = db_errno(&r->dest, rc);
		if (!w->base.version.has_header)
			db_close(&r->dest); /* so that the rest of the transaction can be rolled back */
		r->out->committed = is_committed(r);
		rc = err_set(r->err, error, "%s: %s", what_is_true(r),
			     db_words(-error, (rc & 0xff) == SQLITE_CANTOPEN ? strerror(-error)
									     : sqlite3_errstr(rc)));
	}
	w->armed = w->age = false;
	if (r->live)
		live_forgive_end(r->live, r->out->committed);
	if (r->out->committed && w->after.known) {
		source_upload_publish(r->source, r->gen, &w->after.version);
		if (!r->live)
			source_connect_expected(r->source);
	} else {
		source_commit_over(r->source);
	}
	return rc == SQLITE_DONE ? 0 : rc;
}
