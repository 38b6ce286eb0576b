#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# harness_can_fail.sh - what lib.sh checks at the end of every test is seen to fail a test, and to fail nothing else.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

# ends STATUS BODY: a test with this body ends with this status.
ends() {
	local status=0
	TMPDIR=$T/tmp bash -c ". '$TOP/tests/e2e/lib.sh'; $2" nested >"$T/nested.out" 2>&1 </dev/null || status=$?
	[ "$status" -eq "$1" ] || die "status $status, not $1: $2: $(cat "$T/nested.out")"
	! find "$T/tmp" -mindepth 1 | grep . || die "left behind by: $2"
}

mkdir "$T/tmp"
# The bodies are expanded by the nested shell.
# shellcheck disable=SC2016
{
	ends 0 'true'
	ends 1 'false'
	ends 1 'die reason'
	ends 1 'equal x 1 2'
	ends 77 'skip reason'
	ends 1 'fault reason'
	ends 0 'echo all is well >$LOGS/daemon.1.log'
	ends 1 'echo ERROR: it broke >$LOGS/daemon.1.log'
	ends 1 'echo "x.c:1: runtime error: it broke" >$LOGS/daemon.1.log'
	ends 0 'echo ERROR: it broke >$LOGS/daemon.1.log; allow_log "it broke"'
	ends 1 'echo ERROR: it broke >$LOGS/daemon.1.log; allow_log "something else"'
	ends 1 'echo report >$LOGS/asan.123'
	ends 1 'echo report >$LOGS/tsan.123'
	ends 1 ': >$SRC/db-wal'
	ends 1 'mkdir $SRC/sub; : >$SRC/sub/db-shm'
	ends 0 ': >$SRC/db-wal; allow_sidecars'
	ends 1 'must_fail any . true'
	ends 1 'must_fail any other sh -c "echo text; exit 1"'
	ends 1 'must_fail 2 text sh -c "echo text; exit 1"'
	ends 1 'must_fail any . sh -c "echo text; kill -SEGV \$\$"'
	ends 0 'must_fail 3 text sh -c "echo text; exit 3"'
	ends 1 'wait_for 0 false'
	ends 0 'look() { [ -e $T/there ] || { sleep 2; : >$T/there; false; }; }; wait_for 0 look' # was away when it came true
	ends 0 'sh -c "exit 0" & DAEMON_PID[x]=$!; wait_daemon x'
	ends 1 'sh -c "exit 3" & DAEMON_PID[x]=$!; wait_daemon x'
	ends 1 'mount_at "$MNT" "$T/no-such-source"'
	ends 0 'writer_start w --db "$SRC/db" --paused; writer_do w "commit 3"'
	ends 1 'writer_start w --db "$SRC/db" --paused; writer_do w nonsense'
	ends 1 'writer_start a --db "$SRC/db" --paused; writer_start b --db "$SRC/db" --paused
		writer_do a "exec BEGIN IMMEDIATE"; writer_do b "commit 1"; writer_do a "exec COMMIT"'
	ends 0 'sleep 1000 & CHILDREN+=($!)'
	ends 1 'make_db "$SRC/db"; mount_fs "$SRC"; cd "$MNT"' # a mount that is busy cannot be unmounted
	ends 0 'make_db "$SRC/db"; mount_fs "$SRC"; cat "$MNT/db" >/dev/null'
	ends 1 'make_db "$SRC/db"; mount_fs "$SRC"; kill -9 "$(fs_pid "$MNT")"'
}
not_mounted "$MNT"
