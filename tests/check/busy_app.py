#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""busy_app.py DATABASE UNTIL [PAUSE] - an application that commits one row after the other through one connection, which waits
30 seconds for a lock, PAUSE seconds apart (0), until the file UNTIL is there.

Each transaction reads who the database says it is (the table `marker`) and adds a row with the next number. Whenever the marker
has become another one, a line: "now MARKER BEFORE", where BEFORE is the number of the last row that was committed under the one
before. At the end a line of JSON: commits, errors. Exit status 1 with any error."""

import json
import os
import sqlite3
import sys
import time


def main():
    path, until = sys.argv[1:3]
    pause = float(sys.argv[3]) if len(sys.argv) > 3 else 0
    # A restore has the lock for as long as the disk takes to sync, several times.
    db = sqlite3.connect(path, timeout=30 * int(os.environ.get("FACTOR", "1")), isolation_level=None)
    errors, marker, n = [], None, 0
    while not os.path.exists(until) and len(errors) < 10:
        try:
            db.execute("BEGIN IMMEDIATE")
            now = db.execute("SELECT value FROM marker").fetchone()[0]
            db.execute("INSERT INTO rows(text) VALUES(?)", [f"application {n + 1}"])
            db.execute("COMMIT")
        except sqlite3.Error as e:
            errors.append(f"{getattr(e, 'sqlite_errorname', '')} {e}")
            if db.in_transaction:
                db.execute("ROLLBACK")
            continue
        if now != marker:
            print("now", now, n, flush=True)
        marker, n = now, n + 1
        if pause:
            time.sleep(pause)
    integrity = db.execute("PRAGMA integrity_check").fetchone()[0]
    if integrity != "ok":
        errors.append(integrity)
    print(json.dumps({"commits": n, "errors": errors}))
    sys.exit(bool(errors))


main()
