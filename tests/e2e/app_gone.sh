#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# app_gone.sh - an application ends while its database is read through the mount, for however long: where what readers need is copied
# aside soon, all that it has committed stands in the database itself a few seconds later and no -wal beside it, as without us, so
# that it may be moved, or replaced by a backup. Who reads goes on, and gets what he opened.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

python3 - "$SRC" <<'EOF'
import sqlite3, sys
for name, rows in ("tiny", 0), ("small", 100):
    db = sqlite3.connect(f"{sys.argv[1]}/{name}.sqlite3", isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("CREATE TABLE t(a)")
    db.execute("CREATE TABLE filler(b)")
    for _ in range(rows):
        db.execute("INSERT INTO filler VALUES(randomblob(100000))")
    db.close()
EOF
mount_fs "$SRC"
no_sidecars() { [ ! -e "$1-wal" ] && [ ! -e "$1-shm" ]; }

for name in tiny small; do
	note "$name"
	db=$SRC/$name.sqlite3
	cp "$db" "$T/backup"
	mkfifo "$T/go.$name" "$T/reading.$name"
	python3 - "$db" "$MNT/$name.sqlite3" "$T/go.$name" "$T/reading.$name" "$T/copy.$name" <<'EOF' &
import sqlite3, sys
live, seen, go, reading, copy = sys.argv[1:]
app = sqlite3.connect(live, isolation_level=None)
app.execute("PRAGMA wal_autocheckpoint=0")
for i in range(50):
    app.execute("INSERT INTO t VALUES(?)", (i,))
with open(seen, "rb") as reader, open(copy, "wb") as out:
    out.write(reader.read(4096))
    for i in range(50, 100):
        app.execute("INSERT INTO t VALUES(?)", (i,))
    app.close()
    open(reading, "w").close()
    open(go).close()
    while chunk := reader.read(1 << 20):
        out.write(chunk)
EOF
	reader=$!
	CHILDREN+=("$reader")
	cat "$T/reading.$name" # until the application has closed
	wait_for 20 no_sidecars "$db" || die "what the application committed is not in the database: $(ls -l "$SRC")"
	mv "$db" "$T/moved"
	# Our last close, as SQLite's, removes the sidecars before it gives up its lock.
	equal 'rows of what was moved' "$(sqlite3 -cmd '.timeout 20000' "$T/moved" 'SELECT count(*) FROM t')" 100
	mv "$T/moved" "$db"
	cat "$T/backup" >"$db"
	equal 'what was copied over it' "$(sqlite3 "$db" 'PRAGMA integrity_check; SELECT count(*) FROM t' | paste -sd ' ')" 'ok 0'
	: >"$T/go.$name"
	wait "$reader" || die "the reader: status $?"
	equal 'what was read' "$(sqlite3 "$T/copy.$name" 'PRAGMA integrity_check; SELECT count(*) FROM t' | paste -sd ' ')" 'ok 50'
done
