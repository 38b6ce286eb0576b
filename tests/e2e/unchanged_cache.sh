#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# unchanged_cache.sh - a database that has not changed is read from the kernel's page cache the second time, also in a rollback-journal
# database; after a commit it is read anew.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

for mode in wal delete; do
	make_db "$SRC/$mode.sqlite3" --journal "$mode" --big-row 1000000 --big-every 5
done
mount_fs "$SRC"
bytes_read() { sed -n 's/^rchar: //p' "/proc/$(fs_pid "$MNT")/io"; }

# cost NAME: bytes that the daemon reads while the file is read once.
cost() {
	local before
	before=$(bytes_read)
	cat "$MNT/$1.sqlite3" >/dev/null
	echo $(($(bytes_read) - before))
}

for mode in wal delete; do
	size=$(stat -c %s "$MNT/$mode.sqlite3")
	first=$(cost "$mode")
	second=$(cost "$mode")
	note "$mode: $size bytes; the first read costs $first, the second $second"
	[ "$first" -ge "$size" ] || die "$mode: the first read cost $first bytes of $size: nothing is measured"
	[ "$second" -lt $((size / 10)) ] || die "$mode: the second read cost $second bytes of $size"
	"$TEST_BIN/writer" --db "$SRC/$mode.sqlite3" --journal "$mode" --commits 1 --busy-timeout 5000 >"$LOGS/writer.out"
	third=$(cost "$mode")
	[ "$third" -ge "$size" ] || die "$mode: after a commit only $third bytes of $size were read"
	equal "$mode: commits" "$(commits_of "$MNT/$mode.sqlite3")" 51
done
