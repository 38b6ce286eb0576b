#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""lagging.py - holds descriptors open and reads through them piece by piece, whenever it is told to.

Commands from stdin, a line each, each answered with one line:
  open NAME PATH           opens PATH, maps all of it and touches nothing: its size
  part NAME I N STYLE      reads the I-th of N parts (from 0) as STYLE: read, slow, mmap, backwards, direct
  all NAME                 SHA-256 of all parts put together, and, read again from the file system, of the whole file
                           through read(2) and through the mapping
  close NAME
Answers "error ..." where the system refuses, also when fewer bytes come than the size says.
"""

import hashlib
import mmap
import os
import sys
import time

PAGE = 4096


class Held:
    def __init__(self, path):
        self.fd = os.open(path, os.O_RDONLY)
        self.direct = os.open(f"/proc/self/fd/{self.fd}", os.O_RDONLY | os.O_DIRECT)
        self.size = os.fstat(self.fd).st_size
        self.map = mmap.mmap(self.fd, self.size, mmap.MAP_SHARED, mmap.PROT_READ)
        self.parts = {}
        self.forget()

    def forget(self):
        """What is cached of it: so that bytes come from the file system."""
        self.map.madvise(mmap.MADV_DONTNEED)
        os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def close(self):
        self.map.close()
        os.close(self.fd)
        os.close(self.direct)

    def pread(self, size, offset):
        data = b""
        while len(data) < size:
            got = os.pread(self.fd, size - len(data), offset + len(data))
            if not got:
                raise OSError(0, f"the file ends at {offset + len(data)}, its size is {self.size}")
            data += got
        return data

    def pread_direct(self, size, offset):
        buffer = mmap.mmap(-1, size + PAGE)  # aligned, as O_DIRECT wants it
        got = os.preadv(self.direct, [memoryview(buffer)[: size + PAGE - 1 & -PAGE]], offset)
        if got < size:
            raise OSError(0, f"{got} bytes at {offset} instead of {size}")
        return buffer[:size]

    def read(self, begin, end, style):
        if style == "mmap":
            return self.map[begin:end]
        step = {"read": 1 << 17, "slow": (end - begin) // 10 // PAGE * PAGE + PAGE, "direct": 1 << 16}.get(style, 5 * PAGE)
        pieces = {}
        offsets = range(begin, end, step)
        for at in reversed(offsets) if style == "backwards" else offsets:
            size = min(step, end - at)
            pieces[at] = self.pread_direct(size, at) if style == "direct" else self.pread(size, at)
            if style == "slow":
                time.sleep(0.02)  # slow is what it is for
        return b"".join(pieces[at] for at in offsets)

    def part(self, i, n, style):
        border = [self.size // PAGE * k // n * PAGE for k in range(n)] + [self.size]
        self.parts[i] = self.read(border[i], border[i + 1], style)
        return len(self.parts[i])

    def all(self):
        put_together = b"".join(self.parts[i] for i in sorted(self.parts))
        self.forget()
        again = self.pread(self.size, 0)
        self.forget()
        return " ".join(hashlib.sha256(b).hexdigest() for b in (put_together, again, self.map[:]))


def answer(held, command, name, *args):
    if command == "open":
        held[name] = Held(*args)
        return held[name].size
    if command == "part":
        return held[name].part(int(args[0]), int(args[1]), args[2])
    if command == "all":
        return held[name].all()
    held.pop(name).close()
    return "closed"


def main():
    held = {}
    for line in sys.stdin:
        try:
            print(answer(held, *line.split()), flush=True)
        except OSError as e:
            print(f"error: {e}", flush=True)


main()
