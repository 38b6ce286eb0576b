#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# snapshots_kill.sh - the daemon is killed while it makes, writes out or drops a snapshot of several databases: after the next start
# each snapshot is there whole or not at all, what was finished before is untouched, and nothing else is left in the store.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

CHAIN=$TOP/tests/check/chain.py
SNAPS=$MNT/.sqlsnapfs/snapshots
TIMES=$((SLOW ? 60 : 16))
allow_sidecars
allow_log 'snapshot "s[0-9]*" was lost: whoever wrote it was killed'
mkdir "$SRC/data"

coproc APP { exec python3 "$CHAIN" write "$SRC/data" wal wal wal delete; }
app=$APP_PID in=${APP[1]} out=${APP[0]}
CHILDREN+=("$app")
read -r -t $((300 * FACTOR)) -u "$out" reply
equal "the application" "$reply" ready
# Large enough that writing it takes a while.
python3 - "$SRC/large.db" <<'PY'
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("PRAGMA journal_mode=wal")
db.execute("CREATE TABLE c(id INTEGER PRIMARY KEY, n)")
db.executemany("INSERT INTO c(n) VALUES(randomblob(100000))", ((),) * 600)
db.commit()
PY

leavings() { find "$STORE" \( -name '*.partial' -o -name '.group-*' -o -name '.work-*' -o -type d -path '*/kept/*' -empty \) | sort; }
no_leavings() { [ -z "$(leavings)" ]; }
sums() { (cd "$1" && find . -type f -printf '%P %T@ %s\n' | sort && find . -type f | sort | xargs sha256sum); }

kill_daemon() {
	kill -9 "$(fs_pid "$MNT")"
	expect_daemon_end "$MNT"
	umount -l "$MNT" 2>/dev/null || :
}
# whole NAME: all five databases, of one instant.
whole() {
	equal "$1" "$(find "$SNAPS/$1" -type f | wc -l)" 5
	python3 "$CHAIN" judge "$SNAPS/$1/data" >"$T/judged" || die "$1: $(cat "$T/judged")"
	equal "$1: large" "$(sqlite3 "file:$SNAPS/$1/large.db?mode=ro" 'PRAGMA integrity_check')" ok
}

mount_fs "$SRC"
mkdir "$SNAPS/before"
sums "$SNAPS/before" >"$T/before"
unmount
kept=0 lost=0
for ((i = 0; i < TIMES; i++)); do
	mount_fs "$SRC"
	if [ $((i % 2)) = 0 ]; then
		mkdir "$SNAPS/s$i" & # killed during it, or while it is written
	else
		mkdir "$SNAPS/s$i"
		wait_for 20 grep -q "snapshot \"s$i\" of " "$LOG" || die "s$i is not written"
		rmdir "$SNAPS/s$i" &
	fi
	child=$!
	python3 -c 'import sys, time; time.sleep(float(sys.argv[1]))' "0.$(printf '%03d' $((i * 12 % 190)))" # any moment will do
	kill_daemon
	wait "$child" 2>/dev/null || :
	mount_fs "$SRC"
	wait_for 20 no_leavings || die "left in the store: $(leavings)"
	[ $((i % 2)) = 0 ] || ! grep -q 'was lost' "$LOG" || die "dropping it counts as losing it: $(cat "$LOG")"
	sums "$SNAPS/before" | diff "$T/before" - >"$T/out" || die "what was finished has changed: $(cat "$T/out")"
	if [ -e "$SNAPS/s$i" ]; then
		whole "s$i"
		rmdir "$SNAPS/s$i"
		kept=$((kept + 1))
	else
		mkdir "$SNAPS/s$i" # the name is free
		rmdir "$SNAPS/s$i"
		lost=$((lost + 1))
	fi
	equal "what there is" "$(ls "$SNAPS")" before
	unmount
done
note "killed $TIMES times: $kept kept, $lost not"
[ "$lost" -gt 0 ] || die "no snapshot was ever interrupted"
equal "groups" "$(find "$STORE/groups" -mindepth 1 | wc -l)" 1
exec {in}>&-
wait "$app" || fault "the application failed"
