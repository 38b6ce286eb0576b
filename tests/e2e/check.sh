#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# check.sh - sqlsnapfs --check FILE: the gate that an upload passes, without a mount.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

# check STATUS ARGS...: what it prints goes to $T/out and $T/err.
check() {
	local want=$1 status=0
	shift
	timeout $((60 * FACTOR)) "${SANITIZED[@]}" "$SQLSNAPFS" "$@" >"$T/out" 2>"$T/err" </dev/null || status=$?
	equal "status of $*" "$status" "$want"
}
value() { sed -n "s/^$1: //p" "$T/out"; }
accepted() {
	check 0 "$@"
	equal 'on stderr' "$(cat "$T/err")" ''
	equal verdict "$(value verdict)" accepted
}
# refused PATTERN ARGS...
refused() {
	local pattern=$1
	shift
	check 1 "$@"
	equal 'on stderr' "$(cat "$T/err")" ''
	equal verdict "$(value verdict)" refused
	grep -qE -- "$pattern" <<<"$(value reason)" || die "the reason '$(value reason)' is not /$pattern/"
	equal 'lines of a refusal' "$(wc -l <"$T/out")" 2
}

note 'what is accepted, and what is said of it'
db=$T/a.db
python3 - "$db" <<'PY'
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.executescript("""PRAGMA page_size=1024; CREATE TABLE t(a); CREATE TABLE u(a); CREATE INDEX i ON t(a);
    INSERT INTO t VALUES(randomblob(5000)); PRAGMA user_version=-12; PRAGMA application_id=252006674;""")
PY
pages=$(($(stat -c %s "$db") / 1024))
accepted --check "$db"
equal tables "$(value tables)" 2
equal pages "$(value pages)" "$pages"
equal page_size "$(value page_size)" 1024
equal user_version "$(value user_version)" -12
equal application_id "$(value application_id)" 252006674
equal 'no note' "$(value note)" ''
accepted "--check=$db"
accepted -o check=full --check "$db"
accepted --check "$db" -o check=quick,ro

note 'it leaves no trace'
before=$(cd "$T" && find . -name 'a.db*' | sort && sha256sum a.db && stat -c '%y %z' a.db)
accepted -o check=full --check "$db"
equal 'the folder' "$(cd "$T" && find . -name 'a.db*' | sort && sha256sum a.db && stat -c '%y %z' a.db)" "$before"

note 'what is refused, and why'
head -c 3000 "$db" >"$T/cut.db"
refused "shorter than its header says: 3000 bytes instead of $((pages * 1024))" --check "$T/cut.db"
: >"$T/empty.db"
refused 'it is empty' --check "$T/empty.db"
sqlite3 "$db" .dump >"$T/dump.sql"
refused 'SQL dump' --check "$T/dump.sql"
{ cat "$db" && printf 'more'; } >"$T/more.db"
accepted --check "$T/more.db"
python3 - "$db" "$T/damaged.db" "$T/index.db" <<'PY'
import shutil, sqlite3, sys
db, damaged, index = sys.argv[1:]
root = sqlite3.connect(db).execute("SELECT rootpage FROM sqlite_schema WHERE name='t'").fetchone()[0]
bytes = bytearray(open(db, 'rb').read())
bytes[(root - 1) * 1024] = 0
open(damaged, 'wb').write(bytes)
shutil.copy(db, index)
c = sqlite3.connect(index)
c.executescript("PRAGMA writable_schema=ON; UPDATE sqlite_schema SET sql='CREATE INDEX i ON t(+a||1)' WHERE name='i'")
PY
refused '^damaged: ' --check "$T/damaged.db"
accepted --check "$T/index.db"
refused '^damaged: .*missing from index i' -o check=full --check "$T/index.db"

note 'what stands beside it would be missing'
python3 - "$T" <<'PY'
import shutil, sqlite3, sys
for name, mode in ("wal", "WAL"), ("journal", "DELETE"):
    db = sqlite3.connect(f"{sys.argv[1]}/live.db", isolation_level=None)
    db.execute(f"PRAGMA journal_mode={mode}")
    db.execute("CREATE TABLE IF NOT EXISTS t(a)")
    db.execute("BEGIN")
    db.execute("PRAGMA cache_spill=ON")
    db.execute("PRAGMA cache_size=1")
    db.execute("INSERT INTO t VALUES(zeroblob(100000))")
    if mode == "WAL":
        db.execute("COMMIT")
    shutil.copy(f"{sys.argv[1]}/live.db", f"{sys.argv[1]}/{name}.db")
    shutil.copy(f"{sys.argv[1]}/live.db-{name}", f"{sys.argv[1]}/{name}.db-{name}")
    if mode != "WAL":
        db.execute("ROLLBACK")
        db.execute("PRAGMA journal_mode=PERSIST")
        db.execute("INSERT INTO t VALUES(1)")
    db.close()
PY
refused "^wal.db-wal stands beside it: .* fold it in first by sqlite3, with PRAGMA wal_checkpoint.TRUNCATE.$" --check "$T/wal.db"
(cd "$T" && sqlite3 wal.db 'PRAGMA wal_checkpoint(TRUNCATE)') >/dev/null
accepted --check "$T/wal.db"
refused '^journal.db-journal stands beside it: .* half a transaction; open it once by sqlite3, .schema will do$' --check "$T/journal.db"
(cd "$T" && sqlite3 journal.db .schema) >/dev/null
accepted --check "$T/journal.db"
[ -s "$T/live.db-journal" ] || die 'no journal that is over'
accepted --check "$T/live.db"

note 'what cannot be judged'
check 1 --check "$T/none.db"
equal 'on stdout' "$(cat "$T/out")" ''
grep -q 'none.db: cannot be opened: No such file' "$T/err" || die "it says $(cat "$T/err")"
check 1 --check "$T"
grep -q 'no regular file' "$T/err" || die "it says $(cat "$T/err")"
mkfifo "$T/fifo"
check 1 --check "$T/fifo"

note 'a table whose name is for a terminal'
python3 - "$T/name.db" <<'PY'
import sqlite3, sys
c = sqlite3.connect(sys.argv[1])
c.executescript("CREATE TABLE t(a); PRAGMA writable_schema=ON; UPDATE sqlite_schema SET name=char(27)||'[31m', sql='CREATE'")
PY
refused '^damaged: ' --check "$T/name.db"
! grep -q $'\e' "$T/out" || die 'an escape sequence came through'

note 'what is no command line'
check 2 --check
check 2 --check=
check 2 --check "$db" "$db"
check 2 --check "$db" -- true
check 2 --check "$db" -o check=half
check 2 --check "$db" --no-such-option
check 2 --validate-child
check 2 --validate-child 1 2 3
"$SQLSNAPFS" --help | grep -q -- '--check FILE' || die 'not in --help'
! "$SQLSNAPFS" --help | grep -q validate || die 'what is hidden is in --help'

note 'an ordinary user'
chmod 755 "$T" && chmod 644 "$T"/*.db
if command -v setpriv >/dev/null && [ "$(id -u)" -eq 0 ]; then
	nobody=(setpriv --reuid 65534 --regid 65534 --clear-groups)
	if "${nobody[@]}" "$SQLSNAPFS" --version >/dev/null 2>&1; then
		equal verdict "$("${nobody[@]}" "$SQLSNAPFS" --check "$db" | sed -n 1p)" 'verdict: accepted'
		status=0
		"${nobody[@]}" "$SQLSNAPFS" --check "$T/damaged.db" >"$T/out" || status=$?
		equal status "$status" 1
		equal verdict "$(value verdict)" refused
	fi
fi

note 'interrupted, it leaves no process behind'
python3 - "$T/slow.db" <<'PY'
import sqlite3, sys
c = sqlite3.connect(sys.argv[1])
c.executescript("""CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT AS (a));
    WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n WHERE x<100000) INSERT INTO t SELECT x FROM n;
    PRAGMA writable_schema=ON;
    UPDATE sqlite_schema SET sql='CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT AS (length(hex(zeroblob(20000000+a)))))'""")
PY
"${SANITIZED[@]}" "$SQLSNAPFS" --check "$T/slow.db" >"$T/out" 2>&1 &
pid=$!
children_of() { grep -lsE "^PPid:[[:space:]]*$1\$" /proc/[0-9]*/status | sed -E 's,/proc/([0-9]+)/.*,\1,'; }
jailed() {
	child=$(children_of "$pid" | head -n 1)
	[ -n "$child" ] && grep -q '^NoNewPrivs:[[:space:]]*1' "/proc/$child/status" && cmdline=$(tr '\0' ' ' <"/proc/$child/cmdline") &&
		[[ $cmdline == *--validate-child* ]]
}
wait_for 20 jailed || die "no child of $pid"
kill -TERM "$pid"
status=0
wait "$pid" || status=$?
equal 'ended by the signal' "$status" 143
wait_for 20 gone_or_zombie "$child" || die "process $child is still there"
