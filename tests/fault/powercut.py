#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""powercut.py FOLDER [--cuts N | --full] [--mounts N] [--seed N] [--without-sync src|store] [CASE...] - power failures, replayed.

The daemon, and where it matters the application, is run with a library that records what is written and synced. Then
the disk is put together as a power failure at any point of the record may have left it (disk.py), and looked at: by
sqlite3, which must find the live database wholly old or wholly new, and wholly new once the tool that restored it was
told so; by what a mount does to its store as it starts, where a snapshot must be there whole or not at all, what a
restore replaces must be kept from its first byte on, and nothing may be left over; and in every so many cuts by a mount.

FOLDER is best on a tmpfs. --cuts: so many of each case and each kind of disk, those around syncs and answers first;
--full: all. --mounts: every so many cuts are looked at by a mount. --without-sync: what was synced there is taken to be not,
which shows that the test can fail. Prints the cuts that were replayed; those that come to the same are one.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import zlib

from control import Control
from databases import look
from disk import CREATE, HOWS, MARK, REPLY, REQUEST, SYNC, TRUNCATE, UNLINK, WRITE, Disk, append_mark, read_record, write_tree
from mounts import App, Daemon, Fault
from powercut_cases import CASES

FUSE_RMDIR, FUSE_RENAME, FUSE_FLUSH, FUSE_RENAME2 = 11, 12, 25, 45


class Stage:
    """Where a case is played: its folders, its database, the daemon that is recorded."""

    def __init__(self, folder, control):
        self.folder, self.control = folder, control
        self.src, self.store = folder + "/src", folder + "/store"
        self.mnt, self.record = folder + "/mnt", folder + "/record"
        self.db = self.src + "/db.sqlite3"
        self.new = folder + "/new.sqlite3"
        self.sources = [self.db]
        self.apps = []
        self.daemon = None

    def clear(self):
        for path in (self.src, self.store):
            shutil.rmtree(path, ignore_errors=True)
            os.mkdir(path)
        for path in (self.new, self.new + "-wal", self.new + "-shm"):
            if os.path.exists(path):
                os.unlink(path)
        with open(self.record, "wb"):
            pass
        self.sources, self.apps = [self.db], []

    def app(self, path=None, recorded=False):
        self.apps.append(App(path or self.db, self.control.environment(self.record) if recorded else None))
        return self.apps[-1]

    def mark(self, words):
        append_mark(self.record, words)

    def mount(self, *options):
        env = self.control.environment(self.record)
        self.daemon = Daemon(self.mnt, self.store, [self.src], self.folder + "/daemon.log", env, options)

    def unmount(self):
        status = self.daemon.end()
        self.daemon = None
        if status:
            raise Fault(f"the daemon ended with {status}")

    def restore(self):
        """cp; what it was told is in the record."""
        self.mark("begin 1 0")
        self.mark("promise 1 0")
        subprocess.run(["cp", self.new, self.mnt + "/db.sqlite3"], check=True)

    def finish(self):
        if self.daemon:
            self.daemon.kill()
            self.daemon = None
        for app in self.apps:
            app.kill()


class History:
    """What has been promised up to a point of the record: for each cut what may be found, and what must."""

    def __init__(self, case):
        self.case = case
        self.low = self.high = (0, 0)  # (0 old or 1 new, commits of the application)
        self.promise = (0, 0)  # what LOW becomes when a tool is told that it has restored
        self.written = False  # a byte of a restore has reached the live database
        self.snapshot = "none"  # or "maybe", or "there"
        self.requests = {}

    def note(self, r, live):
        if r.kind == MARK:
            word, *rest = r.path().split()
            if word == "begin":
                self.high = (int(rest[0]), int(rest[1]))
            elif word == "acked":
                self.low = (int(rest[0]), int(rest[1]))
            elif word == "promise":
                self.promise = (int(rest[0]), int(rest[1]))
            elif word == "snapshot":
                self.snapshot = rest[0]
        elif r.kind == REQUEST:
            self.requests[r.arg] = r.ino
        elif r.kind == REPLY and r.ino == 0:
            opcode = self.requests.pop(r.arg, 0)
            if opcode in (FUSE_FLUSH, FUSE_RENAME, FUSE_RENAME2):
                self.low = max(self.low, self.promise)
            elif opcode == FUSE_RMDIR:
                self.snapshot = "none"
        elif self.high[0] == 1 and ((r.kind in (WRITE, TRUNCATE) and r.ino in live) or (r.kind == UNLINK and r.path() in live)):
            self.written = True

    def key(self):
        return self.low, self.high, self.written, self.snapshot


def live_files(stage):
    """Inodes and paths of the live database and what stands beside it, but for the -shm."""
    paths = [stage.db, stage.db + "-wal", stage.db + "-journal"]
    found = set(paths)
    for path in paths:
        if os.path.exists(path):
            found.add(os.lstat(path).st_ino)
    return found, paths


def read_file(path):
    if not os.path.exists(path):
        return None
    with open(path, "rb") as file:
        return file.read()


class Judge:
    def __init__(self, stage, case, old, new):
        self.stage, self.case = stage, case
        self.old, self.new = old, new  # what look() says, without the application's rows

    def phase(self, seen, raw=()):
        """(0 or 1, commits), or None: neither. RAW: bytes that it was."""
        if isinstance(seen, tuple):
            for i, known in ((0, self.old), (1, self.new)):
                if isinstance(known, tuple) and seen[:2] == known[:2]:
                    return i, seen[2] - known[2]
        return (0, 0) if not isinstance(self.old, tuple) and self.case.is_old(seen, raw) else None

    def live(self, history):
        before = read_file(self.stage.db)
        seen = look(self.stage.db)
        phase = self.phase(seen, (before, read_file(self.stage.db)))
        if phase is None or not history.low <= phase <= history.high:
            raise Fault(f"the live database is {seen}, {phase}, not {history.low} to {history.high}")

    def kept(self, history):
        stage = self.stage
        done = subprocess.run(
            [os.environ["KEPT"], stage.store, *stage.sources], capture_output=True, text=True, check=False
        )
        if done.returncode or done.stderr:
            raise Fault(f"the store: {done.stderr}")
        lines = [line.split("\t") for line in done.stdout.splitlines()]
        self.case.judge_kept(stage, self, history, lines)
        self.strays(lines)

    def strays(self, lines):
        """All that may stand in the store."""
        store, known = self.stage.store, {"source", "seen", "opened", "gone", "kept", "groups"}
        kept = {os.path.dirname(path) for _, _, path in lines}
        for folder, folders, files in os.walk(store):
            inside = folder in kept
            for name in folders + files:
                path = os.path.join(folder, name)
                if inside or path in kept or name in known:
                    continue
                if folder == store and len(name) == 16 or folder == store + "/groups":
                    continue
                raise Fault(f"left in the store: {path}")

    def mounted(self, history):
        stage = self.stage
        daemon = Daemon(stage.mnt, stage.store, [stage.src], stage.folder + "/after.log")
        try:
            if history.low[0] == 1 or isinstance(self.old, tuple):
                shutil.copyfile(stage.mnt + "/db.sqlite3", stage.folder + "/copy")
                phase = self.phase(look(stage.folder + "/copy"))
                if phase is None or not history.low <= phase <= history.high:
                    raise Fault(f"the mount shows {phase}, not {history.low} to {history.high}")
            shots = stage.mnt + "/.sqlsnapfs/snapshots"
            for name in os.listdir(shots):
                for entry in os.listdir(f"{shots}/{name}"):
                    with open(f"{shots}/{name}/{entry}", "rb") as file:
                        file.read()
            if self.case.keeps(history) and not os.listdir(shots):
                raise Fault("the mount lists no snapshot")
        except BaseException:
            daemon.kill()
            raise
        if daemon.end() != 0:
            raise Fault(f"the mount afterwards ended with {daemon.process.returncode}: {daemon.said()}")


def play(stage, case, control):
    """Runs it; the record, the disks as they were before, and a judge."""
    stage.clear()
    case.prepare(stage)
    disks = [Disk([stage.src, stage.store], journal) for journal in (False, True)]
    live = live_files(stage)
    old = case.old(stage)
    control.record(True)
    try:
        case.run(stage)
        if stage.daemon:
            stage.unmount()
        for app in stage.apps:
            app.stop()
    finally:
        control.record(False)
        stage.finish()
    records = read_record(stage.record)
    judge = Judge(stage, case, old, look(stage.new))
    judge.live_inodes = {r.ino for r in records if r.kind == CREATE and r.path() in live[0]} | live[0]
    judge.live_inodes.add(os.lstat(stage.src).st_ino)
    return records, disks, live, judge


def choose_cuts(records, live, count, rng):
    """(where, how) of the cuts: all that are telling (right before the live database is synced, right after a tool was answered),
    COUNT of those around other syncs, answers and marks; None: all there are."""
    telling, near, far, requests = [], [], [], {}
    for i, r in enumerate(records):
        if r.kind == REQUEST:
            requests[r.arg] = r.ino
            continue
        ends = r.kind == REPLY and requests.get(r.arg) in (FUSE_FLUSH, FUSE_RENAME, FUSE_RENAME2, FUSE_RMDIR)
        next_one = records[i + 1] if i + 1 < len(records) else None
        before = next_one is not None and next_one.kind == SYNC
        for how in HOWS + ("mix",) * 3:
            if how in ("drop", "names", "bytes") and (ends or (before and next_one.ino in live)):
                telling.append((i, how))
            elif before or r.kind in (SYNC, REPLY, MARK):
                near.append((i, how))
            else:
                far.append((i, how))
    rng.shuffle(near)
    return telling + (near + far if count is None else near[:count])


def advance(disk, history, records, live, at, stop, lost):
    inodes, paths = live
    for i in range(at, stop):
        r = records[i]
        if r.kind == CREATE and r.path() in paths:
            inodes.add(r.ino)
        history.note(r, inodes)
        if r.kind != SYNC or not lost or not disk.is_below(lost, disk.inodes.get(r.ino)):
            disk.apply(r)


def replay(case, records, disk, live, judge, args, rng):
    """Judges the cuts of one disk; how many there were, and how many of them were mounted."""
    history, seen, done, mounted, at = History(case), set(), 0, 0, 0
    lost = args.without_sync and getattr(judge.stage, args.without_sync)
    live = (set(live[0]), live[1])  # a disk's own
    for i, how in sorted(choose_cuts(records, judge.live_inodes, None if args.full else args.cuts, rng)):
        advance(disk, history, records, live, at, i + 1, lost)
        at = i + 1
        seed = rng.randrange(1 << 30)
        tree = disk.cut(how, random.Random(seed))
        key = hash((history.key(), tuple(sorted((p, d and zlib.crc32(d)) for p, d in tree.items()))))
        if key in seen:
            continue
        seen.add(key)
        done += 1
        try:
            write_tree(disk.roots, tree)
            judge.live(history)
            judge.kept(history)
            if done % min(args.mounts, case.mounts) == 0:
                mounted += 1
                write_tree(disk.roots, tree)
                judge.mounted(history)
        except Fault as e:
            where = f"{case.name}, cut {how} {seed} after record {i} of {len(records)}, names by {'journal' if disk.journal else 'folder'}"
            raise Fault(f"{where}: {e}") from e
    return done, mounted


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--cuts", type=int, default=60)
    parser.add_argument("--mounts", type=int, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--without-sync", choices=("src", "store"))
    parser.add_argument("cases", nargs="*")
    args = parser.parse_intermixed_args()
    print(f"# SEED={args.seed}", flush=True)
    control = Control(args.folder + "/control", os.environ["FAULTS_LIB"])
    cuts = mounted = 0
    for case in CASES:
        if args.cases and case.name not in args.cases:
            continue
        rng = random.Random(f"{args.seed} {case.name}")
        stage = Stage(args.folder, control)
        records, disks, live, judge = play(stage, case, control)
        here = 0
        for disk in disks:
            n, m = replay(case, records, disk, live, judge, args, rng)
            here, mounted = here + n, mounted + m
        cuts += here
        print(f"# {case.name}: {len(records)} records, {here} cuts", flush=True)
    print(f"{cuts} power cuts replayed, {mounted} of them mounted", flush=True)


if __name__ == "__main__":
    try:
        main()
    except Fault as fault:
        print(f"FAULT: {fault}", file=sys.stderr)
        sys.exit(1)
