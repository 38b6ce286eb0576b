#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# aborted.sh - an unmount while a request is on its way is an end like any other: status 0, nothing said, no thread left waiting.
# The program's read(2) is replaced by one that reports just that (tests/app/aborted_read.c).
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
SQLSNAPFS=$TEST_BIN/sqlsnapfs_aborted

make_db "$SRC/db.sqlite3"
made=$T/made # removed again with the mount
allow_log '^aborted_read: '
aborted() {
	grep -q '^aborted_read: ' "$1" || die "$2: the connection was not aborted: $(cat "$1")"
	! grep -q 'Software caused connection abort' "$1" || die "$2: it was taken for an error"
}

for way in 'umount' 'umount -l' 'umount -f' 'kill -TERM' 'kill -INT'; do
	mount_at "$made" "$SRC"
	equal "$way: commits" "$(commits_of "$made/db.sqlite3")" 50
	case $way in
	umount*) $way "$made" ;;
	kill*) $way "$(fs_pid "$made")" ;;
	esac
	wait_daemon "$made"
	aborted "$LOG" "$way"
	not_mounted "$made" || die "$way: still mounted"
	[ ! -e "$made" ] || die "$way: the mountpoint that was made is still there"
done

# With a COMMAND the status is the command's.
run_command() {
	local want=$1 got=0
	shift
	run_fs "$SRC" "$made" -- "$@" >"$LOGS/command.$want" 2>&1 || got=$?
	equal "status of $*" "$got" "$want"
	aborted "$LOGS/command.$want" "$*"
}
run_command 0 cmp "$made/db.sqlite3" "$SRC/db.sqlite3"
run_command 7 sh -c 'exit 7'
