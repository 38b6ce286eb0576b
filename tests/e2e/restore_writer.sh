#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# restore_writer.sh - an application that goes on writing, reading or holding its lock while restores happen sees what SQLite lets it see of
# any other writer, and no more: no error within its own timeout, its snapshot until it ends it.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=restore_lib.sh
. "$TOP/tests/e2e/restore_lib.sh"
allow_log 'an application kept it locked for'

DB=$SRC/db.sqlite3
SEEN=$MNT/db.sqlite3
make_marked "$T/even" even wal 4096 3000
make_marked "$T/odd" odd delete 4096 5000
# What is in the store of a restore that is under way.
stored() { find "$STORE" -mindepth 1 -name '.*' | grep .; }
nothing_stored() { ! stored >/dev/null; }

# busy JOURNAL RESTORES PAUSE: it commits all the time, with that many seconds between two transactions.
busy() {
	local app i
	note "a writing application, $1, $2 restores"
	make_marked "$DB" live "$1" 4096 4000
	rm -f "$T/enough" "$T/app.out"
	mount_fs -o "busy_timeout=$((30 * FACTOR))" "$SRC" # as patient as the application: neither starves
	python3 "$TOP/tests/check/busy_app.py" "$DB" "$T/enough" "$3" >"$T/app.out" 2>"$LOGS/app.err" &
	app=$!
	CHILDREN+=("$app")
	seen() { [ "$(grep -c '^now' "$T/app.out")" -ge "$1" ]; }
	wait_for 10 seen 1 || die "the application does not begin"
	for ((i = 0; i < $2; i++)); do
		cp "$T/$([ $((i % 2)) = 0 ] && echo even || echo odd)" "$SEEN" || die "restore $i beside the application"
		wait_for 10 seen $((i + 2)) || die "the application does not see restore $i: $(tail -n 3 "$T/app.out")"
	done
	: >"$T/enough"
	wait "$app" || die "the application saw errors: $(cat "$T/app.out" "$LOGS/app.err")"
	note "$(tail -n 1 "$T/app.out")"
	equal "$1: restores" "$(grep -c ' was restored by ' "$LOG")" "$2"
	unmount
	rm -f "$DB"
}
busy wal $((SLOW ? 600 : 60)) 0
busy delete $((SLOW ? 200 : 20)) 0.005

note 'an open read transaction'
make_marked "$DB" live wal
mount_fs "$SRC"
held_start "$DB"
equal 'begins' "$(held begin)" '"live"'
cp "$T/even" "$SEEN"
equal 'sees its snapshot' "$(held marker)" '"live"'
equal 'all of it' "$(held 'sql SELECT count(*) FROM rows')" '[[200]]'
case $(held write) in
*SQLITE_BUSY_SNAPSHOT*) ;;
*) die "its write in the old snapshot: $(held write)" ;;
esac
equal 'still sees its snapshot' "$(held marker)" '"live"'
cp "$T/odd" "$SEEN"
equal 'still, after another' "$(held 'sql SELECT count(*) FROM rows')" '[[200]]'
equal 'rolls back' "$(held 'sql ROLLBACK')" '[]'
restored 'after its rollback' odd
equal 'all of it' "$(held 'sql SELECT count(*) FROM rows')" '[[5001]]'

# closing PROCESS: it waits in close(2), and nothing is left to be written.
closing() {
	local nr
	read -r nr _ <"/proc/$1/syscall"
	[ "$nr" = "$CLOSE" ] && [ "$(stat -c %s "$(find "$STORE" -name upload.sqlite3)")" = "$(stat -c %s "$T/even")" ]
}
CLOSE=$(printf '#include <sys/syscall.h>\nSYS_close\n' | gcc -E -P - | tail -n 1)

# A write transaction waits for nobody's end but its own: the restore does.
# waits_for BEGIN END MARKER: a restore waits between the two.
waits_for() {
	local copy
	equal "$1" "$(held "sql $1")" '[]'
	[ -z "${4:-}" ] || held "sql $4" >/dev/null
	cp "$T/even" "$SEEN" 2>"$T/cp.err" &
	copy=$!
	CHILDREN+=("$copy")
	wait_for 10 closing "$copy" || die "$1: the restore does not wait: $(cat "$T/cp.err")"
	equal "$1: what it sees meanwhile" "$(held marker)" "\"$3\""
	equal "$2" "$(held "sql $2")" '[]'
	wait "$copy" || die "$1: the restore did not wait: $(cat "$T/cp.err")"
	restored "$1" even
}
cp "$T/odd" "$SEEN"
waits_for 'BEGIN IMMEDIATE' COMMIT odd "INSERT INTO rows(text) VALUES('in the last moment')"
held_stop
unmount

note 'a reader in rollback-journal mode'
make_marked "$DB" live delete
mount_fs "$SRC"
held_start "$DB"
waits_for BEGIN COMMIT live 'SELECT count(*) FROM rows'
make_marked "$T/even" even wal 4096 3001
waits_for 'BEGIN EXCLUSIVE' COMMIT even
held_stop
unmount

kept() { find "$STORE" -path '*/kept/*' | sort; }
# Who holds the lock longer than the mount waits: EBUSY, and nothing has changed.
for journal in wal delete; do
	note "busy_timeout, $journal"
	make_marked "$DB" live "$journal"
	mount_fs -o busy_timeout=1 "$SRC"
	held_start "$DB"
	held write >/dev/null
	held 'sql BEGIN IMMEDIATE' >/dev/null
	held "sql INSERT INTO rows(text) VALUES('unfinished')" >/dev/null
	before=$(sha "$SRC"/db.sqlite3*)
	kept=$(kept)
	must_fail 1 'Device or resource busy' cp "$T/even" "$SEEN"
	cp "$T/even" "$SEEN.tmp"
	must_fail any 'Device or resource busy' mv "$SEEN.tmp" "$SEEN"
	rm "$SEEN.tmp"
	equal 'live files' "$(sha "$SRC"/db.sqlite3*)" "$before"
	grep -q 'refused, live database unchanged: an application kept it locked for 1 seconds; try again, or mount with a longer -o busy_timeout' "$LOG" || die "the log does not say why"
	equal 'snapshots that were kept' "$(kept)" "$kept"
	wait_for 5 nothing_stored || die "left in the store: $(stored)"
	equal 'its transaction' "$(held 'sql COMMIT')" '[]'
	cp "$T/even" "$SEEN"
	restored 'afterwards' even
	held_stop
	unmount
	rm -f "$DB" "$DB"-*
done
