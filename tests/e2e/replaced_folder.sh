#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# replaced_folder.sh - the folder that is mirrored is renamed and another takes its place, as deployments do, by rename or by a
# link: nothing of the old one is shown any more, nothing is restored into it, and the log and status.json say why.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
allow_log 'is another directory by now|the directory was removed'
allow_log 'there is no database in' # yet

app=$T/app
db=$app/db.sqlite3
make_release() { # FOLDER COMMITS
	mkdir "$1"
	make_db "$1/db.sqlite3" --commits "$2"
	make_db "$1/other.sqlite3" --commits "$2"
	echo "release $2" >"$1/plain"
}
warned() { jq -e '.warnings[] | select(contains("another directory by now"))' "$MNT/.sqlsnapfs/status.json" >/dev/null; }
# An empty list would be believed.
no_list() { # WHAT
	mkdir -p "$T/kept"
	echo yesterday >"$T/kept/file"
	must_fail any 'Stale file handle' rsync -a --delete "$MNT/" "$T/kept/"
	[ -s "$T/kept/file" ] || die "$1: the backup was emptied"
	must_fail any 'Stale file handle' tar cf "$T/tar" -C "$MNT" .
	must_fail any 'Stale file handle' ls "$MNT"
}
refused() { # WHAT
	no_list "$1"
	must_fail any 'Stale file handle' cat "$MNT/db.sqlite3"
	must_fail any 'Stale file handle' cp "$T/backup" "$MNT/db.sqlite3"
	must_fail any 'Stale file handle' mkdir "$MNT/.sqlsnapfs/snapshots/late"
	equal "$1: lines of the log for reads" "$(grep -c 'warning: ops: .*another directory by now' "$LOG")" 1
	grep -q 'another directory by now: it was replaced, or a link was changed; mount it again' "$LOG" || die "$1: $(tail -n 3 "$LOG")"
	warned || die "$1: status.json does not warn"
}
need jq
make_db "$T/backup" --commits 5

for way in folder link file files; do
	note "$way"
	case $way in
	link) # of releases, one is the current one
		make_release "$T/one" 11
		make_release "$T/two" 22
		ln -s one "$app"
		replace() { ln -sfn two "$app"; }
		put_back() { ln -sfn one "$app"; }
		;;
	*)
		make_release "$app" 11
		make_release "$app.new" 22
		replace() { mv "$app" "$app.old" && mv "$app.new" "$app"; }
		put_back() { mv "$app" "$app.new" && mv "$app.old" "$app"; }
		;;
	esac
	# A relative path, which the daemon's own folder has nothing to do with.
	cd "$T"
	case $way in
	file) mount_fs app/db.sqlite3 ;;
	files) mount_fs app/db.sqlite3 app/other.sqlite3 ;; # whose folder is looked at once
	*) mount_fs app ;;
	esac
	cd /
	equal "$way: at first" "$(commits_of "$MNT/db.sqlite3")" 11
	! warned || die "$way: a warning for nothing"
	replace
	old=$(sha "$(readlink -f "$app")/db.sqlite3")
	refused "$way"
	case $way in
	file*) ;;
	*) must_fail any 'Stale file handle' cat "$MNT/plain" ;;
	esac
	equal "$way: the new one" "$(sha "$db")" "$old"
	put_back
	equal "$way: put back" "$(commits_of "$MNT/db.sqlite3")" 11
	! warned || die "$way: it still warns"
	replace
	unmount
	if [ "$way" = file ]; then mount_fs "$db"; else mount_fs "$app"; fi
	equal "$way: mounted again" "$(commits_of "$MNT/db.sqlite3")" 22
	unmount
	rm -rf "$app" "$app.old" "$T/one" "$T/two"
done

# rm may be seen when it has removed the sidecars and not yet the database.
allow_log 'its locks or its -wal were lost'
for way in removed anew volume file; do
	note "$way"
	case $way in
	volume) mkdir "$app" ;;
	*) make_release "$app" 11 ;;
	esac
	if [ "$way" = file ]; then mount_fs "$db"; else mount_fs "$app"; fi
	[ "$way" = volume ] || equal "$way: at first" "$(commits_of "$MNT/db.sqlite3")" 11
	case $way in
	volume)
		ls "$MNT" >"$T/empty"
		plain_mount -t tmpfs none "$app"
		cp "$T/backup" "$db"
		;;
	anew)
		rm -r "$app"
		make_release "$app" 22
		;;
	*) rm -r "$app" ;;
	esac
	no_list "$way"
	grep -qE 'warning: ops: directory "/": (.* is another directory by now: it was replaced, or a link was changed|the directory was removed); mount it again' "$LOG" || die "$way: $(tail -n 3 "$LOG")"
	jq -e '.warnings[] | select(contains("mount it again"))' "$MNT/.sqlsnapfs/status.json" >/dev/null || die "$way: status.json does not warn"
	unmount
	if [ "$way" = volume ]; then umount "$app"; fi
	rm -rf "$app"
done
