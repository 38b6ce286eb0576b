#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# quota.sh - a quota of the store is used up, of which statfs(2) knows nothing: an upload, what is to be kept of the live database, a snapshot
# and a copy for a reader end with EDQUOT, the log says what there is to do, and that helps.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=restore_lib.sh
. "$TOP/tests/e2e/restore_lib.sh"
need btrfs jq sqlite3
allow_log 'Disk quota exceeded|a quota is used up|and some must stay'

DISK=$T/disk
loop_mount btrfs 512M "$DISK"
btrfs quota enable "$DISK" 2>"$T/said" || skip "no quotas: $(cat "$T/said")"
rm -r "$STORE"
STORE=$DISK/store
btrfs subvolume create "$STORE" >/dev/null
WORDS='MiB free, but a quota is used up.* -o store=DIR'
says() { tail -n 1 "$MNT/.sqlsnapfs/log" | grep -qE "$1" || die "the log ends in '$(tail -n 1 "$MNT/.sqlsnapfs/log")', not in /$1/"; }
make_marked "$T/small" small delete 4096 200
make_marked "$T/large" large delete 4096 20000
make_marked "$SRC/wal.db" first wal 4096 16000
make_marked "$SRC/rollback.db" first delete 4096 16000
mount_fs "$SRC"
cp "$T/small" "$MNT/rollback.db" # keeps the first one
equal 'the first restore' "$(sqlite3 "$SRC/rollback.db" 'SELECT value FROM marker')" small
kept=$(ls "$MNT/.sqlsnapfs/snapshots")
sync -f "$DISK"
used=$(btrfs qgroup show --raw "$STORE" | awk '$1 ~ /^0\/2/ {print $2; exit}')
btrfs qgroup limit $((used + (4 << 20))) "$STORE"

note 'an upload'
must_fail 1 'Disk quota exceeded' cp "$T/large" "$MNT/wal.db"
says "restore of \"wal.db\" refused, live database unchanged: receiving it needs .*$WORDS"
note 'what is to be kept'
must_fail 1 'Disk quota exceeded' cp "$T/small" "$MNT/wal.db"
says "restore of \"wal.db\" refused, live database unchanged: keeping the old one needs .*$WORDS"
jq -e --arg words "$WORDS" '.warnings | any(test($words))' "$MNT/.sqlsnapfs/status.json" >/dev/null || die 'status.json does not say it'
equal 'the live one' "$(sqlite3 "$SRC/wal.db" 'SELECT value FROM marker')" first
note 'a snapshot'
must_fail 1 'Disk quota exceeded' mkdir "$MNT/.sqlsnapfs/snapshots/one"
says "snapshot \"one\" cannot be made: .*MiB free, but a quota is used up.*rmdir an old snapshot, or mount with -o store=DIR"
note 'a copy for a reader'
make_marked "$SRC/other.db" first delete 4096 16000
must_fail 1 'Disk quota exceeded' cat "$MNT/other.db"
says "\"other.db\" cannot be opened: .*$WORDS"
note 'what it says helps'
rmdir "$MNT/.sqlsnapfs/snapshots/$kept"
sync -f "$DISK"
cp "$T/small" "$MNT/wal.db" || die "$(tail -n 1 "$LOG")"
equal 'restored' "$(sqlite3 "$SRC/wal.db" 'SELECT value FROM marker')" small
rm "$SRC/other.db"
