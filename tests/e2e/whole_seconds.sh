#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# whole_seconds.sh - on a file system that counts in seconds (ext4 with small inodes) two states of one second have the same times:
# what was seen of the first is not believed of the second.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
need losetup mkfs.ext4

loop_mount ext4 100M "$SRC/small" -F -I 128
app=$SRC/small/app
mkdir "$app"
sqlite3 "$T/wal" 'PRAGMA journal_mode=WAL; CREATE TABLE t(a); INSERT INTO t VALUES(1); PRAGMA wal_checkpoint(TRUNCATE)' >"$LOGS/made"
[[ $(stat -c %y "$app") == *.000000000* ]] || skip 'this ext4 counts in less than seconds'
sqlite3 "$app/rollback.sqlite3" 'CREATE TABLE t(a); INSERT INTO t VALUES(1)'
mount_fs "$app"

# A fifth of a second is left to both, and none of what follows counts if that did not suffice.
begin_second() { python3 -c 'import time; time.sleep(1.02 - time.time() % 1)'; }
of_one_second() { [ "$(stat -c '%s %Y %Z' "$1")" = "$2" ]; }

# Zeros first, then a database of the same size.
zeros_then_database() {
	local was
	rm -f "$app/db.sqlite3"*
	begin_second
	head -c "$(stat -c %s "$T/wal")" /dev/zero >"$app/db.sqlite3"
	was=$(stat -c '%s %Y %Z' "$app/db.sqlite3")
	stat "$MNT/db.sqlite3" >/dev/null
	sleep 0.1 # a look is believed after a moment, were it not for the file system
	stat "$MNT/db.sqlite3" >/dev/null
	cat "$T/wal" >"$app/db.sqlite3"
	of_one_second "$app/db.sqlite3" "$was"
}
wait_for 20 zeros_then_database || skip 'this machine is too slow for two states of a second'
sqlite3 "$app/db.sqlite3" 'PRAGMA wal_autocheckpoint=0; INSERT INTO t VALUES(2)' ".shell cp '$MNT/db.sqlite3' '$T/copy'" \
	".shell ls '$MNT' >'$T/names'" >>"$LOGS/made"
equal 'the copy' "$(sqlite3 "$T/copy" 'SELECT group_concat(a) FROM t')" 1,2
equal 'the names' "$(paste -sd ' ' "$T/names")" 'db.sqlite3 rollback.sqlite3'

# A look between two commits: later looks and opens tell the same.
two_commits() {
	local was
	begin_second
	sqlite3 "$app/rollback.sqlite3" 'UPDATE t SET a = a + 1'
	was=$(stat -c '%s %Y %Z' "$app/rollback.sqlite3")
	sleep 0.1
	stat "$MNT/rollback.sqlite3" >/dev/null
	sqlite3 "$app/rollback.sqlite3" 'UPDATE t SET a = a + 1'
	of_one_second "$app/rollback.sqlite3" "$was"
}
wait_for 20 two_commits || skip 'this machine is too slow for two states of a second'
sleep 2.1 # until the times are old enough to be believed
cat "$MNT/rollback.sqlite3" >"$T/copy"
equal 'the copy' "$(sqlite3 "$T/copy" 'SELECT a FROM t')" "$(sqlite3 "$app/rollback.sqlite3" 'SELECT a FROM t')"
first=$(stat -c '%s %y %i' "$MNT/rollback.sqlite3")
for _ in 1 2; do
	sleep 2.5 # between backups: it is not connected any more
	equal 'an unchanged database' "$(stat -c '%s %y %i' "$MNT/rollback.sqlite3")" "$first"
	cat "$MNT/rollback.sqlite3" >"$T/again"
	cmp "$T/copy" "$T/again"
	equal 'an unchanged database, read again' "$(stat -c '%s %y %i' "$MNT/rollback.sqlite3")" "$first"
done
