#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# restore_node.sh - a Node application with an open connection and prepared statements sees what was restored, and goes on writing.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=restore_lib.sh
. "$TOP/tests/e2e/restore_lib.sh"
NODE=$("$TOP/scripts/node-sqlite" find) || skip 'no node here has an SQLite library; scripts/node-sqlite install'
export NODE_PATH=${NODE#*:}
NODE=${NODE%%:*}
allow_sidecars

DB=$SRC/db.sqlite3
SEEN=$MNT/db.sqlite3
says() { equal "$1" "$(ask "$1")" "$2"; }

for journal in wal delete; do
	note "$journal"
	JOURNAL=$journal app_start "$NODE" --no-warnings "$TOP/tests/app/node_app.js" "$DB"
	says 'POST one' '["one"]'
	mount_fs "$SRC"
	cp "$SEEN" "$T/backup"
	says 'POST two' '["one","two"]'
	for i in 1 2 3 4 5; do
		cp "$T/backup" "$SEEN"
		says GET '["one"]'
		says "POST again$i" "[\"one\",\"again$i\"]"
	done
	equal 'integrity_check' "$(sqlite3 "$DB" 'PRAGMA integrity_check')" ok
	app_stop
	unmount
	rm -rf "$DB" "$DB"-* "$STORE"
done
