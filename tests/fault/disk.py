# SPDX-License-Identifier: MIT
"""disk.py - what a power failure may leave of what was written: a record (record.h) and the disk that it was made on.

A file has bytes that are on the disk, and changes that are not: writes, cuts. A folder has names that are on the disk, and
changes that are not. fsync(2) of a file brings its changes to the disk, of a folder its names; all else may be there after a
power failure, or not, or in part, in any order: pieces of 512 or of 4096 bytes are written whole or not at all.

With JOURNAL a sync brings every name to the disk that was given before, as ext4 and its like do; without it only those
of the folder that is synced, which is all that POSIX says.
"""

import os
import stat
import struct

CREATE, WRITE, TRUNCATE, SYNC, RENAME, LINK, UNLINK, MKDIR, CLONE, REQUEST, REPLY, MARK = range(1, 13)
HEAD = struct.Struct("IIQQ")


class Record:
    def __init__(self, kind, ino, arg, data):
        self.kind, self.ino, self.arg, self.data = kind, ino, arg, data

    def path(self):
        return os.fsdecode(self.data)


def read_record(path):
    with open(path, "rb") as file:
        data = file.read()
    records, at = [], 0
    while at < len(data):
        size, kind, ino, arg = HEAD.unpack_from(data, at)
        records.append(Record(kind, ino, arg, data[at + HEAD.size : at + size]))
        at += size
    return records


def append_mark(path, words):
    words = words.encode()
    with open(path, "ab", buffering=0) as file:
        file.write(HEAD.pack(HEAD.size + len(words), MARK, 0, 0) + words)


class File:
    def __init__(self, data=b""):
        self.durable = bytearray(data)
        self.pending = []  # (offset, bytes), or (None, size)

    def whole(self):
        return self.put_together(self.pending)

    def put_together(self, changes):
        data = bytearray(self.durable)
        for at, what in changes:
            if at is None:
                del data[what:]
                data.extend(bytes(what - len(data)))
            else:
                data.extend(bytes(max(0, at - len(data))))
                data[at : at + len(what)] = what
        return data

    def sync(self):
        self.durable = self.whole()
        self.pending = []


class Folder:
    def __init__(self):
        self.durable = {}
        self.now = {}


class Disk:
    """What stands below ROOTS, all of it on the disk."""

    def __init__(self, roots, journal):
        self.journal = journal
        self.inodes = {}
        self.pending = []  # of names: lists of (folder, name, node or None) that happen at once
        self.roots = {root: self._scan(root) for root in roots}

    def _scan(self, path):
        st = os.lstat(path)
        if stat.S_ISDIR(st.st_mode):
            node = Folder()
            for name in os.listdir(path):
                node.now[name] = self._scan(os.path.join(path, name))
            node.durable = dict(node.now)
        else:
            with open(path, "rb") as file:
                node = File(file.read())
        self.inodes[st.st_ino] = node
        return node

    def is_below(self, root, node):
        """Whether that is the folder ROOT, or a file or folder in it."""
        todo = [self.roots[root]]
        while todo:
            one = todo.pop()
            if one is node:
                return True
            todo += one.now.values() if isinstance(one, Folder) else ()
        return False

    # ---- what happens

    def _find_folder(self, path):
        for root, node in self.roots.items():
            if path == root or path.startswith(root + "/"):
                for part in filter(None, path[len(root) :].split("/")):
                    node = node and isinstance(node, Folder) and node.now.get(part)
                return node or None
        return None

    def find(self, path):
        folder = self._find_folder(os.path.dirname(path))
        return folder and folder.now.get(os.path.basename(path))

    def _names(self, *changes):
        found = [(self._find_folder(os.path.dirname(path)), os.path.basename(path), node) for path, node in changes]
        found = [change for change in found if change[0] is not None]
        for folder, name, node in found:
            if node is None:
                folder.now.pop(name, None)
            else:
                folder.now[name] = node
        if found:
            self.pending.append(found)

    def apply(self, r):
        if r.kind in (CREATE, MKDIR):
            self.inodes[r.ino] = File() if r.kind == CREATE else Folder()
            if r.data:
                self._names((r.path(), self.inodes[r.ino]))
        elif r.kind == LINK:
            self._names((r.path(), self.inodes.get(r.ino)))
        elif r.kind == UNLINK:
            self._names((r.path(), None))
        elif r.kind == RENAME:
            old, new = map(os.fsdecode, r.data.split(b"\0"))
            self._names((old, None), (new, self.find(old)))
        elif r.kind == SYNC:
            self._sync(self.inodes.get(r.ino))
        elif r.ino in self.inodes and isinstance(self.inodes[r.ino], File):
            self._change(self.inodes[r.ino], r)

    def _change(self, node, r):
        if r.kind == WRITE:
            node.pending.append((r.arg, r.data))
        elif r.kind == TRUNCATE:
            node.pending.append((None, r.arg))
        elif r.kind == CLONE:
            node.pending += [(None, 0), (0, bytes(self.inodes[r.arg].whole()))]

    @staticmethod
    def _put_names(changes):
        for folder, name, node in changes:
            if node is None:
                folder.durable.pop(name, None)
            else:
                folder.durable[name] = node

    def _sync(self, node):
        if isinstance(node, File):
            node.sync()
        waiting = []
        for changes in self.pending:
            if self.journal or any(folder is node for folder, _, _ in changes):
                self._put_names(changes)
            else:
                waiting.append(changes)
        self.pending = waiting

    # ---- what is left of it

    def cut(self, how, rng):
        """The tree after a power failure now, as {path: bytes or None for a folder}. HOW is one of HOWS."""
        names = self._choose_names(how, rng)
        views = {}
        for changes in names:
            for folder, name, node in changes:
                view = views.setdefault(id(folder), dict(folder.durable))
                if node is None:
                    view.pop(name, None)
                else:
                    view[name] = node
        out = {}
        for root, node in self.roots.items():
            self._list(root, node, views, how, rng, out)
        return out

    def _choose_names(self, how, rng):
        if how in ("keep", "names"):
            return self.pending
        if how in ("drop", "bytes"):
            return []
        if how == "prefix":
            return self.pending[: rng.randint(0, len(self.pending))]
        keep = rng.choice((0.2, 0.5, 0.8))
        return [changes for changes in self.pending if rng.random() < keep]

    def _list(self, path, node, views, how, rng, out):
        if isinstance(node, File):
            out[path] = self._choose_bytes(node, how, rng)
            return
        out[path] = None
        for name, child in views.get(id(node), node.durable).items():
            self._list(os.path.join(path, name), child, views, how, rng, out)

    @staticmethod
    def _choose_bytes(node, how, rng):
        if how in ("keep", "bytes") or not node.pending:
            return bytes(node.whole())
        if how == "drop":
            return bytes(node.durable)
        if how == "names":  # as long as it became, but the bytes have not come
            data = bytearray(node.durable)
            size = len(node.whole())
            del data[size:]
            return bytes(data.ljust(size, b"\0"))
        if how == "prefix":
            return bytes(node.put_together(node.pending[: rng.randint(0, len(node.pending))]))
        keep, piece = rng.choice((0.2, 0.5, 0.8)), rng.choice((512, 512, 4096))
        changes = []
        for at, what in node.pending:
            if at is None:
                if rng.random() < keep:
                    changes.append((at, what))
            elif rng.random() < 0.5:  # torn
                changes += _tear(at, what, piece, keep, rng)
            elif rng.random() < keep:
                changes.append((at, what))
        data = node.put_together(changes)
        if rng.random() < 0.3:  # the length came, and not all of what was to be there
            data.extend(bytes(max(0, len(node.whole()) - len(data))))
        return bytes(data)


HOWS = ("drop", "keep", "names", "bytes", "prefix", "mix")


def _tear(at, what, piece, keep, rng):
    end = at + len(what)
    first = rng.random() < 0.5  # only the first of its pieces
    stop = rng.randint(at, end)
    out = []
    while at < end:
        to = min(end, (at // piece + 1) * piece)
        if (to <= stop) if first else (rng.random() < keep):
            out.append((at, what[: to - at]))
        what = what[to - at :]
        at = to
    return out


def write_tree(roots, tree):
    """Makes what stands below ROOTS what TREE says, and nothing else."""
    for root in roots:
        for folder, folders, files in os.walk(root, topdown=False):
            for name in files:
                os.unlink(os.path.join(folder, name))
            for name in folders:
                os.rmdir(os.path.join(folder, name))
    for path, data in tree.items():
        if data is None:
            os.makedirs(path, mode=0o700, exist_ok=True)
        else:
            with open(path, "wb") as file:
                file.write(data)
