/* SPDX-License-Identifier: MIT */
/*
 * pin.c - beginning and ending the transaction that is a pin.
 *
 * What must stay true: the slot is examined after the statement has returned, because a first look at a
 * database locks, unlocks and locks again (lockBtree() opens the WAL on the way); a failure leaves no
 * transaction; 0 is returned only for a state that is known to be good.
 */
#include "pin.h"

#include <errno.h>
#include <sqlite3.h>
#include <time.h>

#include "clock.h"

/* Between two tries. A writer in rollback-journal mode that commits without a pause lets readers in for about
 * a millisecond between two commits, which may be tens of them apart. */
#define PAUSE_NS (2 * NS_PER_MS)

/* hasHotJournal() may be wrong while the journal's owner rolls it back; but not several times in a row. */
#define HOT_LOOKS 3

static void end_transaction(struct db *db)
{
	if (!sqlite3_get_autocommit(db->handle))
		db_exec(db, "ROLLBACK");
}

/* PRAGMA user_version reads page 1 in a transaction and does not need the schema, which may be one we cannot
 * parse. */
static int begin(struct db *db)
{
	sqlite3_stmt *stmt = NULL;
	int rc = db_exec(db, "BEGIN");

	if (rc == SQLITE_OK)
		rc = sqlite3_prepare_v2(db->handle, "PRAGMA user_version", -1, &stmt, NULL);
	if (rc == SQLITE_OK) {
		rc = sqlite3_step(stmt);
		if (rc == SQLITE_ROW)
			rc = sqlite3_step(stmt);
		if (rc == SQLITE_DONE)
			rc = SQLITE_OK;
	}
	sqlite3_finalize(stmt); /* before a rollback; the error's text stays */
	return rc;
}

/* Whether another try may succeed. */
static bool is_transient(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_BUSY:
	case SQLITE_PROTOCOL:
		return true;
	default:
		/* A read-only -shm waits for a writer to set a mark, or to recover it. */
		return rc == SQLITE_READONLY_CANTINIT || rc == SQLITE_READONLY_RECOVERY;
	}
}

static bool is_empty(struct db *db)
{
	uint64_t size;

	return vfs_db_size(db->vfs, &size) == 0 && size == 0;
}

/* The header with which a pin begins. -EAGAIN: since the transaction began, a writer has been held up in the
 * middle of a commit; if it is dead, the next transaction makes the header anew. */
static int sample_start(struct db *db, struct wal_header *start, struct snap_err *err)
{
	switch (vfs_wal_header(db->vfs, start)) {
	case 0:
		return 0;
	case WAL_TORN:
		vfs_unwatch(db->vfs);
		return -EAGAIN;
	default:
		return err_set(err, -EIO, "its wal-index is damaged");
	}
}

/* What kind of pin a transaction that has begun is. -EAGAIN: another may tell. */
static int classify(struct db *db, struct wal_header *start, struct snap_err *err)
{
	if (!vfs_wal_is_open(db->vfs))
		return is_empty(db) ? PIN_EMPTY : PIN_ROLLBACK;
	if (vfs_shm_unreliable(db->vfs))
		return PIN_UNRELIABLE;
	if (vfs_read_slot(db->vfs) < 1)
		return err_set(err, -EIO, "SQLite reads the WAL without a lock on a read slot");
	vfs_watch(db->vfs);
	if (vfs_lost(db->vfs))
		return err_set(err, -EIO, "its -shm was truncated by somebody");
	return sample_start(db, start, err);
}

/* The error for a failed try that is the last one. The message is SQLite's. */
static int give_up(struct db *db, int rc, struct snap_err *err)
{
	int error = db_errno(db, rc);

	if ((rc & 0xff) == SQLITE_PROTOCOL)
		error = -EBUSY;
	/* The database is open: what is missing is a -wal or -shm, on a file system where none can be
	 * created. */
	else if ((rc & 0xff) == SQLITE_CANTOPEN && error == -ENOENT)
		error = -EROFS;
	return err_set(err, error, "%s", db_text(db));
}

static void pause_until(int64_t deadline)
{
	int64_t left = deadline - monotonic_ns();
	struct timespec ts = ns_timespec(PAUSE_NS < left ? PAUSE_NS : left);

	if (left > 0)
		nanosleep(&ts, NULL);
}

static int begin_until(struct db *db, int64_t deadline, struct wal_header *start, struct snap_err *err)
{
	int hot = 0;

	for (;;) {
		int rc = begin(db);

		if (rc == SQLITE_OK) {
			int answer = classify(db, start, err);

			if (answer != -EAGAIN)
				return answer;
			if (monotonic_ns() >= deadline)
				return err_set(err, -EBUSY, "a writer is held up in the middle of a commit");
		} else {
			/* A 0-byte database with a -wal beside it: SQLite wants to delete it, and may not. */
			if (rc == SQLITE_IOERR_DELETE && is_empty(db))
				return PIN_EMPTY;
			if (rc == SQLITE_READONLY_ROLLBACK && ++hot == HOT_LOOKS)
				return PIN_HOT_JOURNAL;
			if (rc != SQLITE_READONLY_ROLLBACK &&
			    (!is_transient(rc) || monotonic_ns() >= deadline))
				return give_up(db, rc, err);
		}
		end_transaction(db);
		pause_until(deadline);
	}
}

int pin_begin(struct db *db, int64_t deadline, struct wal_header *start, struct snap_err *err)
{
	int rc;

	vfs_set_deadline(db->vfs, deadline);
	rc = begin_until(db, deadline, start, err);
	vfs_set_deadline(db->vfs, INT64_MAX);
	if (rc < 0 || rc == PIN_HOT_JOURNAL)
		pin_end(db);
	return rc;
}

void pin_end(struct db *db)
{
	vfs_unwatch(db->vfs);
	end_transaction(db);
}
