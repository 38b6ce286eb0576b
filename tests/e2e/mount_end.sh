#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# mount_end.sh - the ways in which a mount ends: status 0, nothing left behind, open descriptors served until they are closed; and
# what a killed daemon leaves is put right by the next one.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

make_db "$SRC/db.sqlite3" --rows 20000
writer_start app --db "$SRC/live.sqlite3" --rate 300 --busy-timeout 0
# made: a mountpoint that was missing is removed again, however the mount ends.
made=$T/made
begin() {
	mount_at "$made" "$SRC"
	copyloop --file "$made/live.sqlite3" --ack "$T/app.ack" --copies 8 --slow-ms 20 >/dev/null || die "$1: bad copies"
}
ended() {
	wait_daemon "$made"
	not_mounted "$made" || die "$1: still mounted"
	[ ! -e "$made" ] || die "$1: the mountpoint that was made is still there"
	[ -z "$(find "$STORE" -type f -size +1M)" ] || die "$1: left in the store: $(find "$STORE" -type f -size +1M)"
}

# Each thread stops for itself, and what has not stopped yet still answers.
has_stopped() { ! grep -qs '^State:[[:space:]]*[^T[:space:]]' "/proc/$1/task/"*/status; }
stop() {
	kill -STOP "$1"
	wait_for 40 has_stopped "$1" || die "it does not stop"
}

begin SIGTERM
kill -TERM "$(fs_pid "$made")"
ended SIGTERM
begin SIGINT
kill -INT "$(fs_pid "$made")"
ended SIGINT
begin umount
umount "$made"
ended umount
begin 'umount -l'
umount -l "$made"
ended 'umount -l'
if command -v fusermount3 >/dev/null; then
	begin fusermount3
	fusermount3 -u "$made"
	ended fusermount3
fi

# A reader that is open goes on after SIGTERM, while new names are gone.
begin 'open readers'
mkfifo "$T/go"
reader --file "$made/live.sqlite3" --ack "$T/app.ack" --control <"$T/go" >"$T/reader.out" 2>"$LOGS/reader.err" &
holder=$!
CHILDREN+=("$holder")
exec {go}>"$T/go"
wait_for 40 grep -q held "$T/reader.out" || die "no reader"
kill -TERM "$(fs_pid "$made")"
wait_for 40 not_mounted "$made" || die "SIGTERM did not detach the mount"
[ ! -e "$made/live.sqlite3" ] || die "the name is still there"
exec {go}>&-
wait "$holder" || die "the reader that was open at SIGTERM: status $?: $(cat "$LOGS/reader.err")"
ended 'open readers'

# A busy mount: umount says so and the mount goes on.
begin busy
exec {held}<"$made/db.sqlite3"
must_fail any 'busy' umount "$made"
cat <&"$held" | cmp - "$SRC/db.sqlite3" || die "a descriptor after a refused umount"
exec {held}<&-
umount "$made"
ended busy

# The mount is gone, and another stands there with the device number that it had, before its daemon has noticed: that one stays.
begin 'the next one is faster'
old=${DAEMON_PID[$made]}
device=$(stat -c %d "$made")
stop "$old"
umount -l "$made"
begin 'the next one'
[ "$(stat -c %d "$made")" = "$device" ] || note 'it has another device number'
kill -CONT "$old"
wait "$old" || die "the first daemon: status $?"
is_mounted "$made" || die "the mount of the next one is gone"
cmp "$made/db.sqlite3" "$SRC/db.sqlite3"
umount "$made"
ended 'the next one'

# kill -9: the dead mount is detached by the next one at the same place, and no lock stays behind.
begin 'kill -9'
kill -9 "$(fs_pid "$made")"
expect_daemon_end "$made"
must_fail any 'not connected' cat "$made/db.sqlite3"
begin 'after kill -9'
equal 'mounts there' "$(grep -cF " $made fuse" /proc/self/mounts)" 1

umount "$made"
ended 'after kill -9'

# It dies while the next one asks it: the answer is another then, ECONNABORTED.
mkdir "$T/dies"
PLAIN_MOUNTS+=("$T/dies")
comm=$(basename "$SQLSNAPFS")
python3 "$TOP/tests/check/remembered.py" "$T/dies" "${comm:0:15}" &
dies=$!
CHILDREN+=("$dies")
wait_for 20 is_mounted "$T/dies" || die "no mount that dies"
mount_at "$T/dies" "$SRC"
wait "$dies" || die "it was not asked: status $?"
grep -q 'detached the dead mount' "$LOG" || die "nothing was detached: $(cat "$LOG")"
equal 'mounts there' "$(grep -cF " $T/dies fuse" /proc/self/mounts)" 1
unmount "$T/dies"
# It is dead, and the kernel still knows the attributes of its root.
mkdir "$T/remembered"
PLAIN_MOUNTS+=("$T/remembered")
python3 "$TOP/tests/check/remembered.py" "$T/remembered"
[ -d "$T/remembered" ] || die "it is not remembered"
mount_at "$T/remembered" "$SRC"
equal 'mounts there' "$(grep -cF " $T/remembered fuse" /proc/self/mounts)" 1
unmount "$T/remembered"
writer_do app pause
writer_do app 'exec PRAGMA wal_checkpoint(TRUNCATE)'
[ ! -s "$SRC/live.sqlite3-wal" ] || die "something still reads the WAL"
