#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# exclusive_app.sh - an application that holds its database exclusively, as Firefox does: it can be looked at, opening it says EBUSY
# soon, never raw bytes, writing it, too, and nobody else has to wait for it.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
allow_log 'cannot be opened: .*(database is locked|another process holds it)'
allow_log 'refused, live database unchanged: (another process holds the live database exclusively|.*locked)'

writer_start wal --db "$SRC/wal.sqlite3" --exclusive --paused
writer_do wal 'commit 30'
writer_start roll --db "$SRC/roll.sqlite3" --exclusive --journal delete --paused
writer_do roll 'commit 30'
writer_start other --db "$SRC/other.sqlite3" --rate 200 --busy-timeout 0
mount_fs -o busy_timeout=1 "$SRC"
make_db "$T/up.sqlite3" --commits 7
taken() { python3 -c "import sys; t = $EPOCHREALTIME - $start; print(t); sys.exit(t > $1)" || die "$2 took longer than $1 s"; }

for name in wal roll; do
	stat "$MNT/$name.sqlite3" >/dev/null || die "stat"
	start=$EPOCHREALTIME
	must_fail any 'busy' cat "$MNT/$name.sqlite3"
	taken $((10 * FACTOR)) "EBUSY of $name"
	state=$(sha "$SRC/$name.sqlite3")
	must_fail 1 'busy' cp "$T/up.sqlite3" "$MNT/$name.sqlite3"
	equal "$name: what cannot be restored" "$(sha "$SRC/$name.sqlite3")" "$state"
done
[ -z "$(ls -A "$MNT/.sqlsnapfs/snapshots")" ] || die "kept: $(ls "$MNT/.sqlsnapfs/snapshots")"

# A crowd at the locked door does not keep others from their own.
crowd=()
for i in $(seq 40); do
	cat "$MNT/wal.sqlite3" >/dev/null 2>"$LOGS/crowd.$i" &
	crowd+=($!)
	CHILDREN+=($!)
done
start=$EPOCHREALTIME
for i in 1 2 3 4 5; do cat "$MNT/other.sqlite3" >/dev/null || die "the other database"; done
ls -l "$MNT" >/dev/null
taken $((1 * FACTOR)) 'five reads of another database and a list'
for pid in "${crowd[@]}"; do ! wait "$pid" || die "raw bytes of a database that is held exclusively"; done
grep -L busy "$LOGS"/crowd.* | grep . && die "another error than EBUSY"

# The applications work on, and once they are gone everything can be read.
for name in wal roll; do
	writer_do "$name" 'commit 10'
	writer_stop "$name"
	equal "$name: commits" "$(commits_of "$MNT/$name.sqlite3")" 40
done
