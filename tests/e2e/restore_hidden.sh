#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# restore_hidden.sh - -o hide_databases: a tool that compares with what stands there, and writes only what differs, finds nothing
# to compare with, writes all of it and so restores it; it then sees what it has restored, and nobody else does. Applications
# notice nothing, and another mount shows everything meanwhile.
# shellcheck disable=SC2016 # sh -c: the text is for the shell that is called, with its own arguments
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=restore_lib.sh
. "$TOP/tests/e2e/restore_lib.sh"

DB=$SRC/app/db.sqlite3
SEEN=$MNT/app/db.sqlite3
UP=$T/up
mkdir "$UP" "$UP/app" "$SRC/app"
allow_sidecars
make_marked "$DB" first wal 4096 20000
make_marked "$SRC/other.sqlite3" other
echo text >"$SRC/app/plain.txt"
mount_fs -o hide_databases,keep=1 "$SRC"
held_start "$DB"

need rsync restic borg
restores() { grep -c ' was restored by ' "$LOG" || :; }
hidden() {
	equal 'the root' "$(ls -A "$MNT")" app
	equal 'the folder' "$(ls -A "$MNT/app")" plain.txt
	if [ -e "$SEEN" ] || [ -e "$MNT/other.sqlite3" ]; then die 'a database is shown'; fi
	if cat "$SEEN" >"$T/out" 2>"$T/err"; then die 'a database can be read'; fi
	grep -q 'No such file' "$T/err" || die "cat says: $(cat "$T/err")"
	equal 'a plain file' "$(cat "$MNT/app/plain.txt")" text
}
# way NAME COMMAND...: the command restores $UP/app/db.sqlite3, which differs in part from what stands there.
way() {
	local name=$1 count
	shift
	note "$name"
	sqlite3 "$DB" ".backup $UP/app/db.sqlite3"
	sqlite3 "$UP/app/db.sqlite3" "PRAGMA journal_mode=delete; UPDATE marker SET value = '$name'" >"$T/out"
	count=$(restores)
	"$@" || die "$name: status $?"
	restored "$name" "$name"
	equal "$name: restores" "$(restores)" $((count + 1))
	hidden
}
hidden

F=$UP/app/db.sqlite3
way cp cp "$F" "$SEEN"
way cp_b cp -b "$F" "$SEEN"
way mv_b sh -c 'cp "$1" "$3" && mv -b "$3" "$2"' - "$F" "$SEEN" "$T/moved"
way install_b install -b "$F" "$SEEN"
way rsync_delta rsync --inplace --no-whole-file --times "$F" "$SEEN"
way rsync_append rsync --append --times "$F" "$SEEN"
way rsync_folder rsync -a --no-o --no-g --no-p --exclude 'plain.txt' "$UP/" "$MNT/"
cat >"$T/noreplace.py" <<'PY'
import ctypes, os, shutil, sys
tmp = f"{os.path.dirname(sys.argv[2])}/.db.sqlite3.tmp"
shutil.copyfile(sys.argv[1], tmp)
libc = ctypes.CDLL(None, use_errno=True)
if libc.renameat2(-100, tmp.encode(), -100, sys.argv[2].encode(), 1) != 0:  # AT_FDCWD, RENAME_NOREPLACE
    sys.exit(os.strerror(ctypes.get_errno()))
PY
way rename_noreplace python3 "$T/noreplace.py" "$F" "$SEEN"
export BORG_BASE_DIR=$T/borg BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes
way borg sh -c 'rm -rf "$3/repo" && borg init -e none "$3/repo" && cd "$1" && borg create "$3/repo::a" app/db.sqlite3 && cd "$2" && borg extract "$3/repo::a"' - "$UP" "$MNT" "$T"
export RESTIC_PASSWORD=x RESTIC_REPOSITORY=$T/restic RESTIC_CACHE_DIR=$T/restic-cache
restic -q init
way restic sh -c 'cd "$1" && restic -q backup app && restic -q restore latest --target "$2"' - "$UP" "$MNT"
way restic_again sh -c 'cd "$1" && restic -q backup app && restic -q restore latest --target "$2"' - "$UP" "$MNT"

note 'whoever has written it sees it, until he removes it'
sqlite3 "$DB" ".backup $UP/own.sqlite3"
python3 - "$UP/own.sqlite3" "$SEEN" <<'PY'
import os, shutil, sys

upload, seen = sys.argv[1:]
assert not os.path.exists(seen)
shutil.copyfile(upload, seen)
assert open(seen, "rb").read() == open(upload, "rb").read()
os.utime(seen, (1, 1))
assert os.stat(seen).st_mtime == 1
os.unlink(seen)
assert not os.path.exists(seen)
PY
hidden

# More than fit into a small table, under temporary names, too; a tool sets the times of all of them at the end.
note 'one process restores hundreds'
mkdir "$SRC/many"
make_marked "$UP/one.sqlite3" one delete 512 1
for i in {1..300}; do cp "$UP/one.sqlite3" "$SRC/many/$i.sqlite3"; done
python3 - "$UP/one.sqlite3" "$MNT/many" <<'PY'
import os, shutil, sys

upload, folder = sys.argv[1:]
names = [f"{folder}/{i}.sqlite3" for i in range(1, 301)]
assert not any(os.path.exists(name) for name in names)
for name in names:
    shutil.copyfile(upload, name)
for name in names:
    shutil.copyfile(upload, f"{name}.tmp")
    os.rename(f"{name}.tmp", name)
for name in names:
    os.utime(name, (1, 1))
PY
rm -r "$SRC/many"
hidden

note 'a refusal is what it is elsewhere'
allow_log 'refused, live database unchanged'
state=$(sqlite3 "$DB" .sha3sum)
echo garbage >"$T/garbage"
if cp "$T/garbage" "$SEEN" 2>"$T/err"; then die 'garbage was taken'; fi
grep -q 'Wrong medium type' "$T/err" || die "cp says: $(cat "$T/err")"
equal 'the live database' "$(sqlite3 "$DB" .sha3sum)" "$state"
if touch "$MNT/app/new" 2>"$T/err"; then die 'a new name was taken'; fi
allow_log '"new" cannot be written: "app/new" is no database here; .* own name: db.sqlite3'

note 'a snapshot has all databases, and another mount shows them'
mkdir "$MNT/.sqlsnapfs/snapshots/all"
equal 'the snapshot' "$(cd "$MNT/.sqlsnapfs/snapshots/all" && find . -name '*.sqlite3' | sort | tr '\n' ' ')" \
	'./app/db.sqlite3 ./other.sqlite3 '
rmdir "$MNT/.sqlsnapfs/snapshots/all"
held_stop
unmount

note 'it is refused where nothing is restored'
for other in ro norestore frozen; do
	if "$SQLSNAPFS" -o "hide_databases,$other" "$SRC" "$MNT" 2>"$T/err"; then die "with $other: mounted"; fi
	grep -q "hide_databases is for restores, which $other refuses" "$T/err" || die "with $other: $(cat "$T/err")"
done
