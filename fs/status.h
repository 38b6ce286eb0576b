/* SPDX-License-Identifier: MIT */
/*
 * status.h - .sqlsnapfs/status.json: what a mount is doing, as one JSON object. This is its schema, number 1;
 * members may be added without another number. Times are UTC, "2026-11-20T03:15:02Z"; seconds have three
 * decimals; null means unknown or never. Text is UTF-8; other bytes of file names are U+FFFD.
 *
 * schema          1
 * time, started   now; when this program began to serve the mount
 * version, pid    of this program
 * mountpoint      absolute
 * read_only       whether restores are off
 * options         the mount's own options as they are in effect: store (null: the default), wal_limit,
 *                 wal_max (bytes), busy_timeout (seconds), check ("quick", "full"), keep, force,
 *                 norestore, frozen, shared_locks, databases_only, hide_databases
 * sqlite          version; wal_reset_bug: whether this program's library is one of 3.7.0 to 3.51.2 that
 *                 can lose commits when two processes checkpoint at once (applications have their own)
 * passed_through  descriptors since the start whose reads the kernel took from a file itself; 0 where it or
 *                 libfuse cannot do that
 * warnings        array of texts: what needs attention; empty when all is well. The mark of the WAL-reset
 *                 bug; a database whose last open or read failed, until an open succeeds; a store that
 *                 cannot be searched; a folder without any database; a restore that was refused since the
 *                 start, for a day, or until a later one of that database succeeds; a snapshot that was
 *                 made and is lost, for a day, or until one of that name is written
 * complete        false: the tree has too many files to be searched each time, and SOURCES may lack
 *                 databases that nobody has looked up
 * sources         array, one object for each database:
 *   path            in the mount; null: it is no longer there and is still being read
 *   file            absolute path of the live file
 *   kind            "wal", "rollback", "unknown": not a database (any more), or not readable
 *   page_size, size bytes; page_size may be null
 *   generation      number of the version that was looked up last; null: none was
 *   connected       whether this program holds a connection to it now
 *   readers         descriptors open on it in the mount
 *   pins            array, oldest first, of read transactions that hold its WAL: age (seconds), wal_bytes
 *   pin_count       how many there are; 32 of them are listed
 *   wal_bytes       committed bytes of its WAL; null while not connected, as the next
 *   held_bytes      WAL space whose reuse our pins may have prevented, in total
 *   spool_bytes     private copies that slow readers are served from
 *   wal_marked      true: its wal-index shows the mark of the WAL-reset bug (nBackfill > mxFrame)
 *   last_error      null, or time and text of the last failure; a later success does not clear it
 *   last_opened     null, or the newest state of it that anybody has opened, also before a remount: time,
 *                   seconds_ago, uid, pid, command, and snapshot: null, or the kept snapshot that it was
 *                   read from, and whose age it then has
 * running         array of restores under way: kind ("restore"), path, phase ("waiting", "checking",
 *                 "keeping", "locking", "writing", "settling"), done and total (bytes of the phase; total
 *                 null: unknown), share (0 to 1, of the whole restore, estimated), seconds, uid, pid,
 *                 command
 * restores        array, the newest first, of the last 20 since the start: path, time, verdict
 *                 ("restored", "unchanged", "refused", "cancelled"; "doubtful": it failed, and it is
 *                 unknown whether it was restored), error (null, or strerror(3) of errno, as cp(1) shows
 *                 it), reason (null, or why not), size (bytes), seconds, locked_seconds, undo (the kept
 *                 snapshot of what was there before, or null; after a failure only if that may be nowhere
 *                 else), undo_path (where it is in that; null: this mount does not show it), undo_raw
 *                 (whether it is raw files, which were not a database: a restore from a copy of them is
 *                 refused), uid, pid, command
 * snapshots       array, the oldest first: name, made, state ("writing": it can be read, and is being
 *                 written to the store; "kept"), share (0 to 1, of what is to be written), apart (seconds
 *                 by which its databases may miss one instant; null once it is kept: then WHY says it),
 *                 size (bytes of all), why (null, or what made it), databases (array of path and size)
 */
#ifndef SQLSNAPFS_STATUS_H
#define SQLSNAPFS_STATUS_H

#include "options.h"
#include "tasks.h"

#define STATUS_SCHEMA 1

/* Of a folder. */
#define STATUS_NO_DATABASE "there is no database in %s: is it the right folder, is it mounted?"

/* All borrowed. */
struct status_order {
	struct snap *snap;
	struct tasks *tasks;
	const struct options *options; /* NULL: unknown */
	const char *mountpoint;	       /* NULL: unknown */
	const char *folder;	       /* the folder that is shown whole; NULL: none */
	bool read_only;
	int64_t started_ns; /* CLOCK_REALTIME */
	uint64_t passed_through;
};

/* The text, owned by the caller; NULL: no memory. Reads the tree and the store; waits for no live database,
 * connects to none and keeps none connected. */
char *status_make(const struct status_order *order);

#endif
