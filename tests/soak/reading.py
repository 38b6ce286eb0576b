# SPDX-License-Identifier: MIT
"""reading.py - what reads: copies in every style, descriptors that are held, parts, snapshots, the live databases themselves."""

import contextlib
import json
import os
import re

from world import TEST_BIN, Violation

STYLES = ["read", "odd", "pread", "backwards", "mmap", "sendfile", "slow", "direct"]
# What whoever uses a mount is told while its daemon is being restarted: never other bytes.
DOWN = ("Transport endpoint is not connected|Software caused connection abort|Input/output error|No such file or directory|"
        "Stale file handle|No such device|Read-only file system")
REPLACED = "Input/output error|Stale file handle"


def excuse(world, db, watch, replaced, text):
    """Whether TEXT tells of errors that there may be: the daemon, or the file itself, was another one meanwhile."""
    lines = [line for line in text.splitlines() if line and not line.startswith("{")]
    allowed = (DOWN if watch.disturbed() else "") or (REPLACED if db.replaced != replaced else "")
    if allowed and all(re.search(allowed, line) for line in lines):
        world.count("reads cut short by a restart or a replaced file")
        return True
    return False


def copies(world, db, rng, styles=None):
    styles = styles or rng.sample(STYLES, rng.randint(1, 4))
    bad = f"{world.tmp}/bad-{world.number()}"
    with db.gate.together():
        watch, replaced = world.watch(), db.replaced
        status, text = world.run(
            [f"{TEST_BIN}/copyloop", "--file", db.seen, "--ack", db.ack_file, "--copies", str(rng.randint(2, 12)), "--threads",
             str(rng.randint(1, 3)), "--slow-ms", str(rng.choice([50, 300, 1500])), "--styles", ",".join(styles),
             "--keep-bad", bad])
    if status != 0 and not (excuse(world, db, watch, replaced, text) or (status < 0 and watch.disturbed())):
        raise Violation(f"{db.name}: copies by {styles}: status {status}: {text} (kept as {bad})")
    for line in text.splitlines():
        if line.startswith("{"):
            world.count("copies checked", json.loads(line)["copies"])
    if os.path.exists(bad):
        os.unlink(bad)


def by_mmap(world, db, rng):
    copies(world, db, rng, ["mmap"])
    world.count("rounds by mmap")


def slow_rate(db, rng):
    """Bytes a second, so that a descriptor is held for half as long as a daemon that is told to end waits for it (30 s)."""
    try:
        size = os.stat(db.seen).st_size
    except OSError:
        size = 0
    return max(rng.choice([300000, 2000000]), size // 4)


def held(world, db, rng):
    """A descriptor that is held, read again in every style: the same bytes."""
    how = ["--rate", str(slow_rate(db, rng))] if rng.random() < 0.3 else ["--style", rng.choice(STYLES)]
    with db.gate.together():
        watch, replaced = world.watch(), db.replaced
        status, text = world.run([f"{TEST_BIN}/reader", "--file", db.seen, "--ack", db.ack_file, "--hold",
                                  str(rng.choice([0.1, 1, 3, 6])), *how])
    if status == 0:
        world.count("copies checked", 9)
        world.count("descriptors held")
        return
    told = "\n".join(line for line in text.splitlines() if not line.startswith("held"))
    if not (excuse(world, db, watch, replaced, told) or (status < 0 and watch.disturbed())):
        raise Violation(f"{db.name}: held by {how}: status {status}: {text}")


def piece_of(fd, size, at):
    """As pread(2), but what a daemon that dies in the middle has cut short goes on, and so ends with its error."""
    data = b""
    while len(data) < size:
        more = os.pread(fd, size - len(data), at + len(data))
        if not more:
            break
        data += more
    return data


def parts(world, db, rng):
    """Some pieces of a file, some of them twice, and away."""
    with db.gate.together():
        watch, replaced = world.watch(), db.replaced
        try:
            fd = os.open(db.seen, os.O_RDONLY)
        except OSError as e:
            if excuse(world, db, watch, replaced, e.strerror):
                return
            raise Violation(f"{db.name}: open: {e}") from None
        try:
            size = os.fstat(fd).st_size
            pieces = {}
            for _ in range(rng.randint(1, 40)):
                at = rng.choice([rng.randrange(size), *pieces])
                data = piece_of(fd, 3000, at)
                if len(data) != min(3000, size - at):
                    raise Violation(f"{db.name}: {len(data)} bytes at {at} of {size}")
                if pieces.setdefault(at, data) != data:
                    raise Violation(f"{db.name}: another piece at {at} of {size}")
                world.pause(rng.choice([0, 0, 0.05]))
            if os.fstat(fd).st_size != size:
                raise Violation(f"{db.name}: the size changed")
            world.count("partial reads", len(pieces))
        except OSError as e:
            if not excuse(world, db, watch, replaced, e.strerror):
                raise Violation(f"{db.name}: partial read: {e}") from None
        finally:
            try:
                os.close(fd)
            except OSError:
                pass


@contextlib.contextmanager
def all_there(world):
    """Whether no database is being deleted and begun anew; none is, until the end, if so."""
    inside = [db.gate for db in world.databases if db.gate.enter()]
    try:
        yield len(inside) == len(world.databases)
    finally:
        for gate in inside:
            gate.leave()


def whole_folder(world, _db, rng):
    """A backup of everything."""
    watch = world.watch()
    target = f"{world.tmp}/tree-{world.number()}"
    argv = rng.choice([["cp", "-a", f"{world.mnt}/.", target], ["rsync", "-a", f"{world.mnt}/", target]])
    with all_there(world) as there:
        if not there:
            return
        try:
            back_up(world, watch, argv, target)
        finally:
            world.run(["rm", "-rf", target])


def back_up(world, watch, argv, target):
    status, text = world.run(argv)
    good = [f"{target}/{db.name}" for db in world.databases]
    vanished = re.search("file has vanished|No such file", text) and "guest" in text
    if status != 0 and not watch.disturbed() and not vanished:
        raise Violation(f"{argv}: status {status}: {text}")
    if status == 0 and not watch.disturbed():
        world.must([f"{TEST_BIN}/check_copy", *good])
        world.count("copies checked", len(good))
        world.count("backups of the whole folder")


def guest(world, _db, rng):
    """Another database appears, is read, is written, and vanishes."""
    name = f"guest-{world.number()}.db"
    live, seen = f"{world.src}/{name}", f"{world.mnt}/{name}"
    writer = [f"{TEST_BIN}/writer", "--db", live, "--sync", "off", "--journal", rng.choice(["wal", "delete"]), "--page-size",
              str(rng.choice([512, 4096])), "--busy-timeout", "10000", "--rows", "100"]
    try:
        last = json.loads(world.must([*writer, "--commits", "20"]).splitlines()[-1])["last"]
        for _ in range(rng.randint(1, 3)):
            watch = world.watch()
            copy = f"{world.tmp}/guest-{world.number()}"
            status, text = world.run(["cp", seen, copy])
            if status != 0 and not watch.disturbed():
                raise Violation(f"{name}: {text}")
            if status == 0:
                found = int(world.must([f"{TEST_BIN}/check_copy", copy]))
                if found != last and not watch.disturbed():
                    raise Violation(f"{name}: commit {found}, not {last}")
                world.count("copies checked")
            world.run(["rm", "-f", copy])
            last = json.loads(world.must([*writer, "--commits", "5"]).splitlines()[-1])["last"]
    finally:
        for end in ("", "-wal", "-shm", "-journal"):
            if os.path.exists(live + end):
                os.unlink(live + end)
    if not world.watch().disturbed() and os.path.exists(seen):
        raise Violation(f"{name}: it is gone, and still shown")
    world.count("databases that came and went")


# ---- snapshots -----------------------------------------------------------------------------------------------------------


def ours(world):
    return sorted(name for name in os.listdir(world.snaps) if name.startswith("soak-"))


def snapshot(world, _db, rng):
    """One is made; what is in it lies between what was committed before and after; it stays what it is."""
    watch = world.watch()
    name = f"soak-{world.number()}"
    path = f"{world.snaps}/{name}"
    world.read_now.add(name)
    try:
        make_snapshot(world, rng, path, watch)
    finally:
        world.read_now.discard(name)
    drop_some(world, rng, watch)


def make_snapshot(world, rng, path, watch):
    databases = [db for db in world.databases if db.turn.acquire(blocking=False)]
    try:
        before = {db: db.range() for db in databases}
        try:
            os.mkdir(path)
        except OSError as e:
            if watch.disturbed():
                return
            raise Violation(f"mkdir {path}: {e}") from None
        copied = {}
        for db in databases:
            copied[db] = copy_out(world, db, f"{path}/{db.name}", watch)
            if copied[db] and not db.within(before[db], copied[db][0]):
                raise Violation(f"{path}/{db.name}: commit {copied[db][0]} is outside {before[db]}, {list(db.ack)}")
            if copied[db]:
                world.judged.add(f"{path}/{db.name}")
    finally:
        for db in databases:
            db.turn.release()
    world.count("snapshots made")
    world.pause(rng.choice([0, 0.3, 2]))
    for db in databases:
        again = copied[db] and copy_out(world, db, f"{path}/{db.name}", watch)
        if again and again != copied[db]:
            raise Violation(f"{path}/{db.name}: it was {copied[db]}, it is {again}")


def copy_out(world, db, path, watch):
    """Number and digest of the kept copy at PATH; None if the daemon was restarted."""
    copy = f"{world.tmp}/kept-{world.number()}"
    status, text = world.run(["cp", path, copy])
    try:
        if status == 0:
            number = db.judge(copy)
            world.count("snapshots read")
            return number, world.must(["sha256sum", copy]).split()[0]
        if watch.disturbed():
            return None
        raise Violation(f"{path}: {text}")
    finally:
        world.run(["rm", "-f", copy])


def drop_some(world, rng, watch):
    with world.dropping:
        try:
            names = [name for name in ours(world) if name not in world.read_now]
            while len(names) > rng.randint(1, 4):
                os.rmdir(f"{world.snaps}/{names.pop(rng.randrange(len(names)))}")
                world.count("snapshots dropped")
        except OSError as e:
            if not watch.disturbed():
                raise Violation(f"dropping a snapshot: {e}") from None


def integrity(_world, db, _rng):
    with db.gate.together():
        db.integrity()


def look(world, db, _rng):
    """Names and attributes only."""
    watch = world.watch()
    for argv in (["ls", "-lR", world.mnt], ["stat", db.seen], ["cat", f"{world.mnt}/.sqlsnapfs/log"],
                 ["python3", "-m", "json.tool", f"{world.mnt}/.sqlsnapfs/status.json"]):
        # What is begun anew has a journal before it is a database: a file like any other, which goes while it is listed.
        with all_there(world) as there, db.gate.together():
            status, text = world.run(argv)
        if status != 0 and there and not watch.disturbed() and "guest" not in text:
            raise Violation(f"{argv}: {text}")
    world.count("looks at names and status")


