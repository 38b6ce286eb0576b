#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""pieces.py FILE NAME HOW CLOSES - writes FILE to NAME in pieces, as restic restores one.

First it says how long NAME will be, by HOW: ftruncate or fallocate. Then it writes blocks in no order; after each part of CLOSES it
closes NAME and opens it again. HOW may also be threads: ftruncate, and four threads that each open and close for themselves.

Says "ready", then answers commands from stdin, a line each: "half" writes about half of what is left, "rest" all of it and closes,
"cut" opens NAME anew, cut to nothing, and writes all of it at once (each says "done"); "read" answers how long the file of that name is to
this process, and whether it is FILE; "size" what stat says; "times" closes and sets the
file's times, as tools do last. "stop" closes and ends, "exit" ends without closing.
"""

import os
import random
import sys
import threading

BLOCK = 4096


class Pieces:
    def __init__(self, data, name, how, closes):
        self.data, self.name, self.closes = data, name, closes
        self.threads = 4 if how == "threads" else 1
        self.left = list(range(0, len(data), BLOCK))
        random.Random(7).shuffle(self.left)
        self.fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        if how == "fallocate":
            os.posix_fallocate(self.fd, 0, len(data))
        else:
            os.ftruncate(self.fd, len(data))

    def write(self, fd, offset):
        assert os.pwrite(fd, self.data[offset : offset + BLOCK], offset) == min(BLOCK, len(self.data) - offset)

    def reopen(self):
        os.close(self.fd)
        self.fd = os.open(self.name, os.O_WRONLY)

    def write_some(self, blocks, closes):
        each = max(1, len(blocks) // closes)
        for i, offset in enumerate(blocks):
            self.write(self.fd, offset)
            if (i + 1) % each == 0 and i + 1 < len(blocks):
                self.reopen()

    def write_by_threads(self, blocks):
        failures = []

        def run(own):
            try:
                for at in range(0, len(own), 5):
                    fd = os.open(self.name, os.O_WRONLY)
                    for offset in own[at : at + 5]:
                        self.write(fd, offset)
                    os.close(fd)
            except OSError as e:
                failures.append(str(e))

        self.reopen()
        threads = [threading.Thread(target=run, args=(blocks[i :: self.threads],)) for i in range(self.threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise OSError(failures[0])

    def advance(self, blocks):
        if self.threads > 1:
            self.write_by_threads(blocks)
        else:
            self.write_some(blocks, self.closes)

    def half(self):
        blocks, self.left = self.left[: len(self.left) // 2], self.left[len(self.left) // 2 :]
        self.advance(blocks)

    def rest(self):
        self.advance(self.left)
        self.left = []
        os.close(self.fd)
        self.fd = -1

    def read(self):
        with open(self.name, "rb") as f:
            bytes_ = f.read()
        return f"{len(bytes_)} {bytes_ == self.data}"

    def cut(self):
        os.close(self.fd)
        self.fd = -1
        with open(self.name, "wb") as f:
            f.write(self.data)

    def times(self):
        os.close(self.fd)
        self.fd = -1
        os.utime(self.name, (1e9, 1e9))

    def size(self):
        return os.stat(self.name).st_size


def main():
    with open(sys.argv[1], "rb") as f:
        pieces = Pieces(f.read(), sys.argv[2], sys.argv[3], int(sys.argv[4]))
    print("ready", flush=True)
    for line in sys.stdin:
        command = line.strip()
        if command == "exit":
            os._exit(0)
        if command == "stop":
            break
        try:
            answer = getattr(pieces, command)()
        except OSError as e:
            answer = f"error: {e.strerror}"
        print("done" if answer is None else answer, flush=True)
    if pieces.fd >= 0:
        os.close(pieces.fd)


main()
