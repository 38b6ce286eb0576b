#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# unchanged_cache.sh - a database that has not changed is read from the kernel's page cache the second time, also in a rollback-journal
# database; after a commit it is read anew.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
allow_log "its opener does not look up the name again"

for mode in wal delete; do
	make_db "$SRC/$mode.sqlite3" --journal "$mode" --big-row 1000000 --big-every 5
done
mount_fs "$SRC"
bytes_read() { sed -n 's/^rchar: //p' "/proc/$(fs_pid "$MNT")/io"; }

# cost NAME: bytes that the daemon reads while the file is read once.
cost() {
	local before
	before=$(bytes_read)
	cat "$MNT/$1.sqlite3" >/dev/null
	echo $(($(bytes_read) - before))
}

for mode in wal delete; do
	size=$(stat -c %s "$MNT/$mode.sqlite3")
	first=$(cost "$mode")
	second=$(cost "$mode")
	# A rollback-journal database is copied anew if nobody has opened the copy for two seconds: a busy machine may take longer.
	for ((again = 0; again < 5 && second >= size / 10; again++)); do second=$(cost "$mode"); done
	note "$mode: $size bytes; the first read costs $first, the second $second"
	[ "$first" -ge "$size" ] || die "$mode: the first read cost $first bytes of $size: nothing is measured"
	[ "$second" -lt $((size / 10)) ] || die "$mode: the second read cost $second bytes of $size"
	"$TEST_BIN/writer" --db "$SRC/$mode.sqlite3" --journal "$mode" --commits 1 --busy-timeout 5000 >"$LOGS/writer.out"
	third=$(cost "$mode")
	[ "$third" -ge "$size" ] || die "$mode: after a commit only $third bytes of $size were read"
	equal "$mode: commits" "$(commits_of "$MNT/$mode.sqlite3")" 51
done

# What has no name is opened, of a state that is gone: ESTALE. What the same thread opens next by its name is no older than that.
for mode in wal delete; do
	python3 - "$SRC/$mode.sqlite3" "$MNT/$mode.sqlite3" "$T/seen" <<'END' || die "$mode: $?"
import errno, os, sqlite3, sys, time
live, seen, copy = sys.argv[1:]
db = sqlite3.connect(live, isolation_level=None)
db.execute("CREATE TABLE seen(i)")
open(seen, "rb").read()
held = os.open(seen, os.O_PATH)
db.execute("INSERT INTO seen VALUES(1)")
told, pause, until = 0, 0.3, time.monotonic() + 40
while told != errno.ESTALE:
    assert time.monotonic() < until, "it is not said that the state is gone"
    try:
        os.close(os.open(f"/proc/self/fd/{held}", os.O_RDONLY))
    except OSError as e:
        told = e.errno
    time.sleep(pause)  # on a busy machine the close comes late, and one that is opened before that stays
    pause *= 1.5
db.execute("INSERT INTO seen VALUES(2)")
with open(seen, "rb") as f, open(copy, "wb") as out:
    out.write(f.read())
found = sqlite3.connect(copy).execute("SELECT max(i) FROM seen").fetchone()[0]
sys.exit(found != 2)
END
done

# It is opened for writing by a name that is none, which leads nobody to anything: what is opened next is as new as ever.
for mode in wal delete; do
	python3 - "$SRC/$mode.sqlite3" "$MNT/$mode.sqlite3" "$T/seen" <<'END' || die "$mode, to be written: $?"
import errno, os, sqlite3, sys
live, seen, copy = sys.argv[1:]
db = sqlite3.connect(live, isolation_level=None)
held = os.open(seen, os.O_RDONLY)
for how in os.O_WRONLY, os.O_RDWR:
    before = db.execute("SELECT max(i) FROM seen").fetchone()[0]
    try:
        os.open(f"/proc/self/fd/{held}", how)
        sys.exit("it was opened")
    except OSError as e:
        assert e.errno == errno.ESTALE, e
    db.execute("INSERT INTO seen VALUES(?)", [before + 1])
    with open(seen, "rb") as f, open(copy, "wb") as out:
        out.write(f.read())
    found = sqlite3.connect(copy).execute("SELECT max(i) FROM seen").fetchone()[0]
    assert found == before + 1, (found, before)
END
done
