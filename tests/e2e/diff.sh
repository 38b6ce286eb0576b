#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# diff.sh - what the mount shows is byte for byte what SQLite's own backup says, for every page size, auto_vacuum mode and journal
# mode, in many states; and for what an application leaves behind when it dies.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

quick=(--quick)
[ "$SLOW" = 0 ] || quick=()
allow_log 'there is no database in' # yet
mount_fs "$SRC"
"$TEST_BIN/diff_engine" "$SRC" "$MNT" "${quick[@]}" || die "they differ"
rm -f "$SRC"/* # -f: a -wal may go by itself in that moment, when the last connection to it closes

# An empty file of a folder is an empty file; an empty database that was opened has no bytes either.
: >"$SRC/empty.db"
equal 'bytes of an empty file' "$(wc -c <"$MNT/empty.db")" 0
sqlite3 "$SRC/empty.db" 'PRAGMA journal_mode=WAL' >/dev/null
cp "$MNT/empty.db" "$T/copy"
sqlite3 "$SRC/empty.db" ".backup $T/backup"
"$TEST_BIN/masked_cmp" "$T/copy" "$T/backup" || die "a database without tables"

# A WAL that was never checkpointed, its application killed; and a large one.
for bytes in 4 $((SLOW ? 256 : 64)); do
	db=$SRC/wal$bytes.sqlite3
	writer_start "wal$bytes" --db "$db" --autocheckpoint 0 --sync off --big-row 900000 --big-every 5 --paused
	until [ "$(stat -c %s "$db-wal")" -ge $((bytes << 20)) ]; do writer_do "wal$bytes" 'commit 10'; done
	cp "$MNT/wal$bytes.sqlite3" "$T/copy"
	sqlite3 -readonly "$db" ".backup $T/backup"
	"$TEST_BIN/masked_cmp" "$T/copy" "$T/backup" || die "a WAL of $bytes MiB"
	# Not mounted when it dies: the close of the last of several connections is made good by the others.
	unmount
	writer_kill "wal$bytes"
	mount_fs "$SRC"
	before=$(sha "$db" "$db-wal")
	cp "$MNT/wal$bytes.sqlite3" "$T/copy"
	"$TEST_BIN/masked_cmp" "$T/copy" "$T/backup" || die "a WAL of $bytes MiB whose application was killed"
	equal 'database and WAL after reading' "$(sha "$db" "$db-wal")" "$before"
	# A close by SQLite folds the WAL in: the file becomes what was read.
	unmount
	sqlite3 "$db" 'SELECT count(*) FROM log' >/dev/null
	[ ! -e "$db-wal" ] || die "the last close has left the WAL"
	cmp "$db" "$T/copy" || die "the checkpointed file is not what was read"
	mount_fs "$SRC"
done
