# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# restore_lib.sh - sourced after lib.sh by the scripts that restore: databases with a marker, an application that holds one
# connection open across restores, and what must be true after each restore and each refusal.

# make_marked FILE MARKER [JOURNAL [PAGE_SIZE [ROWS]]]: a database whose table marker says MARKER.
make_marked() {
	rm -f "$1" "$1-wal" "$1-shm" "$1-journal"
	python3 - "$1" "$2" "${3-delete}" "${4-4096}" "${5-200}" <<'PY'
import sqlite3, sys

path, marker, journal, page_size, rows = sys.argv[1:]
db = sqlite3.connect(path, isolation_level=None)
db.execute(f"PRAGMA page_size={page_size}")
db.execute(f"PRAGMA journal_mode={journal}")
db.execute("BEGIN")
db.execute("CREATE TABLE marker(value TEXT)")
db.execute("INSERT INTO marker VALUES(?)", [marker])
db.execute("CREATE TABLE rows(id INTEGER PRIMARY KEY, text TEXT, body BLOB)")
db.executemany("INSERT INTO rows(text, body) VALUES(?, randomblob(600))", ((f"{marker} {i}",) for i in range(int(rows))))
db.execute("CREATE INDEX rows_text ON rows(text)")
db.execute("COMMIT")
db.close()
PY
}

# held_start DATABASE: the application. held COMMAND: its answer (tests/check/held.py).
held_start() {
	coproc HELD { exec python3 "$TOP/tests/check/held.py" "$1"; }
	HELD_IN=${HELD[1]} HELD_OUT=${HELD[0]}
	# shellcheck disable=SC2034 # the writers' table is lib.sh's
	HELD_APP=$HELD_PID
	equal "the application" "$(held_reply)" '"ready"'
}
held_reply() {
	local line
	read -r -t $((300 * FACTOR)) -u "$HELD_OUT" line || die "the application does not answer"
	printf '%s\n' "$line"
}
held() {
	printf '%s\n' "$1" >&"$HELD_IN"
	held_reply
}
held_stop() {
	exec {HELD_IN}>&-
	wait "$HELD_APP" || fault "the application failed"
}

# app_start COMMAND...: an application that answers each line of its stdin with a line, after "ready", and ends at "stop".
# ask LINE: its answer.
app_start() {
	mkfifo "$T/app.in" "$T/app.out"
	"$@" <"$T/app.in" >"$T/app.out" 2>"$LOGS/app.err" &
	APP_PID=$!
	CHILDREN+=("$APP_PID")
	exec {APP_IN}>"$T/app.in" {APP_OUT}<"$T/app.out"
	rm "$T/app.in" "$T/app.out"
	equal 'the application' "$(app_reply)" ready
}
app_reply() {
	local line
	read -r -t $((300 * FACTOR)) -u "$APP_OUT" line || die "the application does not answer: $(tail -n 3 "$LOGS/app.err")"
	printf '%s\n' "$line"
}
ask() {
	printf '%s\n' "$1" >&"$APP_IN"
	app_reply
}
app_stop() {
	echo stop >&"$APP_IN" # a daemon that was started since has the other ends too
	exec {APP_IN}>&- {APP_OUT}<&-
	wait "$APP_PID" || fault "the application failed: $(tail -n 3 "$LOGS/app.err")"
}

# restored WHAT MARKER: the application sees it, without reconnecting, and everything else is as it was.
restored() {
	equal "$1: marker" "$(held marker)" "\"$2\""
	equal "$1: integrity_check" "$(held check)" '"ok"'
	equal "$1: the application writes" "$(held write)" '"ok"'
}

live_state() { stat -c '%i %a %u %g' "$1"; }
