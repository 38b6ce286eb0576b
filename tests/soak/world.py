# SPDX-License-Identifier: MIT
"""world.py - what a soak happens in: a folder of its own, the mount and its daemon, processes that end with it, what was counted.

Whatever is found wrong is raised as a Violation by whoever finds it; the first one ends everything. A daemon that is being
restarted disturbs whoever uses the mount at that time: `watch` says afterwards whether it did."""

import collections
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("BUILD", f"{TOP}/build")
PROGRAM = os.environ.get("SQLSNAPFS", f"{BUILD}/fs/sqlsnapfs")
TEST_BIN = os.environ.get("TEST_BIN", f"{BUILD}/tests")
FACTOR = int(os.environ.get("FACTOR", "1"))
DISK_MAX = 4 << 30  # bytes of everything that a soak has

SUSPICIOUS = re.compile(
    "error|warning|sanitizer|runtime error|leak|assert|panic|abort|segfault|corrupt|uninitiali|use-after", re.IGNORECASE)
# What the daemon has to say of what is done to it on purpose.
EXPECTED = [
    r'snapshot "soak-\d+" was lost: whoever wrote it was killed',
    r'restore of "[^"]*" refused, live database unchanged: (not an SQLite database|shorter than its header says|none of its tables'
    r'|.*(malformed|damage|page|encoding|index|btree|UTF))',
    r"who wrote it, was killed; live database unchanged",
    r"detached the dead mount at",
    r"thrown away, live database unchanged",
    r"was never renamed to a database's name: thrown away",
]


class Violation(Exception):
    pass


class Interrupted(Exception):
    pass


class Watch:
    """Whether the daemon was restarted since."""

    def __init__(self, world):
        self.world, self.downs = world, world.downs

    def disturbed(self):
        return self.downs % 2 == 1 or self.world.downs != self.downs


class World:
    def __init__(self):
        self.top = tempfile.mkdtemp(prefix="sqlsnapfs-soak.")
        for name in ("src", "point", "store", "logs", "up", "tmp"):
            os.mkdir(f"{self.top}/{name}")
        self.src, self.point, self.store = (f"{self.top}/{name}" for name in ("src", "point", "store"))
        self.mnt = f"{self.point}/mnt"
        self.logs, self.up, self.tmp = (f"{self.top}/{name}" for name in ("logs", "up", "tmp"))
        self.snaps = f"{self.mnt}/.sqlsnapfs/snapshots"
        self.counts = collections.Counter()
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.violation = None
        self.children = set()
        self.daemon = None
        self.daemons = 0
        self.restarting, self.dropping = threading.Lock(), threading.Lock()
        self.databases = []
        self.read_now = set()  # names of snapshots that are not to be dropped
        self.judged = set()  # paths in snapshots that hold what their database held; one may be of a moment when it was begun anew
        self.downs = 0  # odd: the daemon is being restarted
        self.lineages = 0
        self.log_seen = {}
        self.numbers = 0

    # ---- what is found -----------------------------------------------------------------------------------------------

    def count(self, what, n=1):
        with self.lock:
            self.counts[what] += n

    def fail(self, why):
        with self.lock:
            if self.violation is None and not self.stopping.is_set():
                self.violation = why
        self.stopping.set()

    def number(self):
        with self.lock:
            self.numbers += 1
            return self.numbers

    def watch(self):
        return Watch(self)

    # ---- processes ---------------------------------------------------------------------------------------------------

    def spawn(self, argv, **how):
        """A process that does not outlive the soak."""
        with self.lock:
            process = subprocess.Popen(argv, start_new_session=True, **how)
            self.children.add(process)
        return process

    def reaped(self, process):
        with self.lock:
            self.children.discard(process)

    def run(self, argv, seconds=120, **how):
        """(status, what it printed on both). A process that does not end is a violation."""
        process = self.spawn(argv, stdin=how.pop("stdin", subprocess.DEVNULL), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             **how)
        try:
            text = process.communicate(timeout=seconds * FACTOR)[0].decode(errors="replace")
        except subprocess.TimeoutExpired:
            hanging = self.hanging(process.pid)
            process.kill()
            process.communicate()
            if self.stopping.is_set():
                raise Interrupted() from None
            raise Violation(f"{argv} does not end: {hanging}") from None
        finally:
            self.reaped(process)
        if self.stopping.is_set() and process.returncode < 0:
            raise Interrupted()
        return process.returncode, text

    @staticmethod
    def hanging(pid):
        try:
            return open(f"/proc/{pid}/wchan").read() + " " + open(f"/proc/{pid}/syscall").read().strip()
        except OSError as e:
            return str(e)

    def must(self, argv, **how):
        status, text = self.run(argv, **how)
        if status != 0:
            raise Violation(f"{argv}: status {status}: {text}")
        return text

    def pause(self, seconds):
        if self.stopping.wait(seconds):
            raise Interrupted()

    def wait_for(self, what, seconds, condition):
        deadline = time.monotonic() + seconds * FACTOR
        while not condition():
            if time.monotonic() > deadline:
                raise Violation(f"{what}: not so after {seconds * FACTOR} s")
            if self.stopping.is_set():
                time.sleep(0.02)  # the end waits too
            else:
                self.pause(0.02)

    # ---- the daemon --------------------------------------------------------------------------------------------------

    def log_file(self):
        return f"{self.logs}/daemon.{self.daemons}.log"

    def mounted(self):
        return any(line.split()[1] == self.mnt for line in open("/proc/self/mounts"))

    def answers(self):
        try:
            return self.mounted() and os.path.isdir(self.mnt) and f" on {self.mnt}: " in open(self.log_file()).read()
        except OSError:
            return False

    def make_point(self):
        """The mountpoint: nobody can write into it while nothing is mounted there."""
        self.must(["mount", "-t", "tmpfs", "-o", "size=64k", "soak", self.point])
        os.mkdir(self.mnt)
        self.must(["mount", "-o", "remount,ro", self.point])

    def mount(self):
        self.daemons += 1
        sanitized = {f"{name}_OPTIONS": f"log_path={self.logs}/{name.lower()}:{more}" for name, more in (
            ("ASAN", "detect_leaks=1:exitcode=99:abort_on_error=0"), ("UBSAN", "print_stacktrace=1:halt_on_error=1:exitcode=99"),
            ("LSAN", "exitcode=99"), ("TSAN", "halt_on_error=0:exitcode=66"))}
        with open(self.log_file(), "w") as log:
            self.daemon = self.spawn([PROGRAM, "-f", "-o", f"store={self.store},keep=2", self.src, self.mnt],
                                     stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **sanitized})
        self.wait_for("the mount answers", 20, lambda: self.answers() or self.daemon.poll() is not None)
        if self.daemon.poll() is not None:
            raise Violation(f"the daemon ended: {open(self.log_file()).read()}")

    def ended(self, daemon, status):
        try:
            daemon.wait(timeout=60 * FACTOR)
        except subprocess.TimeoutExpired:
            raise Violation(f"the daemon does not end: {self.hanging(daemon.pid)}") from None
        self.reaped(daemon)
        if daemon.returncode != status:
            raise Violation(f"the daemon ended with status {daemon.returncode}, not {status}")

    def sample(self):
        """Kilobytes that the daemon has in memory, descriptors that it has open. None: it is not there."""
        try:
            status = open(f"/proc/{self.daemon.pid}/status").read()
            return int(re.search(r"VmRSS:\s*(\d+)", status)[1]), len(os.listdir(f"/proc/{self.daemon.pid}/fd"))
        except (OSError, TypeError, AttributeError):
            return None

    def check_logs(self):
        for name in sorted(os.listdir(self.logs)):
            path = f"{self.logs}/{name}"
            if re.match(r"\w*san\.", name):
                raise Violation(f"a sanitizer has reported: {open(path).read()[:6000]}")
            if not name.startswith("daemon."):
                continue
            with open(path, errors="replace") as file:
                file.seek(self.log_seen.get(name, 0))
                lines = file.readlines()
            if lines and not lines[-1].endswith("\n"):
                lines.pop()
            for line in lines:
                self.log_seen[name] = self.log_seen.get(name, 0) + len(line.encode())
                said = line.replace(self.top, "")
                if SUSPICIOUS.search(said) and not any(re.search(one, said) for one in EXPECTED):
                    raise Violation(f"{name}: suspicious words: {said.strip()}")

    def check_disk(self):
        used = int(subprocess.run(["du", "-sxB1", self.top], capture_output=True, text=True, check=False).stdout.split()[0])
        if used > DISK_MAX:
            raise Violation(f"{used >> 20} MiB are used")

    # ---- the end -----------------------------------------------------------------------------------------------------

    def tear_down(self, keep):
        """Ends what was started, whatever its state."""
        self.stopping.set()
        with self.lock:
            children = list(self.children)
        for process in children:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
        while self.mounted():
            if subprocess.run(["umount", "-l", self.mnt], check=False).returncode:
                break
        subprocess.run(["umount", "-l", self.point], stderr=subprocess.DEVNULL, check=False)
        for process in children:
            process.wait()
        if not keep:
            shutil.rmtree(self.top, ignore_errors=True)
