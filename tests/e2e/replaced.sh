#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# replaced.sh - the live file is replaced, deleted, recreated or overwritten with garbage below a mount: what is open stays
# readable or fails, never changes; what is opened next is what stands there; the other databases go on.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
allow_log 'replaced\.sqlite3'

writer_start other --db "$SRC/other.sqlite3" --rate 200
make_db "$SRC/replaced.sqlite3" --seed 5
make_db "$T/new.sqlite3" --commits 77 --seed 9 --journal delete
mount_fs "$SRC"
name=$MNT/replaced.sqlite3
others() { copyloop --file "$MNT/other.sqlite3" --ack "$T/other.ack" --copies "$1" --slow-ms 50 >/dev/null || die "the other database: $2"; }

# hold NAME: a reader that holds the file until release.
hold() {
	mkfifo "$T/$1.go"
	reader --file "$name" --control --out "$T/$1.copy" <"$T/$1.go" >"$T/$1.out" 2>"$LOGS/$1.err" &
	CHILDREN+=($!)
	exec {go}>"$T/$1.go"
	wait_for 10 grep -q held "$T/$1.out" || die "$1: cannot be held: $(cat "$LOGS/$1.err")"
}
# release NAME: the bytes were the same, or (4) there was a read error.
release() {
	local status=0
	exec {go}>&-
	wait "${CHILDREN[-1]}" || status=$?
	[ "$status" -eq 0 ] || [ "$status" -eq 4 ] || die "$1: status $status: $(cat "$LOGS/$1.err")"
	note "$1: status $status"
}

equal 'commits at first' "$(commits_of "$name")" 50
hold by_rename
mv "$T/new.sqlite3" "$SRC/replaced.sqlite3"
equal 'commits after a rename' "$(commits_of "$name")" 77
others 8 'rename'
release by_rename

hold deleted
rm "$SRC/replaced.sqlite3"
must_fail any 'No such file' cat "$name"
make_db "$SRC/replaced.sqlite3" --commits 33
equal 'commits after recreation' "$(commits_of "$name")" 33
release deleted

# An application comes and goes in between; its WAL belongs to the new file.
writer_start app --db "$SRC/replaced.sqlite3" --paused --autocheckpoint 0
writer_do app 'commit 10'
equal 'commits beside an application' "$(commits_of "$name")" 43
writer_stop app

# Overwritten in place, which SQLite cannot know of either; its WAL is gone, or it would be read from there.
closed() { [ ! -e "$SRC/replaced.sqlite3-wal" ]; }
wait_for 8 closed || die "the WAL stays after the last close"
lines=$(wc -l <"$LOG")
head -c 20000 /dev/urandom >"$SRC/replaced.sqlite3"
status=0
cat "$name" >"$T/c" 2>/dev/null || status=$?
if [ "$status" -eq 0 ]; then
	# Without the magic it is no database any more, and a file of a folder is shown as it is.
	cmp "$T/c" "$SRC/replaced.sqlite3" || die "neither an error nor what stands there"
fi
others 8 'garbage'

# The magic, and then garbage.
rm "$SRC/replaced.sqlite3"
{ printf 'SQLite format 3\0' && head -c 30000 /dev/urandom; } >"$SRC/replaced.sqlite3"
must_fail any 'Input/output error' cat "$name"
[ "$(wc -l <"$LOG")" -gt "$lines" ] || die "nothing was logged"
grep -q 'replaced.sqlite3' "$LOG" || die "the log does not name the database: $(cat "$LOG")"
others 8 'garbage with the magic'

rm "$SRC/replaced.sqlite3"
make_db "$SRC/replaced.sqlite3" --commits 12
equal 'commits after the garbage' "$(commits_of "$name")" 12

# A plain file stays what it was for who has it open, as on any file system: read(2) asks for its size at the end.
python3 - "$SRC/plain" "$MNT/plain" <<'EOF' || die "a plain file that was open"
import os, sys
live, seen = sys.argv[1:]
for go in (lambda: os.rename(live + ".new", live), lambda: os.unlink(live)):
    for name, byte in (live, b"a"), (live + ".new", b"b"):
        with open(name, "wb") as f:
            f.write(byte * 3000000)
    with open(seen, "rb", buffering=0) as f:
        got = f.read(65536)
        go()
        assert os.fstat(f.fileno()).st_size == 3000000
        while part := f.read(65536):
            got += part
    assert got == b"a" * 3000000, len(got)
EOF
