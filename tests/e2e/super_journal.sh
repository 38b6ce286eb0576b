#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# super_journal.sh - a hot journal names the super-journal of a transaction over several databases. SQLite would open the file of
# that name, and delete it; whoever may write a journal may name any file. Nothing is opened or deleted, and the transaction is
# rolled back, or is not, as SQLite would have it.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
allow_log 'db\.sqlite3.*(transaction over several databases|cannot be opened)'
allow_log 'there is no database in' # yet

# hot NAME: SRC/db.sqlite3 as an application leaves it that dies in a transaction, whose journal names NAME. "new" stands in it,
# and "old" when it is rolled back.
hot() {
	rm -f "$SRC"/db.sqlite3*
	python3 - "$SRC/db.sqlite3" "$1" <<'PY'
import platform, shutil, sqlite3, struct, sys
SIGNED = platform.machine() in ("x86_64", "i686")  # chars, in C
path, name = sys.argv[1], sys.argv[2].encode()
db = sqlite3.connect(path, isolation_level=None)
db.executescript("PRAGMA cache_size=5; CREATE TABLE t(a, b); INSERT INTO t VALUES('old', zeroblob(900000)); PRAGMA cache_spill=5;")
db.execute("BEGIN")
db.execute("UPDATE t SET a = 'new'")
db.execute("UPDATE t SET b = randomblob(900000)")
for end in "", "-journal":
    shutil.copy(path + end, path + ".copy" + end)
db.execute("ROLLBACK")
db.close()
for end in "", "-journal":
    shutil.move(path + ".copy" + end, path + end)
signed = sum(c - 256 if c > 127 and SIGNED else c for c in name)
record = struct.pack(">I", 0x40000000 // 4096 + 1) + name + struct.pack(">II", len(name), signed & 0xffffffff)
open(path + "-journal", "ab").write(record + bytes.fromhex("d9d505f920a163d7"))
PY
}
read_it() { timeout 60 cat "$MNT/db.sqlite3" >"$T/copy"; }
# seen FOUND: what stands in the copy; "torn": it is no whole database, for what was not committed had not been written yet.
seen() {
	local found
	read_it || die "cannot be read: $(tail -n 1 "$LOG")"
	found=$(sqlite3 "$T/copy" 'PRAGMA integrity_check; SELECT a, length(b) FROM t' 2>&1) || found=torn
	equal "$1" "$found" "$2"
}
mount_fs "$SRC"
super=$SRC/db.sqlite3-mj0123459AB

note 'it is there: rolled back'
hot "$super"
echo whatever >"$super"
seen 'rolled back' $'ok\nold|900000'
equal 'it stays' "$(cat "$super")" whatever
hot "/data/of-a-container/${super##*/}"
echo whatever >"$super"
seen 'rolled back, by another name of the folder' $'ok\nold|900000'

note 'it is gone: the transaction was committed'
hot "$super"
cp "$SRC/db.sqlite3" "$T/committed"
read_it || die "cannot be read: $(tail -n 1 "$LOG")"
# All but the header's version, which SQLite writes anew.
cmp "$T/copy" "$T/committed" || die 'what was committed was rolled back'
hot "$SRC/größe.sqlite3-mj0123459AB"
cp "$SRC/db.sqlite3" "$T/committed"
read_it || die "cannot be read: $(tail -n 1 "$LOG")"
cmp "$T/copy" "$T/committed" || die 'what was committed was rolled back, by a name that is not ASCII'

note "somebody else's file"
mkdir "$T/private"
chmod 700 "$T/private"
echo secret >"$T/private/file"
sqlite3 "$T/private/other.db" "CREATE TABLE t(a, b); INSERT INTO t VALUES('backup', 1)"
hot "$T/private/file"
must_fail any 'Input/output error' read_it
grep -q 'whether that was committed stands elsewhere' "$LOG" || die "the log does not say why: $(tail -n 2 "$LOG")"
hot "$T/private/file"
for end in '' -journal; do
	cp "$SRC/db.sqlite3$end" "$T/was$end"
done
must_fail any 'Input/output error' cp "$T/private/other.db" "$MNT/db.sqlite3"
grep -q 'live database unchanged: .*stands elsewhere: open it with its application' "$LOG" || die "the log does not say why: $(tail -n 2 "$LOG")"
for end in '' -journal; do
	cmp "$T/was$end" "$SRC/db.sqlite3$end" || die "db.sqlite3$end was changed"
done
equal 'it stays' "$(cat "$T/private/file")" secret
rm "$SRC/db.sqlite3-journal"
cp "$T/private/other.db" "$MNT/db.sqlite3" || die "cannot be restored onto: $(tail -n 2 "$LOG")"
cmp "$MNT/db.sqlite3" "$T/private/other.db" || die 'something else was restored'

note 'what is no name of a file'
for name in .. . '' "$(printf '%0300d' 0)"; do
	hot "$SRC/$name"
	if [ "${#name}" -lt 256 ]; then
		must_fail any 'Input/output error' read_it
	else # nothing of that name can be there
		cp "$SRC/db.sqlite3" "$T/committed"
		read_it || die "cannot be read: $(tail -n 1 "$LOG")"
		cmp "$T/copy" "$T/committed" || die 'what was committed was rolled back'
	fi
done

note "another database's log, and a fifo"
for victim in "$T/private/other.db-wal" "$T/private/other.db-journal" "$T/private/fifo"; do
	case $victim in
	*fifo) mkfifo "$victim" ;;
	*) echo log >"$victim" ;;
	esac
	hot "$victim"
	must_fail any 'Input/output error' read_it
	must_fail any 'Input/output error' timeout 60 cp "$T/private/other.db" "$MNT/db.sqlite3"
	rm "$SRC/db.sqlite3-journal"
	timeout 60 cp "$T/private/other.db" "$MNT/db.sqlite3" || die "$victim: $(tail -n 2 "$LOG")"
	[ -e "$victim" ] || die "$victim is gone"
done

note 'a fifo in place of a journal or a log'
rm -f "$SRC"/db.sqlite3*
make_db "$SRC/db.sqlite3" --journal delete
make_db "$SRC/wal.sqlite3"
allow_log '(db|wal)\.sqlite3'
for name in db wal; do
	for end in journal wal shm; do
		mkfifo "$SRC/$name.sqlite3-$end"
		status=0
		timeout 60 cat "$MNT/$name.sqlite3" >"$T/copy" 2>"$T/err" || status=$?
		[ "$status" -lt 124 ] || die "$name-$end: waits for ever"
		[ "$status" -ne 0 ] || cmp "$T/copy" "$SRC/$name.sqlite3" || die "$name-$end: other bytes"
		note "$name-$end: $(cat "$T/err")"
		rm "$SRC/$name.sqlite3-$end"
	done
done
