#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# idle_close.sh - a mount that nobody reads stands in nobody's way: what waits for readers in SQLite goes on, and an application's last
# close leaves what it would have left without us.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

db=$SRC/db.sqlite3
make_db "$SRC/cold.sqlite3"
mount_fs "$SRC"
read_it() { copyloop --file "$MNT/db.sqlite3" --ack "$T/app.ack" --copies 8 --slow-ms 20 >/dev/null || die "bad copies"; }
sql() { sqlite3 "$db" "$1" 2>/dev/null; }
says() { [ "$(sql "$2")" = "$1" ]; }
no_sidecars() { [ ! -e "$1-wal" ] && [ ! -e "$1-shm" ]; }
no_descriptors() { ! find "/proc/$(fs_pid "$MNT")/fd" -lname "$1*" 2>/dev/null | grep -q .; }

note 'looking makes nothing'
ls -lR "$MNT" >/dev/null
stat "$MNT/cold.sqlite3" >/dev/null
no_sidecars "$SRC/cold.sqlite3" || die "stat has made sidecars"

note 'reading a database that nobody has open leaves nothing'
before=$(sha "$SRC/cold.sqlite3")
cat "$MNT/cold.sqlite3" >/dev/null
wait_for 6 no_sidecars "$SRC/cold.sqlite3" || die "sidecars of ours stay: $(ls "$SRC")"
wait_for 6 no_descriptors "$SRC/cold.sqlite3" || die "descriptors stay open"
equal 'the live file' "$(sha "$SRC/cold.sqlite3")" "$before"

note 'a checkpoint that waits for readers'
writer_start app --db "$db" --paused --autocheckpoint 0 --busy-timeout 0
writer_do app 'commit 50'
read_it
wait_for 6 says '0|0|0' 'PRAGMA wal_checkpoint(TRUNCATE)' || die "TRUNCATE: $(sqlite3 "$db" 'PRAGMA wal_checkpoint(TRUNCATE)')"
[ ! -s "$db-wal" ] || die "the WAL was not truncated"
writer_do app 'commit 50'
read_it

note 'the last close, while we are connected: what the application would have left'
writer_do app close
wait_for 8 no_sidecars "$db" || die "sidecars stay after the last close: $(ls -l "$SRC")"
wait_for 8 no_descriptors "$db" || die "descriptors stay open"
equal 'commits in the file itself' "$(sqlite3 "file:$db?immutable=1" 'SELECT commits FROM meta')" 100
[ "$(acked app)" = 100 ] || die "the writer counts otherwise"

note 'leaving WAL mode'
writer_do app open
writer_do app 'commit 3'
read_it
writer_do app close
wait_for 8 says delete 'PRAGMA journal_mode=DELETE' || die "journal_mode=DELETE: $(sqlite3 "$db" 'PRAGMA journal_mode=DELETE' 2>&1)"
equal 'commits' "$(commits_of "$MNT/db.sqlite3")" 103
equal 'journal mode' "$(sql 'PRAGMA journal_mode')" delete
equal 'back to WAL' "$(sql 'PRAGMA journal_mode=WAL')" wal
equal 'commits' "$(commits_of "$MNT/db.sqlite3")" 103

note 'exclusive locking'
takes_it() { sql 'PRAGMA locking_mode=EXCLUSIVE; BEGIN IMMEDIATE; UPDATE meta SET commits = commits; COMMIT; SELECT 1' | grep -qx 1; }
wait_for 8 takes_it || die "an application cannot lock exclusively"

note 'held open readers do not outlive their close'
writer_do app open
read_it
wait_for 8 no_descriptors "$db" || die "descriptors stay open: $(find "/proc/$(fs_pid "$MNT")/fd" -lname "$db*" -printf '%l ')"
