#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# races_links.sh - a user who may rename in a mirrored folder cannot make the daemon, which is root, read or write for him what he
# may not: by symlinks, hard links, files and folders of others that are swapped in while the names are looked up, read,
# listed and restored, nor by what he puts in the place of a database's -wal, -shm and -journal.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=restore_lib.sh
. "$TOP/tests/e2e/restore_lib.sh"
allow_log 'refused, live database unchanged|cannot be (opened|written|opened for writing): |leaves the directory|thrown away|is not changed|directory "'
allow_sidecars
need setpriv
[ "$(id -u)" -eq 0 ] || skip 'only root can be other users'
as_user() { setpriv --reuid=5004 --regid=5004 --clear-groups "$@"; }

chmod 711 "$T"
DROP=$SRC/drop
OUT=$T/outside
mkdir "$DROP" "$OUT"
chmod 700 "$OUT"
make_marked "$T/up.sqlite3" uploaded
chmod 644 "$T/up.sqlite3"
# secret_db FILE MODE JOURNAL: root's. What anybody may write lies in a folder that nobody may enter.
secret_db() {
	make_marked "$1" TOP-SECRET "$3" 4096 5
	chmod "$2" "$1"
}

# What he may not reach: root's files outside, and in the tree.
echo TOP-SECRET >"$OUT/f"
echo TOP-SECRET >"$OUT/TOP-SECRET-name"
echo TOP-SECRET >"$OUT/linked"
secret_db "$OUT/away.sqlite3" 666 delete
chmod 600 "$OUT/linked"
chmod 644 "$OUT/f"

# What is his, under the same names.
for name in file linked; do echo mine >"$DROP/$name"; done
mkdir "$DROP/dir" "$DROP/sub"
echo mine >"$DROP/dir/f"
echo mine >"$DROP/sub/f"
for name in away.sqlite3 mine.sqlite3 sub/db.sqlite3; do make_marked "$DROP/$name" mine delete 4096 5; done
chown -R 5004:5004 "$DROP"
chmod -R u=rwX,go=rX "$DROP"

# His links, by himself: chown -h of uutils would give him what they lead to.
as_user ln -s "$OUT/f" "$DROP/file.x"
ln "$OUT/linked" "$DROP/linked.x"
as_user ln -s "$OUT" "$DROP/dir.x"
as_user ln -s "$OUT/away.sqlite3" "$DROP/away.sqlite3.x"
secret_db "$DROP/mine.sqlite3.x" 600 delete
mkdir "$DROP/sub.x"
echo TOP-SECRET >"$DROP/sub.x/f"
echo TOP-SECRET >"$DROP/sub.x/TOP-SECRET-name"
secret_db "$DROP/sub.x/db.sqlite3" 666 delete
chmod 700 "$DROP/sub.x"

# A hard link, which must not count below.
ln_again() {
	ln "$@"
	outside=$(secrets)
}

# What must stay as it is: by inode, for names change.
secrets() { stat -c "%i %a %u %g %h %s %Y" "$OUT"/* && sha "$OUT"/*; }
theirs() { find "$DROP" -user 0 -type f -size +0 -exec stat -c '%i %a %u %g %h %s %Y' {} + | sort; }
outside=$(secrets)
inside=$(theirs)
allow_log 'there is no database in' # yet
mount_fs -o keep=0,busy_timeout=1 "$SRC"
python3 "$TOP/tests/check/links.py" "$SRC" "$MNT" "$T/up.sqlite3" 5004 $((SLOW ? 60 : FACTOR > 1 ? 16 : 8)) >"$T/raced" || die "$(cat "$T/raced")"
note "$(cat "$T/raced")"
equal 'outside' "$(secrets)" "$outside"
equal 'what is not his in his folder' "$(theirs)" "$inside"
python3 - "$T/raced" <<'PY' || die "hardly anything happened: $(cat "$T/raced")"
import json, sys
raced = json.load(open(sys.argv[1]))
sys.exit(any(raced.get(key, 0) < least for key, least in {
    "swapped": 200, "read": 100, "read by root": 20, "listed": 50, "restored by open": 3, "restored by rename": 3}.items()))
PY
unmount

# What he puts beside his own database. The kernel lets nobody link files of others where protected_hardlinks is on (Debian);
# root does it for him.
note 'sidecars'
rm -rf "$DROP"
mkdir "$DROP"
mount_fs -o keep=0,busy_timeout=1 "$SRC"
number=0
# sidecar JOURNAL SUFFIX COMMAND...: what that makes is the database's SUFFIX; nobody's file is made, changed or given away by it.
sidecar() {
	local journal=$1 suffix=$2 db way
	number=$((number + 1))
	db=$DROP/$number.sqlite3
	make_marked "$db" mine "$journal" 4096 5
	chown 5004:5004 "$DROP" "$db"
	"${@:3}" "$db$suffix"
	for way in cat "cp $T/up.sqlite3"; do
		# It may be refused or not: it is the files that count.
		# shellcheck disable=SC2086 # the words of a command
		as_user timeout $((60 * FACTOR)) $way "$MNT/drop/$number.sqlite3" >"$T/shown" 2>&1 || [ $? -eq 1 ] || die "$* $way: a hang"
		! grep -qa TOP-SECRET "$T/shown" || die "$* $way: shown"
		equal "$* $way" "$(secrets)" "$outside"
	done
}
equal 'nothing else is there' "$(find "$OUT" | wc -l)" 5
outside=$(secrets)
for suffix in -wal -shm -journal; do
	for journal in wal delete; do
		for target in linked f missing; do
			sidecar "$journal" "$suffix" ln -s "$OUT/$target"
			[ "$target" = missing ] || sidecar "$journal" "$suffix" ln_again "$OUT/$target"
		done
	done
done
equal 'nothing was made' "$(find "$OUT" | wc -l)" 5
unmount
