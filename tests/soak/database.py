# SPDX-License-Identifier: MIT
"""database.py - one live database with the application that writes to it (tests/app/writer.c), over restores.

Who is judged by commit numbers needs numbers that say which state is the newer one. Every database that is made for an upload
begins at a number of its own, a thousand million above the one before, and the application follows what it finds (--follow): so
a restore moves the numbers forward, and every copy is still judged by what had been committed before it was opened. An upload
that must be refused has such numbers too: they must never be seen. What goes back (an undo, a snapshot that is restored, a
database that is begun anew) takes an epoch of the file of acknowledgements; see struct workload_ack."""

import contextlib
import mmap
import os
import re
import select
import subprocess
import threading

from world import FACTOR, TEST_BIN, Interrupted, Violation

LINEAGE = 10**9
ROWS = 300  # accounts: the same in all that are restored onto each other
ACKED, BEGUN, UPLOAD, EPOCH = range(4)
CLOSED = "error 21"  # SQLITE_MISUSE
# A statement of ours that had to wait for readers has told its error; the application's own transactions have none.
MAY_FAIL = re.compile(r"^writer: (PRAGMA|VACUUM)")


class Gate:
    """Readers go through it together, what wants nobody to read alone. Who waits to be alone holds up new readers."""

    def __init__(self, world):
        self.world, self.condition, self.inside, self.alone = world, threading.Condition(), 0, False

    def wait(self, condition):
        while not condition():
            if self.world.stopping.is_set():
                raise Interrupted()
            self.condition.wait(0.2)

    @contextlib.contextmanager
    def together(self):
        with self.condition:
            self.wait(lambda: not self.alone)
            self.inside += 1
        try:
            yield
        finally:
            self.leave()

    def enter(self):
        """Together, if that needs no waiting; then leave()."""
        with self.condition:
            self.inside += not self.alone
            return not self.alone

    def leave(self):
        with self.condition:
            self.inside -= 1
            self.condition.notify_all()

    @contextlib.contextmanager
    def by_itself(self):
        with self.condition:
            self.wait(lambda: not self.alone)
            self.alone = True
        try:
            with self.condition:
                self.wait(lambda: self.inside == 0)
            yield
        finally:
            with self.condition:
                self.alone = False
                self.condition.notify_all()


class Database:
    def __init__(self, world, name, journal, page_size, rate, *more):
        self.world, self.name, self.journal, self.page_size = world, name, journal, page_size
        self.live, self.seen = f"{world.src}/{name}", f"{world.mnt}/{name}"
        self.turn = threading.Lock()  # of what changes more than the application does
        self.gate = Gate(world)
        self.replaced = 0  # how often the file was
        self.restored = 0.0  # when an upload last was, by the monotonic clock
        self.control = threading.Lock()
        self.sleep = threading.Lock()  # while the application does nothing
        plain = name.replace("/", "_")
        self.ack_file, self.errors = f"{world.tmp}/{plain}.ack", f"{world.logs}/{plain}.err"
        self.err_seen = 0
        self.app = world.spawn(
            [f"{TEST_BIN}/writer", "--control", "--follow", "--db", self.live, "--ack", self.ack_file, "--journal", journal,
             "--page-size", str(page_size), "--rate", str(rate), "--rows", str(ROWS), "--keep", "200", "--busy-timeout",
             str(20000 * FACTOR), "--sync", "off", "--rollback-every", "7", *more],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=open(self.errors, "w"))
        self.reply()
        with open(self.ack_file, "r+b") as file:
            self.ack = memoryview(mmap.mmap(file.fileno(), 32)).cast("Q")

    # ---- the application ---------------------------------------------------------------------------------------------

    def reply(self, seconds=90):
        if not select.select([self.app.stdout], [], [], seconds * FACTOR)[0]:
            raise Violation(f"{self.name}: the application does not answer: {self.world.hanging(self.app.pid)}")
        line = self.app.stdout.readline().decode().strip()
        if not line and self.world.stopping.is_set():
            raise Interrupted()
        if not line:
            raise Violation(f"{self.name}: the application has ended: {open(self.errors).read()[-1000:]}")
        return line

    def do(self, command, may_fail=False):
        with self.control:
            try:
                self.app.stdin.write(f"{command}\n".encode())
                self.app.stdin.flush()
            except BrokenPipeError:
                pass
            answer = self.reply()
        if answer.startswith("error") and not may_fail:
            raise Violation(f"{self.name}: {command}: {answer}: {open(self.errors).read()[-1000:]}")
        return answer

    def commit(self):
        """The number of a transaction that the application makes now through the connection that it has."""
        return int(self.do("commit 1").split()[1])

    def execute(self, sql):
        """By the application, beside everything else. False: it has the database closed at the moment."""
        with self.sleep:
            answer = self.do(f"exec {sql}", may_fail=True)
        if answer not in ("ok", CLOSED):
            raise Violation(f"{self.name}: {sql}: {answer}: {open(self.errors).read()[-500:]}")
        return answer == "ok"

    def check_errors(self):
        with open(self.errors) as file:
            file.seek(self.err_seen)
            lines = file.readlines()
            self.err_seen = file.tell()
        for line in lines:
            if not MAY_FAIL.search(line):
                raise Violation(f"{self.name}: the application was told: {line.strip()}")

    def stop(self):
        self.do("stop")
        report = self.reply()
        status = self.app.wait()
        self.world.reaped(self.app)
        if status != 0:
            raise Violation(f"{self.name}: the application ended with status {status}: {report}")
        return report

    # ---- numbers -----------------------------------------------------------------------------------------------------

    def make(self, rng, **options):
        """A new database of the application that is newer than all before: its path, its first and its last number. In TURN."""
        with self.world.lock:
            self.world.lineages += 1
            first = self.world.lineages * LINEAGE
        path, n = f"{self.world.up}/{self.world.number()}", rng.randint(5, 60)
        how = {"journal": rng.choice(["wal", "delete"]), "page-size": rng.choice([512, 1024, 4096, 8192, 65536]),
               "keep": rng.choice([10, 50, 200]), "big-row": rng.choice([0, 100000, 700000]), "big-every": 5,
               "auto-vacuum": rng.choice([0, 1, 2]), **options}
        self.world.must([f"{TEST_BIN}/writer", "--db", path, "--base", str(first), "--commits", str(n), "--rows", str(ROWS),
                         "--sync", "off", "--seed", str(rng.randrange(1 << 30)), "--busy-timeout", "5000",
                         *(word for key, value in how.items() for word in (f"--{key}", str(value)))])
        return path, first, first + n

    @contextlib.contextmanager
    def going_back(self):
        """The database may become one with lower numbers."""
        self.ack[EPOCH] += 1
        try:
            yield
        finally:
            self.do("commits?")  # what it had committed before is acknowledged
            self.ack[ACKED] = self.ack[UPLOAD] = 0
            self.ack[EPOCH] += 1

    def range(self):
        """What a copy that is opened now must lie in, once the other end is known; see within()."""
        return self.ack[EPOCH], self.ack[ACKED]

    def within(self, before, number):
        epoch, acked = before
        begun = max(self.ack[BEGUN], self.ack[UPLOAD])
        return epoch % 2 == 1 or self.ack[EPOCH] != epoch or acked <= number <= begun

    # ---- judging -----------------------------------------------------------------------------------------------------

    def judge(self, path):
        """The number of the copy at PATH; a Violation if it is none."""
        status, text = self.world.run([f"{TEST_BIN}/check_copy", path])
        if status != 0:
            keep = f"{self.world.tmp}/bad-{self.world.number()}"
            self.world.run(["cp", path, keep])
            raise Violation(f"{self.name}: {path}: {text.strip()} (kept as {keep})")
        self.world.count("copies checked")
        return int(text)

    def integrity(self):
        text = self.world.must(["sqlite3", "-cmd", f".timeout {20000 * FACTOR}", f"file:{self.live}?mode=rw",
                                "PRAGMA integrity_check"]).strip()
        if text != "ok":
            raise Violation(f"{self.name}: integrity_check of the live database: {text[:1000]}")
        self.world.count("live integrity checks")

    def close(self):
        """The application's last close."""
        self.closing = self.world.watch()  # before it: the daemon that would close for it can be killed right after it
        self.do("close")

    def wait_closed(self):
        """After that no sidecar stays, or, if the daemon was killed with them open, after the next one."""
        watch = self.closing

        def closed():
            if watch.disturbed() and self.sidecars():
                self.world.must(["sqlite3", "-cmd", ".timeout 10000", self.live, "PRAGMA user_version"])
            return not self.sidecars()

        self.world.wait_for(f"{self.name}: no sidecar after the last close", 20, closed)

    def sidecars(self):
        return [end for end in ("-wal", "-shm", "-journal") if os.path.exists(self.live + end)]
