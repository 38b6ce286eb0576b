# SPDX-License-Identifier: MIT
"""chain.py - an application with several databases that keeps a promise between them, and its judge.

write FOLDER MODE...   databases 1.db, 2.db and so on below FOLDER, one of each journal mode: commits counter n to the
                       first, then the second and so on, then n + 1, until stdin ends. Prints "ready", and at the end
                       how often.
judge FOLDER           reads FOLDER's databases as a backup would: each copied and checked. Prints the counters.
loop FOLDER TIMES KEEP FOLDER is .sqlsnapfs/snapshots: makes a snapshot, judges it, removes it (KEEP 1: every fourth
                       stays). Prints what it saw as JSON: the slowest mkdir in ms, and how many different states.
"""

import json
import os
import select
import shutil
import sqlite3
import sys
import tempfile
import time


def write(folder, *modes):
    dbs = []
    for i, mode in enumerate(modes):
        db = sqlite3.connect(os.path.join(folder, f"{i + 1}.db"), isolation_level=None, timeout=60)
        db.execute(f"PRAGMA journal_mode={mode}")
        db.execute("PRAGMA synchronous=OFF")
        db.execute("CREATE TABLE IF NOT EXISTS c(id INTEGER PRIMARY KEY, n)")
        db.execute("CREATE TABLE IF NOT EXISTS filler(b)")
        db.execute("INSERT OR IGNORE INTO c VALUES(1, 0)")
        dbs.append(db)
    n = max(db.execute("SELECT n FROM c").fetchone()[0] for db in dbs)
    for db in dbs:
        db.execute("UPDATE c SET n=?", [n])
    print("ready", flush=True)
    poll = select.poll()
    poll.register(0, select.POLLIN | select.POLLHUP)
    while not (n % 16 == 0 and poll.poll(0)):
        n += 1
        for db in dbs:
            db.execute("BEGIN IMMEDIATE")
            db.execute("UPDATE c SET n=?", [n])
            db.execute("INSERT INTO filler VALUES(randomblob(500))")
            if n % 64 == 0:
                db.execute("DELETE FROM filler")
            db.execute("COMMIT")
    for db in dbs:
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        db.close()
    print(n, flush=True)


def counters(folder):
    seen = []
    with tempfile.TemporaryDirectory() as copy:
        found = [os.path.join(at, name) for at, _, names in os.walk(folder) for name in names]
        for name in sorted(found):
            path = os.path.join(copy, os.path.basename(name))
            shutil.copyfile(name, path)
            db = sqlite3.connect(path)
            if db.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
                sys.exit(f"{name} is damaged")
            seen.append(db.execute("SELECT n FROM c").fetchone()[0])
            db.close()
    return seen


def judge(folder):
    """The first is committed to first: no later one may be ahead, none may be behind by more than one."""
    seen = counters(folder)
    if len(seen) < 2:
        sys.exit(f"{len(seen)} databases in {folder}")
    if any(later > earlier for earlier, later in zip(seen, seen[1:])) or seen[0] - seen[-1] > 1:
        sys.exit(f"not one instant: {seen}")
    return seen


def loop(folder, times, keep):
    slowest, states, cut = 0, set(), 0
    for i in range(int(times)):
        path = os.path.join(folder, f"s{i}")
        began = time.monotonic()
        os.mkdir(path)
        slowest = max(slowest, time.monotonic() - began)
        seen = judge(path)
        states.add(tuple(seen))
        cut += seen[0] != seen[-1]
        if not (int(keep) and i % 4 == 0):
            os.rmdir(path)
    print(json.dumps({"slowest_ms": round(slowest * 1e3, 1), "states": len(states), "between": cut}))


if __name__ == "__main__":
    result = globals()[sys.argv[1]](*sys.argv[2:])
    if result is not None:
        print(*result)
