# SPDX-License-Identifier: MIT
"""remembered.py FOLDER - mounts a FUSE file system on FOLDER, which answers what the root's attributes are, for an hour, and then
dies. The mount stays, and to a stat(2) seems alive. Linux: include/uapi/linux/fuse.h."""
import ctypes
import os
import struct
import sys
import threading

INIT, GETATTR = 26, 3
folder = sys.argv[1]
device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
libc = ctypes.CDLL(None, use_errno=True)
options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
if libc.mount(b"remembered", folder.encode(), b"fuse", 0, options.encode()) < 0:
    sys.exit(f"cannot mount: {os.strerror(ctypes.get_errno())}")


def serve():
    while True:
        request = os.read(device, 1 << 20)
        _, opcode, unique = struct.unpack_from("IIQ", request)
        if opcode == INIT:
            body = struct.pack("IIIIHHII36x", 7, 31, 4096, 0, 1, 1, 4096, 1)
        elif opcode != GETATTR:
            os._exit(1)
        else:
            attr = struct.pack("QQQQQQIIIIIIIIII", 1, 0, 0, 0, 0, 0, 0, 0, 0, 0o40755, 2, 0, 0, 0, 4096, 0)
            body = struct.pack("QII", 3600, 0, 0) + attr
        os.write(device, struct.pack("IiQ", 16 + len(body), 0, unique) + body)


threading.Thread(target=serve, daemon=True).start()
os.stat(folder)
os._exit(0)
