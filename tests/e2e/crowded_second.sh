#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# crowded_second.sh - many states opened within a second have times that differ by nanoseconds, which rsync takes for equal. Once
# the second has passed, the last of them has a time of its own: the next rsync sends it, and the one after that sends nothing.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
need rsync

for journal in wal delete; do
	sqlite3 "$SRC/$journal.db" "PRAGMA journal_mode=$journal; CREATE TABLE t(a); INSERT INTO t VALUES(100)" >"$LOGS/made"
done
mount_fs "$SRC"
timeout $((120 * FACTOR)) python3 - "$SRC" "$MNT" "$T/out" <<'PY'
import os, sqlite3, subprocess, sys, time

src, mnt, out = sys.argv[1:]
NAMES = ("wal.db", "delete.db")
apps = {name: sqlite3.connect(f"{src}/{name}", isolation_level=None, timeout=60) for name in NAMES}
os.mkdir(out)


def rsync():
    command = ["rsync", "-ai", *(f"{mnt}/{name}" for name in NAMES), f"{out}/"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def times():
    return [(s.st_mtime_ns, s.st_ino) for s in (os.stat(f"{mnt}/{name}") for name in NAMES)]


for copied in range(2, 6):
    # Readers one after the other: each finds another state of the same size.
    for reader in range(8):
        for name, app in apps.items():
            app.execute("UPDATE t SET a = 100 + (a - 99) % 900")
            with open(f"{mnt}/{name}", "rb") as f:
                f.read()
        if reader == copied:
            rsync()
    with open(f"{mnt}/wal.db", "rb") as held:
        before = os.fstat(held.fileno())
        time.sleep(1.2)  # nothing new is opened
        rsync()
        assert os.fstat(held.fileno()).st_mtime_ns == before.st_mtime_ns, "what is open has another time"
    for name, app in apps.items():
        want = app.execute("SELECT a FROM t").fetchone()
        with sqlite3.connect(f"file:{out}/{name}?immutable=1", uri=True) as copy:
            got = copy.execute("SELECT a FROM t").fetchone()
        assert got == want, f"{name} after reader {copied}: rsync has {got} instead of {want}"
    assert rsync() == "", "a second rsync sends again"
    shown = times()
    time.sleep(2.5)
    assert times() == shown, f"{shown} has become {times()}"
PY
