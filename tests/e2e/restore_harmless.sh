#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# restore_harmless.sh - what is no whole upload changes nothing: killed writers, parts, empty files, touches, removals. The live files
# are byte for byte what they were.
# shellcheck disable=SC2016 # sh -c: the text is for the shell that is called, with its own arguments
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=restore_lib.sh
. "$TOP/tests/e2e/restore_lib.sh"
allow_log 'is not changed through the mount|refused, live database unchanged|thrown away|cannot be (written|renamed|made): |renaming to |was killed'
allow_sidecars

DB=$SRC/db.sqlite3
SEEN=$MNT/db.sqlite3
make_marked "$DB" live wal
make_marked "$T/up" upload
make_marked "$T/big" big delete 4096 20000
echo text >"$SRC/notes.txt"
mkdir "$SRC/sub"
make_marked "$SRC/sub/other.sqlite3" other
mount_fs "$SRC"
held_start "$DB"
held write >/dev/null
before=$(sha "$DB" "$DB-wal" "$SRC/sub/other.sqlite3" "$SRC/notes.txt")

# harmless NAME WANT COMMAND...: WANT is ok, fails or any
harmless() {
	local name=$1 want=$2 status=0
	shift 2
	note "$name"
	told=$(wc -l <"$LOG")
	"$@" >"$T/said" 2>&1 || status=$?
	case $want in
	ok) [ "$status" -eq 0 ] || die "$name: status $status: $(cat "$T/said")" ;;
	fails) [ "$status" -ne 0 ] || die "$name: succeeded" ;;
	esac
	[ "$status" -ne 124 ] || die "$name: hangs"
	equal "$name: live files" "$(sha "$DB" "$DB-wal" "$SRC/sub/other.sqlite3" "$SRC/notes.txt")" "$before"
	equal "$name: what the application sees" "$(held marker)" '"live"'
	equal "$name: what the mount shows" "$(sqlite3 "$SEEN" 'SELECT value FROM marker')" live
	equal "$name: listing" "$(ls -A "$MNT")" "$(printf 'db.sqlite3\nnotes.txt\nsub')"
}

# says PATTERN: a line of the log since the last of them began does; the ends of earlier uploads may be told in between.
says() { tail -n "+$((told + 1))" "$LOG" | grep -- "$1" >/dev/null || die "the log says: $(tail -n "+$((told + 1))" "$LOG")"; }

# cat, dd and truncate of uutils do not tell what close(2) says.
told=fails
! cat --version | grep -q uutils || told=any

harmless empty_redirect ok sh -c ': >"$1"' - "$SEEN"
harmless truncate_0 any truncate -s 0 "$SEEN"
harmless truncate_shorter "$told" truncate -s 8192 "$SEEN"
harmless truncate_longer "$told" truncate -s 10M "$SEEN"
harmless truncate_by_name fails python3 -c 'import os, sys; os.truncate(sys.argv[1], 0)' "$SEEN"
harmless cp_dev_null any cp /dev/null "$SEEN"
harmless touch ok touch "$SEEN"
harmless touch_old ok touch -d 2001-01-01 "$SEEN"
harmless chmod ok chmod 600 "$SEEN"
harmless chown ok chown 12:34 "$SEEN"
harmless setxattr fails python3 -c 'import os, sys; os.setxattr(sys.argv[1], "user.x", b"y")' "$SEEN"
grep -q 'Operation not supported' "$T/said" || die "setxattr: $(cat "$T/said")"
harmless mknod ok python3 -c 'import os, sys; os.unlink(sys.argv[1]); os.mknod(sys.argv[1])' "$SEEN"
harmless opened_rdwr ok python3 -c 'import os, sys; f = os.open(sys.argv[1], os.O_RDWR); assert os.read(f, 15) == b"SQLite format 3"; os.close(f)' "$SEEN"
harmless one_byte fails python3 -c 'import os, sys; f = os.open(sys.argv[1], os.O_RDWR); os.pwrite(f, b"x", 5000); os.close(f)' "$SEEN"
harmless append fails python3 -c 'import sys; f = open(sys.argv[1], "ab"); f.write(b"x" * 4096); f.close()' "$SEEN"
harmless half_closed "$told" sh -c 'head -c 50000 "$1" | cat >"$2"' - "$T/up" "$SEEN"
harmless dd_part "$told" dd if="$T/up" of="$SEEN" bs=4096 count=3 conv=notrunc status=none
harmless dd_seek "$told" dd if="$T/up" of="$SEEN" bs=4096 seek=1 conv=notrunc status=none
harmless sqlite3_select ok sqlite3 "$SEEN" 'SELECT count(*) FROM rows'
harmless sqlite3_insert fails sqlite3 "$SEEN" "INSERT INTO rows(text) VALUES('x')"
harmless sqlite3_journal any sqlite3 "$SEEN" 'PRAGMA journal_mode=DELETE'
harmless rm ok rm "$SEEN"
harmless rm_sidecars ok rm "$SEEN-wal" "$SEEN-shm" # as recipes for restores begin
harmless rm_rf any sh -c 'rm -rf "$1"/*' - "$MNT"
harmless rsync_delete any sh -c 'mkdir -p "$2" && timeout 60 rsync -a --delete "$2/" "$1/"' - "$MNT" "$T/empty"
harmless mv_away fails mv "$SEEN" "$MNT/old.sqlite3"
says '"db.sqlite3" cannot be renamed: live databases are not moved away here .*hide_databases.*(mv, pid'
harmless cp_b fails cp -b "$T/up" "$SEEN"
says 'cannot be renamed: .*(cp, pid'
harmless mv_out ok sh -c 'mv "$1" "$2" && sqlite3 "$2" "PRAGMA integrity_check" | grep -qx ok' - "$SEEN" "$T/moved"
harmless other_name fails cp "$T/up" "$MNT/backup.sqlite3"
harmless wal fails cp "$T/up" "$SEEN-wal"
harmless shm fails cp "$T/up" "$SEEN-shm"
harmless journal fails cp "$T/up" "$SEEN-journal"
harmless plain_file fails cp "$T/up" "$MNT/notes.txt"
says '"notes.txt" cannot be written: it is no database'
harmless mkdir fails mkdir "$MNT/folder" "$MNT/sub/folder"
says '"folder" cannot be made: .*snapshots are made in .sqlsnapfs/snapshots/NAME'
equal 'lines of one mkdir' "$(grep -c '"folder" cannot be made' "$MNT/.sqlsnapfs/log")" 1
harmless symlink fails ln -s x "$MNT/link"
harmless hard_link fails ln "$SEEN" "$MNT/link"
harmless scratch_left ok sh -c 'head -c 9000 "$1" >"$2/.db.sqlite3.XyZ123" && rm "$2/.db.sqlite3.XyZ123"' - "$T/up" "$MNT"
harmless rsync_append fails rsync --append --inplace "$T/big" "$SEEN"
harmless rsync_inplace_delta fails sh -c 'sqlite3 "$1" ".param set :to $3" "VACUUM INTO :to" && sqlite3 "$3" "UPDATE rows SET text = char(100) WHERE id = 7" && touch -d "next year" "$3" && rsync --inplace --no-whole-file "$3" "$2"' - "$DB" "$SEEN" "$T/delta"

# What a tool leaves beside a database is kept for a rename that may come, and no longer.
harmless copy_beside ok sh -c 'cp "$1" "$1.new" && cmp "$1" "$1.new"' - "$SEEN"
# What somebody wants to keep would be lost there.
cp "$T/up" "$T/kept"
harmless backup_beside fails mv "$T/kept" "$SEEN.bak"
cmp "$T/up" "$T/kept" || die "mv to a name that is refused lost what it moved"

# A writer that is killed, by whatever signal, before and while it closes.
killed_writer() {
	python3 - "$T/big" "$SEEN" "$1" "$2" <<'PY'
import os, resource, signal, sys

data = open(sys.argv[1], "rb").read()
resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
part = len(data) * int(sys.argv[4]) // 100
ready, tell = os.pipe()
pid = os.fork()
if pid == 0:
    for ignored in signal.SIGHUP, signal.SIGQUIT:  # by nohup(1), and by a shell for what runs in the background
        signal.signal(ignored, signal.SIG_DFL)
    fd = os.open(sys.argv[2], os.O_WRONLY | os.O_TRUNC)
    for at in range(0, part, 1 << 16):
        os.write(fd, data[at : min(at + (1 << 16), part)])
    os.write(tell, b"x")
    signal.pause()
os.read(ready, 1)
os.kill(pid, getattr(signal, sys.argv[3]))
os.waitpid(pid, 0)
PY
}
for signal in SIGKILL SIGTERM SIGHUP SIGQUIT SIGSEGV; do
	harmless "killed_half_$signal" ok killed_writer "$signal" 50
	harmless "killed_whole_$signal" ok killed_writer "$signal" 100
done
held_stop
size=$(awk -v bytes="$(stat -c %s "$SEEN")" \
	'BEGIN {if (bytes < 1048576) printf "%d KiB", (bytes + 1023) / 1024; else printf "%.1f MiB", bytes / 1048576}')
unmount
grep -qF "\"db.sqlite3.new\", $size, was never renamed to a database's name: thrown away" "$LOG" || die "the end does not say what went: $(tail -n 3 "$LOG")"
