#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# mount_forms.sh - every way in which a mount is asked for.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

mkdir "$SRC/a" "$SRC/b"
make_db "$SRC/a/db.sqlite3" --commits 11
make_db "$SRC/b/db.sqlite3" --commits 22
echo text >"$SRC/a/plain.txt"
db=$SRC/a/db.sqlite3
names() { (cd "$1" && find . -mindepth 1 | sort | tr '\n' ' '); }

run_fs -h >"$T/help" || die "-h: status $?"
grep -q 'MOUNTPOINT' "$T/help" || die "-h does not name MOUNTPOINT"
run_fs --help | cmp -s - "$T/help" || die "--help is not -h"
run_fs -V | grep -qE 'sqlsnapfs.* [0-9]+\.[0-9]+' || die "-V: $(run_fs -V)"
run_fs --version >/dev/null || die "--version: status $?"
must_fail any '.' run_fs
must_fail any '.' run_fs --no-such-option "$SRC" "$MNT"

note 'a folder'
mount_fs "$SRC"
equal names "$(names "$MNT")" './a ./a/db.sqlite3 ./a/plain.txt ./b ./b/db.sqlite3 '
equal 'commits of a' "$(commits_of "$MNT/a/db.sqlite3")" 11
equal 'commits of b' "$(commits_of "$MNT/b/db.sqlite3")" 22
equal 'file system type' "$(findmnt -no FSTYPE "$MNT")" fuse.sqlsnapfs
equal 'source' "$(findmnt -no SOURCE "$MNT")" "$SRC"
unmount

note 'one file'
mount_fs "$db"
equal names "$(names "$MNT")" './db.sqlite3 '
equal commits "$(commits_of "$MNT/db.sqlite3")" 11
unmount

note 'NAME=PATH, several'
mount_fs "one.db=$db" "two.db=$SRC/b/db.sqlite3"
equal names "$(names "$MNT")" './one.db ./two.db '
equal commits "$(commits_of "$MNT/two.db")" 22
unmount

note 'databases_only'
mount_fs -o databases_only "$SRC"
equal names "$(names "$MNT")" './a ./a/db.sqlite3 ./b ./b/db.sqlite3 '
unmount

note 'the current folder, a mountpoint that is made, and the daemonised form'
(cd "$SRC/a" && run_fs "$T/made/") || die "daemonised: status $?"
answers "$T/made" || die "it returned before the mount answers"
equal names "$(names "$T/made")" './db.sqlite3 ./plain.txt '
equal commits "$(commits_of "$T/made/db.sqlite3")" 11
umount "$T/made"
wait_for 40 test ! -e "$T/made" || die "the mountpoint that was made is still there"

note 'a command'
status=0
run_fs "$SRC" "$T/cmd" -- sh -c "cp '$T/cmd/b/db.sqlite3' '$T/copy' && exit 7" || status=$?
equal 'status of the command' "$status" 7
equal commits "$(check_copy "$T/copy")" 22
not_mounted "$T/cmd" || die "still mounted"
[ ! -e "$T/cmd" ] || die "the mountpoint is still there"
run_fs "$SRC" "$MNT" -- true || die "status of true: $?"
equal 'signals that a command ignores' "$(run_fs "$SRC" "$MNT" -- grep SigIgn /proc/self/status)" \
	"$(timeout 10 grep SigIgn /proc/self/status)"
status=0
run_fs "$SRC" "$MNT" -- "$T/no-such-command" 2>"$LOGS/command.err" || status=$?
equal 'status of a command that is missing' "$status" 127
status=0
# shellcheck disable=SC2016 # $$ is the inner shell's
run_fs "$SRC" "$MNT" -- sh -c 'kill -TERM $$' || status=$?
equal 'status of a command that was killed' "$status" 143
not_mounted "$MNT" || die "still mounted"

note 'a folder without a database: the wrong one, or not mounted yet'
mkdir "$T/none"
echo text >"$T/none/text"
why="there is no database in $T/none: is it the right folder, is it mounted?"
run_fs "$T/none" "$T/cmd" -- true 2>"$T/err" || die "status of true: $?"
equal 'what a command hears' "$(cat "$T/err")" "sqlsnapfs: warning: main: $why"
allow_log 'there is no database in'
mount_fs "$T/none"
warnings() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["warnings"])' "$MNT/.sqlsnapfs/status.json"; }
grep -qF "$why" "$LOG" || die "the log does not say so: $(cat "$LOG")"
equal 'warnings' "$(warnings)" "['$why']"
mv "$SRC/b/db.sqlite3" "$T/none"
equal 'warnings' "$(warnings)" '[]'
mv "$T/none/db.sqlite3" "$SRC/b"
equal 'warnings' "$(warnings)" "['$why']"
unmount

note 'inside SOURCE: an empty directory in the mirror'
mkdir "$SRC/inside"
allow_log 'inside' # it is warned of
mount_at "$SRC/inside" "$SRC"
equal names "$(names "$SRC/inside")" './a ./a/db.sqlite3 ./a/plain.txt ./b ./b/db.sqlite3 ./inside '
unmount "$SRC/inside"
rmdir "$SRC/inside"

note 'mount(8) and its options'
mkdir "$T/bin"
cp "$SQLSNAPFS" "$T/bin/sqlsnapfs"
printf '%s %s fuse.sqlsnapfs ro,noauto,_netdev,suid,dev,store=%s 0 0\n' "$SRC" "$MNT" "$STORE" >"$T/fstab"
cat >"$T/by_mount" <<'SH'
set -eu
[ "$1" = as_it_is ] || mount --bind "$T/bin" /usr/local/sbin
shift
"$@"
findmnt -no FSTYPE,OPTIONS "$MNT" >"$T/options"
cp "$MNT/a/db.sqlite3" "$T/copy"
umount "$MNT"
SH
export T MNT
# by_mount own|as_it_is COMMAND...: mounts, looks, unmounts. mount(8) knows no PATH but its own: with own the program is put there, in
# a mount namespace for this command alone.
by_mount() {
	local unshare=()
	[ "$1" = as_it_is ] || unshare=(unshare -m --propagation slave)
	rm -f "$T/copy"
	"${SANITIZED[@]}" "${unshare[@]}" sh "$T/by_mount" "$@" || die "status $?: $*"
	equal "commits: $*" "$(check_copy "$T/copy")" 11
	read -r type options <"$T/options"
	equal "type: $*" "$type" fuse.sqlsnapfs
	case ,$options, in *,nosuid,*) ;; *) die "no nosuid: $options" ;; esac
	case ,$options, in *,nodev,*) ;; *) die "no nodev: $options" ;; esac
}
if command -v mount.fuse3 >/dev/null; then
	by_mount as_it_is mount -t fuse "$SQLSNAPFS#$SRC" "$MNT" -o "store=$STORE"
else
	note 'mount.fuse3 is not installed'
fi
if command -v mount.fuse3 >/dev/null && unshare -m --propagation slave true; then
	by_mount own mount -t fuse.sqlsnapfs "$SRC" "$MNT" \
		-o "rw,allow_other,noatime,relatime,nofail,x-systemd.automount,store=$STORE"
	by_mount own mount --fstab "$T/fstab" "$MNT"
else
	note 'no mount namespaces here (a plain chroot has none)'
fi

# Daemons of their own end by themselves; nobody waits for their status, but they must end.
daemons() { pgrep -f "store=$STORE" || :; }
ended() { [ -z "$(daemons)" ]; }
wait_for 40 ended || die "daemons still run: $(daemons)"
