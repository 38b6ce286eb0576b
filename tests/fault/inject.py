#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""inject.py FOLDER [--seconds N] [--seed N] [--only WORD]... [--part I/N] [--made FILE] - every call of the daemon fails, one after the other.

For each operation, each class of calls (control.h) and each error the class can have, the first call fails, then the second
and so on until the operation needs no more; once, and for good until it is over. After each: the daemon lives and answers,
also for the other databases; what was read is right or an error; the live database is wholly old or wholly new, and the
tool's exit status says which; applications keep their locks; nothing is left open, and in the store nothing that is not shown.

--seconds: that long, on runs in a random order and at random calls. --only: what says WORD. --part: every N-th run from the
I-th on. --made: FILE says what earlier processes have made, which is counted and not made again; what is made is added.
Prints the faults injected, also when it ends at one that is found.

Of a daemon that was built with a sanitizer, its reports count; of leaks after each run, for which the daemon is ended.
"""

import argparse
import errno
import functools
import os
import random
import signal
import sys
import time
import traceback

from control import Control
from inject_operations import OPERATIONS, Rig
from mounts import Fault

ERRORS = {
    "open": ("EMFILE", "EIO"),
    "read": ("EIO",),
    "write": ("ENOSPC", "EIO"),
    "sync": ("EIO",),
    "size": ("ENOSPC",),
    "name": ("ENOSPC", "EIO"),
    "stat": ("EIO", "ENOMEM"),
    "map": ("ENOMEM",),
    "lock": ("ENOLCK",),
    "clone": ("EIO",),
    "process": ("EAGAIN",),
    "memory": ("ENOMEM",),
    "sqlite": ("ENOMEM",),
}
ONCE_ONLY = {"open": ("EINTR",), "read": ("EINTR",), "sync": ("EINTR",)}  # for good, who tries again would do so for ever
MOST = 5000  # calls of one class in an operation
EACH = 5  # calls of a run that fail in the short form


def runs(only):
    """(operation, class, error, for good)"""
    out = []
    for operation in OPERATIONS:
        for name in ERRORS:
            out += [(operation, name, error, good) for error in ERRORS[name] for good in (False, True)]
            out += [(operation, name, error, False) for error in ONCE_ONLY.get(name, ())]
    return [run for run in out if all(word in describe(run).split() for word in only)]


def describe(run, n=None):
    operation, name, error, good = run
    return f"{operation.name} {name} {error} {'for-good' if good else 'once'}" + (f" at call {n}" if n else "")


@functools.cache
def is_sanitized():
    with open(os.environ["SQLSNAPFS"], "rb") as file:
        return b"__asan_init" in file.read()


def one(rig, run, n):
    """Whether call N was made, and failed."""
    operation, name, error, good = run
    what = None
    try:
        rig.before(operation)
        rig.control.arm([name], getattr(errno, error), n, good)
        try:
            result = operation.act(rig)
        finally:
            seen, injected, what = rig.control.disarm()
        operation.judge(rig, result)
        rig.after(operation, name, good)
    except Exception as e:  # whatever it is: it must be said where
        said = e if isinstance(e, Fault) else traceback.format_exc()
        raise Fault(f"{describe(run, n)} ({what or 'nothing failed'}): {said}") from e
    return injected, seen


def look_for_leaks(rig, run):
    """They are told at the end."""
    try:
        if is_sanitized() and rig.daemon and rig.stop():
            raise Fault("the daemon did not end well")
    except Fault as e:
        raise Fault(f"after {describe(run)}: {e}") from e


def full(rig, todo, made, counts):
    for run in todo:
        began = time.monotonic()
        here = made.get(describe(run))
        if here is not None:
            counts[run] = here
            continue
        for n in range(1, MOST):
            injected, _ = one(rig, run, n)
            if not injected:
                break
            counts[run] = counts.get(run, 0) + 1
        else:
            raise Fault(f"{describe(run)}: no end after {MOST} calls")
        look_for_leaks(rig, run)
        made.add(describe(run), counts.get(run, 0))
        print(f"# {describe(run)}: {counts.get(run, 0)} calls, {time.monotonic() - began:.1f} s", flush=True)


def sampled(rig, todo, seconds, rng, counts):
    """Runs in random order, each at calls chosen among as many as there were when nothing failed."""
    end = time.monotonic() + seconds
    rng.shuffle(todo)
    while todo:
        for run in todo:
            _, seen = one(rig, run, 1 << 60)
            for n in rng.sample(range(1, seen + 1), min(seen, EACH)):
                injected, _ = one(rig, run, n)
                counts[run] = counts.get(run, 0) + bool(injected)
            look_for_leaks(rig, run)
            if time.monotonic() > end:
                return


class Made:
    """Counts of runs that earlier processes have made, a line each."""

    def __init__(self, path):
        self.path, self.counts = path, {}
        if path and os.path.exists(path):
            with open(path) as file:
                self.counts = {line.rpartition(" ")[0]: int(line.rpartition(" ")[2]) for line in file}

    def get(self, run):
        return self.counts.get(run)

    def add(self, run, count):
        if self.path:
            with open(self.path, "a") as file:
                file.write(f"{run} {count}\n")


def part(text):
    which, of = (int(word) for word in text.split("/"))
    if not 1 <= which <= of:
        raise ValueError(text)
    return which, of


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--at", type=int, help="only this call")
    parser.add_argument("--part", type=part, default=(1, 1))
    parser.add_argument("--made")
    args = parser.parse_args()
    todo = runs(args.only)[args.part[0] - 1 :: args.part[1]]
    print(f"# SEED={args.seed}, {len(todo)} runs", flush=True)
    rig = Rig(args.folder, Control(args.folder + "/control", os.environ["FAULTS_LIB"]))
    counts = {}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    try:
        if args.at:
            for run in todo:
                counts[run] = int(bool(one(rig, run, args.at)[0]))
                look_for_leaks(rig, run)
        elif args.seconds:
            sampled(rig, todo, args.seconds, random.Random(args.seed), counts)
        else:
            full(rig, todo, Made(args.made), counts)
        rig.finish()
    finally:
        rig.abandon()
        print(f"{sum(counts.values())} faults injected", flush=True)


if __name__ == "__main__":
    try:
        main()
    except Fault as fault:
        print(f"FAULT: {fault}", file=sys.stderr)
        sys.exit(1)
