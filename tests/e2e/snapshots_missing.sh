#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# snapshots_missing.sh - no snapshot, and no frozen mount, that lacks a database without a word: below another mount, what may not be
# read, a named one that is gone, one that was damaged or emptied. What is no database's is in nobody's way.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=restore_lib.sh
. "$TOP/tests/e2e/restore_lib.sh"
need setpriv

SNAPS=$MNT/.sqlsnapfs/snapshots
allow_sidecars
allow_log 'snapshot "refused" cannot be made: '
allow_log 'snapshot "made" cannot be made: "db.sqlite3" was a database, and is empty' # its new content came late
allow_log '" is inside ".*shown there as an empty directory'

# refused ERROR WORDS: neither a snapshot nor a frozen mount is made; the log says why.
refused() {
	must_fail 1 "$1" mkdir "$SNAPS/refused"
	tail -n 1 "$LOG" | grep -qE "snapshot \"refused\" cannot be made: $2" || die "the log says $(tail -n 1 "$LOG")"
	equal "what there is" "$(ls "$SNAPS")" ""
	must_fail 1 "$2" run_fs -o "frozen${3:-}" "$SRC" "$T/frozen" -- true
}
# made: a snapshot with exactly these files in it.
made() {
	mkdir "$SNAPS/made" || die "the log says $(tail -n 1 "$LOG")"
	was_made "$@"
}
was_made() {
	equal "what is in it" "$(cd "$SNAPS/made" && find . -type f -printf '%P\n' | sort | xargs)" "$*"
	rmdir "$SNAPS/made"
}

make_marked "$SRC/db.sqlite3" one delete
mkdir "$SRC/data" "$SRC/own"

note "another mount"
MNT=$SRC/own SNAPS=$SRC/own/.sqlsnapfs/snapshots
mount_fs -o databases_only "$SRC"
made db.sqlite3 # our own is none
plain_mount -t tmpfs none "$SRC/data"
make_marked "$SRC/data/other.sqlite3" one delete
must_fail 1 'cross-device' mkdir "$SNAPS/refused"
tail -n 1 "$LOG" | grep -q 'cannot be made: "data" is another mount' || die "the log says $(tail -n 1 "$LOG")"
unmount
MNT=$T/mnt SNAPS=$T/mnt/.sqlsnapfs/snapshots
mount_fs "$SRC"
refused 'cross-device' '"data" is another mount'
umount "$SRC/data"
make_marked "$SRC/data/other.sqlite3" one delete
made data/other.sqlite3 db.sqlite3
cp "$SRC/db.sqlite3" "$T/bound"
touch "$SRC/file"
plain_mount --bind "$T/bound" "$SRC/file"
refused 'cross-device' '"file" is another mount'
umount "$SRC/file"
rm "$SRC/file"
made data/other.sqlite3 db.sqlite3

note "a path that is too long for any system call"
# in_depths COMMAND...: in folders below $SRC/deep whose path is 4,050 bytes long.
in_depths() {
	(
		mkdir "$SRC/deep" && cd "$SRC/deep" || exit 1
		for ((i = 0; i < 19; i++)); do mkdir "$(printf '%0204d' 0)" && cd -P "$(printf '%0204d' 0)" || exit 1; done
		mkdir "$(printf '%0150d' 0)" && cd -P "$(printf '%0150d' 0)" && "$@"
	)
}
in_depths touch "$(printf '%050d' 0)"
made data/other.sqlite3 db.sqlite3
rm -r "$SRC/deep"
in_depths mkdir "$(printf '%050d' 0)"
refused 'name too long' '"deep/.*" has something whose path is longer than 4095 bytes'
rm -r "$SRC/deep"
in_depths cp "$SRC/db.sqlite3" "$(printf '%050d' 0)"
refused 'name too long' '"deep/.*" has something whose path is longer than 4095 bytes'
rm -r "$SRC/deep"

note "one that was damaged, emptied or replaced"
cp "$SRC/db.sqlite3" "$T/good"
head -c 5000 /dev/urandom >"$SRC/db.sqlite3"
refused 'Input/output' '"db.sqlite3"(: file is not a database| was a database)' ,databases_only # as long as it is open here
unmount
mount_fs -o databases_only "$SRC" # which knows it from before
refused 'Input/output' '"db.sqlite3" was a database'
: >"$SRC/db.sqlite3"
refused 'Input/output' '"db.sqlite3" was a database'
rm "$SRC/db.sqlite3"
ln -s /nowhere/db.sqlite3 "$SRC/db.sqlite3"
refused 'Input/output' '"db.sqlite3" was a database'
rm "$SRC/db.sqlite3"
made data/other.sqlite3 # that is what an application does
cp "$T/good" "$SRC/db.sqlite3"
made data/other.sqlite3 db.sqlite3
: >"$SRC/new" # and so are files that never were any
head -c 5000 /dev/urandom >"$SRC/noise"
made data/other.sqlite3 db.sqlite3
python3 - "$SRC/db.sqlite3" "$T/good" "$SNAPS/made" <<'END' || die "one that is made anew: the log says $(tail -n 1 "$LOG")"
import os, sys, threading, time
live, good, made = sys.argv[1:]
with open(good, "rb") as file:
    content = file.read()
failed = []

def make():
    try:
        os.mkdir(made)
    except OSError as e:
        failed.append(e)

for attempt in range(20):
    failed.clear()
    thread = threading.Thread(target=make)
    with open(live, "wb", buffering=0) as db:
        began = time.monotonic()
        thread.start()
        time.sleep(0.3)
        db.write(content)
    took = time.monotonic() - began
    thread.join()
    if not failed or took < 0.9:  # seconds that mkdir waits: whoever was stopped for longer has proved nothing
        break
sys.exit(str(failed[0]) if failed else 0)
END
was_made data/other.sqlite3 db.sqlite3
unmount

note "a named one that is gone"
mount_fs a="$SRC/data/other.sqlite3" b="$SRC/db.sqlite3"
made a b
mv "$SRC/db.sqlite3" "$T/moved"
must_fail 1 'No such file' mkdir "$SNAPS/refused"
tail -n 1 "$LOG" | grep -q 'cannot be made: "b" is missing: restore it, or mount without it' || die "the log says $(tail -n 1 "$LOG")"
: >"$SRC/db.sqlite3"
must_fail 1 'Input/output' mkdir "$SNAPS/refused"
mv "$T/moved" "$SRC/db.sqlite3"
made a b
unmount

note "what whoever mounts may not read"
cat >"$T/powerless" <<END
#!/bin/sh
exec setpriv --bounding-set=-dac_override,-dac_read_search --inh-caps=-dac_override,-dac_read_search "$SQLSNAPFS" "\$@"
END
chmod 755 "$T/powerless"
SQLSNAPFS=$T/powerless # root, who may no more than his files' owners let him
mount_fs "$SRC"
made data/other.sqlite3 db.sqlite3
cp "$SRC/db.sqlite3" "$SRC/secret.db"
chown 5006:5006 "$SRC/secret.db"
chmod 600 "$SRC/secret.db"
refused 'Permission denied' '"secret.db" cannot be read, and may be or hold a database: Permission denied' ,databases_only
chmod 604 "$SRC/secret.db"
made data/other.sqlite3 db.sqlite3 secret.db
rm "$SRC/secret.db"
mkdir "$SRC/private"
cp "$SRC/db.sqlite3" "$SRC/private/db.sqlite3"
chown 5006:5006 "$SRC/private"
for mode in 700 744; do # it cannot be listed, and what is in it cannot be reached
	chmod "$mode" "$SRC/private"
	refused 'Permission denied' '"private(/db.sqlite3)?" cannot be read'
done
mv "$SRC/private" "$SRC/lost+found" # which every ext4 has
chmod 700 "$SRC/lost+found"
made data/other.sqlite3 db.sqlite3
rm -r "$SRC/lost+found"
