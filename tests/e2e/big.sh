#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# big.sh - a database past 1 GiB, where SQLite leaves the page of its lock byte unused: the copy is the backup's, byte for byte.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

db=$SRC/big.sqlite3
sqlite3 "$db" <<'SQL' >/dev/null
PRAGMA page_size=4096;
PRAGMA journal_mode=OFF;
PRAGMA synchronous=OFF;
CREATE TABLE t(id INTEGER PRIMARY KEY, x BLOB);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 22) INSERT INTO t SELECT i, randomblob(50000000) FROM n;
PRAGMA journal_mode=WAL;
SQL
[ "$(stat -c %s "$db")" -gt $(((1 << 30) + 4096)) ] || die "not past 1 GiB"
writer_start app --db "$db" --autocheckpoint 0 --sync off --paused
writer_do app 'commit 20'
writer_do app 'exec UPDATE t SET x = randomblob(300000) WHERE id IN (1, 21)'
writer_do app 'exec INSERT INTO t VALUES(100, randomblob(3000000))'
mount_fs "$SRC"
cp "$MNT/big.sqlite3" "$T/copy"
sqlite3 -readonly "$db" ".backup $T/backup"
"$TEST_BIN/masked_cmp" "$T/copy" "$T/backup" || die "they differ"
rm "$T/backup"
equal 'quick_check' "$(sqlite3 "file:$T/copy?immutable=1" 'PRAGMA quick_check')" ok
