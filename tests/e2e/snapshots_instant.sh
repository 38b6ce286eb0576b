#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# snapshots_instant.sh - four databases, written in turn by one application: whenever a snapshot is made beside it, they are of
# one instant, in WAL mode, in rollback-journal mode, and mixed.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

CHAIN=$TOP/tests/check/chain.py
SNAPS=$MNT/.sqlsnapfs/snapshots
TIMES=$((SLOW ? 1000 : 60))
allow_sidecars

# The judge can fail: databases that were copied one after the other.
mkdir "$T/apart"
for i in 1 2; do
	sqlite3 "$T/apart/$i.db" "CREATE TABLE c(id INTEGER PRIMARY KEY, n); INSERT INTO c VALUES(1, $i)"
done
must_fail 1 'not one instant' python3 "$CHAIN" judge "$T/apart"

# chain NAME TIMES MODE...
chain() {
	local name=$1 times=$2 reply
	shift 2
	note "$name"
	rm -rf "$SRC" && mkdir "$SRC" && mkdir "$SRC/data"
	coproc APP { exec python3 "$CHAIN" write "$SRC/data" "$@"; }
	app=$APP_PID in=${APP[1]} out=${APP[0]}
	CHILDREN+=("$app")
	read -r -t $((300 * FACTOR)) -u "$out" reply || die "the application does not begin"
	equal "the application" "$reply" ready
	mount_fs "$SRC"
	python3 "$CHAIN" loop "$SNAPS" "$times" 0 >"$T/result" || die "$name: $(cat "$T/result")"
	note "$(cat "$T/result")"
	[ "$(json "$T/result" states)" -gt $((times / 4)) ] || die "$name: the application stood still"
	exec {in}>&-
	wait "$app" || fault "the application of $name failed"
	unmount
}

chain wal "$TIMES" wal wal wal wal
! grep -q ' apart' "$LOG" || die "WAL databases were not of one instant: $(grep ' apart' "$LOG")"
chain rollback $((TIMES / 4)) delete truncate persist delete
chain mixed $((TIMES / 2)) wal delete wal truncate
