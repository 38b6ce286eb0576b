# SPDX-License-Identifier: MIT
"""control.py - the control file of the preloaded library, control.h, from the other side."""

import mmap
import os
import struct

CLASSES = {
    "open": 1 << 0,
    "read": 1 << 1,
    "write": 1 << 2,
    "sync": 1 << 3,
    "size": 1 << 4,
    "name": 1 << 5,
    "stat": 1 << 6,
    "map": 1 << 7,
    "lock": 1 << 8,
    "clone": 1 << 9,
    "process": 1 << 10,
    "memory": 1 << 11,
    "sqlite": 1 << 12,
}
HEAD = struct.Struct("IIiIQQQ104sII")
ARMED, RECORD = 0, HEAD.size - 4


class Control:
    def __init__(self, path, library):
        self.path = path
        self.library = library
        with open(path, "wb") as file:
            file.truncate(4096)
        fd = os.open(path, os.O_RDWR)
        self.page = mmap.mmap(fd, 4096)
        os.close(fd)

    def environment(self, record=None):
        env = {**os.environ, "SQLSNAPFS_FAULT": self.path, "LD_PRELOAD": self.library}
        if record:
            env["SQLSNAPFS_RECORD"] = record
        return env

    def _set(self, at, value):
        struct.pack_into("I", self.page, at, value)

    def record(self, on):
        self._set(RECORD, int(on))

    def arm(self, names, error, at, for_good):
        """From now on call number AT of the classes NAMES fails with ERROR; FOR_GOOD: and all after it."""
        self._set(ARMED, 0)
        classes = 0
        for name in names:
            classes |= CLASSES[name]
        struct.pack_into("IIiIQQQ104s", self.page, 0, 0, classes, error, int(for_good), at, 0, 0, b"")
        self._set(ARMED, 1)

    def disarm(self):
        """How many calls were seen, how many failed, and the first of those in words."""
        self._set(ARMED, 0)
        _, _, _, _, _, seen, injected, what, _, _ = HEAD.unpack_from(self.page)
        return seen, injected, what.split(b"\0")[0].decode(errors="replace")
