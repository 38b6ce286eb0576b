#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# idle_close.sh - a mount that nobody reads stands in nobody's way: what waits for readers in SQLite goes on, and an application's last
# close leaves what it would have left without us.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

db=$SRC/db.sqlite3
make_db "$SRC/cold.sqlite3"
mount_fs "$SRC"
read_it() { copyloop --file "$MNT/db.sqlite3" --ack "$T/app.ack" --copies 8 --slow-ms 20 >/dev/null || die "bad copies"; }
sql() { sqlite3 "$db" "$1" 2>/dev/null; }
says() { [ "$(sql "$2")" = "$1" ]; }
no_sidecars() { [ ! -e "$1-wal" ] && [ ! -e "$1-shm" ]; }
no_descriptors() { ! find "/proc/$(fs_pid "$MNT")/fd" -lname "$1*" 2>/dev/null | grep -q .; }

note 'looking makes nothing'
ls -lR "$MNT" >/dev/null
stat "$MNT/cold.sqlite3" >/dev/null
no_sidecars "$SRC/cold.sqlite3" || die "stat has made sidecars"

note 'reading a database that nobody has open leaves nothing'
before=$(sha "$SRC/cold.sqlite3")
cat "$MNT/cold.sqlite3" >/dev/null
wait_for 40 no_sidecars "$SRC/cold.sqlite3" || die "sidecars of ours stay: $(ls "$SRC")"
wait_for 40 no_descriptors "$SRC/cold.sqlite3" || die "descriptors stay open"
equal 'the live file' "$(sha "$SRC/cold.sqlite3")" "$before"

note 'a checkpoint that waits for readers'
writer_start app --db "$db" --paused --autocheckpoint 0 --busy-timeout 0
writer_do app 'commit 50'
read_it
wait_for 40 says '0|0|0' 'PRAGMA wal_checkpoint(TRUNCATE)' || die "TRUNCATE: $(sqlite3 "$db" 'PRAGMA wal_checkpoint(TRUNCATE)')"
[ ! -s "$db-wal" ] || die "the WAL was not truncated"
writer_do app 'commit 50'
read_it

note 'the last close, while we are connected: what the application would have left'
writer_do app close
wait_for 40 no_sidecars "$db" || die "sidecars stay after the last close: $(ls -l "$SRC")"
wait_for 40 no_descriptors "$db" || die "descriptors stay open"
equal 'commits in the file itself' "$(sqlite3 "file:$db?immutable=1" 'SELECT commits FROM meta')" 100
[ "$(acked app)" = 100 ] || die "the writer counts otherwise"

note 'leaving WAL mode'
writer_do app open
writer_do app 'commit 3'
read_it
writer_do app close
wait_for 40 says delete 'PRAGMA journal_mode=DELETE' || die "journal_mode=DELETE: $(sqlite3 "$db" 'PRAGMA journal_mode=DELETE' 2>&1)"
equal 'commits' "$(commits_of "$MNT/db.sqlite3")" 103
equal 'journal mode' "$(sql 'PRAGMA journal_mode')" delete
equal 'back to WAL' "$(sql 'PRAGMA journal_mode=WAL')" wal
equal 'commits' "$(commits_of "$MNT/db.sqlite3")" 103

note 'exclusive locking'
takes_it() { sql 'PRAGMA locking_mode=EXCLUSIVE; BEGIN IMMEDIATE; UPDATE meta SET commits = commits; COMMIT; SELECT 1' | grep -qx 1; }
wait_for 40 takes_it || die "an application cannot lock exclusively"

note 'held open readers do not outlive their close'
writer_do app open
read_it
wait_for 40 no_descriptors "$db" || die "descriptors stay open: $(find "/proc/$(fs_pid "$MNT")/fd" -lname "$db*" -printf '%l ')"

# The application's own next connection makes another -shm, of which ours knows nothing: what we read would be old, and the close
# that we make for it would fold in what was there before, and delete the rest.
note 'its -shm, or both, removed while only we are connected'
allow_log 'its locks or its -wal were lost|"(shm|both|closing)\.sqlite3"|cannot be read|reading '
python3 - "$SRC" "$MNT" "$(fs_pid "$MNT")" <<'EOF' || die "commits are missing: $(tail -n 3 "$LOG")"
import os, sqlite3, sys, time
source, mount, daemon = sys.argv[1:]
problems = []

def do(live, *statements):
    """An application of one connection."""
    db = sqlite3.connect(live, isolation_level=None, timeout=20)
    for s in statements:
        out = db.execute(s).fetchall()
    db.close()
    return out

def shown(name):
    """Rows in the copy; an error is no answer, and no wrong one."""
    for i in range(100):
        try:
            with open(f"{mount}/{name}", "rb") as f:
                copy = f.read()
            break
        except OSError:
            time.sleep(0.1)
    else:
        return "unreadable"
    with open(f"{source}.copy", "wb") as f:
        f.write(copy)
    db = sqlite3.connect(f"file:{source}.copy?immutable=1", uri=True)
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return db.execute("SELECT count(*) FROM t").fetchone()[0]

def let_go(live):
    """Waits for the daemon's own close."""
    folder, end = f"/proc/{daemon}/fd", time.monotonic() + 30
    while True:
        names = []
        for fd in os.listdir(folder):
            try:
                names.append(os.readlink(f"{folder}/{fd}"))
            except FileNotFoundError:
                pass
        if not any(name.startswith(live) for name in names):
            return
        assert time.monotonic() < end, "descriptors stay open"
        time.sleep(0.05)

def expect(what, found, wanted):
    if found != wanted:
        problems.append(f"{what}: {found} instead of {wanted}")

def remove(name, ends):
    """While only we are connected: whoever comes too late for that looks once more."""
    while not os.path.exists(f"{source}/{name}-shm"):
        shown(name)
    for end in ends:
        try:
            os.unlink(f"{source}/{name}{end}")
        except FileNotFoundError:
            return remove(name, ends)

for name, ends in ("shm.sqlite3", ["-shm"]), ("both.sqlite3", ["-wal", "-shm"]):
    live = f"{source}/{name}"
    do(live, "PRAGMA journal_mode=WAL", "CREATE TABLE t(a)", "INSERT INTO t VALUES(1)")
    for i in range(5):
        expect(f"{name}, before, {i}", shown(name), 1 + 2 * i)
        do(live, "PRAGMA wal_checkpoint(TRUNCATE)" if "-wal" in ends else "SELECT 1", "INSERT INTO t VALUES(2)")
        if "-wal" in ends:
            do(live, "PRAGMA wal_checkpoint(TRUNCATE)")
        expect(f"{name}, beside, {i}", shown(name), 2 + 2 * i)
        remove(name, ends)
        do(live, "INSERT INTO t VALUES(3)")
        expect(f"{name}, removed, {i}", shown(name), 3 + 2 * i)
    let_go(live)
    expect(name, do(live, "SELECT count(*) FROM t")[0][0], 11)
    expect(name, do(live, "PRAGMA integrity_check")[0][0], "ok")

# Nobody looks any more when it is removed: the close that we make.
name, live = "closing.sqlite3", f"{source}/closing.sqlite3"
do(live, "PRAGMA journal_mode=WAL", "CREATE TABLE t(a)", "CREATE TABLE u(i, b)",
   "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) INSERT INTO u SELECT i, randomblob(1000) FROM n")
with open(f"{mount}/{name}", "rb") as f:
    f.read()
    do(live, "INSERT INTO t VALUES(1)")
remove(name, ["-shm"])
do(live, "UPDATE u SET b = randomblob(2500) WHERE i % 2", "INSERT INTO u SELECT i + 500, randomblob(1000) FROM u",
   "INSERT INTO t VALUES(2)", "PRAGMA wal_checkpoint(PASSIVE)")
let_go(live)
expect(name, do(live, "SELECT count(*) FROM t")[0][0], 2)
expect(name, do(live, "SELECT count(*) FROM u")[0][0], 1000)
expect(name, do(live, "PRAGMA integrity_check")[0][0], "ok")
print("\n".join(problems), file=sys.stderr)
sys.exit(bool(problems))
EOF
