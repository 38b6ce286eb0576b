#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# copies_wal.sh - copies beside a WAL application at full speed: every one is whole and as new as promised, and the application,
# which waits for nobody (busy timeout 0), sees no error.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

copies=$((SLOW ? 4000 : 250 / FACTOR)) # a sanitizer looks at more in each
allow_log 'there is no database in' # yet
mount_fs "$SRC"

run() {
	local name=$1
	shift
	note "$name: $*"
	writer_start "$name" --db "$SRC/$name.sqlite3" --busy-timeout 0 "$@"
	copyloop --file "$MNT/$name.sqlite3" --ack "$T/$name.ack" --copies "$copies" --threads 2 --slow-ms 150 \
		--min-distinct $((copies / 10)) --keep-bad "$T/bad" || die "$name: bad copies"
	writer_stop "$name"
}

run plain --rollback-every 11
run checkpoints --checkpoint-every 20 --connections 3
run small --page-size 512 --auto-vacuum 1 --big-row 400000 --cache-size 10 --autocheckpoint 50
