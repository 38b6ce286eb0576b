#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""inject.py FOLDER [--seconds N] [--seed N] [--only WORD]... - every call of the daemon fails, one after the other.

For each operation, each class of calls (control.h) and each error the class can have, the first call fails, then the second
and so on until the operation needs no more; once, and for good until it is over. After each: the daemon lives and answers,
also for the other databases; what was read is right or an error; the live database is wholly old or wholly new, and the
tool's exit status says which; applications keep their locks; nothing is left open, and in the store nothing that is not shown.

--seconds: that long, on runs in a random order and at random calls. --only: what says WORD. Prints the faults injected.
"""

import argparse
import errno
import os
import random
import sys
import time

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


def one(rig, run, n):
    """Whether call N was made, and failed."""
    operation, name, error, good = run
    rig.before(operation)
    rig.control.arm([name], getattr(errno, error), n, good)
    what = None
    try:
        try:
            result = operation.act(rig)
        finally:
            seen, injected, what = rig.control.disarm()
        operation.judge(rig, result)
        rig.after(operation, name, good)
    except Fault as e:
        raise Fault(f"{describe(run, n)} ({what or 'nothing failed'}): {e}") from e
    return injected, seen


def full(rig, todo):
    total = 0
    for run in todo:
        here, began = 0, time.monotonic()
        for n in range(1, MOST):
            injected, _ = one(rig, run, n)
            if not injected:
                break
            here += 1
        total += here
        print(f"# {describe(run)}: {here} calls, {time.monotonic() - began:.1f} s", flush=True)
    return total


def sampled(rig, todo, seconds, rng):
    """Runs in random order, each at calls chosen among as many as there were when nothing failed."""
    end, total = time.monotonic() + seconds, 0
    rng.shuffle(todo)
    while todo:
        for run in todo:
            _, seen = one(rig, run, 1 << 60)
            for n in rng.sample(range(1, seen + 1), min(seen, EACH)):
                injected, _ = one(rig, run, n)
                total += bool(injected)
            if time.monotonic() > end:
                return total
    return total


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--at", type=int, help="only this call")
    args = parser.parse_args()
    todo = runs(args.only)
    print(f"# SEED={args.seed}, {len(todo)} runs", flush=True)
    rig = Rig(args.folder, Control(args.folder + "/control", os.environ["FAULTS_LIB"]))
    try:
        if args.at:
            total = sum(bool(one(rig, run, args.at)[0]) for run in todo)
        elif args.seconds:
            total = sampled(rig, todo, args.seconds, random.Random(args.seed))
        else:
            total = full(rig, todo)
        rig.finish()
    finally:
        rig.abandon()
    print(f"{total} faults injected", flush=True)


if __name__ == "__main__":
    try:
        main()
    except Fault as fault:
        print(f"FAULT: {fault}", file=sys.stderr)
        sys.exit(1)
