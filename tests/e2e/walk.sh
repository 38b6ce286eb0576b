#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# walk.sh - a program that looks at many files costs one request for each name of their paths; each call by a path still finds what
# is true at that moment, and rights that were taken away are gone at once.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

chmod 755 "$T"
mkdir -p "$SRC/media/2026"
for i in {1..500}; do echo "$i" >"$SRC/media/2026/$i.jpg"; done
make_db "$SRC/db.sqlite3"
mount_fs "$SRC"

# Each is read by a read(2) of its own; other reads are of content.
requests() { sed -n 's/^syscr: //p' "/proc/$(fs_pid "$MNT")/io"; }
find "$MNT/media" -size +1k >/dev/null # what is in the files has been looked at
before=$(requests)
python3 - "$MNT" <<'END'
import os, sys
os.chdir(sys.argv[1])
for i in range(1, 501):
    os.lstat(f"media/2026/{i}.jpg")
END
count=$(($(requests) - before))
note "500 files, three names deep: $count requests" # and one for the root in each moment; 3500 if each is asked for twice
[ "$count" -ge 1500 ] || die 'less than one for each name: what is live was not looked at'
[ "$count" -lt 2750 ] || die 'a walk asks more than once for each name'

python3 - "$SRC" "$MNT" <<'END' || die "$?"
import errno, os, sys
src, seen = sys.argv[1:]
file, folder = "media/2026/1.jpg", "media/2026"

def equal(what, found, expected):
    if found != expected:
        sys.exit(f"{what}: {found}, not {expected}")

for i in range(300):
    with open(f"{src}/{file}", "w") as f:
        f.write("x" * i)
    equal("size", os.stat(f"{seen}/{file}").st_size, i)
    with open(f"{seen}/{file}") as f:
        equal("content", len(f.read()), i)
    os.chmod(f"{src}/{file}", 0o600 + i % 64)
    equal("mode of the file", os.stat(f"{seen}/{file}").st_mode & 0o777, 0o600 + i % 64)
    os.chmod(f"{src}/{folder}", 0o700 + i % 64)
    equal("mode of the folder", os.stat(f"{seen}/{folder}").st_mode & 0o777, 0o700 + i % 64)
    os.utime(f"{src}/{folder}", (i, i))
    equal("time of the folder", os.stat(f"{seen}/{folder}").st_mtime, i)

os.chmod(f"{src}/{file}", 0o644)
for i in range(300):
    for mode, expected in ((0o700, errno.EACCES), (0o755, 0)):
        os.chmod(f"{src}/{folder}", mode)
        os.seteuid(65534)
        try:
            open(f"{seen}/{file}").close()
            found = 0
        except OSError as e:
            found = e.errno
        os.seteuid(0)
        equal(f"open below {mode:o}", found, expected)
END

# Nothing is looked up to reach the root: its rights can be one or two timer interrupts old, and no more.
chmod 700 "$SRC"
denied() { ! setpriv --reuid 65534 --regid 65534 --clear-groups cat "$MNT/media/2026/1.jpg" >/dev/null; }
wait_for 5 denied || die 'the rights to the root are not taken away'
chmod 755 "$SRC"
denied 2>/dev/null && die 'the rights to the root are not given'
exit 0
