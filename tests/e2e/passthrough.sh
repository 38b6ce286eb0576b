#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# passthrough.sh - where the kernel reads a file itself for us (libfuse 3.17, Linux 6.9, root): it gives the bytes that the
# daemon gives, whatever is opened beside it, whatever becomes of the file; and where the store does not allow it, the daemon reads.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

[ "$(id -u)" = 0 ] || skip "needs root"
ldd "$SQLSNAPFS" >"$T/libs"
if grep -q libfuse3 "$T/libs"; then
	grep -qF fuse_passthrough_open "$(awk '/libfuse3/ {print $3}' "$T/libs")" || skip "this libfuse cannot do it (3.17 can)"
else
	grep -qF fuse_passthrough_open "$SQLSNAPFS" || skip "this libfuse cannot do it (3.17 can)"
fi
grep -qE ' fuse_passthrough_' /proc/kallsyms || skip "this kernel cannot do it (CONFIG_FUSE_PASSTHROUGH, Linux 6.9)"

allow_sidecars
SNAPS=$MNT/.sqlsnapfs/snapshots
passed() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["passed_through"])' "$MNT/.sqlsnapfs/status.json"; }
written() { grep -qF "snapshot \"$1\" of " "$LOG"; }
keep_one() {
	mkdir "$SNAPS/$1"
	wait_for 10 written "$1" || die "$1 is not written"
}
no_spool() { python3 -c 'import json, sys; sys.exit(any(s["spool_bytes"] for s in json.load(open(sys.argv[1]))["sources"]))' "$MNT/.sqlsnapfs/status.json"; }
room() { stat -f -c %f "$STORE"; } # free blocks
opened() { find "/proc/$(fs_pid "$MNT")/fd" -type l | wc -l; }

plain_mount -t tmpfs -o size=256m none "$STORE"
make_db "$SRC/wal.db" --commits 300
make_db "$SRC/old.db" --journal delete
make_db "$SRC/live.db"
mount_fs "$SRC"

# compare.py FILE WANTED: reads FILE by the kernel, by the daemon (O_DIRECT) and mapped, odd pieces, and all must be WANTED.
cat >"$T/compare.py" <<'EOF'
import mmap, os, random, sys
want = open(sys.argv[2], "rb").read()
fd = os.open(sys.argv[1], os.O_RDONLY)
direct = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)
mapped = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
direct_mapped = mmap.mmap(direct, 0, prot=mmap.PROT_READ)
size = os.fstat(fd).st_size
assert size == len(want), (size, len(want))
assert os.lseek(fd, 0, os.SEEK_END) == size
for i in range(300):
    at = random.choice([0, size - 1, size, size + 1, random.randrange(size)])
    n = random.choice([1, 100, 4096, 65536, 1 << 20])
    b = bytearray(n)
    for what, got in [("kernel", os.pread(fd, n, at)), ("daemon", bytes(b[:os.preadv(direct, [b], at)])),
                      ("map", mapped[at:at + n]), ("daemon's map", direct_mapped[at:at + n])]:
        assert got == want[at:at + n], (what, at, n)
EOF
compare() { python3 "$T/compare.py" "$@" || die "$1 is not $2"; }

note "what is kept, and what was copied before it could be read"
keep_one one
kept=$(find "$STORE" -path '*/kept/one/db' -size "$(stat -c %s "$SNAPS/one/wal.db")c" | head -1)
before=$(passed)
cp "$SNAPS/one/wal.db" "$T/kept"
equal "passed through" "$(passed)" $((before + 1))
cmp "$T/kept" "$kept"
check_copy "$T/kept" >/dev/null
compare "$SNAPS/one/wal.db" "$kept"
cp "$MNT/old.db" "$T/old"
cmp "$T/old" "$SRC/old.db"
compare "$MNT/old.db" "$SRC/old.db"
equal "passed through" "$(passed)" $((before + 6))

note "a live database that somebody may write to never is, with and without frames in its WAL"
writer_start app --db "$SRC/live.db" --paused --autocheckpoint 0
for how in 'exec PRAGMA wal_checkpoint(TRUNCATE)' 'commit 5'; do
	writer_do app "$how"
	cp "$MNT/live.db" "$T/copy"
	check_copy "$T/copy" >/dev/null
done
equal "passed through" "$(passed)" $((before + 6))
writer_stop app

note "opened in the other mode first, and by many at once"
mkdir "$SNAPS/two"
exec 9<"$SNAPS/two/wal.db" # most likely before it is written
wait_for 10 written two || die "two is not written"
compare "$SNAPS/two/wal.db" "$kept"
equal "read on" "$(sha256sum <&9)" "$(sha "$kept")  -"
exec 9<&-
python3 - "$SNAPS/one/wal.db" "$kept" "$MNT/old.db" "$SRC/old.db" <<'EOF' || die "an open failed"
import os, random, sys, threading
files = [(sys.argv[i], open(sys.argv[i + 1], "rb").read(4096)) for i in (1, 3)]
bad = []
def run():
    try:
        for i in range(150):
            name, want = random.choice(files)
            fd = os.open(name, os.O_RDONLY | random.choice([0, 0, os.O_DIRECT]))
            b = bytearray(4096)
            os.preadv(fd, [b], 0)
            os.close(fd)
            assert b == want
    except Exception as e:
        bad.append(e)
threads = [threading.Thread(target=run) for i in range(6)]
[t.start() for t in threads]
[t.join() for t in threads]
sys.exit(str(bad[0]) if bad else 0)
EOF

note "1,000 opens leave nothing behind"
n=$(opened)
python3 - "$SNAPS/one/wal.db" <<'EOF'
import os, sys
for i in range(1000):
    os.close(os.open(sys.argv[1], os.O_RDONLY))
EOF
as_before() { [ "$(opened)" -le "$n" ]; }
wait_for 10 as_before || die "$(opened) descriptors instead of $n"

note "a snapshot that is dropped while somebody reads: its room comes back when he is done"
wait_for 10 no_spool || die "spools linger"
free=$(room)
keep_one gone
exec 8<"$SNAPS/gone/wal.db"
cp "$SNAPS/gone/wal.db" "$T/copy" # the same file for both
rmdir "$SNAPS/gone"
[ "$(room)" -lt "$free" ] || die "nothing is held"
equal "what was dropped" "$(sha256sum <&8)" "$(sha "$kept")  -"
exec 8<&-
freed() { [ "$(room)" -ge "$free" ]; }
wait_for 10 freed || die "the dropped file is still held: $free blocks were free, $(room) are"

note "a restore while somebody reads"
exec 7<"$MNT/old.db"
old=$(sha "$SRC/old.db")
before=$(passed)
make_db "$T/new.db" --journal delete --commits 70
cp "$T/new.db" "$MNT/old.db"
[ "$(sha "$SRC/old.db")" != "$old" ] || die "nothing was restored"
equal "what was replaced" "$(sha256sum <&7)" "$old  -"
exec 7<&-
compare "$MNT/old.db" "$T/new.db"
equal "passed through" "$(passed)" $((before + 2))

note "unmounted while somebody reads"
exec 9<"$SNAPS/one/wal.db"
must_fail any busy umount "$MNT"
kill -TERM "$(fs_pid "$MNT")"
wait_for 10 not_mounted "$MNT" || die "it is still mounted"
equal "read on" "$(sha256sum <&9)" "$(sha "$T/kept")  -"
exec 9<&-
wait_daemon "$MNT"

note "a store on overlayfs"
mkdir "$T"/{lower,upper,stacked} "$T/layers"
plain_mount -t tmpfs none "$T/layers"
mkdir "$T"/layers/{upper,work}
plain_mount -t overlay -o "lowerdir=$T/lower,upperdir=$T/layers/upper,workdir=$T/layers/work" none "$T/stacked"
mount_fs -o "store=$T/stacked" "$SRC"
keep_one three
python3 "$T/compare.py" "$SNAPS/three/wal.db" "$(find "$T/stacked" -path '*/kept/three/db' -size "$(stat -c %s "$SNAPS/three/wal.db")c" | head -1)"
equal "passed through" "$(passed)" 0
