#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# restore_names.sh - names that are removed, made, renamed and opened in an order, or at a time, that makes it hard to say what is meant:
# no error that is nobody's fault, no content that nobody wrote, nothing left behind.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=restore_lib.sh
. "$TOP/tests/e2e/restore_lib.sh"
allow_log 'thrown away|cannot be written: |it has become a database already|writing .* failed: .*it is being restored|refused, live database unchanged: parts of it'
allow_sidecars

DB=$SRC/db.sqlite3
SEEN=$MNT/db.sqlite3
make_marked "$DB" first wal
mount_fs -o keep=0 "$SRC"
held_start "$DB"
number=0
uploads() { find "$STORE" -name upload.sqlite3; }
none_stored() { [ -z "$(uploads)" ]; }

# names WHAT RESTORES|changes_nothing: see tests/check/names.py. The upload's marker is NUMBER.
names() {
	local before
	note "$1"
	number=$((number + 1))
	before=$(held marker)
	make_marked "$T/up" "$number"
	python3 "$TOP/tests/check/names.py" "$1" "$T/up" "$SEEN" || die "$1: status $?"
	case $2 in
	restores) restored "$1" "$number" ;;
	changes_nothing) equal "$1" "$(held marker)" "$before" ;;
	esac
	equal "$1: names" "$(ls -A "$MNT")" db.sqlite3
	equal "$1: others see it" "$(sqlite3 "$SEEN" 'SELECT count(*) FROM marker')" 1
	wait_for 10 none_stored || die "$1: left in the store: $(uploads)"
}
names rename_after_unlink restores
names create_after_unlink restores
names unlink_while_open changes_nothing
names unlink_while_pending changes_nothing
names same_inode restores
names far_times restores
names reopen_by_descriptor restores
grep -qE 'cannot be written: its opener does not look up the name again' "$LOG" || die 'a write by descriptor is not explained'
names append_after_rename restores
names write_after_rename restores
names many_opens restores
names two_descriptors restores
names write_while_closing restores

note 'two processes write at once'
for i in 1 2 3 4; do make_marked "$T/both$i" "both$i" delete 4096 800; done
for round in 1 2 3 4 5; do
	pids=()
	for i in 1 2 3 4; do
		if [ $((i % 2)) = 0 ]; then
			cp "$T/both$i" "$SEEN" &
		else
			{ cp "$T/both$i" "$MNT/.both$i" && mv "$MNT/.both$i" "$SEEN"; } &
		fi
		pids+=("$!")
	done
	for pid in "${pids[@]}"; do wait "$pid" || die "round $round: one of them: status $?"; done
	grep -qx '"both[1-4]"' <<<"$(held marker)" || die "round $round: $(held marker)"
	equal "round $round" "$(held check)" '"ok"'
	equal "round $round: rows" "$(sqlite3 "$DB" "SELECT count(*) FROM rows WHERE text LIKE (SELECT value FROM marker) || ' %'")" 800
done

# The kernel forgets a folder when memory is short, or, as here, when its mount is mounted once more; who goes on in it finds all.
if [ "$(id -u)" -eq 0 ]; then
	# mount(2), for mount(8) since 2.39 says things that the kernel's FUSE does not take when it is mounted once more.
	remount() { python3 -c 'import ctypes, sys; sys.exit(ctypes.CDLL(None).mount(b"", sys.argv[1].encode(), None, 32, None) != 0)' "$1"; }
	note 'a folder that the kernel has forgotten'
	for folder in sub sub/sub; do
		mkdir "$SRC/$folder"
		make_marked "$SRC/$folder/q.sqlite3" old
		make_marked "$T/up" "new $folder"
		cp "$T/up" "$MNT/$folder/.q.sqlite3.zzz"
		remount "$MNT" || die "it cannot be mounted once more"
		mv "$MNT/$folder/.q.sqlite3.zzz" "$MNT/$folder/q.sqlite3"
		equal "$folder" "$(sqlite3 "$SRC/$folder/q.sqlite3" 'SELECT value FROM marker')" "new $folder"
	done
	make_marked "$T/up" pending
	python3 "$TOP/tests/check/names.py" forgotten_folder "$T/up" "$MNT/sub/q.sqlite3" || die "status $?"
	equal 'what was pending' "$(sqlite3 "$SRC/sub/q.sqlite3" 'SELECT value FROM marker')" pending
	rm -r "$SRC/sub"
fi

# A -wal that is copied along is missing from its database, and root hears that too.
note 'a -wal'
cp "$SEEN" "$T/old.sqlite3"
echo x >"$T/old.sqlite3-wal"
must_fail 1 'Permission denied' cp "$T/old.sqlite3-wal" "$SEEN-wal"
grep -q 'db.sqlite3-wal.*cannot be written: .*wal_checkpoint' "$MNT/.sqlsnapfs/log" || die "the log does not say what is missing"

# ---- the end of the mount

# hold WHAT: a process that has written all of an upload and not closed it yet.
hold() {
	make_marked "$T/up" "$1"
	mkfifo "$T/go.$1"
	python3 "$TOP/tests/check/names.py" hold "$T/up" "$SEEN" <"$T/go.$1" >"$T/held.$1" 2>"$LOGS/held.$1" &
	holder=$!
	CHILDREN+=("$holder")
	exec {go}>"$T/go.$1"
	wait_for 20 grep -q held "$T/held.$1" || die "nothing is held: $(cat "$LOGS/held.$1")"
}
let_go() {
	echo close >&"$go"
	exec {go}>&-
	wait "$holder" || die "$1: the holder: $(cat "$LOGS/held.$1")"
	grep -qxE "$2" "$T/held.$1" || die "$1: the writer heard: $(tail -n 1 "$T/held.$1")"
}

note 'unmounted lazily: what is open is closed as ever'
hold lazily
umount -l "$MNT"
let_go lazily closed
wait_daemon "$MNT"
restored 'closed after a lazy unmount' lazily

note 'ended by force: what is open restores nothing'
for way in twice by_force; do
	mount_fs -o keep=0 "$SRC"
	marker=$(held marker)
	before=$(sha "$DB" "$DB-wal")
	hold "$way"
	case $way in
	twice)
		kill -TERM "$(fs_pid "$MNT")"
		wait_for 10 not_mounted "$MNT" || die "SIGTERM does not detach the mount"
		kill -TERM "$(fs_pid "$MNT")"
		;;
	by_force) umount -f -l "$MNT" ;;
	esac
	wait_daemon "$MNT"
	let_go "$way" 'E[A-Z]+'
	equal "$way: the application" "$(held marker)" "$marker"
	equal "$way: live files" "$(sha "$DB" "$DB-wal")" "$before"
	none_stored || die "$way: left in the store: $(uploads)"
done
held_stop
