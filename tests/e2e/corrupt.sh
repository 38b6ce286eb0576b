#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# corrupt.sh - a damaged database, WAL or wal-index below a live mount: an error or what SQLite itself makes of it, never a crash, never
# a hang, and never harm to the other databases of the mount.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
allow_sidecars
allow_log 'victim'

writer_start other --db "$SRC/other.sqlite3" --rate 200 --busy-timeout 0
mount_fs "$SRC"
db=$SRC/victim.sqlite3
seen=$MNT/victim.sqlite3

alive() {
	gone_or_zombie "$(fs_pid "$MNT")" && die "$1: the daemon has died"
	timeout $((20 * FACTOR)) "$TEST_BIN/copyloop" --file "$MNT/other.sqlite3" --ack "$T/other.ack" --copies 6 \
		--slow-ms 20 >/dev/null || die "$1: the other database: status $?"
}
# bounded COMMAND...: any status but a hang or a signal.
bounded() {
	local status=0
	timeout $((20 * FACTOR)) "$@" >"$T/bounded.out" 2>"$T/bounded.err" || status=$?
	[ "$status" -ne 124 ] || die "hangs: $*"
	[ "$status" -lt 126 ] || die "status $status: $*"
	return "$status"
}
# fresh: a new victim with an uncheckpointed WAL, its application killed.
n=0
fresh() {
	rm -f "$db" "$db-wal" "$db-shm" "$db-journal"
	n=$((n + 1))
	writer_start "victim$n" --db "$db" --paused --autocheckpoint 0 --seed "$n"
	writer_do "victim$n" 'commit 60'
	writer_do "victim$n" 'exec PRAGMA wal_checkpoint(PASSIVE)'
	writer_do "victim$n" 'commit 60'
	writer_kill "victim$n"
}
# scribble FILE OFFSET BYTES
scribble() { head -c "$3" /dev/urandom | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }
# oracle: what SQLite makes of a copy of database and WAL; empty when it refuses.
oracle() {
	rm -rf "$T/oracle" && mkdir "$T/oracle"
	cp "$db" "$T/oracle/db"
	[ ! -e "$db-wal" ] || cp "$db-wal" "$T/oracle/db-wal"
	sqlite3 "$T/oracle/db" 'SELECT commits FROM meta' 2>/dev/null || :
}

note 'a damaged WAL: its header, its middle, its end'
for offset in 0 9000 -3000; do
	fresh
	size=$(stat -c %s "$db-wal")
	[ "$offset" -ge 0 ] || offset=$((size + offset))
	rm -f "$db-shm"
	scribble "$db-wal" "$offset" 64
	want=$(oracle)
	if bounded cp "$seen" "$T/copy"; then
		equal "commits with a WAL damaged at $offset" "$(check_copy "$T/copy")" "$want"
	elif [ -n "$want" ]; then
		die "SQLite can read it, the mount cannot: $(cat "$T/bounded.err")"
	fi
	alive "WAL damaged at $offset"
done

note 'damaged headers of the database, each byte of the part that is interpreted'
fresh
rm -f "$db-wal" "$db-shm"
sqlite3 "$db" 'PRAGMA user_version' >/dev/null
cp "$db" "$T/whole"
for offset in 0 15 16 17 18 19 20 21 22 23 24 28 29 31 44 47 56 59 92; do
	for byte in '\000' '\001' '\377'; do
		cp "$T/whole" "$T/damaged"
		# shellcheck disable=SC2059 # an escape to be expanded
		printf "$byte" | dd of="$T/damaged" bs=1 seek="$offset" conv=notrunc status=none
		mv "$T/damaged" "$db"
		bounded cat "$seen" || :
		bounded stat "$seen" || die "stat at $offset $byte"
		rm -f "$db-wal" "$db-shm"
	done
done
alive 'damaged headers'

note 'a file that is cut off below a reader'
for kept in 0 50 5000; do
	fresh
	mkfifo "$T/go$n"
	reader --file "$seen" --control --out "$T/held" <"$T/go$n" >"$T/held$n.out" 2>"$LOGS/held$n" &
	holder=$!
	CHILDREN+=("$holder")
	exec {go}>"$T/go$n"
	wait_for 40 grep -q held "$T/held$n.out" || die "no reader: $(cat "$LOGS/held$n")"
	truncate -s "$kept" "$db"
	exec {go}>&-
	status=0
	wait "$holder" || status=$?
	[ "$status" -eq 0 ] || [ "$status" -eq 4 ] || die "cut to $kept: the held reader: status $status: $(cat "$LOGS/held$n")"
	bounded cat "$seen" || :
	alive "cut to $kept"
done

note 'the wal-index cut off, and overwritten, below a reader'
for how in 'truncate -s 0' 'truncate -s 100' 'scribble_index'; do
	scribble_index() { scribble "$1" 0 4096; }
	fresh
	rm -f "$db-shm"
	mkfifo "$T/go$n"
	reader --file "$seen" --control --out "$T/held" <"$T/go$n" >"$T/held$n.out" 2>"$LOGS/held$n" &
	holder=$!
	CHILDREN+=("$holder")
	exec {go}>"$T/go$n"
	wait_for 40 grep -q held "$T/held$n.out" || die "no reader: $(cat "$LOGS/held$n")"
	[ ! -e "$db-shm" ] || $how "$db-shm"
	exec {go}>&-
	status=0
	wait "$holder" || status=$?
	[ "$status" -eq 0 ] || [ "$status" -eq 4 ] || die "$how: the held reader: status $status: $(cat "$LOGS/held$n")"
	bounded cat "$seen" || :
	bounded stat "$seen" || die "stat"
	alive "$how"
	# With the damage out of the way, and once the mount has let go, it can be read again.
	rm -f "$db-shm"
	good_again() { cp "$seen" "$T/copy" 2>/dev/null && [ "$(check_copy "$T/copy" 2>/dev/null)" = 120 ]; }
	wait_for 40 good_again || die "$how: does not recover: $(cat "$seen" 2>&1 >/dev/null; check_copy "$T/copy" 2>&1)"
done
