#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""names.py WHAT FILE NAME - one process that does with NAME, a database in the mount, what tools do with names: each WHAT is a function
here. FILE is what it uploads. Ends with status 0 when all was as it must be."""

import ctypes
import errno
import fcntl
import os
import sys
import threading


def upload(name, flags=os.O_WRONLY | os.O_TRUNC, data=None):
    fd = os.open(name, flags, 0o644)
    view = memoryview(DATA if data is None else data)
    while view:
        view = view[os.write(fd, view) :]
    return fd


def fails(code, fn, *args):
    try:
        fn(*args)
    except OSError as e:
        assert e.errno == code, e
        return
    raise AssertionError(f"{fn} succeeded")


def rename_after_unlink():
    """It has written the name anew, so it sees it again."""
    os.unlink(NAME)
    fails(errno.ENOENT, os.stat, NAME)
    os.close(upload(NAME + ".tmp", os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    os.rename(NAME + ".tmp", NAME)
    assert os.stat(NAME).st_size == len(DATA)
    with open(NAME, "rb") as f:
        assert f.read() == DATA


def create_after_unlink():
    os.unlink(NAME)
    os.close(upload(NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    assert os.stat(NAME).st_size == len(DATA)
    fails(errno.EEXIST, os.open, NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL)


def unlink_while_open():
    """As with any file: what was written goes with it."""
    fd = upload(NAME)
    os.unlink(NAME)
    os.close(fd)


def remount(path):
    assert ctypes.CDLL(None).mount(b"", path.encode(), None, 32, None) == 0  # MS_REMOUNT


def forgotten_folder():
    """What it has removed, and what it has not written to the end, is known in a folder that the kernel forgets."""
    mount = os.path.dirname(os.path.dirname(NAME))
    os.unlink(NAME)
    remount(mount)
    fails(errno.ENOENT, os.stat, NAME)
    fd = os.open(NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    os.ftruncate(fd, len(DATA))
    os.pwrite(fd, DATA[4096:], 4096)
    os.close(fd)
    remount(mount)
    fd = os.open(NAME, os.O_WRONLY)
    os.pwrite(fd, DATA[:4096], 0)
    os.close(fd)


def unlink_while_pending():
    fd = os.open(NAME, os.O_WRONLY | os.O_TRUNC)
    os.ftruncate(fd, len(DATA))
    os.pwrite(fd, DATA[4096:], 4096)
    os.close(fd)
    os.unlink(NAME)
    fd = os.open(NAME, os.O_WRONLY | os.O_CREAT)
    assert os.fstat(fd).st_size == 0
    os.close(fd)


def same_inode():
    """Tools take a file that changes its number for another one."""
    ino = os.stat(NAME).st_ino
    for flags in (os.O_WRONLY | os.O_TRUNC, os.O_RDWR, os.O_WRONLY):
        fd = os.open(NAME, flags)
        assert os.fstat(fd).st_ino == ino
        assert os.stat(NAME).st_ino == ino
        os.close(fd)
    fd = upload(NAME)
    assert os.fstat(fd).st_ino == ino
    os.close(fd)
    assert os.stat(NAME).st_ino == ino


def far_times():
    """Whatever time somebody sets."""
    for year in (1, 1600, 1969, 1970, 2262, 2263, 9999):
        ns = (year - 1970) * 31556952 * 10**9
        for name in (NAME, NAME + ".tmp"):
            fd = upload(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.utime(fd, ns=(ns, ns))
            os.stat(name)
            os.close(fd)
            os.utime(name, ns=(ns, ns))
            assert year not in (1969, 2262) or os.stat(name).st_mtime_ns == ns, (year, name)
    os.rename(NAME + ".tmp", NAME)


def reopen_by_descriptor():
    """No second look leads to an upload: an error, and nothing that is in anybody's way afterwards."""
    fd = os.open(NAME, os.O_RDONLY)
    for _ in range(50):
        fails(errno.ESTALE, os.open, f"/proc/self/fd/{fd}", os.O_WRONLY)
    os.close(fd)
    os.close(upload(NAME))


def append_after_rename():
    """One file, whatever its name was when it was opened: O_APPEND and locks go by the kernel's inode."""
    flags, half = os.O_WRONLY | os.O_CREAT | os.O_APPEND, len(DATA) // 2
    first = upload(NAME + ".tmp", flags, DATA[:100])
    fcntl.flock(first, fcntl.LOCK_EX)
    os.rename(NAME + ".tmp", NAME + ".new")
    second = upload(NAME + ".new", flags, DATA[100:half])
    fails(errno.EWOULDBLOCK, fcntl.flock, second, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.write(first, DATA[half:])
    assert os.fstat(second).st_size == len(DATA)
    os.close(first)
    os.close(second)
    os.rename(NAME + ".new", NAME)


def write_after_rename():
    fd = upload(NAME + ".tmp", os.O_WRONLY | os.O_CREAT)
    os.rename(NAME + ".tmp", NAME)
    fails(errno.EIO, os.write, fd, b"x")
    fails(errno.EIO, os.ftruncate, fd, 0)
    os.close(fd)


def many_opens():
    """Each descriptor is an upload of its own, and whichever is closed last stays."""
    failures = []

    def run():
        try:
            for _ in range(10):
                os.close(upload(NAME))
        except OSError as e:
            failures.append(e)

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures


def two_descriptors():
    """One content, closed twice at once."""
    for _ in range(20):
        fd = upload(NAME)
        second = os.dup(fd)
        threads = [threading.Thread(target=os.close, args=(each,)) for each in (fd, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def write_while_closing():
    """Whoever writes while another descriptor is closed either is in the verdict or hears that he is not."""
    for _ in range(20):
        fd = upload(NAME)
        second = os.dup(fd)
        thread = threading.Thread(target=os.close, args=(fd,))
        thread.start()
        late = True
        try:
            os.pwrite(second, DATA[:100], 0)
        except OSError as e:
            assert e.errno == errno.EBUSY, e
            late = False
        thread.join()
        try:
            os.close(second)
        except OSError as e:
            assert late and e.errno == errno.EIO, e


def hold():
    """Writes all of it, says so, and closes when it is told to."""
    fd = upload(NAME)
    print("held", flush=True)
    sys.stdin.readline()
    try:
        os.close(fd)
        print("closed", flush=True)
    except OSError as e:
        print(errno.errorcode[e.errno], flush=True)


WHAT, FILE, NAME = sys.argv[1:]
with open(FILE, "rb") as f:
    DATA = f.read()
globals()[WHAT]()
