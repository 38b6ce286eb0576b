#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""rights.py SRC MNT - tries, as whoever runs it, every operation on every name of the mount MNT of SRC, which is all root's.

Reading must be refused in the mount wherever it is in SRC, by the same errno, and give the same otherwise; what would
change something must be refused, by an errno that says so, or be one of the things that change nothing for anybody
(listed as None). Prints what is not so, and a count; the caller compares the live tree before and after.
"""

import ctypes
import errno
import fcntl
import mmap
import os
import socket
import stat
import struct
import sys

SRC, MNT = sys.argv[1:]
DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
libc = ctypes.CDLL(None, use_errno=True)
faults = tried = 0


def call(fn, *args):
    """Its errno; None: it has succeeded."""
    global tried
    tried += 1
    try:
        result = fn(*args)
        if isinstance(result, int) and not isinstance(result, bool) and fn is os.open:
            os.close(result)
        return None
    except OSError as e:
        return e.errno
    except ValueError:
        return errno.EINVAL


def name_of(e):
    return errno.errorcode.get(e, e)


def expect(what, got, allowed):
    global faults
    if got not in allowed:
        faults += 1
        print(f"{what}: {name_of(got)}, not {sorted(map(str, map(name_of, allowed)))}")


def c(function, *args):
    """A function of libc that returns -1 with errno."""
    def run():
        if function(*args) == -1:
            e = ctypes.get_errno()
            raise OSError(e, os.strerror(e))
    return call(run)


def reading(name):
    """What reads, in both trees alike."""
    live, seen = f"{SRC}/{name}", f"{MNT}/{name}"

    def content(path):
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            return file.read(1 << 20)

    ways = {
        "stat": lambda p: stat.S_IFMT(os.stat(p).st_mode) and None,
        "lstat": lambda p: os.lstat(p).st_mode & 0o777 if not stat.S_ISLNK(os.lstat(p).st_mode) else None,
        "open": lambda p: content(p) and None,
        "listdir": lambda p: sorted(n for n in os.listdir(p) if not n.endswith(("-wal", "-shm", "-journal"))),
        "chdir": lambda p: os.chdir(p),
        "access r": lambda p: os.access(p, os.R_OK),
        "access x": lambda p: os.access(p, os.X_OK) if os.path.isdir(p) else None,
        "getxattr": lambda p: os.getxattr(p, "user.none") and None,
        "statvfs": lambda p: os.statvfs(p) and None,
    }
    for way, fn in ways.items():
        results = []
        for path in live, seen:
            value = []
            e = call(lambda: value.append(fn(path)))
            results.append((e, value))
        os.chdir("/")
        if way == "getxattr" and results[0][0] in (errno.ENODATA, errno.EOPNOTSUPP):
            continue
        if way in ("stat", "lstat") and os.path.islink(seen) != os.path.islink(live):
            continue  # a symlink to a database is that database
        if way == "lstat" and name.startswith("link"):
            continue
        # A symlink to a database that cannot be reached is shown, with no right on it.
        if way not in ("open", "access r", "access x") and results[0][0] == errno.EACCES and name.startswith("link"):
            continue
        if (way, name) == ("open", "device") and results[1][0] == errno.EACCES:
            continue  # nodev
        if (way, name) == ("lstat", "acl.txt") and results[1][1][0] & ~results[0][1][0] == 0:
            continue  # what an ACL does not surely leave is not shown
        if results[0] != results[1]:
            global faults
            faults += 1
            print(f"{way} {name}: {results[1]} in the mount, {results[0]} live")


def changing(name):
    """What would change the file or the name."""
    path = f"{MNT}/{name}"
    new = f"{MNT}/{os.path.dirname(name)}/new-{os.path.basename(name)}".replace("//", "/")
    refused = DENIED | {errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ELOOP, errno.EXDEV, errno.EOPNOTSUPP, errno.EBUSY,
                        errno.ENXIO, errno.EINVAL, errno.ENOTEMPTY}
    raw = os.fsencode(path)
    for flags in ("O_WRONLY", "O_RDWR", "O_WRONLY|O_TRUNC", "O_RDONLY|O_TRUNC", "O_WRONLY|O_APPEND", "O_RDWR|O_CREAT",
                  "O_WRONLY|O_CREAT|O_EXCL", "O_RDWR|O_DIRECT", "O_WRONLY|O_TMPFILE"):
        value = 0
        for flag in flags.split("|"):
            value |= getattr(os, flag)
        expect(f"open {flags} {name}", call(os.open, path, value | os.O_NONBLOCK, 0o666), refused)
    expect(f"truncate {name}", call(os.truncate, path, 0), refused)
    expect(f"access w {name}", None if os.access(path, os.W_OK) else errno.EACCES, refused)
    expect(f"chmod {name}", call(os.chmod, path, 0o777), refused)
    expect(f"chown {name}", call(os.chown, path, os.getuid(), os.getgid()), refused)
    expect(f"utime {name}", call(os.utime, path, (0, 0)), refused)
    expect(f"utime now {name}", call(os.utime, path), refused)
    for attribute in ("user.x", "trusted.x", "security.capability", "system.posix_acl_access"):
        expect(f"setxattr {attribute} {name}", call(os.setxattr, path, attribute, b"\2\0\0\0"), refused)
        expect(f"removexattr {attribute} {name}", call(os.removexattr, path, attribute), refused | {errno.ENODATA})
    expect(f"unlink {name}", call(os.unlink, path), refused)
    expect(f"rmdir {name}", call(os.rmdir, path), refused)
    expect(f"rename {name}", call(os.rename, path, new), refused)
    expect(f"rename over {name}", call(os.rename, f"{MNT}/public.txt", path), refused | ({None} if name == "public.txt" else set()))  # onto itself: nothing to do
    expect(f"exchange {name}", c(libc.renameat2, -100, raw, -100, os.fsencode(f"{MNT}/public.txt"), 2),
           refused | ({None} if name == "public.txt" else set()))
    expect(f"link {name}", call(os.link, path, new), refused)
    expect(f"link to {name}", call(os.link, f"{MNT}/public.txt", path), refused)
    expect(f"symlink {name}", call(os.symlink, "/etc/passwd", new), refused)
    expect(f"mkdir {name}", call(os.mkdir, new), refused)
    expect(f"mknod {name}", call(os.mknod, new, 0o600 | stat.S_IFREG), refused)
    expect(f"mkfifo {name}", call(os.mkfifo, new), refused)
    expect(f"create {name}", call(os.open, new, os.O_CREAT | os.O_WRONLY, 0o666), refused)
    expect(f"umount {name}", c(libc.umount2, raw, 2), refused)
    expect(f"chroot {name}", call(os.chroot, path), refused)
    def bind():
        with socket.socket(socket.AF_UNIX) as s:
            os.chdir(os.path.dirname(path))
            s.bind("new-socket")
    expect(f"bind {name}", call(bind), refused)
    os.chdir("/")


def descriptor(name):
    """What a descriptor for reading lets one do, where there is one."""
    path = f"{MNT}/{name}"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return
    refused = DENIED | {errno.EBADF, errno.EINVAL, errno.ENOTTY, errno.EOPNOTSUPP, errno.EISDIR, errno.ENODEV, errno.EXDEV,
                        errno.ENOSYS, errno.ETXTBSY, errno.ESPIPE}
    other = os.open(f"{MNT}/public.txt", os.O_RDONLY)
    expect(f"write {name}", call(os.write, fd, b"x"), refused)
    expect(f"pwrite {name}", call(os.pwrite, fd, b"x", 0), refused)
    expect(f"ftruncate {name}", call(os.ftruncate, fd, 0), refused)
    expect(f"fallocate {name}", call(os.posix_fallocate, fd, 0, 10), refused)
    expect(f"punch {name}", c(libc.fallocate, fd, 3, ctypes.c_long(0), ctypes.c_long(10)), refused)
    expect(f"fchmod {name}", call(os.fchmod, fd, 0o777), refused)
    expect(f"fchown {name}", call(os.fchown, fd, os.getuid(), -1), refused)
    expect(f"futimens {name}", call(os.utime, fd, (0, 0)), refused)
    expect(f"fsetxattr {name}", call(os.setxattr, fd, "user.x", b"x"), refused)
    expect(f"mmap to write {name}", call(mmap.mmap, fd, 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE), refused)
    expect(f"copy_file_range to {name}", call(os.copy_file_range, other, fd, 4), refused)
    expect(f"sendfile to {name}", call(os.sendfile, fd, other, 0, 4), refused)
    expect(f"FICLONE to {name}", call(fcntl.ioctl, fd, 0x40049409, other), refused)
    expect(f"FS_IOC_SETFLAGS {name}", call(fcntl.ioctl, fd, 0x40086602, struct.pack("l", 0x10)), refused)
    expect(f"F_SETLEASE {name}", call(fcntl.fcntl, fd, fcntl.F_SETLEASE, fcntl.F_WRLCK), refused | {errno.EAGAIN})
    expect(f"write lock {name}", call(fcntl.lockf, fd, fcntl.LOCK_EX | fcntl.LOCK_NB), refused)
    expect(f"reopen {name}", call(os.open, f"/proc/self/fd/{fd}", os.O_RDWR), refused)
    # These are one's own, and change nothing.
    expect(f"read lock {name}", call(fcntl.lockf, fd, fcntl.LOCK_SH | fcntl.LOCK_NB), refused | {None})
    expect(f"flock {name}", call(fcntl.flock, fd, fcntl.LOCK_EX | fcntl.LOCK_NB), refused | {None})
    expect(f"fsync {name}", call(os.fsync, fd), refused | {None})
    if stat.S_ISREG(os.fstat(fd).st_mode):
        size = os.fstat(fd).st_size
        expect(f"lseek {name}", call(os.lseek, fd, 1 << 62, os.SEEK_SET), refused | {None, errno.EOVERFLOW})
        expect(f"read past the end {name}", None if os.pread(fd, 100, size + (1 << 30)) == b"" else 0, {None})
        with mmap.mmap(fd, 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE) as pages:
            before = os.pread(fd, 8, 0)
            pages[:4] = b"mine"
            expect(f"a private mapping {name}", None if os.pread(fd, 8, 0) == before else 0, {None})
    os.close(other)
    os.close(fd)


def control():
    """.sqlsnapfs is whoever's who mounted."""
    for name in ("", "/log", "/status.json", "/snapshots", "/snapshots/kept", "/snapshots/kept/open.sqlite3"):
        path = f"{MNT}/.sqlsnapfs{name}"
        if name:
            expect(f"stat {path}", call(os.stat, path), DENIED)
        for what, fn in (("list", os.listdir), ("chdir", os.chdir), ("rmdir", os.rmdir), ("unlink", os.unlink)):
            expect(f"{what} {path}", call(fn, path), DENIED | {errno.ENOTDIR, errno.EISDIR, errno.EBUSY})
        expect(f"open {path}", call(os.open, path, os.O_RDONLY), DENIED)
        expect(f"open to write {path}", call(os.open, path, os.O_WRONLY), DENIED | {errno.EISDIR})
        expect(f"mkdir below {path}", call(os.mkdir, f"{path}/x"), DENIED | {errno.ENOTDIR})
        expect(f"create below {path}", call(os.open, f"{path}/x", os.O_CREAT | os.O_WRONLY), DENIED | {errno.ENOTDIR})
        expect(f"rename to {path}", call(os.rename, f"{MNT}/open.sqlite3", path), DENIED | {errno.EISDIR, errno.ENOTDIR, errno.EBUSY})


def main():
    with open(f"{SRC}/../names") as file:
        names = file.read().split("\n")[:-1]
    for name in names:
        reading(name)
        changing(name)
        descriptor(name)
    control()
    print(f"{tried} calls on {len(names)} names, {faults} faults")
    sys.exit(faults != 0)


main()
