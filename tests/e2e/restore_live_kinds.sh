#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# restore_live_kinds.sh - whatever stands at the place of a database (missing, empty, garbage, cut off, damaged, a stale WAL or journal beside
# it) and whatever journal mode and page size it and the upload have: afterwards it holds the upload and nothing else.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=restore_lib.sh
. "$TOP/tests/e2e/restore_lib.sh"
allow_sidecars # some are left by applications that were killed
allow_log 'cannot be (examined|looked at|opened|read)|"db.sqlite3"'
allow_log 'there is no database in' # it is missing, empty or garbage

APP=$SRC/app
DB=$APP/db.sqlite3
SEEN=$MNT/db.sqlite3
make_marked "$T/up_wal" up wal 4096 3000
make_marked "$T/up_delete" up delete 4096 3000
sqlite3 "$T/up_wal" .dump >"$T/up_wal.sql"
sqlite3 "$T/up_delete" .dump >"$T/up_delete.sql"

# left_open DATABASE: an application that was killed: what it wrote stands in the -wal, or has a hot journal beside it.
left_open() {
	python3 - "$1" 2>/dev/null <<'PY'
import os, signal, sqlite3, sys

db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA wal_autocheckpoint=0")
db.execute("PRAGMA cache_size=5")
db.execute("BEGIN")
db.execute("INSERT INTO rows(text, body) SELECT 'stale', randomblob(700) FROM rows")
db.execute("UPDATE marker SET value = 'stale'")
if db.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
    db.execute("COMMIT")
os.kill(os.getpid(), signal.SIGKILL)
PY
}

# live JOURNAL STALE: a database, and with STALE what a killed application left beside it.
live() {
	rm -rf "$APP"
	mkdir "$APP"
	make_marked "$DB" live "$1" 4096 1500
	chmod 640 "$DB"
	chown 12:34 "$DB"
	[ "$2" = 0 ] || left_open "$DB" 2>/dev/null || :
}
missing() { rm "$DB"; }
empty() { : >"$DB"; }
garbage() { head -c "$(stat -c %s "$DB")" /dev/urandom >"$T/garbage" && cat "$T/garbage" >"$DB"; }
one_byte() { printf x >"$DB"; }
cut_off() { truncate -s "$(($(stat -c %s "$DB") / 2 + 100))" "$DB"; }
only_header() { truncate -s 100 "$DB"; }
damaged_schema() { printf '\377%.0s' $(seq 60) | dd of="$DB" bs=1 seek=100 conv=notrunc status=none; }
damaged_pages() { head -c 40960 /dev/urandom | dd of="$DB" bs=4096 seek=3 conv=notrunc status=none; }
as_it_is() { :; }

# holds WHAT FILE SQL: the database holds what was uploaded, and nothing else; by its own bytes and as SQLite reads it.
holds() {
	cmp "$2" "$SEEN" || die "$1: what is shown is not what was written"
	equal "$1: integrity_check" "$(sqlite3 "$DB" 'PRAGMA integrity_check')" ok
	sqlite3 "$DB" .dump | cmp - "$3" || die "$1: other content"
}

# The store knows what stood there: it can be restored when it is there no more.
remembered() { grep -qsxF "$DB" "$STORE"/*/source; }

# kind SOURCE KIND JOURNAL STALE UPLOAD
kind() {
	local what="$*" mode
	live "$3" "$4"
	mount_fs -o keep=1 "$([ "$1" = file ] && echo "$DB" || echo "$APP")"
	cat "$SEEN" >/dev/null || die "$what: before"
	wait_for 5 remembered || die "$what: the store does not remember the database"
	mode=$(stat -c '%a %u %g' "$DB")
	[ "$2" = missing ] || mode="$mode $(stat -c %i "$DB")"
	"$2"
	cp "$T/$5" "$SEEN" || die "$what: $(tail -n 1 "$LOG")"
	holds "$what" "$T/$5" "$T/$5.sql"
	equal "$what: owner, mode, inode" "$(stat -c '%a %u %g %i' "$DB" | cut -d' ' -f "1-$(wc -w <<<"$mode")")" "$mode"
	equal "$what: listing" "$(ls -A "$MNT")" db.sqlite3
	# An application that comes now writes, and comes again.
	sqlite3 "$DB" "UPDATE marker SET value = 'later'" || die "$what: writing afterwards"
	equal "$what: shown afterwards" "$(sqlite3 "file:$DB?mode=ro" 'SELECT value FROM marker')" later
	commits=$(cp "$SEEN" "$T/copy" && sqlite3 "$T/copy" 'SELECT value FROM marker')
	equal "$what: a copy afterwards" "$commits" later
	unmount
}

kinds=(missing empty garbage one_byte cut_off only_header damaged_schema damaged_pages as_it_is)
n=0
for kind in "${kinds[@]}"; do
	note "$kind"
	for journal in wal delete; do
		for stale in 0 1; do
			# Half of the combinations in turn; all of them in the long form.
			n=$((n + 1))
			kind "$([ $((n % 2)) = 0 ] && echo file || echo tree)" "$kind" "$journal" "$stale" \
				"$([ $((n % 3)) = 0 ] && echo up_wal || echo up_delete)"
			[ "$SLOW" = 0 ] || kind "$([ $((n % 2)) = 0 ] && echo tree || echo file)" "$kind" "$journal" "$stale" \
				"$([ $((n % 3)) = 0 ] && echo up_delete || echo up_wal)"
		done
	done
done

# kept WHAT UPLOAD JOURNAL: restored under an application that has it open: it sees it, and everything else is kept.
kept() {
	local before page_size
	held_start "$DB"
	held "sql PRAGMA journal_mode=$3" >/dev/null # truncate and persist are the connection's
	held write >/dev/null
	before=$(live_state "$DB")
	page_size=$(held 'sql PRAGMA page_size')
	cp "$2" "$SEEN" || die "$1: $(tail -n 1 "$LOG")"
	cmp "$2" "$SEEN" || die "$1: what is shown is not what was written"
	equal "$1: rows" "$(held 'sql SELECT count(*) FROM rows')" '[[3000]]'
	restored "$1" up
	equal "$1: the live file" "$(live_state "$DB")" "$before"
	equal "$1: journal mode" "$(held journal)" "\"$3\""
	note "$1: pages of $page_size before, of $(held 'sql PRAGMA page_size') after"
	held_stop
	equal "$1: another application" "$(sqlite3 "$DB" 'SELECT value FROM marker; PRAGMA integrity_check' | tr '\n' ' ')" 'up ok '
}

note 'journal modes'
for journal in wal delete truncate persist; do
	for upload in up_wal up_delete; do
		live "$journal" 0
		mount_fs "$APP"
		kept "$journal, $upload" "$T/$upload" "$journal"
		unmount
	done
done

note 'page sizes'
for sizes in '512 4096' '4096 512' '65536 1024' '1024 65536' '4096 8192'; do
	read -r old new <<<"$sizes"
	make_marked "$T/up" up delete "$new" 3000
	for journal in wal delete; do
		rm -rf "$APP"
		mkdir "$APP"
		make_marked "$DB" live "$journal" "$old" 500
		mount_fs "$APP"
		kept "$old to $new, $journal" "$T/up" "$journal"
		unmount
	done
done
