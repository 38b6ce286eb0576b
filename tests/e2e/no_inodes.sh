#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# no_inodes.sh - a file system with free blocks and no free inode, below the live databases and below the store: what needs a new file is
# refused with the errno and the words of a disk that is full, and what needs none is served.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=restore_lib.sh
. "$TOP/tests/e2e/restore_lib.sh"
need jq sqlite3
allow_log 'No space left on device|no room for its WAL or journal|keeping the old one needs|receiving it needs|is to be kept in'

DISK=$T/disk
loop_mount ext4 64M "$DISK" -N 128
# leave N: that many inodes are free; one that was in use until now may be free again. The daemon may take one for what it still has
# to write or drop while they are counted: then they are counted again.
fill_to() {
	local i free
	rm -f "$DISK"/fill.*
	sync -f "$DISK"
	free=$(stat -f -c %d "$DISK")
	for ((i = $1; i < free; i++)); do : >"$DISK/fill.$i" || return 1; done
	[ "$(stat -f -c %d "$DISK")" -ge "$1" ]
}
leave() { wait_for 10 fill_to "$1" || die "$(stat -f -c %d "$DISK") free inodes, not $1"; }
says() { tail -n 1 "$MNT/.sqlsnapfs/log" | grep -qE "$1" || die "the log ends in '$(tail -n 1 "$MNT/.sqlsnapfs/log")', not in /$1/"; }
warns() { jq -e --arg words "$1" '.warnings | any(test($words))' "$MNT/.sqlsnapfs/status.json" >/dev/null || die "no warning has /$1/: $(jq -c .warnings "$MNT/.sqlsnapfs/status.json")"; }
make_marked "$T/up" up

note 'below the live databases'
SRC=$DISK/src
mkdir "$SRC"
make_marked "$SRC/wal.db" first wal
make_marked "$SRC/rollback.db" first delete
ROOM='no room for its WAL or journal: .*inode.*make room there'
mount_fs "$SRC"
leave 0
for name in wal rollback; do
	cp "$MNT/$name.db" "$T/copy" || die "$name cannot be read though that takes no inode"
	cmp "$T/copy" "$SRC/$name.db" || die "$name is another one"
	must_fail 1 'No space left on device' cp "$T/up" "$MNT/$name.db"
	says "restore of \"$name.db\" refused, live database unchanged: .*$ROOM"
	warns "$name.db.*$ROOM"
done
leave 1 # the -wal is made, and the -shm is not
must_fail 1 'No space left on device' cp "$T/up" "$MNT/wal.db"
says "$ROOM"
leave 8
for name in wal rollback; do
	cp "$T/up" "$MNT/$name.db" || die "$name: $(tail -n 1 "$LOG")"
	cp "$MNT/$name.db" "$T/copy"
	cmp "$T/copy" "$T/up" || die "$name is not what was restored"
done
unmount

note 'below the store'
SRC=$T/src
STORE=$DISK/store
mkdir "$STORE"
make_marked "$SRC/wal.db" first wal
make_marked "$SRC/rollback.db" first delete
WHAT='MiB free, but only [0-9]+ inodes'
TODO='rmdir an old snapshot.* -o store=DIR'
mount_fs "$SRC"
for ((i = 0; i < 8; i++)); do # one step further each time
	leave "$i"
	for name in wal rollback; do
		if cp "$T/up" "$MNT/$name.db" 2>"$T/said"; then
			cp "$SRC/$name.db" "$T/live"
			"$SQLSNAPFS" --check "$T/live" >/dev/null || die "$name is damaged"
		else
			grep -q 'No space left on device' "$T/said" || die "$name: $(cat "$T/said")"
			says "restore of \"$name.db\" refused, live database unchanged: .*$WHAT.*$TODO"
			equal "$name" "$(sqlite3 "$SRC/$name.db" 'SELECT value FROM marker')" first
		fi
	done
	if ! mkdir "$MNT/.sqlsnapfs/snapshots/one" 2>"$T/said"; then
		grep -q 'No space left on device' "$T/said" || die "mkdir: $(cat "$T/said")"
		says "snapshot \"one\" cannot be made: .*$WHAT.*$TODO"
		continue
	fi
	wait_for 10 grep -qE '"one" (of 2 databases was written|was lost)' "$LOG" || die 'neither written nor lost'
	rmdir "$MNT/.sqlsnapfs/snapshots/one" 2>/dev/null || : # lost
done
rm "$DISK"/fill.*
cp "$T/up" "$MNT/rollback.db" || die "with inodes again: $(tail -n 1 "$LOG")"
left() { find "$STORE" -name '.*' | grep .; }
wait_for 5 eval '! left >/dev/null' || die "left in the store: $(left)"
