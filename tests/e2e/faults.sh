#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# faults.sh [ARGUMENTS of inject.py] - every call of the daemon that can fail does: of the system, of SQLite's memory and of its own,
# during a read, a spool, a restore, the mkdir and rmdir of a snapshot, the mount and the unmount (tests/fault/inject.py).
#
# A part of the whole, by hand: BUILD=$PWD/build tests/e2e/faults.sh --part 1/20 --made FILE
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
mkdir "$T/disk"
plain_mount -t tmpfs -o size=200m tmpfs "$T/disk"
export SQLSNAPFS FACTOR FAULTS_LIB="$TEST_BIN/fault/libfaults.so" KEPT="$TEST_BIN/fault/kept"
if [ "$SLOW" = 1 ] || [ $# -gt 0 ]; then
	python3 "$TOP/tests/fault/inject.py" "$T/disk" "$@"
else
	python3 "$TOP/tests/fault/inject.py" "$T/disk" --seconds "$((FACTOR > 1 ? 8 : 15))" --seed "${SEED:-$RANDOM}"
fi
