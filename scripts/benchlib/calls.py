# SPDX-License-Identifier: MIT
"""calls.py - what one open() + read + close() of a database through the mount makes the daemon do: its system calls, by strace, and
the kernel's requests, by libfuse's own debug output. Numbers, not times, so that they are the same on a busy machine."""

import collections
import re
import signal
import subprocess
import sys
import time

OPENS = 200


def system_calls(w, changed):
    """{name: calls}, of all the daemon's threads."""
    said = w.folder / "strace"
    tracer = subprocess.Popen(["strace", "-f", "-qq", "-o", said, "-p", str(w.daemon.pid)], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 15
    while not all(re.search(r"TracerPid:\s*[1-9]", open(f"/proc/{w.daemon.pid}/task/{task}/status").read()) for task in w.threads()):
        if tracer.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"bench: strace does not attach: {tracer.stderr.read()}")
        time.sleep(0.01)
    w.open_often(w.seen, changed, 0, OPENS)
    tracer.send_signal(signal.SIGINT)
    tracer.wait()
    found = re.findall(r"^\d+ +(?!.* resumed>)(\w+)\(", said.read_text(), re.MULTILINE)
    return collections.Counter(found)


def requests(w, changed):
    before = w.log.stat().st_size
    w.open_often(w.seen, changed, 0, OPENS)
    with open(w.log, errors="replace") as log:
        log.seek(before)
        return collections.Counter(re.findall(r"opcode: (\w+)", log.read()))


def count(w):
    """Prints a table; w is made, and not started. The debug output would count as system calls, so that it has a daemon of its
    own."""
    found = {}
    for what, options, counting in (("system calls", [], system_calls), ("requests", ["-d"], requests)):
        w.start(None, *options)
        for changed in (False, True):
            subprocess.run(["cat", w.seen], stdout=subprocess.DEVNULL, check=True)
            found[what, changed] = counting(w, changed)
        w.stop_daemons()
    for what in ("requests", "system calls"):
        print(f"\n{what + ' of an open, read and close':44}{'unchanged':>12}{'changed':>12}")
        names = found[what, False] | found[what, True]
        for name in sorted(names, key=lambda name: (-names[name], name)):
            print(f"  {name:42}{found[what, False][name] / OPENS:12.2f}{found[what, True][name] / OPENS:12.2f}")
        print(f"  {'together':42}{found[what, False].total() / OPENS:12.2f}{found[what, True].total() / OPENS:12.2f}")
