#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# reflink.sh - on file systems that clone (btrfs, xfs) a slow reader costs a clone, not a copy: the bytes stay, the WAL is
# bounded, nothing is left in the database's folder.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
need losetup strace
allow_log 'cut\.sqlite3|snapshot "cut"'

for type in btrfs xfs; do
	if ! command -v "mkfs.$type" >/dev/null; then
		note "mkfs.$type is not installed"
		continue
	fi
	note "$type"
	dir=$SRC/$type
	loop_mount "$type" 1500M "$dir"
	mkdir "$dir/app"
	db=$dir/app/db.sqlite3
	rollback=$dir/app/rollback.sqlite3
	head -c 4096 /dev/urandom >"$dir/probe"
	cp --reflink=always "$dir/probe" "$dir/probe2" || skip "$type here does not clone"
	make_db "$rollback" --journal delete --big-row 2000000 --big-every 2
	writer_start "$type" --db "$db" --busy-timeout 0 --big-row 100000
	mount_at "$T/$type.mnt" -o wal_limit=4M "$dir/app"
	seen=$T/$type.mnt
	strace -f -qq -e trace=ioctl -o "$T/$type.trace" -p "$(fs_pid "$seen")" 2>"$LOGS/strace" &
	tracer=$!
	CHILDREN+=("$tracer")
	traced() { grep -q '^TracerPid:[[:space:]]*[1-9]' "/proc/$(fs_pid "$seen")/status"; }
	wait_for 10 traced || note 'strace cannot attach'

	reader --file "$seen/db.sqlite3" --ack "$T/$type.ack" --hold 4 --out "$T/held" >/dev/null || die "$type: the held descriptor: status $?"
	check_copy "$T/held" >/dev/null || die "$type: what was held"
	copyloop --file "$seen/db.sqlite3" --ack "$T/$type.ack" --copies 60 --threads 6 --slow-ms 400 --styles slow,read,mmap \
		--min-distinct 5 || die "$type: bad copies"
	copyloop --file "$seen/rollback.sqlite3" --copies 8 --slow-ms 20 || die "$type: bad copies of a rollback database"
	kill -INT "$tracer"
	wait "$tracer" 2>/dev/null || :
	if [ -s "$T/$type.trace" ]; then
		grep -q 'FICLONE.*= 0' "$T/$type.trace" || die "$type: nothing was cloned: $(sort "$T/$type.trace" | uniq -c | head)"
	fi

	# With the store there too a snapshot is a clone, into which the pages are written that the WAL holds: whoever reads it before
	# that is done gets the same bytes from the live database. Several of one state are written one after the other, and
	# each is whole.
	writer_do "$type" pause
	mkdir "$dir/store"
	STORE=$dir/store mount_at "$T/$type.kept" "$dir/app"
	kept=$T/$type.kept/.sqlsnapfs/snapshots
	[ -s "$db-wal" ] || die "$type: no WAL"
	# All at once: one begins while another is written.
	python3 -c 'import os, sys
for name in sys.argv[2:]:
	os.mkdir(f"{sys.argv[1]}/{name}")' "$kept" 1 2 3 4 5
	written() { [ "$(grep -c 'snapshot .* was written' "$LOG")" -eq 5 ]; }
	sha "$kept/5/db.sqlite3" >"$T/$type.sha"
	wait_for 60 written || die "$type: the snapshots are not written"
	unmount "$T/$type.kept"
	STORE=$dir/store mount_at "$T/$type.kept" "$dir/app"
	for i in 1 2 3 4 5; do
		equal "$type: snapshot $i" "$(sha "$kept/$i/db.sqlite3")" "$(cat "$T/$type.sha")"
		commits_of "$kept/$i/db.sqlite3" >/dev/null || die "$type: snapshot $i"
	done
	unmount "$T/$type.kept"
	writer_do "$type" resume

	# Somebody cuts the file off below the application: no snapshot says that zeros are its pages.
	cut=$dir/app/cut.sqlite3
	writer_start "cut.$type" --db "$cut" --busy-timeout 0 --big-row 100000 --big-every 2 --autocheckpoint 0 --paused
	writer_do "cut.$type" 'commit 40'
	writer_do "cut.$type" 'exec PRAGMA wal_checkpoint(TRUNCATE)'
	writer_do "cut.$type" 'commit 1'
	truncate -s "$(($(stat -c %s "$cut") / 2))" "$cut"
	truncate -s /4096 "$cut"
	STORE=$dir/store mount_at "$T/$type.kept" "$dir/app"
	must_fail any 'Input/output error' cp "$T/$type.kept/cut.sqlite3" "$T/cut"
	mkdir "$kept/cut" 2>/dev/null || :
	if cat "$kept/cut/cut.sqlite3" >"$T/cut" 2>/dev/null; then die "$type: a snapshot of what is not there: $(stat -c %s "$T/cut")"; fi
	unmount "$T/$type.kept"
	writer_kill "cut.$type"
	rm -f "$cut"*
	writer_stop "$type"
	unmount "$seen"
	equal "$type: files" "$(find "$dir/app" -mindepth 1 -printf '%f\n' | sort | tr '\n' ' ')" 'db.sqlite3 rollback.sqlite3 '
done
