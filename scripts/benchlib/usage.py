# SPDX-License-Identifier: MIT
"""usage.py - what a daemon needs while it is at work: peak memory, its children's too, and scratch space. It looks two hundred times
a second, which disturbs: what is timed is not watched, what is watched is not timed.

Scratch space is what was not there at the start: named files of the store and beside the database, and unlinked ones that the
daemon has open, which du does not see. Blocks that a clone shares are counted as if they were its own."""

import os
import re
import stat
import threading


def peak_kib(pid):
    try:
        found = re.search(r"VmHWM:\s*(\d+)", open(f"/proc/{pid}/status").read())
    except OSError:
        return 0
    return int(found[1]) if found else 0


def command(pid):
    try:
        return open(f"/proc/{pid}/cmdline").read()
    except OSError:
        return ""


def children(pid):
    """Those that run something else by now."""
    found, own = [], command(pid)
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            found += open(f"/proc/{pid}/task/{task}/children").read().split()
    except OSError:
        pass
    return [child for child in found if command(child) not in ("", own)]


def used(folder, without=""):
    """Bytes on the disk of the files of FOLDER, but for the one named WITHOUT."""
    total = 0
    for top, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(f"{top}/{name}").st_blocks * 512 if name != without else 0
            except OSError:
                pass
    return total


def unlinked(pid):
    """(where, bytes on the disk) of each regular file that only descriptors of it keep."""
    found = {}
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                st = os.stat(f"/proc/{pid}/fd/{fd}")
                if stat.S_ISREG(st.st_mode) and st.st_nlink == 0:
                    found[st.st_dev, st.st_ino] = os.readlink(f"/proc/{pid}/fd/{fd}"), st.st_blocks * 512
            except OSError:
                pass
    except OSError:
        pass
    return list(found.values())


class Usage:
    """with Usage(world) as usage: ...; then memory, checking (of the children), store and beside are peaks in MiB; checking is None
    when no child was met."""

    def __init__(self, world):
        self.world, self.pid = world, world.daemon.pid
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.peaks = {"store": 0, "beside": 0, "checking": 0}

    def now(self):
        store, beside = used(self.world.store), used(self.world.source, self.world.live.name)
        for where, size in unlinked(self.pid):
            if where.startswith(f"{self.world.source}/"):
                beside += size
            else:
                store += size
        return {"store": store, "beside": beside, "checking": max((peak_kib(pid) << 10 for pid in children(self.pid)), default=0)}

    def watch(self):
        ending = False
        while not ending:
            ending = self.over.wait(0.005)  # one more look at the end
            for what, value in self.now().items():
                self.peaks[what] = max(self.peaks[what], value)

    def __enter__(self):
        self.first = self.now()
        with open(f"/proc/{self.pid}/clear_refs", "w") as file:
            file.write("5")  # proc(5): the peak is that of now
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
        self.memory = peak_kib(self.pid) / 1024
        self.checking = self.peaks["checking"] / (1 << 20) or None
        self.store, self.beside = (max(0, self.peaks[what] - self.first[what]) / (1 << 20) for what in ("store", "beside"))
