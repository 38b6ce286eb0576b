#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# checkers_can_fail.sh - the judges of copies refuse bad copies and accept good ones. Without this a green suite says nothing.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

writer_start app --db "$SRC/db.sqlite3" --big-row 200000 --rollback-every 7
live=$SRC/db.sqlite3

# refuses COMMAND...: it ends with status 1. What it says goes to $T/said.
refuses() {
	local status=0
	"$@" >"$T/said" 2>&1 || status=$?
	[ "$status" -eq 1 ]
}

# Sooner or later: an application that waits for its disk at the end of a checkpoint has all that it has committed in the file, and
# copies of that are good.
# A loop over the live file itself, without its WAL: old, torn or growing under the reader.
wait_for 40 refuses copyloop --file "$live" --ack "$T/app.ack" --copies 24 --styles slow,read,mmap --slow-ms 100 ||
	die "a loop over the live file itself: $(cat "$T/said")"
grep -qE 'had returned before open|gap|fstat|no such table|integrity_check|header says|add up|malformed' "$T/said" || die "it says $(cat "$T/said")"
# What cp makes of it.
refuses_raw() {
	local acked
	acked=$(acked app)
	cp "$live" "$T/raw" && refuses check_copy --min-seq "$acked" "$T/raw"
}
wait_for 40 refuses_raw || die "every plain cp beside a writer was accepted"

# SQLite's own backup is good, and of this moment.
acked=$(acked app)
writer_do app pause
sqlite3 "$live" ".timeout 5000" ".backup $T/good"
check_copy --min-seq "$acked" "$T/good" >"$LOGS/good.out" || die "a backup was refused"
copyloop --file "$T/good" --copies 16 --threads 2

# One commit older than demanded; a loop that sees a single commit; a flipped byte; a lost page; a page too many.
must_fail 1 'is older than' check_copy --min-seq 999999999 "$T/good"
must_fail 1 'only 1 different' copyloop --file "$T/good" --copies 8 --min-distinct 2 --patience 1
python3 - "$T" <<'PY'
import sys
t = sys.argv[1]
good = bytearray(open(t + "/good", "rb").read())
# The last byte of a payload: only the checksum in the row can tell.
import sqlite3
db = sqlite3.connect(t + "/good")
payload = db.execute("SELECT payload FROM log WHERE length(payload) BETWEEN 100 AND 900 LIMIT 1").fetchone()[0]
at = good.find(payload[:60])
assert at > 0
flipped = bytearray(good)
flipped[at + 20] ^= 1
open(t + "/flipped", "wb").write(flipped)
open(t + "/short", "wb").write(good[:-4096])
open(t + "/long", "wb").write(good + bytes(4096))
open(t + "/odd", "wb").write(good[:-100])
open(t + "/empty", "wb").close()
open(t + "/text", "wb").write(b"no database\n" * 100)
PY
must_fail 1 'payload of row' check_copy "$T/flipped"
must_fail 1 'header says' check_copy "$T/short"
must_fail 1 'header says' check_copy "$T/long"
must_fail 1 'whole number of pages' check_copy "$T/odd"
must_fail 1 'empty' check_copy "$T/empty"
must_fail 1 'not a database' check_copy "$T/text"
sqlite3 "$T/good" 'UPDATE accounts SET balance = balance + 1 WHERE id = 5'
must_fail 1 'add up' check_copy "$T/good"

# A descriptor whose bytes change is seen.
cp "$T/flipped" "$T/changing"
mkfifo "$T/reader.in"
reader --raw --file "$T/changing" --control <"$T/reader.in" >"$T/reader.out" 2>"$T/reader.err" &
pid=$!
CHILDREN+=("$pid")
exec {go}>"$T/reader.in"
wait_for 40 grep -q held "$T/reader.out" || die "no reader"
printf x | dd of="$T/changing" bs=1 seek=5000 conv=notrunc status=none
exec {go}>&-
status=0
wait "$pid" || status=$?
equal 'status of a reader whose bytes changed' "$status" 1
grep -q 'other bytes than at first' "$T/reader.err" || die "$(cat "$T/reader.err")"

# A writer that is locked out says so.
writer_do app 'exec PRAGMA user_version=1'
sqlite3 "$live" 'BEGIN IMMEDIATE; SELECT 1;' ".shell $TEST_BIN/writer --db $live --commits 3 >$T/busy.out 2>&1; echo \$? >$T/busy.status"
equal 'status of a writer that was locked out' "$(cat "$T/busy.status")" 1
[ "$(json "$T/busy.out" errors)" -gt 0 ] || die "no error was counted"
