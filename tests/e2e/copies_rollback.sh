#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# copies_rollback.sh - copies beside applications that use a rollback journal. A commit may have to wait for a copy, so these
# applications have a busy timeout, as everybody who shares such a database has; with it they see no error.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

# Where an application holds its lock for two seconds, because the disk takes them for an fsync(2) or the machine does something else, an
# open is EBUSY, and rightly (--stalls).
allow_log 'cannot be opened: Device or resource busy: (database is locked|another process holds it)'
plain_mount -t tmpfs -o size=200m tmpfs "$SRC"
allow_log 'there is no database in' # yet
mount_fs "$SRC"

run() {
	local name=$1
	shift
	note "$name: $*"
	writer_start "$name" --db "$SRC/$name.sqlite3" --journal "$name" --busy-timeout $((20000 * FACTOR)) --rate 300 "$@"
	copyloop --file "$MNT/$name.sqlite3" --ack "$T/$name.ack" --copies 60 --threads 2 --slow-ms 100 \
		--min-distinct 10 --stalls 8 --keep-bad "$T/bad" || die "$name: bad copies"
	writer_stop "$name"
	rm -f "$SRC/$name.sqlite3-journal" # persist and truncate keep it
}

run delete --sync off
run truncate --sync off --page-size 1024 --auto-vacuum 2
run persist --sync normal --rollback-every 5
