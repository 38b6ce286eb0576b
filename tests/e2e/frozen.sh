#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# frozen.sh - -o frozen, and snapshots that are read by tools which come back: while applications write at full speed the same bytes
# however often they are read, all databases of one instant, and with -- COMMAND in one line.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
need rsync rclone restic

CHAIN=$TOP/tests/check/chain.py
TIMES=$((SLOW ? 20 : 3))
allow_sidecars
mkdir "$SRC/data"

coproc APP { exec python3 "$CHAIN" write "$SRC/data" wal wal delete; }
app=$APP_PID in=${APP[1]} out=${APP[0]}
CHILDREN+=("$app")
read -r -t $((60 * FACTOR)) -u "$out" reply
equal "the application" "$reply" ready
writer_start busy --db "$SRC/busy.db" --journal wal --sync off --checkpoint-every 200

# twice FOLDER: whatever reads it, and comes back, finds the same.
twice() {
	local i
	for ((i = 0; i < TIMES; i++)); do
		(cd "$1" && find . -type f | sort | xargs sha256sum && find . -type f -printf '%P %T@ %s %i\n' | sort) >"$T/sums.$i"
		cmp "$T/sums.0" "$T/sums.$i" || die "$1 has changed"
		python3 "$CHAIN" judge "$1/data" >"$T/judged" || die "$1: $(cat "$T/judged")"
	done
	rm -rf "$T/rsync" && rsync -a "$1/" "$T/rsync"
	equal "rsync, again" "$(rsync -aicO "$1/" "$T/rsync")" "" # folders of a frozen mount have the times of now
	for ((i = 0; i < TIMES; i++)); do
		rm -rf "$T/rclone"
		RCLONE_CONFIG=$T/rclone.conf rclone sync "$1" "$T/rclone" >"$T/out" 2>&1 || die "rclone sync: $(cat "$T/out")"
		RCLONE_CONFIG=$T/rclone.conf rclone check "$1" "$T/rclone" >"$T/out" 2>&1 || die "rclone check: $(cat "$T/out")"
	done
	export RESTIC_PASSWORD=x RESTIC_REPOSITORY=$T/restic RESTIC_CACHE_DIR=$T/restic-cache
	rm -rf "$T/restic" && restic -q init
	(cd "$1" && restic -q backup . && restic -q backup --force .)
	equal "restic, two snapshots" "$(restic ls -l latest | grep -c '\.db$')" 4
	# shellcheck disable=SC2046 # two of them
	restic -q diff --metadata $(restic snapshots --json | python3 -c 'import json, sys
print(*(s["id"] for s in json.load(sys.stdin)))') | grep '^[-+MTU?]' >"$T/out" || :
	! grep '\.db$' "$T/out" || die "restic has seen two different states: $(cat "$T/out")"
}

note "a snapshot"
mount_fs "$SRC"
mkdir "$MNT/.sqlsnapfs/snapshots/one"
twice "$MNT/.sqlsnapfs/snapshots/one"
unmount

note "a frozen mount"
mount_fs -o frozen "$SRC"
writer_do busy commits?
before=${REPLY#* }
twice "$MNT"
writer_do busy commits?
[ "${REPLY#* }" -gt "$before" ] || die "the writer stood still"
equal "queried in place" "$(sqlite3 "file:$MNT/busy.db?mode=ro" 'PRAGMA quick_check')" ok
for sidecar in wal shm; do
	equal "its -$sidecar, by name" "$(stat -c '%s %A' "$MNT/busy.db-$sidecar")" "0 -r--r--r--"
done
equal "inodes of both" "$(stat -c %i "$MNT/busy.db-wal" "$MNT/busy.db-shm" | sort -u | wc -l)" 2
must_fail any 'No such file' cat "$MNT/busy.db-journal"
must_fail any 'No such file' cat "$MNT/other.db-wal"
# shellcheck disable=SC2016 # the text is for the shell that is called, with its own arguments
must_fail 2 'Read-only' sh -c ': >"$1"' - "$MNT/busy.db"
must_fail 1 'Read-only' mkdir "$MNT/.sqlsnapfs/snapshots/two"
sqlite3 "$SRC/new.db" 'CREATE TABLE t(a)'
must_fail any 'No such file' cat "$MNT/new.db"
equal "what is listed" "$(ls "$MNT")" "$(printf 'busy.db\ndata')"
sum=$(sha "$MNT/data/3.db")
writer_stop busy
rm "$SRC/busy.db"
equal "a database that has gone" "$(ls "$MNT")" "$(printf 'busy.db\ndata')"
check_copy "$MNT/busy.db" >/dev/null || die "it cannot be read any more"
equal "another one" "$(sha "$MNT/data/3.db")" "$sum"
unmount

note "frozen, with a command"
run_fs -o frozen "$SRC" "$T/cmd" -- cp -r "$T/cmd" "$T/copied"
python3 "$CHAIN" judge "$T/copied/data" >"$T/judged" || die "$(cat "$T/judged")"
must_fail 3 '^$' run_fs -o frozen "$SRC" "$T/cmd" -- sh -c 'exit 3'

note "what cannot be opened is said at the start"
sqlite3 "$SRC/held.db" 'CREATE TABLE t(a)'
mkfifo "$T/let_go"
python3 -c 'import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA locking_mode=exclusive")
db.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
open(sys.argv[2]).read()' "$SRC/held.db" "$T/let_go" >"$T/held" &
holder=$!
CHILDREN+=("$holder")
wait_for 20 grep -q held "$T/held"
must_fail 1 '"held.db": ' run_fs -o frozen "$SRC" "$T/cmd" -- true
: >"$T/let_go"
wait "$holder"
exec {in}>&-
wait "$app" || fault "the application failed"
