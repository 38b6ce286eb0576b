#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# snapshots_lost.sh - a snapshot that mkdir has made and that is lost before it is written, because the store runs full or the daemon
# is killed, is a warning in status.json until one of its name is written; so is one that is damaged.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
need jq

SNAPS=$MNT/.sqlsnapfs/snapshots
STATUS=$MNT/.sqlsnapfs/status.json
allow_sidecars
allow_log 'snapshot "[^"]*" was lost: |snapshot "(full|fills)" cannot be made: a database of'
allow_log 'a slow reader.s snapshot cannot be spooled: a spool needs' # where a sync takes seconds, the snapshot itself is one

warnings() { jq -c '.warnings' "$STATUS"; }
well() { jq -e '.warnings == []' "$STATUS" >/dev/null; } # as the manual has it
lost() { jq -e --arg name "$1" --arg why "$2" '.warnings | length == 1 and (.[0] | startswith("the snapshot \"" + $name + "\" was lost at ") and contains($why))' "$STATUS" >/dev/null; }
ended() { grep -qE "snapshot \"$1\" (was lost|of )" "$LOG"; }
written() { grep -qF "snapshot \"$1\" of " "$LOG"; }

sqlite3 "$SRC/one.db" 'PRAGMA journal_mode=WAL; CREATE TABLE t(a); INSERT INTO t VALUES(zeroblob(80000000))' >/dev/null
sqlite3 "$SRC/two.db" 'CREATE TABLE t(a)'

note "the store runs full while it is written"
plain_mount -t tmpfs -o size=140m none "$STORE"
mount_fs "$SRC"
well || die "$(warnings)"
# Which of them fails is chance; that none of twenty does, is a fault.
for ((i = 0; i < 20; i++)); do
	python3 - "$SNAPS/full" "$STORE/filling" <<'EOF2'
import os, sys
fd = os.open(sys.argv[2], os.O_CREAT | os.O_WRONLY)
os.mkdir(sys.argv[1])
try:
    for at in range(1000):
        os.posix_fallocate(fd, at << 20, 1 << 20)
except OSError:
    pass
EOF2
	wait_for 20 ended full || die "it is never written"
	rm "$STORE/filling"
	written full || break
	rmdir "$SNAPS/full"
	wait_for 5 well || die "of one that was written: $(warnings)"
	unmount
	mount_fs "$SRC"
done
[ "$i" -lt 20 ] || die "none was lost"
# It is told first; then come the warning and the room that it took.
wait_for 20 lost full 'No space left' || die "$(warnings)"
wait_for 20 mkdir "$SNAPS/other" || die "there is no room"
wait_for 20 written other || die "other is not written"
lost full 'No space left' || die "after another one: $(warnings)"
rmdir "$SNAPS/other"
wait_for 20 mkdir "$SNAPS/full" || die "there is no room" # what was just removed may still be open
wait_for 20 written full || die "full is not written"
wait_for 5 well || die "$(warnings)"
unmount
umount "$STORE"

note "the daemon is killed while it is written"
for ((i = 0; i < 20; i++)); do
	mount_fs "$SRC"
	mkdir "$SNAPS/killed-$i"
	kill -9 "$(fs_pid "$MNT")"
	expect_daemon_end "$MNT"
	umount -l "$MNT"
	mount_fs "$SRC"
	! [ -d "$SNAPS/killed-$i" ] || { well && rmdir "$SNAPS/killed-$i" && unmount && continue; }
	wait_for 20 lost "killed-$i" "whoever wrote it was killed, or had no time left (of $SRC/" || die "$(warnings)"
	equal "lines of it in the log" "$(grep -c "error: .*snapshot \"killed-$i\" was lost: whoever wrote it was killed" "$LOG")" 1
	break
done
[ "$i" -lt 20 ] || die "none was killed while it was written"
mkdir "$SNAPS/killed-$i"
wait_for 20 written "killed-$i" || die "it is not written"
wait_for 5 well || die "$(warnings)"

note "somebody has removed the group's file: nothing is thrown away, and it is told"
unmount
before=$(find "$STORE" -name db | sort)
rm -r "$STORE/groups"
mount_fs "$SRC"
wait_for 20 lost "killed-$i" "is damaged, and stays until you remove it: $STORE/" || die "$(warnings)"
equal "what is kept" "$(find "$STORE" -name db | sort)" "$before"
must_fail 2 'No such file' ls "$SNAPS/killed-$i"
unmount
rm -r "$STORE"/*/"kept/killed-$i"
mount_fs "$SRC"
mkdir "$SNAPS/killed-$i"
wait_for 20 written "killed-$i" || die "it is not written"
wait_for 5 well || die "$(warnings)"

note "the store is on the application's disk: a snapshot that would fill it is refused, and the application goes on"
unmount
DISK=$T/disk
loop_mount ext4 128M "$DISK"
STORE=$DISK/store
mkdir "$DISK/app" "$STORE"
sqlite3 "$DISK/app/a.db" 'PRAGMA journal_mode=WAL; CREATE TABLE t(a); INSERT INTO t VALUES(zeroblob(30000000))' >/dev/null
mount_fs "$DISK/app"
free_kib() { df --output=avail -k "$DISK" | tail -1; }
fallocate -l "$(($(free_kib) - 31000))K" "$DISK/filler"
must_fail 1 'No space left on device' mkdir "$SNAPS/fills"
grep -qF 'error: ops: snapshot "fills" cannot be made: a database of 29 MiB is to be kept in' "$LOG" || die "$(tail -n 3 "$LOG")"
sqlite3 "$DISK/app/a.db" 'INSERT INTO t VALUES(zeroblob(3000000))' || die "the application's disk is full"
rm "$DISK/filler"
mkdir "$SNAPS/fills"
wait_for 20 written fills || die "it is not written"
[ "$(free_kib)" -gt 16000 ] || die "$(free_kib) KiB are left"

note "as many as one likes are being written: none of them is said to be kept before it is"
unmount
STORE=$T/store
mkdir "$T/many"
sqlite3 "$T/many/a.db" 'PRAGMA journal_mode=WAL; CREATE TABLE t(a); INSERT INTO t VALUES(zeroblob(16000000))' >/dev/null
mount_fs "$T/many"
NAMES=()
for ((i = 0; i < 100; i++)); do NAMES+=("$SNAPS/many-$i"); done
mkdir "${NAMES[@]}"
said=$(jq '[.snapshots[] | select(.state == "kept")] | length' "$STATUS")
written=$(grep -c 'snapshot "many-[0-9]*" of 1 database was written' "$LOG") || :
[ "$said" -le "$written" ] || die "$said are said to be kept, $written were written"
rmdir "${NAMES[@]}"
