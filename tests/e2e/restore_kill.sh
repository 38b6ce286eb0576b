#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# restore_kill.sh - the daemon dies at any moment of a restore: the database is wholly the old one or wholly the new one, the application
# that has it open goes on, and the next mount finds nothing to complain of.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=restore_lib.sh
. "$TOP/tests/e2e/restore_lib.sh"
allow_sidecars
allow_log 'was killed|thrown away'

DB=$SRC/db.sqlite3
SEEN=$MNT/db.sqlite3
declare -A ROWS=([even]=7000 [odd]=11000)
make_marked "$T/even" even delete 4096 "${ROWS[even]}"
make_marked "$T/odd" odd wal 4096 "${ROWS[odd]}"
seed=${SEED:-$RANDOM}
RANDOM=$seed
note "SEED=$seed"

left_in_store() { find "$STORE" -mindepth 1 -name '.*'; }
nothing_left() { [ -z "$(left_in_store)" ]; }
# Processes that the daemon has started and that have outlived it.
orphans() { find /proc/[0-9]*/fd -lname "$STORE/*" 2>/dev/null | wc -l; }
no_orphans() { [ "$(orphans)" = 0 ]; }

# uploaded NAME: all of it has arrived.
uploaded() { [ "$(stat -c %s "$STORE"/.*/upload.sqlite3 2>/dev/null)" = "$(stat -c %s "$T/$1")" ]; }

# whole WHAT: what the application sees is one of the two, all of it. Its name goes to REPLY.
whole() {
	REPLY=$(held marker)
	REPLY=${REPLY//\"/}
	[ -n "${ROWS[$REPLY]:-}" ] || die "$1: the application sees $REPLY"
	equal "$1: rows of $REPLY" "$(held "sql SELECT count(*) FROM rows WHERE text LIKE '$REPLY %'")" "[[${ROWS[$REPLY]}]]"
	equal "$1: other rows" \
		"$(held "sql SELECT count(*) FROM rows WHERE text NOT LIKE '$REPLY %' AND text <> 'written by the application'")" '[[0]]'
	equal "$1: integrity_check" "$(held check)" '"ok"'
	equal "$1: the application writes" "$(held write)" '"ok"'
}

# kills JOURNAL ROUNDS
kills() {
	local round to now began took after ended copy restored=0 died=0 kept
	make_marked "$DB" live "$1"
	rm -rf "$STORE"
	mkdir "$STORE"
	mount_fs -o keep=2 "$SRC"
	held_start "$DB"
	cp "$T/odd" "$SEEN"
	began=$(date +%s%N)
	cp "$T/even" "$SEEN"
	took=$((($(date +%s%N) - began) / 1000))
	now=even
	note "$1: a restore takes $((took / 1000)) ms"
	for ((round = 1; round <= $2; round++)); do
		to=$([ "$now" = even ] && echo odd || echo even)
		after=$((RANDOM * (took * 5 / 4) / 32768))
		cp "$T/$to" "$SEEN" 2>/dev/null &
		copy=$!
		CHILDREN+=("$copy")
		# In every other round what is written to the live database counts, in the others all of it.
		[ $((round % 2)) = 0 ] || until uploaded "$to" || gone_or_zombie "$copy"; do :; done
		# Not to wait for anything: it is when the daemon dies that is varied.
		read -r -t "$((after / 1000000)).$(printf %06d $((after % 1000000)))" <> <(:) || :
		kill -9 "$(fs_pid "$MNT")"
		expect_daemon_end "$MNT"
		ended=0
		wait "$copy" || ended=$?
		whole "$1, round $round, killed after $after us, cp $ended"
		[ "$ended" -ne 0 ] || equal "round $round: what cp said was restored" "$REPLY" "$to"
		[ "$REPLY" = "$now" ] && died=$((died + 1)) || restored=$((restored + 1))
		now=$REPLY
		wait_for 10 no_orphans || die "round $round: processes of the daemon are left: $(orphans)"

		mount_fs -o keep=2 "$SRC"
		equal "round $round: the next mount" "$(cp "$SEEN" "$T/copy" && sqlite3 "$T/copy" 'SELECT value FROM marker; PRAGMA integrity_check' | tr '\n' ' ')" "$now ok "
		wait_for 10 nothing_left || die "round $round: left in the store: $(left_in_store)"
		for kept in "$MNT"/.sqlsnapfs/snapshots/*/db.sqlite3; do
			[ -e "$kept" ] || continue
			equal "round $round: ${kept##*snapshots/}" "$(sqlite3 "file:$kept?immutable=1" 'PRAGMA integrity_check')" ok
		done
	done
	note "$1: $died times the old one, $restored times the new one"
	# Nothing is in the way of the next restore.
	make_marked "$T/last" last
	cp "$T/last" "$SEEN"
	restored 'afterwards' last
	held_stop
	unmount
	rm -f "$DB" "$DB"-*
}
kills wal $((SLOW ? 150 : 15))
kills delete $((SLOW ? 150 : 15))
