#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""links.py SRC MNT UPLOAD UID SECONDS - a user without rights races with names that he may rename.

SRC/drop is his folder. In it pairs NAME and NAME.x are exchanged in a tight loop: what is his, and what he may not read
(a symlink to it, a hard link of it, a file or a folder of somebody else's). Meanwhile he reads, lists, writes and renames
the names through the mount MNT, and root reads them without following symlinks himself. Whoever sees the word below, and
whatever else goes wrong, is said; the number of successful calls of each kind is printed, as a JSON line. It takes SECONDS, and
on a slow machine up to six times that, until enough of each kind has succeeded.
"""

import ctypes
import errno
import json
import mmap
import os
import sys
import time

SECRET = b"TOP-SECRET"
PAIRS = ["file", "linked", "dir", "away.sqlite3", "mine.sqlite3", "sub"]
FILES = ["file", "linked", "dir/f", "away.sqlite3", "mine.sqlite3", "sub/f", "sub/db.sqlite3"]
DATABASES = ["away.sqlite3", "mine.sqlite3", "sub/db.sqlite3"]
FOLDERS = ["dir", "sub", "."]
RENAME_EXCHANGE = 2
RESOLVE_NO_SYMLINKS = 4
SYS_OPENAT2 = 437
libc = ctypes.CDLL(None, use_errno=True)


class Clock:
    """When a worker ends: none before SECONDS, nor before it has done enough, nor the one that swaps before the others."""

    def __init__(self, seconds):
        self.began, self.seconds = time.monotonic(), seconds
        self.over = mmap.mmap(-1, mmap.PAGESIZE)  # shared: a byte for each worker but the one that swaps

    def runs(self, count, least):
        took = time.monotonic() - self.began
        return took < self.seconds or (took < 6 * self.seconds and any(count[key] < n for key, n in least.items()))


def swap(clock, count, drop, mnt, upload):
    """Each pair in turn, with pauses of every length: what looks twice must be met in between."""
    a = [(os.fsencode(f"{drop}/{name}"), os.fsencode(f"{drop}/{name}.x")) for name in PAIRS]
    while not all(clock.over[: len(WORKERS)]):
        for one, other in a:
            if libc.renameat2(-100, one, -100, other, RENAME_EXCHANGE):
                sys.exit(f"renameat2 {one}: {os.strerror(ctypes.get_errno())}")
            count["swapped"] += 1
        time.sleep(count["swapped"] % 97 * 1e-5)


def open_strictly(path, flags):
    """open(2) that follows no symlink: what it gets is the mount's own doing."""
    how = (ctypes.c_uint64 * 3)(flags | os.O_CLOEXEC, 0, RESOLVE_NO_SYMLINKS)
    fd = libc.syscall(SYS_OPENAT2, -100, os.fsencode(path), how, 24)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "openat2", path)
    return fd


def read_all(fd):
    data = b""
    while part := os.read(fd, 1 << 20):
        data += part
    return data


def must_be_free(what, path, data):
    if SECRET in data:
        sys.exit(f"{what} {path} shows the secret")


def read(clock, count, drop, mnt, upload):
    look(clock, count, mnt, os.open, {"read": 50, "listed": 25}, DATABASES + FILES)


def read_as_root(clock, count, drop, mnt, upload):
    """Only where no database is meant: a symlink to a database is that database, and root may read it. What is his in a folder of the tree
    root may read, too."""
    look(clock, count, mnt, open_strictly, {"read by root": 20}, ["file", "dir/f"])


def look(clock, count, mnt, opener, least, files):
    what = next(iter(least))
    while clock.runs(count, least):
        for name in files:
            path = f"{mnt}/{name}"
            try:
                fd = opener(path, os.O_RDONLY)
            except OSError as e:
                count[f"{what}: {errno.errorcode[e.errno]}"] += 1
                continue
            try:
                data = read_all(fd)
                must_be_free(what, path, data)
                count[what] += bool(data)
            except OSError as e:
                count[f"{what}: {errno.errorcode[e.errno]}"] += 1
            os.close(fd)
        for name in FOLDERS[: 1 if opener is open_strictly else None]:
            path = f"{mnt}/{name}"
            try:
                fd = opener(path, os.O_RDONLY | os.O_DIRECTORY)
                must_be_free("listing", path, " ".join(os.listdir(fd)).encode())
                os.close(fd)
                count["listed"] += 1
            except OSError as e:
                count[f"listed: {errno.errorcode[e.errno]}"] += 1


def write(clock, count, drop, mnt, upload):
    """Restores, by an open and by a rename; and what else changes names."""
    content = open(upload, "rb").read()
    scratch = f"{mnt}/.scratch.tmp"
    while clock.runs(count, {"restored by open": 3, "restored by rename": 3}):
        for name in DATABASES:
            path = f"{mnt}/{name}"
            for way in "open", "rename":
                try:
                    fd = os.open(path if way == "open" else scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                    try:
                        os.write(fd, content)
                    finally:
                        os.close(fd)
                    if way == "rename":
                        os.rename(scratch, path)
                    count[f"restored by {way}"] += 1
                except OSError as e:
                    count[f"restored by {way}: {errno.errorcode[e.errno]}"] += 1


WORKERS = [read, read, write, read_as_root]


def main():
    src, top, upload, uid, seconds = sys.argv[1:]
    drop, mnt = f"{src}/drop", f"{top}/drop"
    clock = Clock(float(seconds))
    children = []
    for place, work in enumerate([*WORKERS, swap]):
        user = 0 if work is read_as_root else int(uid)
        down, up = os.pipe()
        pid = os.fork()
        if pid == 0:
            if user:
                os.setgroups([])
                os.setresgid(user, user, user)
                os.setresuid(user, user, user)
            count = Counts()
            try:
                work(clock, count, drop, mnt, upload)
            finally:
                clock.over[place] = 1
            os.write(up, json.dumps(count).encode())
            os._exit(0)
        os.close(up)
        children.append((pid, down))
    total, bad = Counts(), 0
    for pid, down in children:
        with os.fdopen(down, "rb") as pipe:
            for key, n in json.loads(pipe.read() or b"{}").items():
                total[key] += n
        bad |= os.waitpid(pid, 0)[1]
    print(json.dumps(total, sort_keys=True))
    sys.exit(bad != 0)


class Counts(dict):
    def __missing__(self, key):
        return 0


if __name__ == "__main__":
    main()
