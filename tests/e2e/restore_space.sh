#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# restore_space.sh - no room for an upload, for what it replaces, or for the transaction itself, on file systems that are really full: cp
# says so, the live database is what it was, its application goes on, and nothing is left that fills the disk.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=restore_lib.sh
. "$TOP/tests/e2e/restore_lib.sh"
need losetup fallocate jq
allow_log 'refused, live database unchanged|writing "db.sqlite3(.tmp)?" failed: No space left'
allow_sidecars

DISK=$T/disk
loop_mount ext4 96M "$DISK"
make_marked "$T/small" small delete 4096 3000
make_marked "$T/large" large delete 4096 40000
free_kib() { stat -f -c '%f %S' "$1" | awk '{print int($1 * $2 / 1024)}'; }
# fill KIB: leaves that much free on the disk.
fill() {
	rm -f "$DISK/filler"
	sync -f "$DISK"
	fallocate -l "$(($(free_kib "$DISK") - $1))K" "$DISK/filler"
	sync -f "$DISK"
}
left_in_store() { find "$STORE" -mindepth 1 \( -name '.*' -o -path '*/kept/*' \); }
nothing_left() { [ -z "$(left_in_store)" ]; }
# Readers map the -shm; it holds no content.
live_bytes() { find "$APP" -type f ! -name '*-shm' -exec sha256sum {} + | sort; }

# live FOLDER JOURNAL [ROWS]: its application has it open.
live() {
	APP=$1
	DB=$APP/db.sqlite3
	rm -rf "$APP"
	mkdir -p "$APP"
	make_marked "$DB" live "$2" 4096 "${3:-6000}"
	mount_fs "$APP"
	held_start "$DB"
	held 'sql PRAGMA wal_autocheckpoint=0' >/dev/null
	held write >/dev/null
	listing=$(ls -A "$APP")
	before=$(live_bytes)
}
# says_so WHAT PATTERN: the last line of the log, and status.json, have the reason, and not what came of it.
says_so() {
	tail -n 1 "$MNT/.sqlsnapfs/log" | grep -qE "restore of \"db.sqlite3\" refused, .*$2" || die "$1: the log ends in '$(tail -n 1 "$LOG")'"
	jq -e --arg reason "$2" '(.restores[0].reason | test($reason)) and (.warnings | length == 1 and (.[0] | test($reason))) and
		.restores[0].error == "No space left on device"' "$MNT/.sqlsnapfs/status.json" >/dev/null || die "$1: status.json: $(jq -c '.warnings, .restores' "$MNT/.sqlsnapfs/status.json")"
}
# refused WHAT PATTERN UPLOAD: by cp and by rename
refused() {
	local way
	for way in cp mv; do
		if [ "$way" = cp ]; then
			must_fail 1 'No space left on device' cp "$3" "$MNT/db.sqlite3"
			says_so "$1: cp" "$2"
		elif cp "$3" "$MNT/db.sqlite3.tmp" 2>/dev/null; then
			must_fail any 'No space left on device' mv -f "$MNT/db.sqlite3.tmp" "$MNT/db.sqlite3"
		else
			says_so "$1: cp to a temporary name" "$2"
		fi
		rm -f "$MNT/db.sqlite3.tmp"
	done
	grep -qE "$2" "$LOG" || die "$1: the log does not say /$2/: $(tail -n 2 "$LOG")"
	wait_for 5 nothing_left || die "$1: left in the store: $(left_in_store)"
	equal "$1: files" "$(ls -A "$APP")" "$listing"
}
# goes_on WHAT: the application commits and checkpoints; when there is room, the upload is restored.
goes_on() {
	equal "$1: the application sees" "$(held marker)" '"live"'
	equal "$1: integrity_check" "$(held check)" '"ok"'
	equal "$1: the application writes" "$(held write)" '"ok"'
	equal "$1: a large transaction" "$(held "sql UPDATE rows SET text = 'changed' WHERE id <= 200")" '[]'
	case $(held 'sql PRAGMA wal_checkpoint(TRUNCATE)') in
	'[[0, 0, 0]]' | '[[0, -1, -1]]') ;;
	*) die "$1: the application cannot checkpoint" ;;
	esac
	rm -f "$DISK/filler"
	cp "$T/small" "$MNT/db.sqlite3" || die "$1: with room again"
	restored "$1: with room again" small
	held_stop
	unmount
}
unchanged() { equal "$1: live files" "$(live_bytes)" "$before"; }

for journal in wal delete; do
	note "the store has no room for the upload, $journal"
	STORE=$DISK/store
	live "$SRC/app" "$journal"
	fill 20480
	refused staging "receiving it needs [0-9]+ MiB .*store, [0-9]+ MiB free" "$T/large"
	unchanged staging
	goes_on staging
	rm -rf "$STORE"

	note "the live database's file system has no room for the transaction, $journal"
	STORE=$T/store
	live "$DISK/app" "$journal"
	fill 3072
	refused transaction 'replacing it in one transaction needs [0-9]+ MiB beside the live database, [0-9]+ MiB free' "$T/large"
	unchanged transaction
	[ "$(free_kib "$DISK")" -ge 3000 ] || die "something fills the disk: $(free_kib "$DISK") KiB are free"
	goes_on transaction
	rm -rf "$STORE"
	mkdir "$STORE"
done

for journal in wal delete; do
	note "both are on one disk: what is kept takes the room of the transaction, $journal"
	STORE=$DISK/store
	live "$DISK/app" "$journal" 26000
	make_marked "$T/like" like delete 4096 26000
	fill "$(($(stat -c %s "$T/like") * 27 / 10240))"
	refused 'one disk' 'replacing it in one transaction needs [0-9]+ MiB beside the live database, [0-9]+ MiB free' "$T/like"
	unchanged 'one disk'
	goes_on 'one disk'
	rm -rf "$STORE" "$APP"
done
STORE=$T/store

# What was counted on is not there: the part of the -wal that a restore may write over is holes. The disk is full in the middle of
# the transaction.
note 'full in the middle'
live "$DISK/app" wal
held 'sql UPDATE rows SET body = randomblob(3000)' >/dev/null
held 'sql PRAGMA wal_checkpoint(RESTART)' >/dev/null
held write >/dev/null
wal=$DB-wal
[ "$(stat -c %s "$wal")" -gt $((16 << 20)) ] || die "the -wal is small: $(stat -c %s "$wal")"
fallocate -p -o 131072 -l $(($(stat -c %s "$wal") - 131072)) "$wal"
sync -f "$DISK"
make_marked "$T/medium" medium delete 4096 $(($(stat -c %s "$wal") / 1100))
fill 4096
database=$(sha "$DB")
shown=$(sha "$MNT/db.sqlite3")
refused 'in the middle' 'cannot write the live database: no room for its WAL or journal' "$T/medium"
equal 'in the middle: the database file' "$(sha "$DB")" "$database"
equal 'in the middle: what the mount shows' "$(sha "$MNT/db.sqlite3")" "$shown"
[ "$(free_kib "$DISK")" -ge 4096 ] || die "what the transaction wrote still fills the disk: $(free_kib "$DISK") KiB are free"
goes_on 'in the middle'
