# SPDX-License-Identifier: MIT
"""reading.py - copying a database out, in every way; the first byte; opens; looking at and reading the plain files beside it; what
the daemon needs meanwhile.

SQLite's own ways sync what they write and cp does not, so they are told not to, but for one that shows what that is worth."""

import subprocess
import time

from usage import Usage
from world import PATIENT_SQLITE3


def cp_raw(w, _seconds):
    w.timed("cp_raw_ms", "cp", "--reflink=never", w.live, w.out)


def cp_changed(w, _seconds):
    w.timed("cp_changed_ms", "cp", w.seen, w.out)


def cp_unchanged(w, _seconds):
    w.timed("cp_unchanged_ms", "cp", w.seen, w.out, changed=False)


def cp_passthrough(w, _seconds):
    if w.example_daemon:
        w.cool_example()
        w.timed("cp_passthrough_ms", "cp", w.example / "db.sqlite3", w.out)


def backup(w, _seconds):
    w.timed("backup_ms", *PATIENT_SQLITE3, w.live, f".backup --async '{w.out}'")


def backup_synced(w, _seconds):
    w.timed("backup_synced_ms", *PATIENT_SQLITE3, w.live, f".backup '{w.out}'")


def vacuum(w, _seconds):
    w.timed("vacuum_ms", *PATIENT_SQLITE3, w.live, f"PRAGMA synchronous=OFF; VACUUM INTO '{w.out}'")


def python_backup(w, _seconds):
    w.warm()
    w.note("python_backup_ms", w.child("backup", w.live, w.out)[0])
    w.written()


def cat_raw(w, _seconds):
    w.timed("cat_raw_ms", "cat", w.live)


def cat_changed(w, _seconds):
    w.timed("cat_changed_ms", "cat", w.seen)


def cat_unchanged(w, _seconds):
    w.timed("cat_unchanged_ms", "cat", w.seen, changed=False)


def first_bytes(w, _seconds):
    for kind, path, changed in (("raw", w.live, True), ("changed", w.seen, True), ("unchanged", w.seen, False)):
        w.warm(changed)
        w.note(f"first_{kind}_ms", w.child("first_byte", path)[0])
    if w.example_daemon:
        w.warm()
        w.note("first_passthrough_ms", w.child("first_byte", w.example / "db.sqlite3")[0])


def opens(w, seconds):
    """Again and again by one process, as a server of files does. A commit before each is not a part of the time."""
    for kind, path in (("raw", w.live), ("changed", w.seen), ("unchanged", w.seen)):
        n, spent_ms = w.open_often(path, kind == "changed", seconds / 4)
        w.note(f"open_{kind}_ms", spent_ms / n)
        w.note(f"opens_{kind}_per_s", n * 1e3 / spent_ms)


def snapshot(w, _seconds):
    w.warm()
    folder = w.mount / ".sqlsnapfs/snapshots/bench"
    started = time.perf_counter()
    folder.mkdir()
    w.note("snapshot_ms", (time.perf_counter() - started) * 1e3)
    w.wait_for_log(f'snapshot "{folder.name}" of ')
    # It is a file by now, which passthrough hands to the kernel. As the live file, it is read once before it is measured.
    kept = folder / w.seen.name
    subprocess.run(["cat", kept], stdout=subprocess.DEVNULL, check=True)
    w.timed("cp_kept_ms", "cp", kept, w.out, changed=None)
    w.timed("cat_kept_ms", "cat", kept, changed=None)
    folder.rmdir()


def plain_files(w, _seconds):
    """Each has been looked at before, as by an earlier backup."""
    ways = [("raw", w.source), ("mount", w.mount)] + ([("passthrough", w.example)] if w.example_daemon else [])
    for way, top in ways:
        subprocess.run(["find", top / "media", "-type", "f"], stdout=subprocess.DEVNULL, check=True)
        w.timed(f"find_{way}_ms", "find", top / "media", "-size", "+1M", changed=None)
        w.timed(f"tar_{way}_ms", "tar", "-C", top, "-cf", w.out, "media", changed=None)


def needs(w, _seconds):
    w.warm()
    with Usage(w) as usage:
        subprocess.run(["cat", w.seen], stdout=subprocess.DEVNULL, check=True)
    w.note("memory_reading_mib", usage.memory)
    w.note("scratch_store_reading_mib", usage.store)
    w.note("scratch_beside_reading_mib", usage.beside)
    w.own_memory("memory_backup_mib", f".backup --async '{w.out}'")


ALL = [cp_raw, cp_changed, cp_passthrough, cp_unchanged, backup, backup_synced, vacuum, python_backup, cat_raw, cat_changed,
       cat_unchanged, first_bytes, opens, snapshot, plain_files, needs]
