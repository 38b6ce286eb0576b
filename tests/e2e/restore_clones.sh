#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# restore_clones.sh - room for a restore where blocks are shared or nothing is written in place (xfs, btrfs), and where a quota ends it
# (btrfs): what has no room is refused before anything is written, and the application goes on; what has it is restored, with room
# for the application left.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=restore_lib.sh
. "$TOP/tests/e2e/restore_lib.sh"
need losetup fallocate
allow_log 'refused, live database unchanged'

ROWS=30000
make_marked "$T/new" new delete 4096 "$ROWS"
size=$(($(stat -c %s "$T/new") >> 10)) # KiB, as the live database's
free_kib() { stat -f -c '%a %S' "$1" | awk '{print int($1 * $2 / 1024)}'; }

# live FOLDER JOURNAL: its application has it open.
live() {
	APP=$1
	DB=$APP/db.sqlite3
	mkdir -p "$APP" "$STORE"
	make_marked "$DB" live "$2" 4096 "$ROWS"
	sync -f "$APP"
	held_start "$DB"
	mount_fs "$APP"
}
# refused WHAT COMMAND...: and the application is none the worse for it.
refused() {
	must_fail 1 'No space left on device' "${@:2}"
	tail -n 1 "$MNT/.sqlsnapfs/log" | grep -qE 'live database unchanged: replacing it in one transaction needs [0-9]+ MiB' ||
		die "$1: the log ends in '$(tail -n 1 "$MNT/.sqlsnapfs/log")'"
	[ ! -s "$DB-journal" ] || die "$1: a journal is left"
	goes_on "$1" live
	[ -z "$(find "$STORE" -path '*/kept/*')" ] || die "$1: what would have been replaced is kept: $(find "$STORE" -path '*/kept/*')"
}
# goes_on WHAT MARKER
goes_on() {
	restored "$1" "$2"
	equal "$1: a large transaction" "$(held "sql UPDATE rows SET text = 'changed' WHERE id <= 2000")" '[]'
	wait_for 10 checkpoints || die "$1: the application cannot checkpoint: $(held 'sql PRAGMA wal_checkpoint(TRUNCATE)')"
}
# What follows a restore may be at it still.
checkpoints() {
	case $(held 'sql PRAGMA wal_checkpoint(TRUNCATE)') in
	'[[0, 0, 0]]' | '[[0, -1, -1]]') ;;
	*) return 1 ;;
	esac
}
end() {
	held_stop
	unmount
	rm -rf "$APP" "$STORE"
}

clones() {
	head -c 4096 /dev/urandom >"$1/probe"
	cp --reflink=always "$1/probe" "$1/probe2" 2>/dev/null
}

DISK=$T/disk
if command -v mkfs.xfs >/dev/null; then
	loop_mount xfs 512M "$DISK"
	clones "$DISK" || skip 'xfs here does not clone'
	STORE=$DISK/store
	# For the transaction, and for what is written over: the undo is a clone. What the upload takes, xfs doubles for a while.
	for journal in wal delete; do
		for percent in 150 250; do
			note "xfs, $journal, $percent % of the database free"
			live "$DISK/app" "$journal"
			cp "$T/new" "$MNT/db.sqlite3.tmp"
			sync -f "$DISK"
			fallocate -l "$(($(free_kib "$DISK") - size * percent / 100 - 2048))K" "$DISK/filler"
			if [ "$percent" -lt 200 ]; then
				refused "xfs, $journal" mv "$MNT/db.sqlite3.tmp" "$MNT/db.sqlite3"
				rm "$MNT/db.sqlite3.tmp"
			else
				mv "$MNT/db.sqlite3.tmp" "$MNT/db.sqlite3" || die "$journal: there was room"
				goes_on "xfs, $journal" new
			fi
			end
			rm "$DISK/filler"
		done
	done
fi

if command -v mkfs.btrfs >/dev/null; then
	DISK=$T/btrfs
	STORE=$T/store
	loop_mount btrfs 512M "$DISK"
	btrfs subvolume create "$DISK/app" >/dev/null
	btrfs quota enable "$DISK" 2>/dev/null || skip 'btrfs here has no quotas'
	for journal in wal delete; do
		note "btrfs with a quota, $journal"
		live "$DISK/app/folder" "$journal"
		# A transaction would end in it, and what it had written could not be rolled back.
		btrfs qgroup limit "$((size * 7 / 4))K" "$DISK/app"
		refused "btrfs, $journal" cp "$T/new" "$MNT/db.sqlite3"
		btrfs qgroup limit "$((size * 4))K" "$DISK/app"
		cp "$T/new" "$MNT/db.sqlite3" || die "btrfs, $journal: there was room"
		goes_on "btrfs, $journal" new
		btrfs qgroup limit none "$DISK/app"
		end
	done
fi
