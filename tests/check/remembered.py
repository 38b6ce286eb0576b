# SPDX-License-Identifier: MIT
"""remembered.py FOLDER [COMM] - mounts a FUSE file system on FOLDER, which answers what the root's attributes are, for an hour, and
then dies. The mount stays, and to a stat(2) seems alive. With COMM it answers for the moment, until a process of that name asks:
then it dies instead, after three seconds, as if the machine were busy. Linux: include/uapi/linux/fuse.h."""
import ctypes
import os
import struct
import sys
import threading
import time

INIT, GETATTR = 26, 3
folder, comm = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
libc = ctypes.CDLL(None, use_errno=True)
options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
if libc.mount(b"remembered", folder.encode(), b"fuse", 0, options.encode()) < 0:
    sys.exit(f"cannot mount: {os.strerror(ctypes.get_errno())}")


def serve():
    while True:
        request = os.read(device, 1 << 20)
        _, opcode, unique, pid = struct.unpack_from("IIQ16xI", request)
        if opcode == INIT:
            body = struct.pack("IIIIHHII36x", 7, 31, 4096, 0, 1, 1, 4096, 1)
        elif opcode != GETATTR:
            os._exit(1)
        elif comm and open(f"/proc/{pid}/comm").read().strip() == comm:
            time.sleep(3)
            os._exit(0)
        else:
            attr = struct.pack("QQQQQQIIIIIIIIII", 1, 0, 0, 0, 0, 0, 0, 0, 0, 0o40755, 2, 0, 0, 0, 4096, 0)
            body = struct.pack("QII", 0 if comm else 3600, 0, 0) + attr
        os.write(device, struct.pack("IiQ", 16 + len(body), 0, unique) + body)


server = threading.Thread(target=serve, daemon=True)
server.start()
os.stat(folder)
if comm:
    server.join()
os._exit(0)
