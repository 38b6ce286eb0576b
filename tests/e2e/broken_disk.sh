#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# broken_disk.sh - the file system below a source fails for good, as after a disk error: what is read is right or an error, and the
# mount itself still says what is wrong: in its log, in status.json, and to who lists it.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
allow_log 'Input/output error'
allow_sidecars # what the disk has not let anybody close

loop_mount xfs 320M "$T/disk"
SRC=$T/disk/src
mkdir "$SRC"
make_db "$SRC/db.sqlite3" --journal wal
make_db "$T/other.sqlite3"
mount_fs "$SRC"
mount_at "$T/named" "$SRC/db.sqlite3" "$T/other.sqlite3"
NAMED=$LOG
exec {held}<"$MNT/db.sqlite3"
commits_of "$T/named/db.sqlite3" >/dev/null
# What XFS does by itself when its journal cannot be written: nothing is read or written any more.
python3 -c 'import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack("I", 2))' "$T/disk" || skip 'XFS cannot be shut down'
must_fail any 'Input/output error' ls "$SRC"

must_fail any 'Input/output error' ls "$MNT"
must_fail any 'Input/output error' cat "$MNT/db.sqlite3"
must_fail any 'Input/output error' cp "$T/other.sqlite3" "$MNT/db.sqlite3"
if cat <&"$held" >"$T/copy" 2>"$T/said"; then
	check_copy "$T/copy" >/dev/null || die 'other bytes'
else
	grep -q 'Input/output error' "$T/said" || die "$(cat "$T/said")"
fi
exec {held}<&-
grep -q 'cannot be examined: Input/output error' "$MNT/.sqlsnapfs/log" || die 'the log does not say it'
python3 - "$MNT/.sqlsnapfs/status.json" <<'PY' || die 'status.json does not say it'
import json, sys
sys.exit(not any("cannot be examined: Input/output error" in w for w in json.load(open(sys.argv[1]))["warnings"]))
PY

says() { grep -qF "$2" "$1/.sqlsnapfs/log" || die "the log of $1 does not say '$2': $(cat "$1/.sqlsnapfs/log")"; }
warns() {
	python3 -c 'import json, sys
sys.exit(not any(sys.argv[2] in w for w in json.load(open(sys.argv[1]))["warnings"]))' "$1/.sqlsnapfs/status.json" "$2" || die "no warning has '$2'"
}
note 'mounted when the names are still known and nothing can be read: no database is found, and all is not well'
loop_mount ext4 64M "$T/other_disk"
mkdir "$T/other_disk/sub"
make_db "$T/other_disk/db.sqlite3"
make_db "$T/other_disk/sub/db.sqlite3"
sync -f "$T/other_disk"
ls -lR "$T/other_disk" >/dev/null
python3 -c 'import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack("I", 2))' "$T/other_disk" || die 'ext4 cannot be shut down'
allow_log 'cannot be examined|there is no database'
mount_at "$T/later" "$T/other_disk"
warns "$T/later" '"db.sqlite3" cannot be read: "db.sqlite3" cannot be examined: Input/output error; check its disk'
warns "$T/later" '"sub/db.sqlite3" cannot be read: "sub/db.sqlite3" cannot be examined: Input/output error'
must_fail any 'Input/output error' cat "$T/later/db.sqlite3"
says "$T/later" '"db.sqlite3" cannot be examined: Input/output error; check its disk'
mount_at "$T/later_named" "$T/other_disk/db.sqlite3"
warns "$T/later_named" '"db.sqlite3" cannot be examined: Input/output error'
must_fail any 'Input/output error' cat "$T/later_named/db.sqlite3"
says "$T/later_named" '"db.sqlite3" cannot be examined: Input/output error'

note 'a database on another disk is served'
must_fail any 'Input/output error' cat "$T/named/db.sqlite3"
commits_of "$T/named/other.sqlite3" >/dev/null || die "$(cat "$NAMED")"
cp "$T/other.sqlite3" "$T/named/other.sqlite3" || die "$(cat "$NAMED")"
cat "$T/named/.sqlsnapfs/log" >/dev/null
