# SPDX-License-Identifier: MIT
"""powercut_cases.py - what powercut.py plays: restores over every kind of live database, and snapshots."""

import os
import shutil

from databases import look, make
from mounts import Daemon, Fault, wait_for

UNDO = "before-restore-"


class Restore:
    """A restore of what NEW makes over what OLD makes."""

    mounts = 1000  # every so many cuts, at least

    def __init__(self, name, old=None, new=None, app=None, undo=True):
        self.name, self.undo = name, undo
        self.make_old, self.make_new, self.with_app = old, new, app

    def prepare(self, stage):
        self.make_old(stage)
        (self.make_new or plain_new)(stage)
        if self.with_app:
            self.with_app(stage)

    def old(self, stage):
        """What the live database is: looked at in a copy."""
        for suffix in ("", "-wal", "-journal"):
            if os.path.exists(stage.folder + "/old" + suffix):
                os.unlink(stage.folder + "/old" + suffix)
            if os.path.exists(stage.db + suffix):
                shutil.copyfile(stage.db + suffix, stage.folder + "/old" + suffix)
        return look(stage.folder + "/old")

    def is_old(self, seen, raw):
        """Of an old one that SQLite cannot read. RAW: the bytes before it has tried, and after."""
        return False

    def run(self, stage):
        stage.mount()
        stage.restore()

    def keeps(self, history):
        return self.undo and history.written

    def judge_kept(self, stage, judge, history, lines):
        undo = [path for _, name, path in lines if name.startswith(UNDO)]
        if self.keeps(history) and not undo:
            raise Fault("the live database was written to, and what stood there is not kept")
        for path in undo:
            self.judge_undo(stage, judge, path)

    def judge_undo(self, stage, judge, path):
        seen = look(path, immutable=True)
        if judge.phase(seen) is None or judge.phase(seen)[0] != 0:
            raise Fault(f"what is kept is {seen}")


class HotRestore(Restore):
    """The journal of an application that crashed is rolled back first, as its own next open would, for nobody to keep."""

    def keeps(self, history):
        return history.low[0] == 1


class RawRestore(Restore):
    """Over what SQLite cannot read, or what is not there: the files are kept as they are."""

    mounts = 1  # a mount knows databases by their files, which sqlite3 need not

    def prepare(self, stage):
        # The name is a database's because a mount has shown it.
        make(stage.db, "before", "wal")
        daemon = Daemon(stage.mnt, stage.store, [stage.src], stage.folder + "/before.log")
        with open(stage.mnt + "/db.sqlite3", "rb") as file:
            file.read()
        if daemon.end():
            raise Fault("the mount before failed")
        os.unlink(stage.db)
        super().prepare(stage)

    def old(self, stage):
        self.raw = {}
        for suffix in ("", "-wal", "-journal"):
            if os.path.exists(stage.db + suffix):
                with open(stage.db + suffix, "rb") as file:
                    self.raw[suffix] = file.read()
        return "raw"

    def is_old(self, seen, raw):
        if not self.raw.get(""):
            return seen == "missing" or b"" in raw
        return self.raw[""] in raw

    def judge_undo(self, stage, judge, path):
        names = {"": "db", "-wal": "wal", "-journal": "journal"}
        for suffix, raw in self.raw.items():
            if not raw and suffix:
                continue
            with open(os.path.join(os.path.dirname(path), names[suffix]), "rb") as file:
                if file.read() != raw:
                    raise Fault(f"what is kept of the raw state{suffix} is not what stood there")


class Commits(Restore):
    """The application commits before and after, below the recorder too: what it was told is committed stays."""

    def run(self, stage):
        app = stage.app(recorded=True)
        app.do("PRAGMA synchronous=EXTRA")  # with FULL the journal may be there again: SQLite's promise, not ours
        stage.mount()
        commits(stage, app, 0, 3)
        stage.restore()
        stage.mark("acked 1 0")
        commits(stage, app, 1, 4)


class Unchanged(Restore):
    """What is uploaded is what an application has committed, but not brought to the disk: from the answer on it is there."""

    def run(self, stage):
        app = stage.app(recorded=True)
        app.do("PRAGMA synchronous=" + self.sync)
        stage.mount()
        stage.mark("begin 0 3")
        for _ in range(3):
            app.do("INSERT INTO app VALUES(1)")
        shutil.copyfile(stage.mnt + "/db.sqlite3", stage.folder + "/same")
        stage.mark("promise 0 3")
        shutil.copyfile(stage.folder + "/same", stage.mnt + "/db.sqlite3")
        if "nothing was changed" not in stage.daemon.said():
            raise Fault("it was not the same")
        app.do("PRAGMA synchronous=FULL")  # its own end is not what is looked at

    def keeps(self, history):
        return False


def unchanged(name, journal, sync):
    case = Unchanged(name, old_of(journal=journal))
    case.sync = sync
    return case


def commits(stage, app, phase, count):
    for n in range(1, count + 1):
        stage.mark(f"begin {phase} {n}")
        app.do("INSERT INTO app VALUES(1)")
        stage.mark(f"acked {phase} {n}")


class Snapshot:
    """mkdir of a snapshot of three databases, and its rmdir."""

    undo, mounts = False, 1000

    def __init__(self, name, journals):
        self.name, self.journals = name, journals

    def prepare(self, stage):
        stage.sources = []
        for i, journal in enumerate(self.journals):
            path = stage.src + ("/db.sqlite3" if i == 0 else f"/{i}.sqlite3")
            make(path, f"old{i}", journal, rows=30)
            stage.sources.append(path)
            if journal == "wal":
                stage.app(path).do("INSERT INTO app VALUES(1)")
        make(stage.new, "new")
        self.looks = [None] * len(stage.sources)

    def old(self, stage):
        for i, path in enumerate(stage.sources):
            for suffix in ("", "-wal"):
                copy = stage.folder + f"/old{suffix}"
                if os.path.exists(copy):
                    os.unlink(copy)
                if os.path.exists(path + suffix):
                    shutil.copyfile(path + suffix, copy)
            self.looks[i] = look(stage.folder + "/old")
        return self.looks[0]

    def is_old(self, seen, raw):
        return False

    def run(self, stage):
        stage.mount()
        stage.mark("snapshot maybe")
        os.mkdir(stage.mnt + "/.sqlsnapfs/snapshots/shot")
        wait_for(30, "the snapshot", lambda: 'snapshot "shot" of ' in stage.daemon.said())
        stage.mark("snapshot there")
        stage.mark("snapshot maybe")
        os.rmdir(stage.mnt + "/.sqlsnapfs/snapshots/shot")
        stage.mark("snapshot none")

    def keeps(self, history):
        return history.snapshot == "there"

    def judge_kept(self, stage, judge, history, lines):
        found = {int(number): path for number, name, path in lines if name == "shot"}
        if len(found) not in (0, len(stage.sources)):
            raise Fault(f"{len(found)} of {len(stage.sources)} databases are in the snapshot")
        if found and history.snapshot == "none":
            raise Fault("the snapshot is there before mkdir, or after rmdir has answered")
        if not found and history.snapshot == "there":
            raise Fault("the snapshot that was written is not there")
        for number, path in found.items():
            seen = look(path, immutable=True)
            if seen != self.looks[number]:
                raise Fault(f"database {number} in the snapshot is {seen}, not {self.looks[number]}")


# ---- what stands there ---------------------------------------------------------------------------------------


def plain_new(stage):
    make(stage.new, "new", rows=80)


def new_of(**how):
    return lambda stage: make(stage.new, "new", rows=80, **how)


def old_of(**how):
    return lambda stage: make(stage.db, "old", **how)


def idle_app(stage):
    """Has committed, and its WAL, if it has one, is not copied."""
    stage.app().do("INSERT INTO app VALUES(1)")


def reading_app(stage):
    app = stage.app()
    app.do("INSERT INTO app VALUES(1)")
    app.do("BEGIN")
    app.do("SELECT count(*) FROM rows")


def checkpointed_app(stage):
    """Its next commit starts the WAL over."""
    app = stage.app()
    app.do("INSERT INTO app VALUES(1)")
    app.do("PRAGMA wal_checkpoint(PASSIVE)")


def killed(stage, *statements):
    app = stage.app()
    for sql in statements:
        app.do(sql)
    app.kill()
    stage.apps.remove(app)


def wal_left(stage):
    make(stage.db, "old", "wal")
    killed(stage, "INSERT INTO app VALUES(1)")


def hot(stage):
    make(stage.db, "old", "delete", rows=200)
    killed(stage, "PRAGMA cache_size=2", "PRAGMA cache_spill=1", "BEGIN IMMEDIATE", "UPDATE rows SET body=randomblob(600)")
    if os.path.getsize(stage.db + "-journal") == 0:
        raise Fault("no hot journal")


def missing_beside_wal(stage):
    wal_left(stage)
    os.unlink(stage.db)


def empty_beside_wal(stage):
    wal_left(stage)
    os.truncate(stage.db, 0)


def garbage(stage):
    wal_left(stage)
    with open(stage.db, "wb") as file:
        file.write(b"this is no database " * 1000)


CASES = [
    Restore("wal", old_of(journal="wal"), app=idle_app),
    Restore("wal-closed", old_of(journal="wal")),
    Restore("wal-reading", old_of(journal="wal"), app=reading_app),
    Restore("wal-checkpointed", old_of(journal="wal"), app=checkpointed_app),
    Restore("wal-left", wal_left),
    Restore("wal-pages", old_of(journal="wal"), new_of(page_size=1024), app=idle_app),
    Restore("wal-smaller", old_of(journal="wal", rows=400), app=idle_app),
    Commits("wal-commits", old_of(journal="wal")),
    Restore("delete", old_of(journal="delete"), app=idle_app),
    Restore("delete-smaller", old_of(journal="delete", rows=400)),
    Restore("delete-pages", old_of(journal="delete"), new_of(page_size=1024)),
    Restore("delete-gets-wal", old_of(journal="delete"), new_of(journal="wal")),
    Restore("persist", old_of(journal="persist")),
    Commits("delete-commits", old_of(journal="delete")),
    unchanged("wal-unchanged", "wal", "NORMAL"),
    unchanged("wal-unchanged-off", "wal", "OFF"),
    unchanged("delete-unchanged", "delete", "FULL"),
    HotRestore("hot", hot),
    RawRestore("missing", lambda stage: None, undo=False),
    RawRestore("missing-gets-wal", lambda stage: None, new_of(journal="wal"), undo=False),
    RawRestore("missing-beside-wal", missing_beside_wal),
    RawRestore("missing-beside-wal-gets-wal", missing_beside_wal, new_of(journal="wal")),
    RawRestore("empty-beside-wal", empty_beside_wal, new_of(journal="wal")),
    RawRestore("garbage", garbage),
    RawRestore("garbage-gets-wal", garbage, new_of(journal="wal")),
    Snapshot("snapshot", ("wal", "delete", "wal")),
    Snapshot("snapshot-of-one", ("wal",)),
]
