#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# restore_refusals.sh - every upload that is refused, as a file that is made here with the reason, through cp and through rename: the
# errno of the table, the reason in .sqlsnapfs/log, the live files byte for byte what they were, nothing left in the store.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=restore_lib.sh
. "$TOP/tests/e2e/restore_lib.sh"
allow_log 'refused, live database unchanged|this mount refuses restores'
allow_sidecars

DB=$SRC/db.sqlite3
SEEN=$MNT/db.sqlite3
BAD=$T/bad
mkdir "$BAD"
make_marked "$DB" live wal
sqlite3 "$DB" 'PRAGMA application_id = 77' >/dev/null
make_marked "$BAD/good" good
mount_fs "$SRC"
held_start "$DB"
held write >/dev/null
before=$(sha "$DB" "$DB-wal")
stored() { find "$STORE" -type f ! -name seen ! -name source; }

none_stored() { [ -z "$(stored)" ]; }
# refused NAME ERRNO PATTERN [ERRNO_OF_RENAME]: $BAD/NAME is refused with the text that cp prints for ERRNO.
refused() {
	local name=$1 words=$2 pattern=$3 rename_words=${4-$2}
	note "$name"
	must_fail 1 "$words" cp "$BAD/$name" "$SEEN"
	grep -qE "restore of .db.sqlite3. refused, live database unchanged: .*$pattern" "$MNT/.sqlsnapfs/log" ||
		die "$name: the log does not say /$pattern/: $(tail -n 3 "$MNT/.sqlsnapfs/log")"
	cp "$BAD/$name" "$SEEN.tmp"
	must_fail any "$rename_words" mv -f "$SEEN.tmp" "$SEEN"
	rm "$SEEN.tmp"
	equal "$name: live files" "$(sha "$DB" "$DB-wal")" "$before"
	equal "$name: what the application sees" "$(held marker)" '"live"'
	wait_for 20 none_stored || die "$name: left in the store: $(stored)"
}
# edit FILE OFFSET BYTES...: a good database with other bytes at an offset
edit() {
	cp "$BAD/good" "$BAD/$1"
	printf %b "$3" | dd of="$BAD/$1" bs=1 seek="$2" conv=notrunc status=none
}

echo 'this is text' >"$BAD/text"
refused text 'Wrong medium type' 'not an? SQLite|no SQLite'
printf x >"$BAD/one_byte"
refused one_byte 'Wrong medium type' ''
head -c 108 "$BAD/good" >"$BAD/header_only"
refused header_only '(Wrong medium type|Input/output error)' ''
edit page_size 16 '\003\003'
refused page_size 'Wrong medium type' ''
edit format 18 '\011\011'
refused format 'Wrong medium type' ''
head -c $(($(stat -c %s "$BAD/good") - 4096)) "$BAD/good" >"$BAD/short"
refused short 'Input/output error' 'short|header'
head -c $(($(stat -c %s "$BAD/good") - 100)) "$BAD/good" >"$BAD/cut_in_page"
refused cut_in_page 'Input/output error' ''
edit damaged 8192 '\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377'
refused damaged 'Structure needs cleaning' ''
sqlite3 "$BAD/no_tables" 'PRAGMA user_version = 1; VACUUM' >/dev/null
refused no_tables 'Invalid argument' 'table' 'Bad message'
sqlite3 "$BAD/unrelated" 'CREATE TABLE unrelated(a); INSERT INTO unrelated VALUES(1)'
refused unrelated 'Invalid argument' 'table' 'Bad message'
cp "$BAD/good" "$BAD/other_application"
sqlite3 "$BAD/other_application" 'PRAGMA application_id = 78' >/dev/null
refused other_application 'Invalid argument' 'application_id' 'Bad message'
sqlite3 "$BAD/utf16" "PRAGMA encoding = 'UTF-16le'; CREATE TABLE marker(value); CREATE TABLE rows(text)"
refused utf16 'Invalid argument' 'encoding' 'Bad message'
# What its application alone can sort cannot be brought to other pages.
python3 - "$BAD/page_size_and_collation" <<'PY'
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.create_collation("zz", lambda a, b: (a > b) - (a < b))
db.executescript("PRAGMA page_size=8192; CREATE TABLE marker(value COLLATE zz); INSERT INTO marker VALUES('zz'); CREATE INDEX i ON marker(value)")
PY
refused page_size_and_collation 'Operation not supported' \
	"its page size \(8192\) is not the live database's \(4096\), and it cannot be brought to that \(.*journal_mode=DELETE.*\): no such collation sequence: zz"

# The good one still is restored.
cp "$BAD/good" "$SEEN"
restored good good
held_stop

# And the other one, in the way that the log says. The mount keeps the database open for two seconds.
leaves_wal() { [ "$(sqlite3 "$DB" 'PRAGMA journal_mode = DELETE' 2>/dev/null)" = delete ]; }
wait_for 20 leaves_wal || die 'it does not leave WAL mode'
cp "$BAD/page_size_and_collation" "$SEEN"
equal 'page size, rows' "$(sqlite3 "$DB" 'PRAGMA page_size; SELECT value FROM marker NOT INDEXED' | tr '\n' ' ')" '8192 zz '
cp "$BAD/good" "$SEEN"
equal 'page size, rows' "$(sqlite3 "$DB" 'PRAGMA page_size; SELECT value FROM marker' | tr '\n' ' ')" '4096 good '
unmount "$MNT"

# -o force: what cannot be meant is taken; norestore and ro: nothing is.
mount_fs -o force "$SRC"
cp "$BAD/unrelated" "$SEEN"
equal "forced" "$(sqlite3 "$DB" 'SELECT a FROM unrelated')" 1
unmount "$MNT"
for option in norestore ro; do
	mount_fs -o "$option" "$SRC"
	grep -qF ", reading only ($option)" "$LOG" || die "$option: the start does not say why: $(cat "$LOG")"
	must_fail 1 'Read-only file system' cp "$BAD/good" "$SEEN"
	must_fail 1 'Read-only file system' rm "$SEEN"
	if [ "$option" = norestore ]; then # with ro the kernel says so by itself
		equal 'lines for cp and rm' "$(grep -cE '"db.sqlite3" cannot be written: this mount refuses restores \(-o norestore\); tried by uid 0 \((cp|rm), ' "$MNT/.sqlsnapfs/log")" 2
		must_fail 1 'Read-only file system' install "$BAD/good" "$MNT/new.sqlite3"
		must_fail any 'Read-only file system' mv "$BAD/good" "$SEEN"
		sqlite3 "$SEEN" 'SELECT count(*) FROM sqlite_schema' >"$T/out" # tries to write, and reads
		python3 - "$SEEN" <<'PY'
import os, sys
for i in range(100):
    try:
        os.open(sys.argv[1], os.O_WRONLY)
    except OSError:
        pass
PY
		equal 'who is told' "$(sed -n 's/.*cannot be written: .*tried by uid 0 (\(.*\), pid.*/\1/p' "$MNT/.sqlsnapfs/log" | tr '\n' ' ')" 'cp rm install mv python3 '
	fi
	unmount "$MNT"
done
