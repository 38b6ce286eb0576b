#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# restore_rights.sh - who may not write the live file does not restore it, by whatever way: an open, a new file where it was removed, a
# rename, a descriptor given to a program with more rights. Who may, does, and the live file keeps its owner and mode.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=restore_lib.sh
. "$TOP/tests/e2e/restore_lib.sh"
allow_log 'refused, live database unchanged: (Permission denied|.*written by)|cannot be (written|opened for writing): '
allow_sidecars
need setpriv
[ "$(id -u)" -eq 0 ] || skip 'only root can be other users'

# name: uid, gid, other groups. The database's group is 6000.
declare -A WHO=([owner]='5001 5001 none' [member]='5002 5002 6000' [group]='5003 6000 none' [other]='5004 5004 7000')
as() {
	local uid gid group option=--clear-groups
	if [ "$1" = root ]; then
		"${@:2}"
		return
	fi
	read -r uid gid group <<<"${WHO[$1]}"
	[ "$group" = none ] || option=--groups=$group
	setpriv --reuid="$uid" --regid="$gid" "$option" "${@:2}"
}

chmod 711 "$T"
chmod 777 "$SRC" # names are everybody's here: it is the file's own rights that count
DB=$SRC/db.sqlite3
SEEN=$MNT/db.sqlite3
UP=$T/up
mkdir "$UP"
make_marked "$DB" first wal
chown 5001:6000 "$DB"
mount_fs -o keep=0 "$SRC"
held_start "$DB"
marker=first number=0

# Each of the ways in which tools write a file. $1 is the upload, $2 the name in the mount.
by_open() { as "$1" cp "$2" "$SEEN"; }
by_create() { as "$1" cp --remove-destination "$2" "$SEEN"; }
by_rename() {
	local status=0
	as "$1" cp "$2" "$MNT/.db.sqlite3.$1"
	as "$1" mv -f "$MNT/.db.sqlite3.$1" "$SEEN" || status=$?
	[ "$status" -eq 0 ] || as "$1" rm -f "$MNT/.db.sqlite3.$1"
	return "$status"
}
# A descriptor that was opened by an unlink and a new file, and closed by a program with root's rights.
cp "$(type -P true)" "$T/root_true"
chmod 4755 "$T/root_true"
by_inheritance() {
	local ids
	read -ra ids <<<"${WHO[$1]-0 0 none}"
	python3 -c '
import os, sys
uid, gid, group = sys.argv[4:]
os.setgroups([] if group == "none" else [int(group)])
os.setgid(int(gid))
os.setuid(int(uid))
os.unlink(sys.argv[2])
fd = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
os.write(fd, open(sys.argv[1], "rb").read())
os.set_inheritable(fd, True)
os.execv(sys.argv[3], ["true"])' "$2" "$SEEN" "$T/root_true" "${ids[@]}"
}

# ways MODE ALLOWED...: with that mode those can restore by every way, and all others by none.
ways() {
	local mode=$1 who way state
	chmod "$mode" "$DB"
	state=$(live_state "$DB")
	shift
	for who in root owner member group other; do
		for way in by_open by_create by_rename by_inheritance; do
			number=$((number + 1))
			make_marked "$UP/$number" "$number"
			if [[ " root $* " == *" $who "* ]]; then
				note "$mode: $who restores $way"
				"$way" "$who" "$UP/$number" || die "$mode: $who $way: status $?"
				marker=$number
			else
				note "$mode: $who is refused $way"
				must_fail any 'Permission denied|PermissionError' "$way" "$who" "$UP/$number"
			fi
			equal "$mode: $who $way" "$(held marker)" "\"$marker\""
			equal "$mode: $who $way: the live file" "$(live_state "$DB")" "$state"
			equal "$mode: $who $way: names" "$(ls -A "$MNT")" db.sqlite3
		done
	done
}
ways 600 owner
ways 660 owner member group
ways 606 owner other # the group is asked first, and has less than others
ways 640 owner
ways 460 member group
ways 666 owner member group other
restored 'after all of them' "$marker"

# Reading is as it is with the live file.
chmod 640 "$DB"
for who in owner member group; do as "$who" cmp "$SEEN" "$SEEN" || die "$who cannot read"; done
must_fail any 'Permission denied' as other cat "$SEEN"

# It is the descriptor that counts: who was given one writes what its opener may.
make_marked "$UP/given" given
as other cat <"$UP/given" >"$SEEN" || die "a descriptor of root's: status $?"
restored 'a descriptor of root'"'"'s' given

# What was written under a temporary name is its writer's.
chmod 600 "$UP/given"
cp --preserve=mode "$UP/given" "$MNT/.scratch"
must_fail any 'Permission denied' as other cat "$MNT/.scratch"
must_fail any 'Permission denied' as other tee -a "$MNT/.scratch"
rm "$MNT/.scratch"
chmod 644 "$UP/given"

# A removal is shown to whoever removed, and removes nothing.
as other rm -f "$SEEN"
equal 'after a removal' "$(held marker)" '"given"'
as owner test -e "$SEEN" || die "a removal is seen by others"
as other test -e "$SEEN" || die "a removal is seen by other processes"

# Our own folder is the daemon's user's, and what stands there is written by nobody.
for path in .sqlsnapfs .sqlsnapfs/log .sqlsnapfs/snapshots; do
	must_fail any 'Permission denied' as owner ls -l "$MNT/$path/."
	must_fail any 'Permission denied|Is a directory' as owner cat "$MNT/$path"
	must_fail any 'Permission denied' as owner touch "$MNT/$path/x"
done
equal 'whose folder it is' "$(stat -c '%u %a' "$MNT/.sqlsnapfs")" '0 700'
grep -q 'restored by uid 5001 ' "$MNT/.sqlsnapfs/log" || die "the log does not say who"
must_fail any 'Read-only file system|Operation not permitted|Permission denied' tee "$MNT/.sqlsnapfs/log"
for name in .x tmpx log.tmp db.sqlite3 snapshots/.x; do
	must_fail any 'not permitted|Read-only|denied' cp "$UP/given" "$MNT/.sqlsnapfs/$name"
done
held_stop

# Nothing stands there: the folder's rights decide, and the file is again whose it was.
make_marked "$UP/anew" anew
chmod 660 "$DB"
cat "$SEEN" >/dev/null
unmounted_state() { stat -c '%a %u %g' "$DB"; }
was=$(unmounted_state)
chmod 755 "$SRC"
look_anew "$MNT"
rm -f "$DB" "$DB-wal" "$DB-shm"
must_fail any 'Permission denied' as owner cp "$UP/anew" "$SEEN"
chmod 777 "$SRC"
[ ! -e "$DB" ] || die "it was made"
as other cp "$UP/anew" "$SEEN"
equal 'made anew' "$(unmounted_state)" "$was"
equal 'made anew' "$(sqlite3 "$DB" 'SELECT value FROM marker')" anew

# Who may write the file keeps it open until it is removed: that was no leave to make it again.
note 'the file goes while it is being written'
chmod 666 "$DB"
cat "$SEEN" >/dev/null
chmod 755 "$SRC"
look_anew "$MNT"
coproc HELD { exec python3 -c 'import os, sys
os.setgroups([])
os.setgid(5004)
os.setuid(5004)
fd = os.open(sys.argv[2], os.O_WRONLY | os.O_TRUNC)
print("open", flush=True)
input()
os.write(fd, open(sys.argv[1], "rb").read())
os.close(fd)' "$UP/anew" "$SEEN" 2>"$T/held.err"; }
held_pid=$HELD_PID held_in=${HELD[1]}
CHILDREN+=("$held_pid")
read -r -t $((300 * FACTOR)) -u "${HELD[0]}" reply
equal 'whoever holds it' "$reply" open
rm -f "$DB" "$DB-wal" "$DB-shm"
echo >&"$held_in"
status=0
wait "$held_pid" || status=$?
equal 'status of whoever held it' "$status" 1
grep -q 'Permission denied' "$T/held.err" || die "it was told: $(cat "$T/held.err")"
[ ! -e "$DB" ] || die "it was made again: $(stat -c '%a %u' "$DB")"
chmod 777 "$SRC"
as other cp "$UP/anew" "$SEEN"
chmod 660 "$DB"
cat "$SEEN" >/dev/null

# What stands there is no database any more, but it was one: its own rights.
make_marked "$UP/again" again
for content in '' 'this is text'; do
	note "what stands there: '$content'"
	rm -f "$DB-wal" "$DB-shm"
	printf %s "$content" >"$DB"
	was=$(live_state "$DB")
	for way in by_open by_create by_rename; do
		must_fail any 'Permission denied' "$way" other "$UP/again"
		equal "$way over '$content'" "$(cat "$DB")" "$content"
	done
	for way in by_open by_create by_rename; do
		printf %s "$content" >"$DB"
		"$way" owner "$UP/again" || die "$way over '$content': status $?"
		equal "$way over '$content'" "$(sqlite3 "$DB" 'SELECT value FROM marker')" again
		equal "$way over '$content': the live file" "$(live_state "$DB")" "$was"
		rm -f "$DB-wal" "$DB-shm"
	done
done

# A database that was named stands in a folder with the rights of its own: who may write both restores it by every way.
unmount
chmod 755 "$SRC"
chown 5001:6000 "$SRC"
mount_fs -o keep=0 "$DB"
for way in by_open by_create by_rename; do
	make_marked "$UP/named" "$way"
	chmod 644 "$UP/named"
	[ "$way" = by_open ] || must_fail any 'Permission denied' "$way" member "$UP/named"
	"$way" owner "$UP/named" || die "$way of a named database: status $?"
	equal "$way of a named database" "$(sqlite3 "$DB" 'SELECT value FROM marker')" "$way"
	rm "$UP/named"
done
chown 0:0 "$SRC"
chmod 777 "$SRC"

# A daemon in a pid namespace of its own cannot tell its callers apart: no open, but new names and renames.
unmount
if unshare --pid --fork true 2>/dev/null; then
	program=$SQLSNAPFS
	printf '#!/bin/sh\nexec unshare --pid --fork --kill-child "%s" "$@"\n' "$program" >"$T/apart"
	chmod 755 "$T/apart"
	SQLSNAPFS=$T/apart
	make_marked "$UP/apart" apart
	mount_fs "$SRC"
	must_fail any 'Permission denied' cp "$UP/apart" "$SEEN"
	must_fail any 'Permission denied' as owner cp "$UP/apart" "$SEEN"
	must_fail any 'Permission denied' rm "$SEEN"
	grep -q 'another pid namespace.*rename it' "$MNT/.sqlsnapfs/log" || die "the log does not say what to do"
	equal 'a caller that cannot be told apart' "$(sqlite3 "$DB" 'SELECT value FROM marker')" by_rename
	must_fail any 'Permission denied' by_rename other "$UP/apart"
	by_rename owner "$UP/apart" || die "rename: status $?"
	equal 'a rename' "$(sqlite3 "$DB" 'SELECT value FROM marker')" apart
	unmount
else
	note 'no pid namespaces here'
fi
