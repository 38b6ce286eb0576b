#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# restore_rsync.sh - who compares what he has restored with what is shown (rsync, rclone, cmp) finds nothing to do, by time and by content,
# until the database changes; then its content is shown, with a newer time, before and after a remount.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=restore_lib.sh
. "$TOP/tests/e2e/restore_lib.sh"
need rsync rclone
allow_sidecars

DB=$SRC/db.sqlite3
SEEN=$MNT/db.sqlite3
UP=$T/up
mkdir "$UP"

# sent ARGS...: how many files rsync has transferred.
sent() { rsync -a --stats "$@" | sed -n 's/^Number of regular files transferred: //p'; }
mtime() { date -r "$1" +%s.%N; }
later() { [ "$(printf '%s\n' "$1" "$2" | sort -n | tail -n 1)" = "$2" ] && [ "$1" != "$2" ]; }

has_passed() { [ "$(date +%s)" -gt "${1%.*}" ]; }

# still WHAT: the mount shows the bytes and the time of $UP. same WHAT: and no tool finds a difference.
still() {
	cmp "$UP/db.sqlite3" "$SEEN" || die "$1: other bytes"
	equal "$1: mtime" "$(mtime "$SEEN")" "$(mtime "$UP/db.sqlite3")"
}
same() {
	still "$1"
	equal "$1: rsync there" "$(sent "$UP/" "$MNT/")" 0
	equal "$1: rsync there by checksum" "$(sent --checksum "$UP/" "$MNT/")" 0
	equal "$1: rsync back" "$(sent "$MNT/" "$UP/")" 0
	equal "$1: rsync back by checksum" "$(sent --checksum "$MNT/" "$UP/")" 0
	rclone check -q --config /dev/null "$UP" "$MNT" || die "$1: rclone check finds a difference"
	rclone -q --config /dev/null sync --dry-run "$UP" "$MNT" 2>"$T/rclone" || die "$1: rclone sync: $(cat "$T/rclone")"
	[ ! -s "$T/rclone" ] || die "$1: rclone sync has something to do: $(cat "$T/rclone")"
}
# moved_on WHAT OLD MARKER: the live content, newer than OLD.
moved_on() {
	local now
	cp "$SEEN" "$T/copy"
	now=$(mtime "$SEEN")
	later "$2" "$now" || die "$1: mtime $now is not newer than $2"
	equal "$1: what is shown" "$(sqlite3 "$T/copy" 'SELECT value FROM marker')" "$3"
	! cmp -s "$UP/db.sqlite3" "$T/copy" || die "$1: the upload is still shown"
	# rsync compares whole seconds, and another content may have had the same size. (Times run a second ahead of the clock,
	# no more: faster changes than one a second could not be told apart.)
	case "$SECONDS_SHOWN" in *" ${now%.*} "*) die "$1: mtime $now: this second was shown for another content" ;; esac
	SECONDS_SHOWN+="${now%.*} "
	equal "$1: rsync back" "$(sent "$MNT/" "$UP.back/")" 1
	equal "$1: rsync back, again" "$(sent "$MNT/" "$UP.back/")" 0
	sqlite3 "$DB" "VACUUM INTO '$T/vacuum'"
	sqlite3 "$UP.back/db.sqlite3" .dump | cmp - <(sqlite3 "$T/vacuum" .dump) || die "$1: other content"
	rm "$T/vacuum"
	wait_for 10 has_passed "$now" || die "$1: mtime $now is far ahead"
}

for journal in wal delete; do
	note "$journal"
	make_marked "$DB" live "$journal"
	rm -rf "$UP.back" "$STORE"
	mkdir "$UP.back" "$STORE"
	mount_fs "$SRC"
	held_start "$DB"
	cat "$SEEN" >/dev/null
	SECONDS_SHOWN=' '
	when=("2001-02-03 04:05:06.789" "now" "yesterday")
	for i in 0 1 2; do
		make_marked "$UP/db.sqlite3" "up$i" "$([ "$i" = 1 ] && echo wal || echo delete)"
		touch -d "${when[i]}" "$UP/db.sqlite3"
		# Of the same size, and perhaps of the same second as what is shown.
		equal "first rsync $i" "$(sent --ignore-times "$UP/" "$MNT/")" 1
		same "${when[i]}"
		held 'sql SELECT count(*) FROM rows' >/dev/null
		still "${when[i]}, read by the application"
		held 'sql PRAGMA wal_checkpoint(PASSIVE)' >/dev/null
		still "${when[i]}, checkpointed"
		held_stop
		still "${when[i]}, the application has ended"
		held_start "$DB"
		still "${when[i]}, and has begun again"
		old=$(mtime "$SEEN")
		held "sql UPDATE marker SET value = 'changed$i'" >/dev/null
		moved_on "${when[i]}, the application has written" "$old" "changed$i"
		[ "$(mtime "$SEEN")" != "$(mtime "$UP/db.sqlite3")" ] || die "the mtime is the upload's"
	done

	# An upload with an old time in between does not bring back the second in which another content was shown.
	touch -d '2001-02-03 04:05:06' "$UP/db.sqlite3"
	# (A rollback journal's commits are told apart by times of files, and take two seconds each when they are read at once.)
	for i in $([ "$journal" = delete ] || echo 1 2 3); do
		wait_for 10 has_passed "$(mtime "$SEEN")" || die "mtime $(mtime "$SEEN") is far ahead"
		held "sql UPDATE marker SET value = 'before$i'" >/dev/null
		cat "$SEEN" >/dev/null
		old=$(mtime "$SEEN")
		cp -p "$UP/db.sqlite3" "$SEEN"
		held "sql UPDATE marker SET value = 'after$i'" >/dev/null
		cat "$SEEN" >/dev/null
		later "${old%.*}" "$(stat -c %Y "$SEEN")" || die "mtime $(mtime "$SEEN") after $old, with an old upload in between"
	done

	# A remount forgets the bytes that were uploaded; what it shows then is the live database's, and newer.
	rsync -a --ignore-times "$UP/" "$MNT/"
	same 'before the remount'
	old=$(mtime "$SEEN")
	unmount
	mount_fs "$SRC"
	moved_on 'after a remount' "$old" up2
	old=$(mtime "$SEEN")
	held "sql UPDATE marker SET value = 'changed'" >/dev/null
	moved_on 'after a remount and a commit' "$old" changed

	# A time that has not come yet is shown as well; what is committed then has another second each time.
	for when in 'next hour' '30 seconds'; do
		make_marked "$UP/db.sqlite3" "$when"
		touch -d "$when" "$UP/db.sqlite3"
		rsync -a "$UP/" "$MNT/"
		same "$when"
		rm -rf "$T/out"
		rsync -a "$MNT/" "$T/out/"
		for value in one two three; do
			[ "$value" = one ] || wait_for 10 has_passed "$(($(date +%s) + 1))"
			held "sql UPDATE marker SET value = '$value'" >/dev/null
			rsync -a "$MNT/" "$T/out/"
			equal "$when, $value" "$(sqlite3 "$T/out/db.sqlite3" 'SELECT value FROM marker')" "$value"
		done
	done

	# One of tomorrow, then one of this moment; the commit after that may be of the same second.
	make_marked "$UP/db.sqlite3" tomorrow
	touch -d tomorrow "$UP/db.sqlite3"
	rsync -a "$UP/" "$MNT/"
	rm -rf "$T/out"
	rsync -a "$MNT/" "$T/out/"
	python3 -c 'import time; time.sleep(1.01 - time.time() % 1)' # a slow machine has a second for it
	touch "$T/out/db.sqlite3"
	rsync -a --ignore-times "$T/out/" "$MNT/"
	held "sql UPDATE marker SET value = 'at once'" >/dev/null
	rsync -a "$MNT/" "$T/out/"
	equal 'tomorrow, now, and at once' "$(sqlite3 "$T/out/db.sqlite3" 'SELECT value FROM marker')" 'at once'
	held_stop
	unmount
	rm -f "$DB" "$DB"-*
done
