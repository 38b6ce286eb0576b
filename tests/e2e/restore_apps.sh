#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# restore_apps.sh - a Django application with a persistent connection sees what was restored in its next request, and goes on writing:
# nothing was reloaded or reconnected. (restore_node.sh is the same in Node.)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=restore_lib.sh
. "$TOP/tests/e2e/restore_lib.sh"
allow_sidecars

for PYTHON in python3 /usr/bin/python3 ''; do
	[ -n "$PYTHON" ] || skip 'Django is not installed'
	! "$PYTHON" -c 'import django' 2>/dev/null || break
done
DB=$SRC/db.sqlite3
SEEN=$MNT/db.sqlite3
says() { equal "$1" "$(ask "$1")" "$2"; }

for journal in wal delete; do
	note "$journal"
	JOURNAL=$journal app_start "$PYTHON" "$TOP/tests/app/django_app.py" "$DB"
	says 'POST /notes one' '200 1 ["one"]'
	says 'POST /users anna' '200 1 ["anna"]'
	mount_fs "$SRC"
	cp "$SEEN" "$T/backup"
	says 'POST /notes two' '200 1 ["one", "two"]'
	says 'POST /users bert' '200 1 ["anna", "bert"]'

	cp "$T/backup" "$SEEN"
	says 'GET /notes' '200 1 ["one"]'
	says 'GET /users' '200 1 ["anna"]'
	says 'POST /notes three' '200 1 ["one", "three"]'
	says 'GET /journal' "200 1 [\"$journal\"]"

	# What was replaced comes back, rows that were written after the backup too.
	(cd "$MNT" && cp .sqlsnapfs/snapshots/before-restore-*/db.sqlite3 db.sqlite3)
	says 'GET /notes' '200 1 ["one", "two"]'
	says 'GET /users' '200 1 ["anna", "bert"]'
	for i in 1 2 3 4 5; do
		cp "$T/backup" "$SEEN.tmp"
		mv "$SEEN.tmp" "$SEEN"
		says "POST /notes again$i" "200 1 [\"one\", \"again$i\"]"
	done
	equal 'integrity_check' "$(sqlite3 "$DB" 'PRAGMA integrity_check; PRAGMA foreign_key_check')" ok
	app_stop
	unmount
	rm -rf "$DB" "$DB"-* "$STORE"
done
