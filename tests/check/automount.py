# SPDX-License-Identifier: MIT
"""automount.py FOLDER SECONDS COMMAND... - an automounter (protocol: Documentation/filesystems/autofs.rst): when
somebody else enters FOLDER/app, COMMAND runs, in the automounter's process group, and has to mount there. Prints
what is then in FOLDER/app. Both mounts stay. The exit status is 0 if COMMAND succeeded within SECONDS, and 77 if
the kernel has no autofs."""
import ctypes
import errno
import fcntl
import os
import signal
import struct
import subprocess
import sys

READY, CATATONIC, PACKET_MISSING = 0x9360, 0x9362, 3  # CATATONIC: nobody waits any more

folder, limit, command = sys.argv[1], float(sys.argv[2]), sys.argv[3:]
os.setpgid(0, 0)
from_kernel, to_us = os.pipe()
options = f"fd={to_us},pgrp={os.getpgrp()},minproto=5,maxproto=5,indirect"
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b"automount", folder.encode(), b"autofs", 0, options.encode()) < 0:
    sys.exit(77 if ctypes.get_errno() in (errno.ENODEV, errno.EPERM, errno.EINVAL) else "cannot mount autofs")
os.close(to_us)
root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

with subprocess.Popen(["ls", f"{folder}/app"], start_new_session=True) as visitor:
    # struct autofs_v5_packet: version, type, token, dev, ino, uid, gid, pid, tgid, length of the name, name.
    packet = os.read(from_kernel, 512)
    _, kind, token = struct.unpack_from("iiI", packet)
    assert kind == PACKET_MISSING, kind
    os.mkdir(f"{folder}/app")
    with subprocess.Popen(command) as mounter:
        try:
            done = mounter.wait(limit) == 0
        except subprocess.TimeoutExpired:
            done = False
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.killpg(0, signal.SIGTERM)
        fcntl.ioctl(root, READY if done else CATATONIC, token)
    if visitor.wait(limit) != 0:
        done = False
sys.exit(0 if done else 1)
