#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# hot_journal.sh - an application died in the middle of a transaction in rollback mode: the copy is the state before it, and the live
# files stay as they are, for the application to roll back itself. A restore rolls back, also when the mount is still connected from
# a read before the crash.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
allow_log 'cannot be opened: .*(database is locked|another process holds it)'

for mode in delete persist truncate; do
	db=$SRC/$mode.sqlite3
	writer_start "$mode" --db "$db" --journal "$mode" --rows 5000 --paused
	writer_do "$mode" 'commit 20'
done
mount_fs "$SRC"
make_db "$T/up" --commits 7

for mode in delete persist truncate; do
	note "$mode"
	db=$SRC/$mode.sqlite3
	seen=$MNT/$mode.sqlite3
	equal "$mode: commits before" "$(commits_of "$seen")" 20
	writer_do "$mode" hang
	[ -s "$db-journal" ] || die "no journal"

	# It lives and holds the database exclusively: no copy, and no hang.
	stat "$seen" >/dev/null || die "stat"
	start=$EPOCHREALTIME
	must_fail any 'busy' cat "$seen"
	python3 -c "import sys; sys.exit($EPOCHREALTIME - $start > 30 * $FACTOR)" || die "EBUSY took longer than 30 seconds"

	writer_kill "$mode"
	before=$(sha "$db" "$db-journal")
	! cp "$db" "$T/raw" || ! check_copy "$T/raw" 2>/dev/null || die "the raw file is good: nothing is tested"
	equal "$mode: commits beside a hot journal" "$(commits_of "$seen")" 20
	copyloop --file "$seen" --copies 8 --slow-ms 20 >/dev/null
	equal "$mode: live files after reading" "$(sha "$db" "$db-journal")" "$before"

	# SQLite rolls back; the copy stays what it was.
	equal "$mode: commits by SQLite" "$(sqlite3 "$db" 'UPDATE meta SET id = id; SELECT commits FROM meta')" 20
	equal "$mode: commits after the rollback" "$(commits_of "$seen")" 20
	rm -f "$db-journal" # persist and truncate keep it

	writer_start "$mode" --db "$db" --journal "$mode" --rows 5000 --paused
	equal "$mode: commits before the restore" "$(commits_of "$seen")" 20
	writer_do "$mode" hang
	writer_kill "$mode"
	[ -s "$db-journal" ] || die "no journal"
	cp "$T/up" "$seen" || die "$mode: not restored: $(tail -n 1 "$LOG")"
	equal "$mode: what was restored" "$(check_copy "$db")" 7
done
