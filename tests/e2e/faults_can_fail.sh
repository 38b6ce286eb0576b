#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# faults_can_fail.sh - memory that is lost where a call fails is found by inject.py below AddressSanitizer, when the daemon ends
# and when it does not come to mount; without it nothing is found. And whatever happens, the faults injected are counted.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
mkdir "$T/disk"
plain_mount -t tmpfs -o size=200m tmpfs "$T/disk"
export SQLSNAPFS FACTOR FAULTS_LIB="$TEST_BIN/fault/libfaults.so" KEPT="$TEST_BIN/fault/kept"

# inject ARGUMENTS...: one call of the program's memory.
inject() { python3 "$TOP/tests/fault/inject.py" "$T/disk" --only memory --only once --at 2 "$@" 2>&1; }

export SQLSNAPFS_FAULT_LEAK=1
for operation in read-wal mount; do
	must_fail 1 'LeakSanitizer: detected memory leaks' inject --only "$operation"
	find "$T/disk" -mindepth 1 -delete
done
unset SQLSNAPFS_FAULT_LEAK
inject --only mount >"$T/out" || die "$(cat "$T/out")"
grep -qx '1 faults injected' "$T/out" || die "no count: $(cat "$T/out")"
