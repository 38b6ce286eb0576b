#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# sqlite_in_place.sh - SQLite itself opens the file in the mount: queries work in place, writes are refused, and nothing of it reaches
# the live database.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

db=$SRC/db.sqlite3
seen=$MNT/db.sqlite3
writer_start app --db "$db" --paused --autocheckpoint 0
writer_do app 'commit 25'
make_db "$SRC/roll.sqlite3" --journal delete --commits 15
allow_log 'is not changed through the mount'
mount_fs "$SRC"
before=$(sha "$db" "$db-wal" "$SRC/roll.sqlite3")

equal 'sqlite3' "$(sqlite3 "$seen" 'SELECT commits FROM meta')" 25
equal 'sqlite3 -readonly' "$(sqlite3 -readonly "$seen" 'SELECT commits FROM meta')" 25
equal 'integrity_check' "$(sqlite3 "$seen" 'PRAGMA integrity_check')" ok
equal 'sqlite3 of a rollback database' "$(sqlite3 "$MNT/roll.sqlite3" 'SELECT commits FROM meta')" 15
equal 'immutable' "$(sqlite3 "file:$seen?immutable=1" 'SELECT commits FROM meta')" 25
sqlite3 "$seen" ".backup $T/backup"
equal '.backup out of the mount' "$(check_copy "$T/backup")" 25
sqlite3 "$seen" "VACUUM INTO '$T/vacuumed'"
equal 'VACUUM INTO' "$(sqlite3 "$T/vacuumed" 'SELECT commits FROM meta')" 25
python3 - "$seen" <<'PY' || die "python's sqlite3"
import sqlite3, sys
for uri, name in ((False, sys.argv[1]), (True, f"file:{sys.argv[1]}?mode=ro")):
    db = sqlite3.connect(name, uri=uri)
    assert db.execute("SELECT commits FROM meta").fetchone() == (25,)
    try:
        db.execute("DELETE FROM log")
        sys.exit("a row could be deleted")
    except sqlite3.OperationalError as e:
        assert "readonly" in str(e), e
    db.close()
PY
must_fail any 'readonly|read-only' sqlite3 "$seen" 'DELETE FROM log'
must_fail any 'readonly|read-only|unable|disk I/O' sqlite3 "$MNT/roll.sqlite3" 'DELETE FROM log'
must_fail any 'readonly|read-only|unable|disk I/O' sqlite3 "$MNT/roll.sqlite3" 'PRAGMA journal_mode=MEMORY; DELETE FROM log'
must_fail any 'readonly|read-only|unable|disk I/O' sqlite3 "$MNT/roll.sqlite3" 'PRAGMA journal_mode=OFF; DELETE FROM log'
sqlite3 "$seen" 'PRAGMA wal_checkpoint(TRUNCATE)' >/dev/null 2>&1 || :
sqlite3 "$seen" 'PRAGMA journal_mode=DELETE' >/dev/null 2>&1 || :

# The hidden pair: found by name, empty, not to be written, not listed.
for suffix in wal shm; do
	equal "size of -$suffix" "$(stat -c %s "$seen-$suffix")" 0
	equal "bytes of -$suffix" "$(wc -c <"$seen-$suffix")" 0
	case $(stat -c %A "$seen-$suffix") in *w*) die "-$suffix: $(stat -c %A "$seen-$suffix")" ;; esac
done
must_fail any 'No such file' stat "$seen-journal"
equal 'list' "$(find "$MNT" -mindepth 1 -printf '%f\n' | sort | tr '\n' ' ')" 'db.sqlite3 roll.sqlite3 '
equal 'live files' "$(sha "$db" "$db-wal" "$SRC/roll.sqlite3")" "$before"

# The next open sees the next commit, in place too.
writer_do app 'commit 5'
equal 'after more commits' "$(sqlite3 "$seen" 'SELECT commits FROM meta')" 30
