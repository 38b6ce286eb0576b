#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# restore_pending.sh - tools that first say how long the file will be and then write it in pieces, closing and opening it again dozens of
# times: one restore, when the last gap is filled. Others see nothing of it meanwhile; what is never finished goes by itself.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=restore_lib.sh
. "$TOP/tests/e2e/restore_lib.sh"
allow_log 'thrown away|parts of it were never written'
allow_sidecars

DB=$SRC/db.sqlite3
SEEN=$MNT/db.sqlite3
make_marked "$DB" live wal
mount_fs -o keep=0 "$SRC"
held_start "$DB"
size=$(stat -c %s "$SEEN")

# pieces_start HOW CLOSES: the tool; its upload is $T/NUMBER, whose marker is NUMBER and which is larger than the live database.
number=0
pieces_start() {
	number=$((number + 1))
	make_marked "$T/$number" "$number" delete 4096 1500
	app_start python3 "$TOP/tests/check/pieces.py" "$T/$number" "$SEEN" "$1" "$2"
}

restores() { grep -c ' was restored by ' "$LOG" || :; }
# The application's writes are in the WAL: the size is that of this moment.
live_size() { stat -c %s "$SEEN"; }
discarded() { grep -c 'db.sqlite3.*: \(thrown away\|parts of it were never written\|whoever wrote it was killed\)' "$LOG" || :; }
none_stored() { [ -z "$(uploads)" ]; }
uploads() { find "$STORE" -name upload.sqlite3; }

# others WHAT MARKER: everybody else sees the live database, as long as not all has come.
others() {
	equal "$1: the application" "$(held marker)" "\"$2\""
	cp "$SEEN" "$T/copy"
	equal "$1: a copy" "$(sqlite3 "$T/copy" 'SELECT value FROM marker')" "$2"
	equal "$1: names" "$(ls -A "$MNT")" db.sqlite3
}

for how in 'ftruncate 50' 'fallocate 50' 'ftruncate 1' 'threads 0'; do
	note "$how"
	count=$(restores)
	marker=$(held marker)
	# shellcheck disable=SC2086 # two words
	pieces_start $how
	others "$how: announced" "${marker//\"/}"
	equal half "$(ask half)" "done"
	others "$how: half" "${marker//\"/}"
	equal "$how: size for others" "$(live_size)" "$size"
	equal "$how: rest" "$(ask rest)" "done"
	restored "$how" "$number"
	equal "$how: restores" "$(restores)" $((count + 1))
	app_stop
	equal "$how: thrown away" "$(discarded)" 0
	size=$(live_size)
done
wait_for 5 none_stored || die "left in the store: $(uploads)"

note 'somebody else restores meanwhile'
pieces_start ftruncate 20
equal half "$(ask half)" "done"
make_marked "$T/meanwhile" meanwhile
cp "$T/meanwhile" "$SEEN"
restored 'somebody else' meanwhile
cp "$T/meanwhile" "$SEEN.tmp"
mv "$SEEN.tmp" "$SEEN"
restored 'somebody else, once more' meanwhile
equal 'rest' "$(ask rest)" "done"
restored 'and the one who was first' "$number"
app_stop

note 'what was announced is cut'
pieces_start ftruncate 20
equal half "$(ask half)" "done"
equal 'all at once' "$(ask cut)" "done"
restored 'all at once' "$number"
app_stop
equal 'thrown away' "$(discarded)" 0

# Gaps are left, and nobody asks the mount for anything: what was written goes all the same.
gone_soon() { [ "$(discarded)" -eq "$1" ] && [ -z "$(uploads)" ]; }
marker=$(held marker)
# So that the restore's own has nothing left to do. BUSY as long as that is at it, whatever the timeout.
truncated() { [ "$(sqlite3 -cmd '.timeout 10000' "$DB" 'PRAGMA wal_checkpoint(TRUNCATE)' | tail -n 1)" = '0|0|0' ]; }
wait_for 10 truncated || die "the WAL stays"
before=$(sha "$DB" "$DB-wal")
count=0
for end in closes exits killed; do
	note "the tool $end with gaps"
	count=$((count + 1))
	pieces_start ftruncate 20
	equal half "$(ask half)" "done"
	case $end in
	closes) app_stop ;;
	exits) echo exit >&"$APP_IN" ;;
	killed) kill -KILL "$APP_PID" ;;
	esac
	[ "$end" = closes ] || wait "$APP_PID" || :
	wait_for 20 gone_soon "$count" || die "$end: it stays: $(discarded) told, left: $(uploads)"
	equal "$end: live files" "$(sha "$DB" "$DB-wal")" "$before"
	others "$end" "${marker//\"/}"
done

# It takes for whole what is not, as "restic restore --sparse", which leaves zeros out: it must hear of it.
note 'the tool sets the times of what has gaps'
marker=$(held marker)
refused() { grep -c 'parts of it were never written' "$LOG" || :; }
count=$(refused)
pieces_start ftruncate 20
equal half "$(ask half)" "done"
equal times "$(ask times)" "error: Input/output error"
equal "what the log says" "$(refused)" $((count + 1))
app_stop
wait_for 5 none_stored || die "left in the store: $(uploads)"
others 'times' "${marker//\"/}"

# Nothing stands there: the name leads the tool to what it has begun, and nobody else.
note 'a database that is missing'
held_stop
cat "$SEEN" >/dev/null
rm -f "$DB" "$DB-wal" "$DB-shm"
pieces_start fallocate 30
equal half "$(ask half)" "done"
equal 'its size for the tool' "$(ask size)" "$(stat -c %s "$T/$number")"
equal 'its bytes for the tool' "$(ask read)" "$(stat -c %s "$T/$number") False"
must_fail any 'No such file' cat "$SEEN"
equal 'names' "$(ls -A "$MNT")" ''
equal 'rest' "$(ask rest)" "done"
cmp "$T/$number" "$SEEN"
equal 'what was made' "$(sqlite3 "$DB" 'SELECT value FROM marker')" "$number"
app_stop
