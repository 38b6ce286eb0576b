#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# held_descriptor.sh - one descriptor is held while the application writes at full speed, then many overlapping short readers:
# the bytes stay, the WAL is bounded, the application sees no error.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

hold=$((SLOW ? 40 : 8))
db=$SRC/db.sqlite3
writer_start app --db "$db" --busy-timeout 0 --big-row 100000 --rollback-every 13
mount_fs "$SRC"

# The largest -wal that is ever seen goes to $T/peak.
watch_wal() {
	local size peak=0
	while kill -0 "$1" 2>/dev/null; do
		size=$(stat -c %s "$db-wal" 2>/dev/null || echo 0)
		[ "$size" -le "$peak" ] || { peak=$size && echo "$peak" >"$T/peak"; }
		read -r -t 0.05 <> <(:) || :
	done
}

# bounded WHAT COMMAND...: the WAL is, while it runs. A daemon that got no processor for seconds, while the writer did, is given another
# try: what has no bound has none each time.
wal_is_empty() { sqlite3 -cmd '.timeout 1000' "$db" 'PRAGMA wal_checkpoint(TRUNCATE)' >/dev/null && [ ! -s "$db-wal" ]; }
bounded() {
	local what=$1 try job peak
	shift
	for try in 1 2 3; do
		if [ "$try" -gt 1 ]; then
			writer_do app pause
			wait_for 20 wal_is_empty || die "the WAL stays"
			writer_do app resume
		fi
		echo 0 >"$T/peak"
		"$@" >"$T/out" 2>"$LOGS/err" &
		job=$!
		CHILDREN+=("$job")
		watch_wal "$job"
		wait "$job" || die "$what: status $?"
		peak=$(cat "$T/peak")
		note "$(cat "$T/out"); WAL beside $what: at most $((peak >> 20)) MiB"
		[ "$peak" -ge $((300 << 20)) ] || return 0
	done
	die "the WAL grew to $peak bytes beside $what"
}

bounded "a descriptor held for $hold s" reader --file "$MNT/db.sqlite3" --ack "$T/app.ack" --hold "$hold" --out "$T/held"
check_copy "$T/held" >/dev/null || die "what was held"
# Twenty at a time, half a second each, none of which leaves a gap.
bounded 'overlapping readers' copyloop --file "$MNT/db.sqlite3" --ack "$T/app.ack" --seconds "$hold" --threads 20 --styles slow --slow-ms 500 \
	--min-distinct 5
