# SPDX-License-Identifier: MIT
"""databases.py - databases with a marker for the tests of faults: making them, and saying what one is.

app DATABASE is an application with one connection: a line of SQL in, a line out: "ok" and its first value, or the error.
"""

import hashlib
import os
import sqlite3
import sys

SIDECARS = ("-wal", "-journal", "-shm")


def make(path, marker, journal="delete", page_size=4096, rows=60, body=600):
    for suffix in ("",) + SIDECARS:
        if os.path.lexists(path + suffix):
            os.unlink(path + suffix)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute(f"PRAGMA page_size={page_size}")
    db.execute(f"PRAGMA journal_mode={journal}")
    db.execute("BEGIN")
    db.execute("CREATE TABLE marker(value TEXT)")
    db.execute("INSERT INTO marker VALUES(?)", [marker])
    db.execute("CREATE TABLE rows(id INTEGER PRIMARY KEY, text TEXT, body BLOB)")
    db.executemany(f"INSERT INTO rows(text, body) VALUES(?, randomblob({body}))", ((f"{marker} {i}",) for i in range(rows)))
    db.execute("CREATE INDEX rows_text ON rows(text)")
    db.execute("CREATE TABLE app(n INTEGER)")
    db.execute("COMMIT")
    db.close()


def look(path, immutable=False):
    """(marker, digest of all rows that make() made, rows of the application), or what is wrong in words."""
    if not os.path.exists(path):
        return "missing"
    if os.path.getsize(path) == 0:
        return "empty"
    try:
        uri = "file:" + path.replace("?", "%3f") + ("?immutable=1" if immutable else "")
        db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=10)
        try:
            verdict = db.execute("PRAGMA integrity_check").fetchone()[0]
            if verdict != "ok":
                return "integrity_check: " + verdict
            marker = db.execute("SELECT group_concat(value) FROM marker").fetchone()[0]
            digest = hashlib.sha256()
            for row in db.execute("SELECT id, text, body FROM rows ORDER BY id"):
                digest.update(repr(row).encode())
            return marker, digest.hexdigest()[:16], db.execute("SELECT count(*) FROM app").fetchone()[0]
        finally:
            db.close()
    except sqlite3.Error as e:
        return f"error: {e}"


def app(path):
    db = sqlite3.connect(path, isolation_level=None, timeout=10)
    db.execute("SELECT * FROM marker").fetchall()
    print("ready", flush=True)
    for line in sys.stdin:
        try:
            row = db.execute(line).fetchone()
            print("ok", row[0] if row else "", flush=True)
        except sqlite3.Error as e:
            print("error:", e, flush=True)


if __name__ == "__main__":
    app(sys.argv[1])
