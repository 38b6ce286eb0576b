#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# no_custom_io.sh - a libfuse without custom I/O (3.18.3 and later, unless built with it) reads, restores and ends like any other,
# and nothing is said about it.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

cat >"$T/sqlsnapfs" <<END
#!/bin/sh
NO_CUSTOM_IO=$T/refused LD_PRELOAD=$TEST_BIN/fault/libno_custom_io.so exec "$SQLSNAPFS" "\$@"
END
chmod +x "$T/sqlsnapfs"
SQLSNAPFS=$T/sqlsnapfs

make_db "$SRC/db.sqlite3" --journal wal
mount_fs "$SRC"
equal 'refusals' "$(cat "$T/refused")" '!'
cp "$MNT/db.sqlite3" "$T/copy"
check_copy "$T/copy" >/dev/null || die 'other bytes'
cp "$T/copy" "$MNT/db.sqlite3"
exec {held}<"$MNT/db.sqlite3"
kill -TERM "${DAEMON_PID[$MNT]}" # while that is open, it goes on
cmp - "$T/copy" <&"$held"
exec {held}<&-
wait_daemon "$MNT"
unset "DAEMON_PID[$MNT]"

mount_fs "$SRC"
unmount
