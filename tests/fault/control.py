# SPDX-License-Identifier: MIT
"""control.py - the control file of the preloaded library, control.h, from the other side."""

import ctypes
import glob
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
HEAD = struct.Struct("IIiIQQ104sII")
REPORTED = 99  # exit status of a daemon of which a sanitizer has something to say
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
        self._end = ctypes.CDLL(library).fault_end
        self._end.restype = ctypes.c_uint64
        self._at, self._good = 0, False

    def environment(self, record=None):
        env = {**os.environ, "SQLSNAPFS_FAULT": self.path, "LD_PRELOAD": self.library}
        # The library stands before the sanitizer's; memory that is too much is refused, not the end.
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS"):
            env[name] = f"{env.get(name, '')}:log_path={self.path}.report:exitcode={REPORTED}"
        env["ASAN_OPTIONS"] += ":verify_asan_link_order=0:detect_leaks=1:allocator_may_return_null=1"
        env["UBSAN_OPTIONS"] += ":print_stacktrace=1:halt_on_error=1"
        if record:
            env["SQLSNAPFS_RECORD"] = record
        return env

    def _set(self, at, value):
        struct.pack_into("I", self.page, at, value)

    def reports(self):
        """What sanitizers have written."""
        out = []
        for path in sorted(glob.glob(self.path + ".report.*")):
            with open(path, errors="replace") as file:
                out.append(file.read())
        return "\n".join(out)

    def record(self, on):
        self._set(RECORD, int(on))

    def arm(self, names, error, at, for_good):
        """From now on call number AT of the classes NAMES fails with ERROR; FOR_GOOD: and all after it."""
        self._set(ARMED, 0)
        classes = 0
        for name in names:
            classes |= CLASSES[name]
        self._at, self._good = at, for_good
        struct.pack_into("IIiIQQ104s", self.page, 0, 0, classes, error, int(for_good), at, 0, b"")
        self._set(ARMED, 1)

    def disarm(self):
        """How many calls were seen, how many failed, and the first of those in words."""
        seen = self._end(ctypes.byref(ctypes.c_char.from_buffer(self.page)))
        injected = max(0, seen - self._at + 1) if self._good else int(seen >= self._at)
        what = HEAD.unpack_from(self.page)[6]
        return seen, injected, what.split(b"\0")[0].decode(errors="replace")
