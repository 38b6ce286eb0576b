# SPDX-License-Identifier: MIT
"""inject_operations.py - what inject.py has fail: a mount with its databases and applications, and operations on it."""

import os
import shutil
import subprocess
import time

from databases import SIDECARS, look, make
from mounts import FACTOR, App, Daemon, Fault, alive, is_mounted, wait_for

NAMES = {"wal": "wal.sqlite3", "rollback": "rollback.sqlite3", "third": "third.sqlite3"}
UPLOADS = ("one", "two")
OPTIONS = ("wal_limit=64K", "busy_timeout=2", "keep=1")
TIMEOUT = 60


class Rig:
    """Three databases in a folder, an application on each, a mount."""

    def __init__(self, folder, control):
        self.folder, self.control = folder, control
        self.src, self.store, self.mnt = folder + "/src", folder + "/store", folder + "/mnt"
        for path in (self.src, self.store):
            shutil.rmtree(path, ignore_errors=True)
            os.mkdir(path)
        self.daemon, self.fds, self.apps, self.pardoned = None, None, {}, set()
        for i, name in enumerate(UPLOADS):
            make(f"{folder}/{name}", name, rows=25 + 5 * i)
        self.uploads = [look(f"{folder}/{name}") for name in UPLOADS]
        for name in NAMES:
            make(self.live(name), "first", "delete" if name == "rollback" else "wal", rows=30)
            self.apps[name] = App(self.live(name))
            self.apps[name].do("PRAGMA busy_timeout=5000")
            self.apps[name].do("INSERT INTO app VALUES(1)")
        self.apps["third"].do("BEGIN IMMEDIATE")  # holds its locks throughout
        self.locks = set().union(*(self.locks_of_third() for _ in range(20)))
        self.state = {name: look(self.live(name)) for name in NAMES}

    def live(self, name):
        return f"{self.src}/{NAMES[name]}"

    def shown(self, name):
        return f"{self.mnt}/{NAMES[name]}"

    def locks_of_third(self):
        pid = str(self.apps["third"].process.pid)
        with open("/proc/locks") as file:
            return {" ".join(line.split()[1:]) for line in file if pid in line.split()}

    # ---- the mount

    def start(self, wait=True):
        self.fds = None
        self.daemon = Daemon(
            self.mnt, self.store, [self.src], self.folder + "/daemon.log", self.control.environment(), OPTIONS, wait
        )

    def before(self, operation):
        if operation.mounted and self.daemon is None:
            self.start()
        operation.prepare(self)

    def after(self, operation, name, good):
        """All that must be true whatever has failed."""
        if self.daemon and not alive(self.daemon.process.pid):
            raise Fault(f"the daemon ended: {self.daemon.process.wait()}: {self.daemon.said()[-2000:]}")
        self.check_reports()
        # /proc/locks is no snapshot: while others lock it may miss one, which then is there the next time.
        if not any(self.locks <= self.locks_of_third() for _ in range(100)):
            raise Fault(f"the application's locks are {self.locks_of_third()}, not {self.locks}")
        for app in ("wal", "rollback"):
            self.apps[app].do("INSERT INTO app VALUES(1)")
        self.look_at_live(self.state.keys())
        if self.daemon:
            for one in NAMES:
                self.read_now(one)
            self.check_open_files()
        self.check_store(good or name == "name")

    def look_at_live(self, names):
        for name in names:
            self.state[name] = look(self.live(name))
            if not isinstance(self.state[name], tuple):
                raise Fault(f"{name} is {self.state[name]}")

    def read_now(self, name):
        """Nothing fails any more: it can be read, and is what it is."""
        seen = []

        def is_right():
            try:
                shutil.copyfile(self.shown(name), self.folder + "/copy")
            except OSError as e:
                seen[:] = [e]
                return False
            seen[:] = [look(self.folder + "/copy")]
            if not isinstance(seen[0], tuple):
                raise Fault(f"the mount gives of {name}: {seen[0]}")
            return seen[0] == self.state[name]

        try:
            wait_for(10, "it", is_right)
        except Fault as e:
            if isinstance(seen[0], OSError) or not str(e).startswith("it:"):
                raise Fault(f"{name} through the mount afterwards: {seen[0]}: {self.daemon.said()[-500:]}") from e
            raise Fault(f"the mount shows {name} as {seen[0]}, it is {self.state[name]}") from e

    def count_open(self):
        return len(os.listdir(f"/proc/{self.daemon.process.pid}/fd"))

    def check_open_files(self):
        """Not more than the most that has been seen after operations in which nothing failed, with room for what is shown."""
        if self.fds is None:
            self.fds = self.count_open() + 12
        try:
            wait_for(10, "descriptors", lambda: self.count_open() <= self.fds)
        except Fault as e:
            raise Fault(f"descriptors are left open: {self.count_open()}, not {self.fds}: {sorted(self.open_paths())}") from e

    def strays(self):
        """What has a leading dot is being written, or is left over."""
        out = []
        for folder, folders, files in os.walk(self.store):
            out += [os.path.join(folder, name) for name in folders + files if name.startswith(".")]
        return out

    def open_paths(self):
        if not self.daemon:
            return []
        folder, out = f"/proc/{self.daemon.process.pid}/fd", []
        for fd in os.listdir(folder):
            try:
                out.append(os.readlink(f"{folder}/{fd}"))
            except OSError:
                pass
        return out

    def check_store(self, pardon=False):
        """PARDON: nothing could be removed, which the next start does."""
        left = set()

        def is_clean():
            left.clear()
            left.update(self.strays())
            return pardon or left <= self.pardoned

        try:
            wait_for(0.5 if self.daemon else 0, "left in the store", is_clean)  # what is being worked in goes
        except Fault:
            # One call that fails may be the one that removes something: then that stays.
            def is_one():
                return is_clean() or len({path.split(".partial/")[0] for path in left - self.pardoned}) <= 1

            try:
                wait_for(10 if self.daemon else 0, "left in the store", is_one)
            except Fault as e:
                raise Fault(f"left in the store: {sorted(left - self.pardoned)}") from e
        self.pardoned |= left

    def check_reports(self):
        if self.control.reports():
            raise Fault(self.control.reports())

    def stop(self):
        daemon, self.daemon = self.daemon, None
        status = daemon.end()
        self.check_reports()
        return status

    def finish(self):
        if self.daemon and self.stop():
            raise Fault("the daemon did not end well")
        self.check_store()
        for app in self.apps.values():
            app.stop()
        left = [name for name in os.listdir(self.src) if name.endswith(SIDECARS)]
        if left:
            raise Fault(f"left beside the databases: {left}")

    def abandon(self):
        if self.daemon:
            self.daemon.kill()
        for app in self.apps.values():
            app.kill()


class Operation:
    mounted = True

    def prepare(self, rig):
        pass

    def act(self, rig):
        raise NotImplementedError

    def judge(self, rig, result):
        pass


def copy(source, target):
    """cp, whose exit status counts; a hang is a fault."""
    try:
        done = subprocess.run(["cp", source, target], timeout=TIMEOUT * FACTOR, capture_output=True, text=True, check=False)
    except subprocess.TimeoutExpired:
        raise Fault(f"cp {source} {target} hangs") from None
    return done.returncode


class Read(Operation):
    def __init__(self, database):
        self.name, self.database = f"read-{database}", database

    def act(self, rig):
        return copy(rig.shown(self.database), rig.folder + "/read")

    def judge(self, rig, result):
        if result == 0 and look(rig.folder + "/read") != rig.state[self.database]:
            raise Fault(f"read {look(rig.folder + '/read')}, which is not {rig.state[self.database]}")


class Spool(Operation):
    """A reader holds the database while the application writes more than wal_limit: its bytes stay, or it gets an error."""

    name = "spool"

    def prepare(self, rig):
        self.before = rig.state["wal"]
        self.file = open(rig.shown("wal"), "rb", buffering=0)

    def act(self, rig):
        app = rig.apps["wal"]
        answers = [app.ask("UPDATE rows SET body=randomblob(600)") for _ in range(4)]
        # Somebody opens it anew, and the janitor has had a turn.
        copy(rig.shown("wal"), rig.folder + "/read")
        time.sleep(0.05)
        try:
            os.posix_fadvise(self.file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            data = self.file.readall()
        except OSError:
            data = None
        try:
            self.file.close()
        except OSError:
            pass
        return answers, data

    def judge(self, rig, result):
        answers, data = result
        if any(not answer.startswith("ok") for answer in answers):
            raise Fault(f"the application: {answers}")
        if data is None:
            return
        with open(rig.folder + "/held", "wb") as file:
            file.write(data)
        if look(rig.folder + "/held") != self.before:
            raise Fault(f"the reader got {look(rig.folder + '/held')}, which is not {self.before}")


class Restore(Operation):
    def __init__(self, database):
        self.name, self.database = f"restore-{database}", database

    def prepare(self, rig):
        self.before = rig.state[self.database]
        self.which = 1 if self.before[:2] == rig.uploads[0][:2] else 0
        self.said = len(rig.daemon.said())

    def act(self, rig):
        return copy(f"{rig.folder}/{UPLOADS[self.which]}", rig.shown(self.database))

    def judge(self, rig, result):
        seen, said = look(rig.live(self.database)), rig.daemon.said()[self.said :]
        new = seen == rig.uploads[self.which]
        if not new and seen != self.before:
            raise Fault(f"the live database is {seen}, neither {self.before} nor {rig.uploads[self.which]}: {said}")
        if result == 0 and not new:
            raise Fault(f"cp said that it was restored, and it was not: {said}")
        if result != 0 and new and "restored" not in said:
            raise Fault(f"cp said that it was not restored, and it was: {said}")


class Mkdir(Operation):
    name = "mkdir"

    def prepare(self, rig):
        self.path = rig.mnt + "/.sqlsnapfs/snapshots/shot"
        self.said = len(rig.daemon.said())
        self.old = dict(rig.state)
        if os.path.exists(self.path):
            os.rmdir(self.path)

    def act(self, rig):
        done = subprocess.run(["mkdir", self.path], timeout=TIMEOUT * FACTOR, capture_output=True, check=False)
        if done.returncode == 0:
            wait_for(30, "the snapshot is neither written nor lost", lambda: '"shot"' in rig.daemon.said()[self.said :])
            wait_for(30, "the end of its line", lambda: " written" in rig.daemon.said()[self.said :])
        return done.returncode

    def judge(self, rig, result):
        said = rig.daemon.said()[self.said :]
        if "was lost" in said:
            wait_for(10, "it is lost, and shown", lambda: not os.path.exists(self.path))  # which is told first
        there = os.path.exists(self.path)
        if there and (result != 0 or "was written" not in said) and "it stays" not in said:
            raise Fault(f"a snapshot that failed is there: {said}")
        if not there and result == 0 and "lost" not in said:
            raise Fault(f"a snapshot that was made is not there: {said}")
        if there:
            for name in NAMES:
                if copy(f"{self.path}/{NAMES[name]}", rig.folder + "/read"):
                    raise Fault(f"{name} is not in the snapshot: {said}")
                if look(rig.folder + "/read") != self.old[name]:
                    raise Fault(f"{name} in the snapshot is {look(rig.folder + '/read')}, not {self.old[name]}")


class Rmdir(Mkdir):
    name = "rmdir"

    def prepare(self, rig):
        super().prepare(rig)
        if super().act(rig) != 0:
            raise Fault("mkdir fails while nothing does")

    def act(self, rig):
        return subprocess.run(["rmdir", self.path], timeout=TIMEOUT * FACTOR, capture_output=True, check=False).returncode

    def judge(self, rig, result):
        if result == 0 and os.path.exists(self.path):
            raise Fault("rmdir said that it was dropped, and it is there")
        if os.path.exists(self.path):  # all of it
            super().judge(rig, 0)


class Mount(Operation):
    name, mounted = "mount", False

    def prepare(self, rig):
        if rig.daemon and rig.stop():
            raise Fault("the daemon did not end well")

    def act(self, rig):
        rig.start(wait=False)
        daemon = rig.daemon
        wait_for(30, "it neither mounts nor ends", lambda: daemon.is_ready() or daemon.process.poll() is not None)
        return daemon.process.poll()

    def judge(self, rig, result):
        if result is None:
            return
        said, rig.daemon = rig.daemon.said(), None
        rig.check_reports()
        if result <= 0 or result > 125:
            raise Fault(f"it ended with {result}: {said}")
        if not said.strip():
            raise Fault("it refused without a word")
        if is_mounted(rig.mnt):
            subprocess.run(["umount", "-l", rig.mnt], check=False)
            raise Fault(f"it ended and left its mount: {said}")


class Unmount(Operation):
    name = "unmount"

    def prepare(self, rig):
        with open(rig.shown("wal"), "rb") as file:
            file.read()
        copy(f"{rig.folder}/{UPLOADS[0]}", rig.shown("wal"))
        rig.look_at_live(["wal"])

    def act(self, rig):
        return rig.stop()

    def judge(self, rig, result):
        if result != 0:
            raise Fault(f"it ended with {result}")


OPERATIONS = [Read("wal"), Read("rollback"), Spool(), Restore("wal"), Restore("rollback"), Mkdir(), Rmdir(), Mount(), Unmount()]
