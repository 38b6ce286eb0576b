#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# powercut.sh - the power fails at any moment of a restore, of the mkdir of a snapshot and of its rmdir: what the disk may hold then is put
# together from a record of what was written and synced, and judged (tests/fault/powercut.py).
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
mkdir "$T/disk"
plain_mount -t tmpfs -o size=200m tmpfs "$T/disk" # a sync costs nothing there: what it does is replayed
export SQLSNAPFS FACTOR FAULTS_LIB="$TEST_BIN/fault/libfaults.so" KEPT="$TEST_BIN/fault/kept"
powercut() { timeout $((3600 * FACTOR)) python3 "$TOP/tests/fault/powercut.py" "$T/disk" "$@"; }

# It notices when what must be synced is not.
must_fail 1 'FAULT.* not \(1, 0\) to' powercut --seed 1 --full --without-sync src wal
must_fail 1 'FAULT.*(kept|left in the store)' powercut --seed 1 --full --without-sync store delete
must_fail 1 'FAULT.*(snapshot|left in the store)' powercut --seed 1 --full --without-sync store snapshot

if [ "$SLOW" = 1 ]; then
	powercut --seed "${SEED:-$RANDOM}" --full --mounts 5
else
	powercut --seed "${SEED:-$RANDOM}" --cuts 15 --mounts 8
fi
