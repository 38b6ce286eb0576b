# SPDX-License-Identifier: MIT
"""application.py - how an application that commits as fast as it can fares, alone and beside those who copy its database all the
time. Nobody's copies reach a disk, for that would slow it down too: readers throw theirs away, .backup writes into memory."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

from usage import Usage
from world import PATIENT_SQLITE3


def in_memory(w):
    """A name for copies that has room for one; where there is no such memory, on the disk after all."""
    room = os.path.isdir("/dev/shm") and shutil.disk_usage("/dev/shm").free
    return f"/dev/shm/{w.folder.parent.name}.{w.folder.name}" if room > 2 * w.size else f"{w.folder}/backup"


class Copier(threading.Thread):
    """Runs COMMAND again and again, after BEFORE, which is called once more at the end; one that fails, or that still runs when
    the application has ended, is no copy. Beside an application that commits all the time .backup starts over at each commit: of
    a large database it may never make one."""

    def __init__(self, command, before=lambda: None):
        super().__init__()
        self.command, self.before, self.over, self.copies, self.failed = command, before, threading.Event(), 0, 0
        self.process = None

    def run(self):
        while not self.over.is_set():
            self.before()
            self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL)
            status = self.process.wait()
            if not self.over.is_set():
                self.copies += not status
                self.failed += bool(status)
        self.before()

    def end(self):
        self.over.set()
        if self.process and self.process.poll() is None:
            self.process.terminate()
        self.join()


def beside(w, seconds, who, copiers):
    os.sync()  # what was written by the one before
    w.empty_wal()
    for copier in copiers:
        copier.start()
    try:
        result = w.writer("--seconds", str(seconds))
    finally:
        for copier in copiers:
            copier.end()
    failed = sum(copier.failed for copier in copiers)
    if failed and who != "backup":
        print(f"bench: {failed} copies beside the application failed ({who}): {w.log.read_text()}", file=sys.stderr)
    w.note(f"commits_{who}_per_s", result["commits"] / result["seconds"])
    w.note(f"worst_{who}_ms", result["max_us"] / 1e3)
    w.note(f"p99_{who}_ms", result["p99_us"] / 1e3)
    w.note(f"wal_{who}_mib", os.stat(w.wal_file).st_size / (1 << 20))  # a WAL does not shrink by itself
    if copiers:
        w.note(f"copies_{who}", sum(copier.copies for copier in copiers))
        w.note(f"failed_{who}", failed)


def alone(w, seconds):
    beside(w, seconds, "alone", [])


def raw(w, seconds):
    beside(w, seconds, "raw", [Copier(["cat", w.live])])


def backup(w, seconds):
    target = Path(in_memory(w))
    command = [*PATIENT_SQLITE3, w.live, f".backup --async '{target}'"]
    beside(w, seconds, "backup", [Copier(command, lambda: target.unlink(missing_ok=True))])


def passthrough(w, seconds):
    """What a reader costs the application through any file system in user space, by the processor time that it takes."""
    if w.example_daemon:
        beside(w, seconds, "passthrough", [Copier(["cat", w.example / "db.sqlite3"], w.cool_example)])


def reader(w, seconds):
    beside(w, seconds, "reader", [Copier(["cat", w.seen])])


def readers4(w, seconds):
    beside(w, seconds, "readers4", [Copier(["cat", w.seen]) for _ in range(4)])


def slow_reader(w, seconds):
    """What it costs that one copy takes as long as all the application writes."""
    w.empty_wal()
    with Usage(w) as usage:
        slow = w.start_child("slow", w.seen, seconds)
        w.writer("--seconds", str(seconds))
        read, _ = slow.communicate()
    if slow.returncode:
        raise SystemExit(f"bench: a slow reader failed: {w.log.read_text()}")
    w.note("slow_percent", int(read))
    w.note("memory_slow_mib", usage.memory)
    w.note("scratch_store_slow_mib", usage.store)
    w.note("scratch_beside_slow_mib", usage.beside)


ALL = [alone, raw, passthrough, backup, reader, readers4, slow_reader]
