#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# restore_readers.sh - whoever has a file open reads what it opened to the end, whatever is restored and committed meanwhile; whoever opens
# while uploads and restores go on gets one of them, whole.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=restore_lib.sh
. "$TOP/tests/e2e/restore_lib.sh"

DB=$SRC/db.sqlite3
SEEN=$MNT/db.sqlite3

# lag COMMAND...: tests/check/lagging.py, which holds descriptors. Its answer.
mkfifo "$T/lag.in" "$T/lag.out"
python3 "$TOP/tests/check/lagging.py" <"$T/lag.in" >"$T/lag.out" 2>"$LOGS/lag.err" &
CHILDREN+=($!)
exec {LAG_IN}>"$T/lag.in" {LAG_OUT}<"$T/lag.out"
lag() {
	local answer
	printf '%s\n' "$*" >&"$LAG_IN"
	read -r -t $((300 * FACTOR)) -u "$LAG_OUT" answer || die "lag $*: no answer"
	case $answer in error*) die "lag $*: $answer" ;; esac
	printf '%s\n' "$answer"
}
# held_all NAME SHA: what NAME has read in parts, and reads once more, is that.
held_all() { equal "$1: what it read, and reads again" "$(lag all "$1")" "$2 $2 $2"; }

make_marked "$T/one" one wal 4096 9000
make_marked "$T/two" two delete 4096 30000
# old_descriptors JOURNAL OPTIONS
old_descriptors() {
	local want_old want_commit
	note "$1, $2"
	make_marked "$DB" old "$1" 4096 20000
	mount_fs -o "$2" "$SRC"
	held_start "$DB"
	held write >/dev/null
	want_old=$(sha "$SEEN")
	lag open old "$SEEN" >/dev/null
	lag part old 0 5 read >/dev/null

	cp "$T/one" "$SEEN"
	lag open one "$SEEN" >/dev/null
	lag part old 1 5 slow >/dev/null
	restored 'the first' one
	held 'sql PRAGMA wal_checkpoint(TRUNCATE)' >/dev/null
	lag part old 2 5 mmap >/dev/null
	want_commit=$(sha "$SEEN")
	lag open commit "$SEEN" >/dev/null
	lag part commit 0 3 direct >/dev/null

	cp "$T/two" "$SEEN"
	lag part old 3 5 backwards >/dev/null
	lag part one 0 2 mmap >/dev/null
	lag part commit 1 3 slow >/dev/null
	restored 'the second' two
	held 'sql UPDATE rows SET body = randomblob(500)' >/dev/null
	cp "$T/one" "$SEEN.tmp"
	mv "$SEEN.tmp" "$SEEN"
	held 'sql PRAGMA wal_checkpoint(RESTART)' >/dev/null
	restored 'the first again' one

	lag part old 4 5 direct >/dev/null
	lag part one 1 2 slow >/dev/null
	lag part commit 2 3 backwards >/dev/null
	held_all old "$want_old"
	held_all one "$(sha "$T/one")"
	held_all commit "$want_commit"
	for name in old one commit; do lag close "$name" >/dev/null; done
	held_stop
	unmount
}
old_descriptors wal keep=3
# A restore's own WAL is much more than readers may hold back: they are not ended because of it.
old_descriptors wal keep=0,wal_limit=2M,wal_max=8M
old_descriptors delete keep=3

note 'readers in a loop'
restores=$((SLOW ? 400 : 40))
rm -f "$DB"
make_db "$DB" --commits 20 --rows 3000 --keep 300 --big-row 300000 --big-every 4
# The next upload has more commits, and other pages of it: a mixture of two is no database of the application.
next_upload() {
	"$TEST_BIN/writer" --db "$T/up" --commits "$1" --seed "$((RANDOM + 1))" --sync off --journal delete --rollback-every 3 \
		--keep 300 --big-row "$2" --big-every 4 >"$LOGS/next.out"
}
cp "$DB" "$T/up"
mount_fs "$SRC"
"$TEST_BIN/copyloop" --file "$SEEN" --threads 3 --slow-ms 150 --until "$T/enough" --min-distinct $((restores / 4)) --keep-bad "$T/bad" \
	>"$T/loop.out" 2>"$LOGS/loop.err" &
loop=$!
CHILDREN+=("$loop")
for ((i = 1; i <= restores; i++)); do
	next_upload $((i % 5 + 1)) $((i * 37 % 11 * 40000))
	case $((i % 3)) in
	0) cp "$T/up" "$SEEN" ;;
	1) cp "$T/up" "$SEEN.tmp" && mv "$SEEN.tmp" "$SEEN" ;;
	2) rsync --ignore-times "$T/up" "$SEEN" ;;
	esac || die "restore $i"
	cmp "$T/up" "$SEEN" || die "restore $i: what is shown is not what was written"
	kill -0 "$loop" 2>/dev/null || die "the readers ended: $(cat "$LOGS/loop.err")"
done
: >"$T/enough"
wait "$loop" || die "readers beside $restores restores: status $?: $(cat "$T/loop.out")"
note "$(cat "$T/loop.out")"

# Whoever opens while an upload is half written, and reads while it is restored.
next_upload 5 100000
before=$(sha "$SEEN")
python3 - "$T/up" "$SEEN" "$T/early" "$T/late" <<'PY'
import os, sys

upload, seen, early, late = sys.argv[1:]
data = open(upload, "rb").read()


def rest(fd):
    pieces = []
    while piece := os.read(fd, 70000):
        pieces.append(piece)
    return b"".join(pieces)


writing = os.open(seen, os.O_WRONLY | os.O_TRUNC)
os.write(writing, data[:100000])
first = os.open(seen, os.O_RDONLY)
begun = os.read(first, 5000)
for at in range(100000, len(data), 1 << 17):
    os.write(writing, data[at : at + (1 << 17)])
second = os.open(seen, os.O_RDONLY)
os.close(writing)
open(early, "wb").write(begun + rest(first))
open(late, "wb").write(rest(second))
PY
equal 'opened in the middle of an upload' "$(sha "$T/early")" "$before"
equal 'opened before its end' "$(sha "$T/late")" "$before"
cmp "$T/up" "$SEEN"
