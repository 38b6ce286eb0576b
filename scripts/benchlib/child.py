# SPDX-License-Identifier: MIT
"""child.py WHAT PATH... - the parts of a bench that need a process of their own, timed by itself so that its start costs nothing.

They are apart for another reason too: closing a descriptor of the live file in a process that has it open by SQLite would drop
the locks of that connection."""

import errno
import os
import select
import sqlite3
import sys
import time


def ms_since(started):
    return (time.perf_counter() - started) * 1e3


def first_byte(path):
    """Milliseconds of open() and of the read of the first page."""
    started = time.perf_counter()
    os.pread(os.open(path, os.O_RDONLY), 4096, 0)
    print(ms_since(started))


def opens(path, seconds, ask, least=1):
    """How often open(), read of the first page and close() were done within SECONDS, but LEAST times, and the milliseconds of
    all. With "ask" a line is written before each, and the one that answers it is waited for: somebody has changed the database
    then."""
    until = time.perf_counter() + float(seconds)
    n = spent = 0
    while time.perf_counter() < until or n < int(least):
        if ask == "ask":
            print("change", flush=True)
            sys.stdin.readline()
        started = time.perf_counter()
        fd = os.open(path, os.O_RDONLY)
        os.pread(fd, 4096, 0)
        os.close(fd)
        spent += ms_since(started)
        n += 1
    print(n, spent)


def backup(source, target):
    """Milliseconds of Connection.backup, with both connections opened and closed, without fsync."""
    started = time.perf_counter()
    old, new = sqlite3.connect(source), sqlite3.connect(target, isolation_level=None)
    new.execute("PRAGMA synchronous=OFF")
    old.backup(new)
    new.close()
    old.close()
    print(ms_since(started))


def probe(path):
    """Tries to begin to write, again and again, until a line arrives: the longest time between two that worked, in ms."""
    db = sqlite3.connect(path, timeout=0, isolation_level=None)
    longest, free = 0, time.perf_counter()
    print("ready", flush=True)
    while not select.select([sys.stdin], [], [], 0.0005)[0]:
        try:
            db.execute("BEGIN IMMEDIATE")
            db.execute("ROLLBACK")
        except sqlite3.OperationalError:
            continue
        now = time.perf_counter()
        longest, free = max(longest, now - free), now
    print(longest * 1e3)


def slow(path, seconds):
    """Reads the whole file in a hundred parts, over SECONDS. Prints how many it got: of a large database beside an application
    that writes at the speed of memory, wal_max (1 GiB) may be reached before what the reader needs is copied aside."""
    fd = os.open(path, os.O_RDONLY)
    size, began, read = os.fstat(fd).st_size, time.monotonic(), 0
    for part in range(100):
        try:
            os.pread(fd, size // 100, part * (size // 100))
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            break
        read += 1
        time.sleep(max(0, began + float(seconds) * read / 100 - time.monotonic()))
    os.close(fd)
    print(read)


{f.__name__: f for f in (first_byte, opens, backup, probe, slow)}[sys.argv[1]](*sys.argv[2:])
