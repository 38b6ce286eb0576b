#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# rights_every_operation.sh - a user without rights on the live tree tries every operation on every name of a mount of root's: each is refused
# or harmless, he reads nothing that he could not read in the live tree, and the live tree is what it was.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=restore_lib.sh
. "$TOP/tests/e2e/restore_lib.sh"
allow_log 'cannot be (opened|written|opened for writing): |linked|leaves the directory|refused, live database unchanged'
allow_sidecars
need setpriv setfacl
[ "$(id -u)" -eq 0 ] || skip 'only root can be other users'

chmod 711 "$T"
mkdir "$SRC/folder" "$SRC/closed" "$SRC/listed" "$SRC/passed"
for name in open private group folder/open folder/private closed/open listed/open passed/open; do
	make_marked "$SRC/$name.sqlite3" "$name" wal 4096 5
	echo "$name" >"$SRC/$name.txt"
	chmod 644 "$SRC/$name".*
done
chmod 600 "$SRC"/private.* "$SRC"/folder/private.*
chmod 640 "$SRC"/group.*
chgrp 6000 "$SRC"/group.*
chmod 700 "$SRC/closed"
chmod 744 "$SRC/listed"
chmod 711 "$SRC/passed"
cp "$SRC/open.txt" "$SRC/public.txt"
cp "$SRC/open.txt" "$SRC/acl.txt"
chmod 600 "$SRC/acl.txt"
setfacl -m u:5999:rw "$SRC/acl.txt"
ln -s closed/open.sqlite3 "$SRC/link-closed"
ln -s private.sqlite3 "$SRC/link-private"
ln -s closed/open.txt "$SRC/linked.txt"
mkfifo "$SRC/fifo"
mknod "$SRC/device" c 1 3
cp "$(type -P true)" "$SRC/setuid"
chmod 4755 "$SRC/setuid"
(cd "$SRC" && find . ! -name . -printf '%P\n' | sort) >"$T/names"

# Files that we are connected to have a -shm, and changes of its read marks, until two seconds after their last use; making and removing
# one changes the times of its directory. So the tree is looked at when only the application has one. SQLite removes the -wal after it.
idle() { [ -z "$(find "$SRC" \( -name '*-shm' -o -name '*-wal' \) ! -path "$SRC/open.sqlite3-*")" ]; }
live_tree() {
	wait_for 20 idle || die "$(find "$SRC" -name '*-shm' -o -name '*-wal')"
	(
		cd "$SRC"
		find . -type d -printf '%p %i %m %u %g %n\n' | sort
		find . ! -type d ! -name '*-shm' -printf '%p %i %m %u %g %n %s %T@ %C@\n' | sort
		find . -type f ! -name '*-shm' -print0 | sort -z | xargs -0 sha256sum
		getfacl -Rp . 2>/dev/null
	)
}
seen_tree() { (cd "$MNT" && find . -printf '%p %m %u %g %s %T@\n' | sort && ls .sqlsnapfs/snapshots); }
mount_fs "$SRC"
mkdir "$MNT/.sqlsnapfs/snapshots/kept"
wait_for 20 grep -q '"kept" of .* was written' "$LOG" || die "$(tail "$LOG")" # in the background
held_start "$SRC/open.sqlite3"
equal 'the application' "$(held marker)" '"open"'
seen_tree >"$T/seen"
live_tree >"$T/live"
for groups in --clear-groups --groups=7000; do
	setpriv --reuid=5004 --regid=5004 "$groups" --bounding-set=-all --inh-caps=-all timeout $((60 * FACTOR)) python3 - "$SRC" "$MNT" <"$TOP/tests/check/rights.py" >"$T/tried" || die "$(cat "$T/tried")"
	note "$(tail -n 1 "$T/tried")"
	live_tree | diff "$T/live" - || die 'the live tree has changed'
	seen_tree | diff "$T/seen" - || die 'the mount has changed'
done
equal 'the application' "$(held marker)" '"open"'
equal 'the application writes' "$(held write)" '"ok"'
held_stop
! grep -q 'restored by\|was dropped' "$LOG" || die "$(tail "$LOG")"
