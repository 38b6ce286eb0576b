# SPDX-License-Identifier: MIT
"""mounts.py - the daemon and an application, started and stopped by tests of faults, and what they say."""

import os
import select
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
FACTOR = float(os.environ.get("FACTOR", "1"))


class Fault(Exception):
    """What must not be."""


def wait_for(seconds, what, condition):
    end = time.monotonic() + seconds * FACTOR
    while not condition():
        if time.monotonic() > end:
            raise Fault(f"{what}: not within {seconds} s")
        time.sleep(0.005)


def is_mounted(folder):
    with open("/proc/self/mounts", errors="replace") as file:  # others mount where they like, in any bytes
        return any(line.split()[1] == folder and line.split()[2].startswith("fuse") for line in file)


def alive(pid):
    try:
        with open(f"/proc/{pid}/status") as file:
            return "State:\tZ" not in file.read()
    except OSError:
        return False


class Daemon:
    """sqlsnapfs -f; LOG is a path."""

    def __init__(self, mnt, store, sources, log, env=None, options=(), wait=True):
        self.mnt, self.log = mnt, log
        os.makedirs(mnt, exist_ok=True)
        argv = [os.environ["SQLSNAPFS"], "-f", "-o", f"store={store}"]
        for option in options:
            argv += ["-o", option]
        with open(log, "wb") as out:
            self.process = subprocess.Popen(
                argv + list(sources) + [mnt], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env
            )
        if wait:
            wait_for(30, "the mount", lambda: self.is_ready() or self.process.poll() is not None)
            if self.process.poll() is not None:
                raise Fault(f"the daemon ended with {self.process.returncode}: {self.said()}")

    def is_ready(self):
        return f" on {self.mnt}: " in self.said() and is_mounted(self.mnt)

    def said(self):
        with open(self.log, errors="replace") as file:
            return file.read()

    def end(self, seconds=60):
        """Unmounts; its exit status."""
        subprocess.run(["umount", self.mnt], check=False, stderr=subprocess.DEVNULL)
        try:
            return self.process.wait(seconds * FACTOR)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Fault(f"the daemon does not end after umount: {self.said()[-500:]}")

    def kill(self):
        self.process.kill()
        self.process.wait()
        subprocess.run(["umount", "-l", self.mnt], check=False, stderr=subprocess.DEVNULL)


class App:
    """An application with one connection (databases.py)."""

    def __init__(self, path, env=None):
        self.process = subprocess.Popen(
            [sys.executable, os.path.join(HERE, "databases.py"), path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=env,
        )
        if self._answer() != "ready":
            raise Fault("the application does not start")

    def _answer(self):
        if not select.select([self.process.stdout], [], [], 60 * FACTOR)[0]:
            raise Fault("the application does not answer")
        return self.process.stdout.readline().decode().strip()

    def ask(self, sql):
        self.process.stdin.write(sql.encode() + b"\n")
        self.process.stdin.flush()
        return self._answer()

    def do(self, sql):
        answer = self.ask(sql)
        if not answer.startswith("ok"):
            raise Fault(f"the application: {sql}: {answer}")
        return answer[3:]

    def stop(self):
        self.process.stdin.close()
        self.process.wait(60 * FACTOR)

    def kill(self):
        self.process.kill()
        self.process.wait()
