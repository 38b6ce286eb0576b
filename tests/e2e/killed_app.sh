#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# killed_app.sh - an application was killed and left a WAL that nobody has checkpointed: its commits are in the copy, and reading
# changes no byte of what it left.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
allow_sidecars # the application's own, which must stay

db=$SRC/db.sqlite3
writer_start app --db "$db" --autocheckpoint 0 --paused
writer_do app 'commit 200'
writer_kill app
[ -s "$db-wal" ] || die "the application has left no WAL"
before=$(sha "$db" "$db-wal")

mount_fs "$SRC"
equal 'size' "$(stat -c %s "$MNT/db.sqlite3")" "$(wc -c <"$MNT/db.sqlite3")"
cp "$MNT/db.sqlite3" "$T/copy"
equal 'commit number of the copy' "$(check_copy "$T/copy")" 200
copyloop --file "$MNT/db.sqlite3" --ack "$T/app.ack" --copies 16
unmount
equal 'database and WAL after reading' "$(sha "$db" "$db-wal")" "$before"

# A WAL whose -shm is gone (a copied folder, a reboot): recovered in memory, on disk nothing changes but the -shm.
rm -f "$db-shm"
mount_fs "$SRC"
cp "$MNT/db.sqlite3" "$T/copy"
equal 'commit number without -shm' "$(check_copy "$T/copy")" 200
unmount
equal 'database and WAL after recovery' "$(sha "$db" "$db-wal")" "$before"

# A torn tail: the commits before it are what SQLite itself finds.
mkdir "$T/torn"
head -c $(($(stat -c %s "$db-wal") - 5000)) "$db-wal" >"$T/torn/db.sqlite3-wal"
cp "$db" "$T/torn/db.sqlite3"
cp -r "$T/torn" "$T/oracle"
mount_fs "$T/torn"
cp "$MNT/db.sqlite3" "$T/copy"
unmount
equal 'commit number with a torn WAL' "$(check_copy "$T/copy")" \
	"$(sqlite3 "$T/oracle/db.sqlite3" 'SELECT commits FROM meta')"

# The application comes back and finds everything.
rm -f "$db-shm"
writer_start again --db "$db" --paused
equal 'what the application finds' "$REPLY" 'ready 200'
writer_do again 'commit 10'
writer_stop again
[ ! -e "$db-wal" ] || die "the application's close has left its WAL"
