# SPDX-License-Identifier: MIT
"""world.py - one database of a bench, as it is met in life: kept open by an application, with a WAL that was not checkpointed,
mounted; where it can be built, libfuse's own example passthrough_ll beside it, which shows what any file system in user
space costs.

Before each measurement the live file is read once, so that all start from a warm page cache, and a row is changed, so that the
mount's own pages are not warm. What is written is synced when its time is taken, and stays until the end."""

import collections
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

CHILD = Path(__file__).resolve().parent / "child.py"
EXAMPLES = [Path(p) / "passthrough_ll.c" for p in ("/usr/share/doc/libfuse3-dev/examples", "/usr/share/doc/fuse3/examples")]
PATIENCE_MS = 60000  # of whoever finds the database locked: whoever closes a connection locks it for a moment
PATIENT_SQLITE3 = ["sqlite3", "-cmd", f".timeout {PATIENCE_MS}"]
FILES, FILE_SIZE = 1000, 8192  # plain ones beside the database, in ten folders
ROW = 1960  # bytes of a body: two rows make a page


def build_example(folder):
    """The program, or None."""
    text = next((p for p in EXAMPLES if p.exists()), None)
    if not text or os.geteuid():
        return None
    program = folder / "passthrough_ll"
    try:
        flags = subprocess.run(["pkg-config", "--cflags", "--libs", "fuse3"], capture_output=True, text=True).stdout.split()
        built = subprocess.run(["gcc", "-O2", "-w", text, "-o", program, *flags], stderr=subprocess.DEVNULL)
    except FileNotFoundError:
        return None
    return program if built.returncode == 0 else None


class World:
    def __init__(self, folder, build, size, wal, figures):
        self.folder, self.build, self.size, self.wal, self.figures = folder, build, size, wal, figures
        self.source, self.mount, self.store = folder / "src", folder / "mnt", folder / "store"
        self.live, self.seen = self.source / "db.sqlite3", self.mount / "db.sqlite3"
        self.upload, self.log = folder / "upload", folder / "log"
        self.example = folder / "example"
        self.daemon = self.connection = self.example_daemon = None
        self.outputs = self.bytes = 0
        self.said = None
        self.note = figures.note

    @property
    def out(self):
        return self.folder / f"out.{self.outputs}"

    @property
    def wal_file(self):
        return f"{self.live}-wal"

    # ---- the database ------------------------------------------------------------------------------------------------

    def make(self):
        self.source.mkdir(parents=True)
        for i in range(FILES):
            folder = self.source / "media" / str(i % 10)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{i}.jpg").write_bytes(os.urandom(FILE_SIZE))
        self.writer("--commits", "10")
        db = self.connection = sqlite3.connect(self.live, isolation_level=None)
        db.execute("PRAGMA synchronous=OFF")
        db.execute("CREATE TABLE filler(id INTEGER PRIMARY KEY, tag TEXT, body BLOB)")
        rows = max(100, (self.size - self.live.stat().st_size) // 2073)  # with its part of the index
        for first in range(0, rows, 20000):
            db.execute(
                f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {min(20000, rows - first)})"
                f" INSERT INTO filler(tag, body) SELECT hex(randomblob(8)), randomblob({ROW}) FROM n")
        db.execute("CREATE INDEX filler_tag ON filler(tag)")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.bytes = os.stat(self.live).st_size
        db.execute("PRAGMA wal_autocheckpoint=0")
        step, part = max(1, rows // 1000), 0
        while os.stat(self.wal_file).st_size < self.wal:
            db.execute(f"UPDATE filler SET body = randomblob({ROW}) WHERE id % {step} = {part % step}")
            part += 1

    def change(self):
        self.connection.execute("UPDATE filler SET tag = hex(randomblob(8)) WHERE id = 1")

    def empty_wal(self, by_us=True):
        """Waits until it is: a reader of a moment ago, or the checkpoint that follows a restore, may take a while."""
        deadline = time.monotonic() + 60
        while os.stat(self.wal_file).st_size:
            if by_us:
                self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            if time.monotonic() > deadline:
                sys.exit("bench: the WAL stays: " + self.log.read_text())
            time.sleep(0.01)

    # ---- the mount ---------------------------------------------------------------------------------------------------

    def start(self, example, *options):
        """EXAMPLE: build_example()'s."""
        self.mount.mkdir(exist_ok=True)
        self.said = collections.Counter()
        with open(self.log, "w") as log:
            self.daemon = subprocess.Popen([self.build / "fs/sqlsnapfs", "-f", "-o", f"store={self.store}", *options, self.source,
                                            self.mount], stdout=log, stderr=log)
        self.wait_mounted(self.mount, self.daemon)
        if example:
            self.example.mkdir()
            self.example_daemon = subprocess.Popen([example, "-f", "-o", f"source={self.source},cache=always,timeout=0", self.example],
                                                   stderr=subprocess.DEVNULL)
            self.wait_mounted(self.example, self.example_daemon)
            device = os.stat(self.example).st_dev
            Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb").write_text("1024")

    def wait_mounted(self, where, daemon):
        deadline = time.monotonic() + 15
        while not os.path.ismount(where):
            if daemon.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"bench: {where} does not mount: " + self.log.read_text())
            time.sleep(0.01)

    def wait_for_log(self, words):
        """Until the daemon has said WORDS once more than when this was called for them before."""
        self.said[words] += 1
        deadline = time.monotonic() + 60
        while self.log.read_text().count(words) < self.said[words]:
            if time.monotonic() > deadline:
                sys.exit(f"bench: '{words}' is not said: " + self.log.read_text())
            time.sleep(0.01)

    def cool_example(self):
        """Its pages do not know of commits: they are dropped by hand."""
        fd = os.open(self.example / "db.sqlite3", os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)

    def threads(self):
        return os.listdir(f"/proc/{self.daemon.pid}/task")

    def stop(self):
        if self.connection:
            self.connection.close()
        return self.stop_daemons()

    def stop_daemons(self):
        """Ends both, also half-started ones. What is to be told of an end that was no clean one."""
        faults = []
        for daemon in (self.example_daemon, self.daemon):
            if not daemon:
                continue
            daemon.send_signal(signal.SIGTERM)
            try:
                status = daemon.wait(timeout=60)
            except subprocess.TimeoutExpired:
                daemon.kill()
                status = daemon.wait()
            if status and daemon is self.daemon:
                faults.append(f"the daemon ended with status {status}: " + self.log.read_text())
        self.daemon = self.example_daemon = None
        for where in (self.example, self.mount):
            if os.path.ismount(where):
                subprocess.run(["umount", "-l", where], check=False)
        return faults

    # ---- measuring ---------------------------------------------------------------------------------------------------

    def writer(self, *options):
        """The application. What it has to tell of its commits; one that had to wait for a lock is a slow one."""
        program = [self.build / "tests/writer", "--db", self.live, "--busy-timeout", str(PATIENCE_MS), *options]
        done = subprocess.run(program, capture_output=True, text=True)
        if done.returncode:
            sys.exit("bench: the writer saw errors: " + done.stderr)
        return json.loads(done.stdout.splitlines()[-1])

    def warm(self, changed=True):
        """CHANGED: the mount has not read the present state. False: it just has. None: that does not matter."""
        subprocess.run(["cat", self.live], stdout=subprocess.DEVNULL, check=True)
        if changed:
            self.change()
            # A backup rarely opens within the moment that the pages of the one before take to be freed.
            time.sleep(min(0.3, 0.02 + self.size / (1 << 30)))
        elif changed is not None:
            subprocess.run(["cat", self.seen], stdout=subprocess.DEVNULL, check=True)

    def timed(self, key, *command, changed=True):
        self.warm(changed)
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        self.note(key, (time.perf_counter() - started) * 1e3)
        self.written()

    def written(self):
        if self.out.exists():
            subprocess.run(["sync", self.out], check=True)
            self.outputs += 1

    def start_child(self, *arguments):
        return subprocess.Popen([sys.executable, CHILD, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def child(self, *arguments):
        """The numbers that it prints."""
        child = self.start_child(*arguments)
        text, _ = child.communicate()
        if child.returncode:
            sys.exit(f"bench: {arguments} failed")
        return [float(word) for word in text.split()]

    def open_often(self, path, changed, seconds, least=1):
        """What child.opens() says of PATH: how often, and the milliseconds of all. CHANGED: after a commit each."""
        child = self.start_child("opens", path, seconds, "ask" if changed else "", least)
        line = child.stdout.readline()
        while line == "change\n":
            self.change()
            child.stdin.write("done\n")
            child.stdin.flush()
            line = child.stdout.readline()
        child.communicate()
        return (float(word) for word in line.split())

    def own_memory(self, key, *commands):
        """Peak memory of sqlite3, which looks at itself when it has run COMMANDS."""
        done = subprocess.run([*PATIENT_SQLITE3, self.live, *commands, ".shell grep VmHWM /proc/$PPID/status"],
                              check=True, capture_output=True, text=True)
        self.note(key, int(done.stdout.split()[-2]) / 1024)
        self.written()
