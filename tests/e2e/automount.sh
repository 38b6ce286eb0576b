#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# automount.sh - mounted by an automounter (autofs, x-systemd.automount), which lets only its own process group
# into the mount point before the mount is there: it neither waits for itself nor fails.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

make_db "$SRC/db.sqlite3" --commits 11
mkdir "$T/auto"
PLAIN_MOUNTS+=("$T/auto")
status=0
python3 "$TOP/tests/check/automount.py" "$T/auto" $((20 * FACTOR)) \
	"${SANITIZED[@]}" "$SQLSNAPFS" -o "store=$STORE" "$SRC" "$T/auto/app" >"$T/seen" || status=$?
[ "$status" -ne 77 ] || skip 'this kernel has no autofs'
equal 'status of the automounter' "$status" 0
equal 'what the visitor saw' "$(cat "$T/seen")" db.sqlite3
equal commits "$(commits_of "$T/auto/app/db.sqlite3")" 11
pid=$(sed -n 's/^\t"pid": \([0-9]*\),$/\1/p' "$T/auto/app/.sqlsnapfs/status.json")
equal 'the session of the daemon' "$(ps -o sid= -p "$pid" | tr -d ' ')" "$pid"
umount "$T/auto/app"
wait_for 40 gone "$pid" || die "the daemon does not end"
