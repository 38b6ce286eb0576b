#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# snapshots.sh - mkdir keeps all databases of the mount, rmdir and rm -r drop them: what is shown at once and later, what is refused,
# what outlives the mount, what a copy over the live name does, and that nothing is held back once it is written.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=restore_lib.sh
. "$TOP/tests/e2e/restore_lib.sh"

SNAPS=$MNT/.sqlsnapfs/snapshots
allow_sidecars
allow_log 'cannot be the name of a snapshot: no leading dot'
allow_log 'cannot be (made: live directories are not changed here|written: what stands there is read-only)'

written() { grep -qF "snapshot \"$1\" of " "$LOG"; }
no_pins() { # no read mark of anybody's is held: slots 1 to 4 stand at byte 124 of the -shm
	[ ! -e "$1-shm" ] || ! awk -v i=":$(stat -c %i "$1-shm")\$" '$6 ~ i && $7 >= 124 && $7 <= 127 {found = 1} END {exit !found}' /proc/locks
}
tree() { (cd "$1" && find . -type f -printf '%P\n' | sort); }
sums() { (cd "$1" && find . -type f -printf '%P %T@ %s %m\n' | sort && find . -type f | sort | xargs sha256sum); }

mkdir "$SRC/sub"
make_marked "$SRC/wal.db" one wal
make_marked "$SRC/sub/old.db" one delete
python3 -c 'import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute("PRAGMA user_version=1")' "$SRC/small.db"
chmod 640 "$SRC/wal.db"
echo text >"$SRC/plain"
mount_fs "$SRC"
held_start "$SRC/wal.db"
held write >/dev/null

note "mkdir, and what is under the name"
mkdir "$SNAPS/first"
grep -qE 'snapshot "first" was made by uid 0 \(mkdir, pid [1-9][0-9]*\)$' "$LOG" || die "who made it is not told"
exec 9<"$SNAPS/first/wal.db" # a slow reader, from before it is written
printf 'small.db\nsub/old.db\nwal.db\n' >"$T/all"
tree "$SNAPS/first" | diff "$T/all" -
equal "owner and mode" "$(stat -c '%a %u' "$SNAPS/first/wal.db")" "640 0"
sums "$SNAPS/first" >"$T/first"
held write >/dev/null # the live one goes on
wait_for 10 written first || die "first is not written"
sums "$SNAPS/first" | diff "$T/first" - || die "it changed when it was written"
wait_for 10 no_pins "$SRC/wal.db" || die "a pin outlives the writing"
equal "the slow reader" "$(sha256sum <&9)" "$(sha "$SNAPS/first/wal.db")  -"
exec 9<&-
equal "listed" "$(ls "$SNAPS")" first
equal 'listed in the root' "$(find "$MNT" -mindepth 1 -maxdepth 1 -name '*sqlsnapfs*')" ''
while read -r db; do
	cp "$SNAPS/first/$db" "$T/copy"
	equal "$db" "$(sqlite3 "$T/copy" 'PRAGMA integrity_check')" ok
done <"$T/all"
equal "query in place" "$(sqlite3 "file:$SNAPS/first/wal.db?mode=ro" 'SELECT value FROM marker')" one

note "refusals"
must_fail 1 '(File|Already) exists' mkdir "$SNAPS/first"
must_fail 1 'Invalid (argument|input)' mkdir "$SNAPS/.hidden"
must_fail 1 'not permitted|Permission denied' mkdir "$SNAPS/first/deeper" # uutils has one word for both
must_fail 1 'not permitted|Permission denied' mkdir "$MNT/elsewhere"
must_fail 1 'Invalid (argument|input)' mkdir "$SNAPS/$(printf '%0201d' 0)"
# shellcheck disable=SC2016 # the text is for the shell that is called, with its own arguments
must_fail any 'Read-only|not permitted|Permission' sh -c 'echo x >"$1"' - "$SNAPS/first/wal.db"
tail -n 1 "$LOG" | grep -qF '".sqlsnapfs/snapshots/first/wal.db" cannot be written: what stands there is read-only: ' || die "the log says $(tail -n 1 "$LOG")"
equal "still one" "$(ls "$SNAPS")" first

note "open files outlive it"
exec 7<"$SNAPS/first/wal.db"
want=$(sha "$SNAPS/first/wal.db")
sqlite3_of() { # as the name has gone, fstat(2) fails, and cat with it
	python3 -c 'import os, sys
while data := os.read(0, 1 << 20):
    os.write(1, data)' <&"$1" >"$T/copy" && sqlite3 "$T/copy" 'PRAGMA integrity_check'
}
mkdir "$SNAPS/gone"
exec 8<"$SNAPS/gone/wal.db"
rmdir "$SNAPS/gone" # most likely before it was written
mkdir "$SNAPS/gone" # and the name is free at once
wait_for 10 written gone || die "gone is not written"
rmdir "$SNAPS/gone"
grep -qE 'snapshot "gone" was removed by uid 0 \(rmdir, pid [1-9][0-9]*\)$' "$LOG" || die "who removed it is not told"
equal "what is open" "$(sha256sum <&7)" "$want  -"
equal "what was given up" "$(sqlite3_of 8)" ok
exec 7<&- 8<&-

note "rm -r"
mkdir "$SNAPS/second"
rm -r "$SNAPS/second"
grep -qE 'removing "[^"]*/second/wal.db" by uid 0 \(rm, pid [1-9][0-9]*\) is ignored' "$LOG" || die "who removed its files is not told"
equal "after rm -r" "$(ls "$SNAPS")" first
mkdir "$SNAPS/second"
wait_for 10 written second || die "second is not written"
python3 -c 'import shutil, sys; shutil.rmtree(sys.argv[1])' "$SNAPS/second"
equal "after rmtree" "$(ls "$SNAPS")" first
equal "nothing is left in the store" "$(find "$STORE" -name '*second*' -o -name '*.partial'; find "$STORE/groups" -mindepth 1 | wc -l)" 1

note "a second mount, and a remount"
mount_at "$T/mnt2" -o norestore "$SRC"
sums "$T/mnt2/.sqlsnapfs/snapshots/first" | diff "$T/first" - || die "another daemon shows something else"
must_fail 1 '(File|Already) exists' mkdir "$T/mnt2/.sqlsnapfs/snapshots/first"
mkdir "$T/mnt2/.sqlsnapfs/snapshots/theirs"
must_fail 1 '(File|Already) exists' mkdir "$SNAPS/theirs"
unmount "$T/mnt2" # writes what is to be written
tree "$SNAPS/theirs" | diff "$T/all" -
rmdir "$SNAPS/theirs"
mkdir "$SNAPS/last"
sums "$SNAPS/last" >"$T/last"
unmount
mount_fs "$SRC"
sums "$SNAPS/first" | diff "$T/first" -
sums "$SNAPS/last" | diff "$T/last" -

note "restoring from one"
python3 -c 'import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("UPDATE marker SET value=?", ["two"])' "$SRC/wal.db"
equal "the live one" "$(held marker)" '"two"'
cp "$SNAPS/first/wal.db" "$MNT/wal.db"
restored "cp out of a snapshot" one
mkdir "$SNAPS/at_once" && cp "$SNAPS/at_once/wal.db" "$MNT/wal.db"
restored "cp out of one that is being written" one
find "$SNAPS" -mindepth 1 -maxdepth 1 -name 'before-restore-*' | grep -q . || die "what was replaced is not kept"
held_stop

note "links"
mkdir "$T/far"
make_marked "$T/far/far.db" one delete
ln -s ../wal.db "$SRC/sub/near.db"
ln -s "$T/far/far.db" "$SRC/far.db"
make_marked "$T/up.db" three
cp "$T/up.db" "$MNT/sub/near.db"
hint=$(grep -o 'cp \.sqlsnapfs/[^ ]*/wal\.db sub/near\.db$' "$LOG") || die "no hint names the real place: $(tail -1 "$LOG")"
equal "what the hint names" "$(cd "$MNT" && sqlite3 "file:$(cut -d' ' -f2 <<<"$hint")?mode=ro" 'SELECT value FROM marker')" one
mkdir "$SNAPS/links"
printf 'far.db\n' | cat - "$T/all" | sort | diff - <(tree "$SNAPS/links")
wait_for 10 written links || die "links is not written"
printf 'far.db\n' | cat - "$T/all" | sort | diff - <(tree "$SNAPS/links")
equal "by a link that leads away" "$(sqlite3 "file:$SNAPS/links/far.db?mode=ro" 'SELECT value FROM marker')" one
rmdir "$SNAPS/links"
ln -s "$T/far/far.db" "$SRC/farther.db"
mkdir "$SNAPS/links"
equal "of two links to one database" "$(tree "$SNAPS/links" | grep -c '^far')" 1
rmdir "$SNAPS/links"
rm "$SRC/far.db" "$SRC/farther.db" "$SRC/sub/near.db"

note "no room"
unmount
small=$T/small
mkdir "$small"
plain_mount -t tmpfs -o size=24m tmpfs "$small"
STORE=$small
python3 -c 'import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("PRAGMA journal_mode=wal")
db.execute("CREATE TABLE t AS SELECT zeroblob(40000000)")' "$SRC/big.db"
allow_log 'snapshot "toobig" cannot be made: a database of .* MiB is to be kept in .*, .* MiB free, and some must stay; rmdir an old'
mount_fs "$SRC"
must_fail 1 'No space left' mkdir "$SNAPS/toobig"
equal "nothing is half kept" "$(ls "$SNAPS"; find "$small" -path '*/kept/*')" ""
