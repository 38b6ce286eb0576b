#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# priority.sh - threads that copy bytes out yield to the application; those that can hold a lock of SQLite's keep the daemon's priority.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

make_db "$SRC/db.sqlite3"
mount_fs "$SRC"
cat "$MNT/db.sqlite3" >"$T/copy"

python3 - "${DAEMON_PID[$MNT]}" <<'PY'
import os, sys

pid = int(sys.argv[1])


def nice(task):
    return int(open(f"/proc/{pid}/task/{task}/stat").read().rsplit(")", 1)[1].split()[16])


values = {int(task): nice(task) for task in os.listdir(f"/proc/{pid}/task")}
own = values.pop(pid)
assert own == os.getpriority(os.PRIO_PROCESS, 0), values
assert min(19, own + 19) in values.values(), f"no thread that has read yields: {values}"
assert own in values.values(), f"threads that hold locks yield too: {values}"
PY
