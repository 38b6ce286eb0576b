# SPDX-License-Identifier: MIT
"""changing.py - what changes: restores of good and bad uploads, undos, checkpoints, replaced files, restarts of the daemon."""

import contextlib
import os
import re
import signal
import subprocess
import time

from database import ACKED, LINEAGE, UPLOAD
from reading import copies, copy_out, ours
from world import FACTOR, Violation

WAYS = {
    "cp": lambda up, seen: ["cp", up, seen],
    # What mv could not rename would stay, and be the next one's.
    "cp, mv": lambda up, seen: ["sh", "-c", 'cp "$1" "$2.tmp" && mv "$2.tmp" "$2" || { rm -f "$2.tmp"; exit 1; }', "-", up, seen],
    "cat": lambda up, seen: ["sh", "-c", 'cat "$1" >"$2"', "-", up, seen],
    "dd": lambda up, seen: ["dd", "bs=70000", "status=none", f"if={up}", f"of={seen}"],
    "rsync": lambda up, seen: ["rsync", "--ignore-times", up, seen],
    "rsync in place": lambda up, seen: ["rsync", "--ignore-times", "--inplace", "--whole-file", up, seen],
    "install": lambda up, seen: ["install", up, seen],
}


def write(world, db, way, path):
    status, text = world.run(WAYS[way](path, db.seen), seconds=150)
    return status, text.strip()


# ---- restores ------------------------------------------------------------------------------------------------------------


def undos(world, db, watch):
    """What can be undone of DB: paths. Empty also when the daemon is being restarted."""
    try:
        return {path for name in os.listdir(world.snaps) if name.startswith("before-restore-")
                and os.path.exists(path := f"{world.snaps}/{name}/{db.name}")}
    except OSError as e:
        if not watch.disturbed():
            raise Violation(f"{world.snaps}: {e}") from None
        return set()


def check_kept(world, db, before, acked, watch):
    """What was replaced is kept, to the last commit."""
    new = undos(world, db, watch) - before
    if watch.disturbed():
        return
    if len(new) != 1:
        raise Violation(f"{db.name}: a restore has kept {new}")
    found = copy_out(world, db, new.pop(), watch)
    if found and found[0] < acked:
        raise Violation(f"{db.name}: what was replaced was kept as of commit {found[0]}, but {acked} had returned")


def restore(world, db, rng):
    """What is newer than everything: the application must go on from there."""
    way = rng.choice(list(WAYS))
    with db.turn:
        path, first, last = db.make(rng)
        watch = world.watch()
        before, acked = undos(world, db, watch), db.ack[ACKED]
        db.ack[UPLOAD] = last
        status, text = write(world, db, way, path)
        db.restored = time.monotonic()
        number = db.commit()
        if status == 0 and number <= last:
            raise Violation(f"{db.name}: {way} of {path} ended well, and the application goes on from {number}, not from {last}")
        if status != 0 and not watch.disturbed():
            raise Violation(f"{db.name}: {way} of {path}: status {status}: {text}")
        if first <= number:
            db.ack[ACKED] = max(db.ack[ACKED], last)
        if status == 0:
            check_kept(world, db, before, acked, watch)
    os.unlink(path)
    world.count("restores accepted" if status == 0 else "restores cut short by a restart")


def older(world, db, source, what):
    """A copy that was kept comes back, as a user would have it."""
    watch = world.watch()
    found = copy_out(world, db, source, watch)
    if not found:
        return
    with db.going_back():
        status, text = world.run(["cp", source, db.seen])
        db.restored = time.monotonic()
        number = db.commit()
    if status == 0 and not found[0] < number < found[0] + LINEAGE // 2:
        raise Violation(f"{db.name}: cp {source} ended well, and the application goes on from {number}, not from {found[0]}")
    if status != 0 and not watch.disturbed():
        raise Violation(f"{db.name}: cp {source}: {text}")
    world.count(what if status == 0 else "restores cut short by a restart")


def undo(world, db, rng):
    with db.turn, world.dropping:
        watch = world.watch()
        kept = sorted(undos(world, db, watch))
        if kept:
            # With keep=2 the last two stay and the oldest. Others may be dropped now: a restore that has ended for who wrote
            # it does that afterwards.
            older(world, db, rng.choice([kept[0], *kept[-2:]]), "undone by copying before-restore-*")


def restore_snapshot(world, db, rng):
    with db.turn, world.dropping:
        watch = world.watch()
        try:
            there = [path for name in ours(world)
                     if (path := f"{world.snaps}/{name}/{db.name}") in world.judged and os.path.exists(path)]
        except OSError as e:
            if not watch.disturbed():
                raise Violation(f"{world.snaps}: {e}") from None
            return
        if there:
            older(world, db, rng.choice(there), "restored from a snapshot")


def damaged(path, page_size):
    size = os.path.getsize(path)
    with open(path, "r+b") as file:
        for at in range(page_size, size, page_size):
            file.seek(at)
            file.write(b"\xff" * 64)


def other_tables(path):
    os.unlink(path)
    subprocess.run(["sqlite3", path, "CREATE TABLE theirs(x); INSERT INTO theirs VALUES(1)"], check=True)


def other_encoding(path):
    text = subprocess.run(["sqlite3", path, ".dump"], check=True, capture_output=True).stdout
    os.unlink(path)
    subprocess.run(["sqlite3", path], input=b"PRAGMA encoding='UTF-16le';\n" + text, check=True, stdout=subprocess.DEVNULL)


def no_database(path):
    with open(path, "wb") as file:
        file.write(b"This is no database.\n" * 5000)


# What it is, and what the tool says that wrote it.
BAD = {
    "damaged": (lambda path, page: damaged(path, page), "Structure needs cleaning"),
    "no table in common": (lambda path, page: other_tables(path), "Invalid argument|Bad message|Input/output error|Unknown error"),
    "another encoding": (lambda path, page: other_encoding(path), "Invalid argument|Bad message"),
    "no database": (lambda path, page: no_database(path), "Wrong medium type"),
    "cut": (lambda path, page: os.truncate(path, os.path.getsize(path) // 2 // page * page), "Input/output error"),
    "cut inside a page": (lambda path, page: os.truncate(path, os.path.getsize(path) - 100), "Input/output error"),
    "empty": (lambda path, page: os.truncate(path, 0), None),
}


def live_files(world, db):
    """Digests of the live database's files while its application is paused."""
    return world.must(["sha256sum", db.live, *(f for end in ("-wal", "-journal") if os.path.exists(f := db.live + end))])


def refused(world, db, rng):
    """What must be refused: the tool says so, and nothing has changed, not a byte if the application pauses."""
    kind = rng.choice(list(BAD))
    spoil, words = BAD[kind]
    page = 4096
    way = rng.choice(["cp", "cat", "dd"] if words is None else list(WAYS))
    with db.turn:
        path, first, last = db.make(rng, **{"page-size": page, "journal": "delete", "auto-vacuum": 0})
        spoil(path, page)
        # A restore ends for who wrote it before its checkpoint does, which is none of this.
        still = time.monotonic() - db.restored > 5 * FACTOR
        watch = world.watch()
        inode = os.stat(db.live).st_ino
        with db.sleep if still else contextlib.nullcontext():
            if still:
                db.do("pause")
            before = still and live_files(world, db)
            status, text = write(world, db, way, path)
            after = still and live_files(world, db)
            db.do("resume")
        number = db.commit()
        replaced = os.stat(db.live).st_ino != inode  # nobody else's turn, who may delete it
    what = f"{db.name}: {way} of {path}, {kind}"
    if first <= number <= last + LINEAGE // 2 or replaced or before != after:
        raise Violation(f"{what}: it has changed something: {number}, {before}, {after}")
    if words is None:
        if status != 0 and not watch.disturbed():
            raise Violation(f"{what}: status {status}: {text}")
    elif status == 0 or not (watch.disturbed() or re.search(words, text)):
        raise Violation(f"{what}: status {status}: '{text}', not '{words}'")
    os.unlink(path)
    world.count("restores refused")


def killed_upload(world, db, rng):
    """Whoever writes is killed in the middle."""
    program = ("import os, signal, sys\n"
               "data = open(sys.argv[1], 'rb').read()\n"
               "fd = os.open(sys.argv[2], os.O_WRONLY | os.O_TRUNC)\n"
               "os.write(fd, data[:int(len(data) * float(sys.argv[3]))])\n"
               "os.kill(os.getpid(), signal.SIGKILL)\n")
    with db.turn:
        path, first, _last = db.make(rng)
        watch = world.watch()
        status, text = world.run(["python3", "-c", program, path, db.seen, str(rng.uniform(0.1, 0.9))])
        number = db.commit()
    if number >= first:
        raise Violation(f"{db.name}: half of {path} was restored")
    if status != -signal.SIGKILL and not watch.disturbed():
        raise Violation(f"{db.name}: status {status}: {text}")
    os.unlink(path)
    world.count("uploads killed")


# ---- the application -----------------------------------------------------------------------------------------------------


def checkpoint(world, db, rng):
    mode = rng.choice(["PASSIVE", "FULL", "RESTART", "TRUNCATE"])
    if db.execute(f"PRAGMA wal_checkpoint({mode})"):
        world.count(f"checkpoints {mode}")


def vacuum(world, db, _rng):
    if db.execute("VACUUM"):
        world.count("VACUUM")


def close_and_open(world, db, rng):
    """The application ends: where nobody reads, its sidecars go as if we had not been there."""
    with db.turn, db.gate.by_itself():
        db.close()
        db.wait_closed()
        world.pause(rng.choice([0, 0.5]))
        if db.do("open") != "opened":
            raise Violation(f"{db.name}: the application cannot open it: {open(db.errors).read()[-500:]}")
        db.do("resume")
    world.count("applications closed and opened")


def journal_mode(world, db, rng):
    """To the other journal mode, some copies there, and back."""
    other = "delete" if db.journal == "wal" else "wal"
    with db.turn:
        for mode in (other, db.journal):
            with db.gate.by_itself():
                world.wait_for(f"{db.name}: journal_mode={mode}", 20,
                               lambda m=mode: db.do(f"exec PRAGMA journal_mode={m}", may_fail=True) == "ok")
                text = world.must(["sqlite3", "-cmd", f".timeout {20000 * FACTOR}", db.live, "PRAGMA journal_mode"]).strip()
                if text != mode:
                    raise Violation(f"{db.name}: journal_mode={mode} is answered by ok, and it is {text}")
            db.commit()
            copies(world, db, rng)
            world.count("journal mode switched")


# ---- the live file -------------------------------------------------------------------------------------------------------


def replace(world, db, rng):
    """Another database takes its name, while the application is away."""
    with db.turn:
        path, first, last = db.make(rng, journal=db.journal, **{"page-size": db.page_size})
        if db.journal == "wal" or rng.random() < 0.5:
            with db.gate.by_itself():
                move_over(world, db, path, last)
        else:
            move_over(world, db, path, last)
        number = db.commit()
    if not last < number < first + LINEAGE:
        raise Violation(f"{db.name}: replaced by {last}, and the application goes on from {number}")
    world.count("live files replaced by rename")


def move_over(world, db, path, last):
    db.close()
    if db.journal == "wal":
        db.wait_closed()
    db.ack[UPLOAD] = last
    db.replaced += 1
    os.rename(path, db.live)
    db.replaced += 1
    if db.do("open") != "opened":
        raise Violation(f"{db.name}: the application cannot open it: {open(db.errors).read()[-500:]}")
    db.do("resume")


def recreate(world, db, _rng):
    """It is deleted, and begun anew by the application."""
    with db.turn, db.gate.by_itself(), db.going_back():
        db.close()
        db.wait_closed()
        db.replaced += 1
        os.unlink(db.live)
        watch = world.watch()
        if os.path.exists(db.seen) and not watch.disturbed():
            raise Violation(f"{db.name}: it is gone, and still shown")
        if db.do("open") != "opened":
            raise Violation(f"{db.name}: the application cannot begin it: {open(db.errors).read()[-500:]}")
        db.do("resume")
        number = db.commit()
        if number >= LINEAGE:
            raise Violation(f"{db.name}: begun anew, and the application goes on from {number}")
    world.count("live files deleted and begun anew")


# ---- the daemon ----------------------------------------------------------------------------------------------------------


def restart(world, _db, rng, kill=None):
    kill = rng.random() < 0.5 if kill is None else kill
    with world.restarting:
        daemon = world.daemon
        world.downs += 1
        daemon.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        if kill:
            world.ended(daemon, -signal.SIGKILL)
        elif rng.random() < 0.5:
            world.ended(daemon, 0)
            daemon = None
        else:  # the next one is there while this one still serves what is open
            world.wait_for("SIGTERM detaches the mount", 15, lambda: not world.mounted())
        world.pause(rng.choice([0, 0, 0.2]))
        world.mount()
        if daemon and not kill:
            world.ended(daemon, 0)
        world.downs += 1
    world.count("daemons killed" if kill else "daemons ended by SIGTERM")


def kill_daemon(world, db, rng):
    restart(world, db, rng, True)


def end_daemon(world, db, rng):
    restart(world, db, rng, False)


