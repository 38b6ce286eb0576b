#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# mount_guards.sh - what cannot be meant is refused: status not 0, one line that says what to do, nothing mounted.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

make_db "$SRC/db.sqlite3"
mkdir "$T/plain" "$T/full" "$T/a" "$T/b"
echo x >"$T/plain/file.txt"
echo x >"$T/full/file.txt"
make_db "$T/a/db.sqlite3"
make_db "$T/b/db.sqlite3"
mounts() { grep -F " $T/" /proc/self/mounts | grep -c ' fuse' || :; }
before=$(mounts)

# refused PATTERN ARGS...: says one line.
refused() {
	local pattern=$1
	shift
	must_fail any "$pattern" run_fs "$@"
	equal "lines of the message for: $*" "$(run_fs "$@" 2>&1 </dev/null | wc -l || :)" 1
	equal 'mounts' "$(mounts)" "$before"
}

refused "$T/full is not empty" "$SRC" "$T/full"
refused "did you mean: sqlsnapfs $T/a MOUNTPOINT" "$T/a"
refused 'same|itself|SOURCE' "$SRC" "$SRC"
refused 'no such file or directory: is it mounted\? \(to bring back a database that is gone: cp BACKUP .*missing.sqlite3\)' "$SRC/missing.sqlite3" "$MNT"
refused 'name them: .*=.*a/db.sqlite3 .*=.*b/db.sqlite3' "$T/a/db.sqlite3" "$T/b/db.sqlite3" "$MNT"
refused 'no_such_option|unknown' -o no_such_option "$SRC" "$MNT"
refused 'wal_limit' -o wal_limit=many "$SRC" "$MNT"
refused '.' "$SRC" "$T/plain/file.txt"
refused "store=$SRC holds $SRC: choose a directory of its own" -o "store=$SRC" "$SRC" "$MNT"
refused "store=$T holds $SRC: choose a directory of its own" -o "store=$T" "$SRC" "$MNT"
# An implied SOURCE without a database, or /.
cd "$T/plain"
refused 'database' "$MNT"
cd /
refused '/' "$MNT"
cd "$T"
# nonempty overrides.
mount_at "$T/full" -o nonempty "$SRC"
cmp "$SRC/db.sqlite3" "$T/full/db.sqlite3" || die "other bytes"
unmount "$T/full"
[ -e "$T/full/file.txt" ] || die "the covered file is gone"

# Sources where locks are not shared: below an overlay's upperdir.
mkdir "$T/lower" "$T/upper" "$T/work" "$T/merged"
if mount -t overlay -o "lowerdir=$T/lower,upperdir=$T/upper,workdir=$T/work" none "$T/merged" 2>/dev/null; then
	PLAIN_MOUNTS+=("$T/merged")
	make_db "$T/merged/db.sqlite3"
	refused 'shared_locks' "$T/upper" "$MNT"
	refused 'shared_locks' "$T/upper/db.sqlite3" "$MNT"
	mount_fs -o shared_locks "$T/upper"
	unmount
	mount_fs "$T/merged"
	copyloop --file "$MNT/db.sqlite3" --copies 4
	unmount
else
	note 'no overlay in this kernel'
fi
