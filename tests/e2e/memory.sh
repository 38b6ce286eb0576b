#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# memory.sh - what the daemon has in memory stays below 16 MiB: beside readers of a database of 64 MiB, one of them slow, and
# restores of as much. 12 of them are for what is its own; the pages of programs and libraries are the system's, which maps two
# mebibytes of one file at once where its cache has them so.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
[ "$FACTOR" -eq 1 ] || skip "the memory is the sanitizer's"
MOST=12288 # KiB

# large FILE: its rows are others each time.
large() {
	sqlite3 "$1" "PRAGMA synchronous=OFF" "CREATE TABLE t(id INTEGER PRIMARY KEY, x BLOB)" \
		"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 64) INSERT INTO t SELECT i, randomblob(1000000) FROM n"
}
large "$SRC/db.sqlite3"
large "$T/backup"
sqlite3 "$SRC/db.sqlite3" 'PRAGMA journal_mode=WAL' >/dev/null
change() { sqlite3 -cmd '.timeout 20000' "$SRC/db.sqlite3" 'UPDATE t SET x = randomblob(1000000) WHERE id <= 20'; }
mount_fs "$SRC" -o keep=1
pid=$(fs_pid "$MNT")
in_kib() { sed -n "s/^$1:[^0-9]*\([0-9]*\) kB/\1/p" "/proc/$pid/status"; }
small() { # WHAT: nothing has taken more
	local files own
	files=$(in_kib RssFile)
	own=$(($(in_kib VmHWM) - files))
	note "$1: $own KiB, and $files KiB of files"
	[ "$own" -lt "$MOST" ] || die "$1: $own KiB of memory"
}

for round in 1 2; do
	change
	readers=()
	for i in 1 2 3 4; do
		sha256sum "$MNT/db.sqlite3" >"$T/sum.$i" &
		readers+=($!)
		CHILDREN+=($!)
	done
	for i in "${!readers[@]}"; do wait "${readers[i]}" || die "a reader: status $?"; done
	equal "round $round: what they have read" "$(cut -d' ' -f1 "$T"/sum.* | sort -u | wc -l)" 1
	small "round $round, four readers"
	exec {slow}<"$MNT/db.sqlite3"
	head -c 1000000 <&"$slow" >/dev/null
	change
	cp "$T/backup" "$MNT/db.sqlite3"
	equal "round $round: what is restored" "$(sha "$MNT/db.sqlite3")" "$(sha "$T/backup")"
	cat <&"$slow" | wc -c >"$T/rest"
	exec {slow}<&-
	small "round $round, a restore beside a slow reader"
done
unmount
rm "$SRC"/*

note 'what the kernel has forgotten of a tree of plain files is given back'
make_db "$SRC/db.sqlite3"
for folder in {1..20}; do
	mkdir "$SRC/$folder"
	(cd "$SRC/$folder" && seq 1000 | xargs touch)
done
unset MALLOC_PERTURB_ # fills each thread's buffer, which stays
mount_fs "$SRC"
pid=$(fs_pid "$MNT")
equal 'files' "$(find "$MNT" -type f -empty | wc -l)" 20000
known=$(in_kib RssAnon)
rm -r "$SRC"/{1..20}
! stat "$MNT"/{1..20} >"$T/gone" 2>&1 || die 'they are still there'
given_back() { [ $(($(in_kib RssAnon) * 2)) -lt "$known" ]; }
wait_for 20 given_back || die "$(in_kib RssAnon) KiB stay of $known"
note "$(in_kib RssAnon) KiB of $known"
