#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""held.py DATABASE - an application that keeps one connection open and never reopens it.

Reads commands from stdin, a line each, and answers each with one line of JSON:
  marker        what the table `marker` says, through the connection that was opened at the start
  check         PRAGMA integrity_check
  journal       PRAGMA journal_mode
  write         commits a row; "ok", or the error's words
  begin, end    begins a read transaction that has read; ends it
  inode         st_ino of the file that the connection has open
  sql STATEMENT its rows, as lists; texts and numbers only

An error is answered by "error: ", SQLite's name of its code and the words.
"""

import json
import os
import sqlite3
import sys


def open_inode(path):
    for fd in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{fd}").split(" ")[0] == os.path.realpath(path):
                return os.stat(f"/proc/self/fd/{fd}").st_ino
        except OSError:
            continue
    return 0


def answer(db, path, command):
    if command == "marker":
        return db.execute("SELECT value FROM marker").fetchone()[0]
    if command == "check":
        return db.execute("PRAGMA integrity_check").fetchone()[0]
    if command == "journal":
        return db.execute("PRAGMA journal_mode").fetchone()[0]
    if command == "write":
        db.execute("INSERT INTO rows(text) VALUES('written by the application')")
        return "ok"
    if command == "begin":
        db.execute("BEGIN")
        return db.execute("SELECT value FROM marker").fetchone()[0]
    if command == "end":
        db.execute("COMMIT")
        return "ok"
    if command == "inode":
        return open_inode(path)
    if command.startswith("sql "):
        return db.execute(command[4:]).fetchall()
    raise SystemExit(f"held.py: unknown command {command}")


def main():
    path = sys.argv[1]
    # As patient as the mount: what follows a restore has the lock for as long as the disk takes.
    db = sqlite3.connect(path, timeout=30 * int(os.environ.get("FACTOR", "1")), isolation_level=None)
    db.execute("SELECT * FROM marker").fetchall()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        try:
            reply = answer(db, path, line.strip())
        except sqlite3.Error as e:
            reply = f"error: {getattr(e, 'sqlite_errorname', '')} {e}"
        print(json.dumps(reply), flush=True)


main()
