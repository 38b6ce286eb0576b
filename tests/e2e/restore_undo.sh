#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# restore_undo.sh - what a restore replaced is kept, to the last commit, survives a remount and is put back by a copy; no more is kept than
# was asked for; without room for it nothing is replaced.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=restore_lib.sh
. "$TOP/tests/e2e/restore_lib.sh"
allow_log 'refused, live database unchanged|cannot be written: what stands there is read-only|"db.sqlite3" cannot be opened: .*malformed'
allow_sidecars

DB=$SRC/app/db.sqlite3
SEEN=$MNT/app/db.sqlite3
KEPT=$MNT/.sqlsnapfs/snapshots
mkdir "$SRC/app"
undos() { find "$KEPT" -maxdepth 1 -name 'before-restore-*' | wc -l; }
newest() { find "$KEPT" -mindepth 1 -maxdepth 1 -printf '%T@ %f\n' | sort -n | tail -n 1 | cut -d' ' -f2; }
# upload MARKER: restores a database of that name
upload() {
	make_marked "$T/up" "$1"
	cp "$T/up" "$SEEN" || die "restore of $1"
}
says() { sqlite3 "file:$1?immutable=1" 'SELECT value FROM marker'; }
partial() { find "$STORE" -mindepth 1 -name '.*'; }

for journal in wal delete; do
	note "$journal"
	make_marked "$DB" first "$journal"
	chmod 640 "$DB"
	chown 12:34 "$DB"
	mount_fs "$SRC"
	held_start "$DB"
	held write >/dev/null
	cp "$SEEN" "$T/before"
	seen_before=$(stat -c '%s %a %u %g' "$SEEN")
	upload second
	equal 'one is kept' "$(undos)" 1
	undo=$KEPT/$(newest)/app/db.sqlite3
	"$TEST_BIN/masked_cmp" "$T/before" "$undo" || die "it is not what was replaced"
	equal 'size, mode and owner of it' "$(stat -c '%s %a %u %g' "$undo")" "$seen_before"
	equal 'integrity_check of it' "$(sqlite3 "file:$undo?immutable=1" 'PRAGMA integrity_check')" ok

	# It is one more file that nobody can change.
	must_fail any 'Read-only file system|Operation not permitted|Permission denied' cp "$T/up" "$undo"

	unmount
	mount_fs "$SRC"
	"$TEST_BIN/masked_cmp" "$T/before" "$undo" || die "it is another one after a remount"

	# What the log says is what undoes it.
	command=$(sed -n 's/.*; to undo it, in the mount: \(cp [^;]*\).*/\1/p' "$LOGS/daemon.$((MOUNTS - 1)).log" | tail -n 1)
	[ -n "$command" ] || die "the log does not say how to undo it"
	restored 'before it is undone' second
	(cd "$MNT" && eval "$command") || die "$command: status $?"
	restored "$command" first
	equal 'rows of the application' "$(held "sql SELECT count(*) FROM rows WHERE text = 'written by the application'")" '[[2]]'

	# What was there before that can be had back, too.
	(cd "$MNT" && cp ".sqlsnapfs/snapshots/$(newest)/app/db.sqlite3" app/db.sqlite3)
	restored 'undone twice' second
	held_stop
	unmount
	rm -rf "$STORE" "$DB" "$DB"-*
done

# An application that commits to the last moment: all that it committed before the restore is kept, and nothing else.
for journal in wal delete; do
	note "to the last commit, $journal"
	make_marked "$DB" first "$journal"
	rm -f "$T/enough" "$T/app.out"
	mount_fs -o keep=30 "$SRC"
	python3 "$TOP/tests/check/busy_app.py" "$DB" "$T/enough" 0.002 >"$T/app.out" 2>"$LOGS/app.err" &
	app=$!
	CHILDREN+=("$app")
	seen() { [ "$(grep -c '^now' "$T/app.out")" -ge "$1" ]; }
	wait_for 10 seen 1 || die "the application does not begin"
	for ((i = 1; i <= 10; i++)); do
		upload "marker$i"
		wait_for 10 seen $((i + 1)) || die "the application does not see restore $i"
		undo=$(sed -n 's/.*snapshots\/\(before-restore-[^/]*\)\/.*/\1/p' "$LOG" | tail -n 1)
		last=$(sed -n "s/^now marker$i //p" "$T/app.out")
		equal "restore $i: the last row that is kept" \
			"$(sqlite3 "file:$KEPT/$undo/app/db.sqlite3?immutable=1" 'SELECT text FROM rows ORDER BY id DESC LIMIT 1')" "application $last"
	done
	: >"$T/enough"
	wait "$app" || die "the application saw errors: $(cat "$T/app.out")"
	unmount
	rm -rf "$STORE" "$DB" "$DB"-*
done

note 'how many'
make_marked "$DB" first wal
mount_fs -o keep=2 "$SRC"
held_start "$DB"
for i in 1 2 3 4 5; do
	held "sql UPDATE marker SET value = 'live$i'" >/dev/null
	upload "upload$i"
done
kept() { for k in "$KEPT"/*; do says "$k/app/db.sqlite3"; done | sort | tr '\n' ' '; }
# The newest two, and the oldest one of the day.
three() { [ "$(undos)" = 3 ]; }
wait_for 10 three || die "kept with keep=2: $(ls "$KEPT")"
equal 'kept with keep=2' "$(kept)" 'live1 live4 live5 '
count=$(undos)
upload again
upload 'and again'
pruned() { three && [ "$(kept)" = 'again live1 upload5 ' ]; } # what was uploaded is kept like all else
wait_for 10 pruned || die "kept of what was uploaded: $(kept)"
for i in 1 2 3 4 5 6 7 8; do make_marked "$T/up$i" "quick$i"; done
for i in 1 2 3 4 5 6 7 8; do cp "$T/up$i" "$SEEN"; done # several in a second
equal 'names in the log that were used again' "$(sed -n 's/.*to undo it, in the mount: cp \([^ ]*\) .*/\1/p' "$LOG" | sort | uniq -d)" ''
quickly() { three && [ "$(kept)" = 'live1 quick6 quick7 ' ]; }
wait_for 10 quickly || die "kept of what came quickly: $(kept)"
rmdir "$KEPT/$(newest)"
equal 'kept after rmdir' "$(undos)" $((count - 1))
unmount
mount_fs -o keep=0 "$SRC"
held "sql UPDATE marker SET value = 'gone'" >/dev/null
upload last
restored 'keep=0' last
equal 'kept with keep=0' "$(undos)" $((count - 1))
! grep -q 'to undo it' "$LOG" || die "the log speaks of an undo that there is not"
held_stop
unmount
rm -rf "$STORE" "$DB" "$DB"-*

note 'what SQLite cannot read'
make_marked "$DB" first wal
mount_fs "$SRC"
cat "$SEEN" >/dev/null
remembered() { grep -qsxF "$DB" "$STORE"/*/source; }
wait_for 5 remembered || die "the store does not remember the database"
head -c 50000 /dev/urandom >"$T/garbage"
cat "$T/garbage" >"$DB"
cat "$SEEN" >/dev/null 2>&1 || :
upload over_garbage
equal 'restored' "$(sqlite3 "$DB" 'SELECT value FROM marker')" over_garbage
cmp "$T/garbage" "$KEPT/$(newest)/app/db.sqlite3" || die "the garbage is not kept as it was"
tail -n 1 "$LOG" | grep -qF "its files are kept as they were: .sqlsnapfs/snapshots/$(newest)/app/db.sqlite3" ||
	die "the log does not say where it is kept: $(tail -n 1 "$LOG")"
! grep -q 'to undo it, in the mount: cp' "$LOG" || die "the log has a command that would be refused"
python3 "$TOP/tests/check/status.py" "$MNT/.sqlsnapfs/status.json" \
	"restores[0]['undo_raw'] and restores[0]['undo_path'] == 'app/db.sqlite3'" ||
	die "the status does not tell that it is no database"
unmount
rm -rf "$STORE" "$DB" "$DB"-*

# Attempts at what is damaged and locked leave nothing.
note 'in vain'
make_marked "$T/up" in_vain
make_marked "$DB" first wal
mount_fs -o keep=1,busy_timeout=1 "$SRC"
held_start "$DB"
cat "$SEEN" >/dev/null
wait_for 5 remembered || die "the store does not remember the database"
for sql in 'PRAGMA wal_checkpoint(TRUNCATE)' "UPDATE rows SET text = 'x' WHERE id = 1" 'BEGIN IMMEDIATE'; do
	held "sql $sql" >/dev/null
done
[ -s "$DB-wal" ] || die "there is no WAL"
printf '\1\2\3' | dd of="$DB" bs=1 seek=21 conv=notrunc status=none
for i in 1 2; do
	must_fail any 'Device or resource busy' cp "$T/up" "$SEEN"
	equal "kept after $i attempts" "$(undos)" 0
done
grep -q 'refused, live database unchanged: an application kept it locked for 1 second' "$LOG" || die "$(tail -n 1 "$LOG")"
held_stop
unmount
rm -rf "$STORE" "$DB" "$DB"-*

note 'no room'
live_bytes() { find "$SRC/app" -type f ! -name '*-shm' -exec sha256sum {} + | sort; }
mkdir "$T/tiny"
plain_mount -t tmpfs -o size=24m none "$T/tiny"
STORE=$T/tiny/store
mkdir "$STORE"
for journal in wal delete; do
	make_marked "$DB" first "$journal" 4096 50000
	mount_fs "$SRC"
	held_start "$DB"
	held write >/dev/null
	before=$(live_bytes)
	make_marked "$T/up" no_room
	must_fail 1 'No space left on device' cp "$T/up" "$SEEN"
	equal 'live files' "$(live_bytes)" "$before"
	grep -qE 'refused, live database unchanged: keeping the old one needs [0-9]+ MiB in .*/tiny/store, [1-9][0-9]* MiB free; .*keep=0' "$LOG" ||
		die "the log does not say what to do: $(tail -n 1 "$LOG")"
	nothing_partial() { [ -z "$(partial)" ]; }
	wait_for 5 nothing_partial || die "left in the store: $(partial)"
	equal 'kept' "$(undos)" 0
	equal 'the application' "$(held marker)" '"first"'
	equal 'the application writes' "$(held write)" '"ok"'
	unmount
	mount_fs -o keep=0 "$SRC" # as the log said
	upload no_room
	restored 'with keep=0' no_room
	held_stop
	unmount
	rm -rf "$DB" "$DB"-*
done
