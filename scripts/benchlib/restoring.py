# SPDX-License-Identifier: MIT
"""restoring.py - a restore by cp, which checks the file and keeps what it replaces, beside what it takes to copy the file, to check
it and to restore it by sqlite3; and the longest time for which another writer finds the live database locked meanwhile. The
checkpoint that follows the mount's answer counts as a part of that."""

import shutil
import subprocess
import time

from usage import Usage, unlinked
from world import PATIENT_SQLITE3


def restore(w, kind, *command):
    """While another application tries to write again and again."""
    w.warm()
    probe = w.start_child("probe", w.live)
    probe.stdout.readline()
    started = time.perf_counter()
    if subprocess.run(command).returncode:
        raise SystemExit(f"bench: a restore failed, {shutil.disk_usage(w.store).free >> 20} MiB are free: {w.log.read_text()}")
    w.note(f"restore_{kind}_ms", (time.perf_counter() - started) * 1e3)
    w.empty_wal(by_us=kind == "sqlite")
    longest, _ = probe.communicate("stop\n")
    w.note(f"locked_{kind}_ms", float(longest))


def by_hand(w, _seconds):
    w.timed("upload_cp_ms", "cp", "--reflink=never", w.upload, w.out)
    w.timed("upload_check_ms", "sqlite3", w.upload, "PRAGMA quick_check")
    restore(w, "sqlite", *PATIENT_SQLITE3, w.live, f".restore '{w.upload}'")
    w.note("by_hand_ms", sum(w.figures.last(part) for part in ("upload_cp_ms", "upload_check_ms", "restore_sqlite_ms")))


def by_mount(w, _seconds):
    restore(w, "mount", "cp", w.upload, w.seen)


def let_go(w):
    """Makes the daemon drop the upload of the restore before, which it serves until it sees that the database has changed; what
    is there at the start would not count."""
    deadline = time.monotonic() + 60
    while unlinked(w.daemon.pid):
        if time.monotonic() > deadline:
            raise SystemExit("bench: the upload of a restore stays: " + w.log.read_text())
        w.warm(changed=True)
        w.warm(changed=False)


def needs(w, _seconds):
    let_go(w)
    w.warm()
    with Usage(w) as usage:
        subprocess.run(["cp", w.upload, w.seen], check=True)
    w.note("memory_restoring_mib", usage.memory)
    if usage.checking:
        w.note("memory_checking_mib", usage.checking)
    w.note("scratch_store_restoring_mib", usage.store)
    w.note("scratch_beside_restoring_mib", usage.beside)
    w.empty_wal(by_us=False)
    w.warm()
    w.own_memory("memory_restore_sqlite_mib", f".restore '{w.upload}'")
    w.empty_wal()


ALL = [by_hand, by_mount, needs]
