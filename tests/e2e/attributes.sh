#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# attributes.sh - what stat says: sizes that are true, numbers that stay, times that tell every change and nothing else.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

db=$SRC/db.sqlite3
seen=$MNT/db.sqlite3
make_db "$SRC/still.sqlite3"
make_db "$SRC/roll.sqlite3" --journal delete
echo text >"$SRC/plain.txt"
writer_start app --db "$db" --paused
writer_do app 'commit 20'
chmod 640 "$db"
chown 12:34 "$db"
mount_fs "$SRC"

of() { stat -c "$1" "${2:-$seen}"; }
equal 'mode and owner' "$(of '%a %u:%g')" '640 12:34'
chmod 604 "$db"
chown 56:78 "$db"
equal 'mode and owner after a change' "$(of '%a %u:%g')" '604 56:78'
chown 0:0 "$db"
equal 'links' "$(of %h)" 1
equal 'size' "$(of %s)" "$(wc -c <"$seen")"
equal 'blocks' "$(of %b)" $((($(of %s) + 511) / 512))
equal 'ctime' "$(of %z)" "$(of %y)"
for name in still.sqlite3 roll.sqlite3 plain.txt; do
	equal "$name: size" "$(of %s "$MNT/$name")" "$(wc -c <"$MNT/$name")"
done
[ "$(stat -c %i "$MNT"/*.sqlite3 "$MNT/plain.txt" | sort -u | wc -l)" -eq 4 ] || die "two files of one inode number"

# newer A B: the time A, as %y has it, is after B.
export TZ=UTC LC_ALL=C # uutils rounds %.9Y
newer() { [[ $1 > $2 ]]; }
ino=$(of %i)
still=$(of '%y %i %s' "$MNT/still.sqlite3")
times=()
# A second later the last of those that share one has a time of its own, see crowded_second.sh; and once nothing is connected, what was
# looked at within a clock tick of its change may have changed again unseen.
a_second_since() { [ $((${EPOCHREALTIME/./} - ${1/./})) -ge 1000000 ]; }
for i in $(seq 12); do
	began=$EPOCHREALTIME
	writer_do app 'commit 1'
	cat "$seen" >/dev/null
	times+=("$(of %y)")
	again=$(cat "$seen" >/dev/null && of %y)
	[ "$again" = "${times[-1]}" ] || { a_second_since "$began" && newer "$again" "${times[-1]}"; } ||
		die "time of the same version: $again after ${times[-1]}"
	equal 'inode number' "$(of %i)" "$ino"
	[ "$i" = 1 ] || newer "${times[-1]}" "${times[-2]}" || die "commit $i: ${times[-1]} is not after ${times[-2]}"
	times[-1]=$again
done
[ "$(of %Y)" -le "$(($(date +%s) + 1))" ] || die "${times[-1]} is more than a second ahead"
equal 'a database that nobody changed' "$(of '%y %i %s' "$MNT/still.sqlite3")" "$still"
cat "$MNT/still.sqlite3" >/dev/null
equal 'a database that was only read' "$(of '%y %i %s' "$MNT/still.sqlite3")" "$still"

# Over a remount: the same version keeps its time, the next is later.
last=${times[-1]}
unmount
mount_fs "$SRC"
cat "$seen" >/dev/null
equal 'inode number after a remount' "$(of %i)" "$ino"
remounted=$(of %y)
[ "$remounted" = "$last" ] || newer "$remounted" "$last" || die "a remount went back from $last to $remounted"
equal 'still after a remount' "$(of '%y %i %s' "$MNT/still.sqlite3")" "$still"
writer_do app 'commit 1'
cat "$seen" >/dev/null
newer "$(of %y)" "$remounted" || die "the commit after a remount is not newer"

# rsync sends what changed, and nothing else.
if command -v rsync >/dev/null; then
	transferred() { rsync -a --stats "$MNT/" "$T/out/" | sed -n 's/^Number of regular files transferred: //p'; }
	# Times run at most a second ahead of the clock, and rsync compares whole seconds: as with ordinary files, what changes
	# often within a second needs that second to pass.
	clock_past() { [ "$(date +%s)" -gt "$1" ]; }
	second_passes() { wait_for 5 clock_past "$(of %Y)" || die "$(of %Y) is more than a second ahead"; }
	# What was looked at within a clock tick of its change may have changed again unseen: a remount would show it as new.
	settled() { [ "$(($(date +%s%N) / 1000000))" -gt "$(($(stat -c %.3Y "$db-wal" | tr -d .) + 100))" ]; }
	second_passes
	wait_for 5 settled
	transferred >/dev/null
	equal 'second rsync' "$(transferred)" 0
	second_passes
	writer_do app 'commit 1'
	wait_for 5 settled
	equal 'rsync after a commit' "$(transferred)" 1
	equal 'rsync after that' "$(transferred)" 0
	unmount
	mount_fs "$SRC"
	equal 'rsync after a remount' "$(transferred)" 0
fi

# The application's close folds the WAL in, if need be ours after it; the content is the same.
cp "$seen" "$T/before"
writer_stop app
closed() { [ ! -e "$db-wal" ]; }
wait_for 40 closed || die "the WAL stays after the last close"
cmp "$seen" "$T/before" || die "other bytes after the application has gone"
cmp "$seen" "$db" || die "the file at rest is not what is shown"
equal 'size after the application has gone' "$(of %s)" "$(stat -c %s "$db")"
must_fail any 'No such file' stat "$MNT/no-such-file"

# A file handle is good for its mount: the one after it counts its files anew.
# handle make|open FILE: makes a handle of FILE; opens what was made, where FILE is.
handle() {
	python3 - "$@" "$T/handle" <<'PY'
import ctypes, errno, os, sys

libc = ctypes.CDLL(None, use_errno=True)
verb, path, kept = sys.argv[1:]
handle = ctypes.create_string_buffer(8 + 128)  # the sizes of its head and of the rest
if verb == "make":
    ctypes.c_uint.from_buffer(handle).value = 128
    if libc.name_to_handle_at(-100, path.encode(), handle, ctypes.byref(ctypes.c_int()), 0) != 0:
        sys.exit(os.strerror(ctypes.get_errno()))
    open(kept, "wb").write(handle.raw)
else:
    handle.raw = open(kept, "rb").read()
    with open(path):  # the kernel knows it as long as it is open
        fd = libc.open_by_handle_at(os.open(os.path.dirname(path), os.O_RDONLY), handle, os.O_RDONLY)
    print(os.path.basename(os.readlink(f"/proc/self/fd/{fd}")) if fd >= 0 else errno.errorcode[ctypes.get_errno()])
PY
}
unmount
mount_fs "$SRC"
handle make "$MNT/still.sqlite3" || die "no file handle"
equal 'a file handle' "$(handle open "$MNT/still.sqlite3")" still.sqlite3
unmount
mount_fs "$SRC"
equal 'a file handle from before a remount' "$(handle open "$MNT/plain.txt")" ESTALE

# A program that keeps a folder open and reads it from the beginning again (rewinddir(3)) is shown what stands there now.
python3 - "$MNT" "$SRC" <<'PY' || die "a folder that is kept open"
import os, sys
mnt, src = sys.argv[1:]
folder = os.open(mnt, os.O_RDONLY)
before = sorted(os.listdir(folder))
os.rename(src + "/plain.txt", src + "/moved.txt")
now = sorted(os.listdir(folder))  # begins with rewinddir(3)
os.rename(src + "/moved.txt", src + "/plain.txt")
if sorted(set(now) ^ set(before)) != ["moved.txt", "plain.txt"]:
    sys.exit(f"{before}, then {now}")
if sorted(os.listdir(folder)) != before:
    sys.exit("not put back")
PY

# A daemon that is killed a moment after a copy was made has not saved its times. The next one gives them to no other state.
unmount
state_of() { # "NAME INODE MTIME CTIME", and a digest of the bytes
	python3 -c 'import hashlib, os, sys
with open(sys.argv[1], "rb") as f:
    st, digest = os.fstat(f.fileno()), hashlib.sha1(f.read()).hexdigest()
print(os.path.basename(sys.argv[1]), st.st_ino, st.st_mtime_ns, st.st_ctime_ns, digest)' "$1"
}
writer_start again --db "$db" --paused
: >"$T/states"
for _ in $(seq 4); do
	mount_fs "$SRC"
	for i in $(seq 6); do
		writer_do again 'commit 1'
		state_of "$seen" >>"$T/states"
	done
	kill -9 "$(fs_pid "$MNT")"
	expect_daemon_end "$MNT"
done
mount_fs "$SRC"
equal 'times that two states had' "$(sort -u "$T/states" | cut -d' ' -f1-4 | uniq -d)" ''
equal 'states' "$(sort -u "$T/states" | wc -l)" 24

# Permissions are those of the live files, for others too.
if command -v setpriv >/dev/null; then
	chmod 600 "$db"
	as_nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
	chmod 755 "$T"
	must_fail any 'Permission denied' as_nobody cat "$seen"
	chmod 644 "$db"
	as_nobody cat "$seen" >/dev/null || die "nobody may read a 0644 database"
	chmod 700 "$SRC"
	look_anew "$MNT"
	must_fail any 'Permission denied' as_nobody cat "$seen"
fi
