#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# status.sh - .sqlsnapfs/status.json beside what really goes on: every field of an idle mount, of readers and their pins, of a slow
# reader that was spooled, of a corrupt source, of restores done, refused and under way, of kept snapshots, over a remount; that it
# waits for nobody; that reading it neither counts as a backup nor connects.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=restore_lib.sh
. "$TOP/tests/e2e/restore_lib.sh"
need jq
allow_sidecars
allow_log 'refused, live database unchanged|status.json" cannot be written: '
allow_log '(garbage|roll).sqlite3" cannot be opened'
allow_log 'its wal-index says|is a database with 2 hard links'
allow_log 'cannot be spooled: the read lock on the database was lost' # a wal-index that is damaged by hand, when that takes longer than a second

STATUS=$MNT/.sqlsnapfs/status.json
status() { python3 "$TOP/tests/check/status.py" "$STATUS" "$@"; }
# until_status EXPRESSION: what a thread of the daemon's own brings about by itself.
until_status() { wait_for 15 status "$@" || die "never: $*: $(status "$@" 2>&1) $(cat "$STATUS")"; }

make_marked "$SRC/wal.sqlite3" wal wal 8192
mkdir "$SRC/sub"
make_marked "$SRC/sub/roll.sqlite3" roll delete 1024
make_marked "$SRC/garbage.sqlite3" garbage
printf '\377\377\377\377' | dd of="$SRC/garbage.sqlite3" bs=1 seek=16 conv=notrunc status=none
echo text >"$SRC/$(printf 'plain\377\n"\134')"
cp "$SRC/sub/roll.sqlite3" "$SRC/$(printf 'odd\377\n"\\\033.sqlite3')"
mount_fs -o wal_limit=1M,keep=2,busy_timeout=70 "$SRC"

note 'an idle mount'
status schema "mountpoint == '$MNT'" "options['store'] == '$STORE'" "options['wal_limit'] == 1 << 20" "options['keep'] == 2" \
	"options['busy_timeout'] == 70" 'not read_only' 'not warnings' 'complete' 'restores == [] and running == [] and snapshots == []' \
	"pid == $(fs_pid "$MNT")" "sqlite['version'] == '$("$SQLSNAPFS" --version | awk '$1 == "SQLite" {print $2}')'" \
	"len(sources) == 4" "all(not s['connected'] and s['last_opened'] is None and s['generation'] is None for s in sources)" \
	"source('wal.sqlite3')['kind'] == 'wal' and source('wal.sqlite3')['page_size'] == 8192" \
	"source('wal.sqlite3')['size'] == $(stat -c %s "$SRC/wal.sqlite3")" "source('wal.sqlite3')['file'] == '$SRC/wal.sqlite3'" \
	"source('sub/roll.sqlite3')['kind'] == 'rollback' and source('sub/roll.sqlite3')['page_size'] == 1024" \
	"source('garbage.sqlite3')['kind'] == 'unknown'" \
	"source('odd\ufffd\n\"\\\\\x1b.sqlite3')['kind'] == 'rollback'"
[ -z "$(find "$SRC" -name '*-wal' -o -name '*-shm')" ] || die "it connected"
must_fail 1 'Read-only file system' tee "$STATUS"

note 'who has opened what'
(exec -a 'a "name"' cat "$MNT/wal.sqlite3") >/dev/null
cp "$MNT/sub/roll.sqlite3" "$T/copy"
status "source('wal.sqlite3')['last_opened']['command'] == 'cat'" "source('wal.sqlite3')['last_opened']['uid'] == 0" \
	"source('wal.sqlite3')['last_opened']['seconds_ago'] < 60" "source('wal.sqlite3')['last_opened']['snapshot'] is None" \
	"source('sub/roll.sqlite3')['last_opened']['command'] == 'cp'" "source('wal.sqlite3')['generation'] > 0"
must_fail 1 'Input/output error|not a database|damaged' cat "$MNT/garbage.sqlite3"
status "'damaged' in source('garbage.sqlite3')['last_error']['text'] or 'not a database' in source('garbage.sqlite3')['last_error']['text']" \
	"source('garbage.sqlite3')['last_opened'] is None" "source('wal.sqlite3')['last_error'] is None" \
	"len(warnings) == 1 and warnings[0].startswith('\"garbage.sqlite3\" cannot be read: ') and source('garbage.sqlite3')['last_error']['text'] in warnings[0]"
garbage=$(status -p 'warnings[0]')
opened=$(status -p "source('wal.sqlite3')['last_opened']['time'], source('wal.sqlite3')['last_opened']['pid']")
until_status "not source('wal.sqlite3')['connected']"
status "not source('wal.sqlite3')['connected']" "source('wal.sqlite3')['wal_bytes'] is None"
[ -z "$(find "$SRC" -name '*-wal' -o -name '*-shm')" ] || die "it keeps the source connected"
equal "looking is no backup" "$(status -p "source('wal.sqlite3')['last_opened']['time'], source('wal.sqlite3')['last_opened']['pid']")" "$opened"

note 'readers, their pins, the WAL that they hold back'
held_start "$SRC/wal.sqlite3"
held write >/dev/null
# Not older than a second, or it is spooled already: what is said then is kept, for a program to start may take as long.
exec {one}</dev/null {two}</dev/null
two_readers() {
	local wal
	wal=$(stat -c %s "$SRC/wal.sqlite3-wal")
	exec {one}<&- {two}<&- && exec {one}<"$MNT/wal.sqlite3" {two}<"$MNT/wal.sqlite3"
	printf '%s\n' "$(<"$STATUS")" >"$T/status.json"
	STATUS=$T/status.json status "source('wal.sqlite3')['readers'] == 2" "source('wal.sqlite3')['connected']" "source('wal.sqlite3')['pin_count'] == 1" \
		"source('wal.sqlite3')['pins'][0]['wal_bytes'] == 0" "0 <= source('wal.sqlite3')['pins'][0]['age'] < 60" \
		"source('wal.sqlite3')['spool_bytes'] == 0" "source('wal.sqlite3')['wal_bytes'] == $wal - 32" \
		"source('sub/roll.sqlite3')['readers'] == 0"
}
wait_for 15 two_readers || two_readers
held write >/dev/null
held write >/dev/null
# It was spooled, and perhaps disconnected, if those took seconds.
status "source('wal.sqlite3')['pins'] == [] or source('wal.sqlite3')['pins'][0]['wal_bytes'] >= 2 * 8216" \
	"source('wal.sqlite3')['pins'] == [] or source('wal.sqlite3')['pins'][0]['wal_bytes'] == source('wal.sqlite3')['held_bytes']" \
	"not source('wal.sqlite3')['connected'] or source('wal.sqlite3')['wal_bytes'] == $(stat -c %s "$SRC/wal.sqlite3-wal") - 32"

note 'a slow reader is spooled'
until_status "source('wal.sqlite3')['pin_count'] == 0 and source('wal.sqlite3')['spool_bytes'] >= $(stat -c %s "$SRC/wal.sqlite3")" \
	"source('wal.sqlite3')['readers'] == 2" "source('wal.sqlite3')['spool_bytes'] < 4 * $(stat -c %s "$SRC/wal.sqlite3")"
exec {one}<&- {two}<&-
until_status "source('wal.sqlite3')['readers'] == 0 and source('wal.sqlite3')['spool_bytes'] == 0"

note 'restores'
make_marked "$T/good" good delete 8192
echo 'no database' >"$T/bad"
cp "$T/good" "$MNT/wal.sqlite3"
must_fail 1 'Wrong medium type' cp "$T/bad" "$MNT/sub/roll.sqlite3"
cp "$T/good" "$MNT/wal.sqlite3"
status "[r['verdict'] for r in restores] == ['unchanged', 'refused', 'restored']" \
	"[r['path'] for r in restores] == ['wal.sqlite3', 'sub/roll.sqlite3', 'wal.sqlite3']" \
	"all(r['command'] == 'cp' and r['uid'] == 0 and r['pid'] > 1 for r in restores)" \
	"restores[1]['error'] == 'Wrong medium type' and 'SQLite' in restores[1]['reason'] and restores[1]['size'] == 12" \
	"restores[2]['size'] == $(stat -c %s "$T/good") and restores[2]['error'] is None and restores[2]['reason'] is None" \
	"restores[2]['undo'].startswith('before-restore-') and restores[2]['undo_path'] == 'wal.sqlite3' and not restores[2]['undo_raw'] and 0 <= restores[2]['locked_seconds'] <= restores[2]['seconds'] < 60" \
	"running == []" "len(snapshots) == 1 and snapshots[0]['name'] == restores[2]['undo'] and snapshots[0]['state'] == 'kept'" \
	"[d['path'] for d in snapshots[0]['databases']] == ['wal.sqlite3']" "snapshots[0]['size'] == snapshots[0]['databases'][0]['size'] > 0"
status 'len(warnings) == 2' "warnings[0] == '''$garbage'''" "'\"sub/roll.sqlite3\"' in warnings[1] and restores[1]['time'] in warnings[1]" \
	"restores[1]['reason'] in warnings[1] and 'a restore of it that succeeds' in warnings[1]"
grep -qE '"wal.sqlite3" was restored by uid 0 \(cp, pid [0-9]+\): ' "$MNT/.sqlsnapfs/log" || die 'the log does not say who'
grep -qE '"sub/roll.sqlite3" refused, .*written by uid 0 \(cp, pid [0-9]+\)$' "$MNT/.sqlsnapfs/log" || die 'the log does not say whose was refused'

note 'a restore that waits is shown with its share; who waits does not keep status.json waiting'
make_marked "$T/better" better delete 8192
python3 - "$SRC/wal.sqlite3" "$T/go" <<'PY' &
import os, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
os.mkfifo(sys.argv[2])
open(sys.argv[2]).read()
db.execute("ROLLBACK")
PY
holder=$!
CHILDREN+=("$holder")
wait_for 10 test -p "$T/go" || die "no lock"
cp "$T/better" "$MNT/wal.sqlite3" &
copier=$!
CHILDREN+=("$copier")
until_status "len(running) == 1 and running[0]['phase'] == 'locking'"
status "running[0]['kind'] == 'restore' and running[0]['path'] == 'wal.sqlite3' and running[0]['command'] == 'cp'" \
	"running[0]['pid'] == $copier and 0.6 < running[0]['share'] < 0.7" \
	"0 <= running[0]['seconds'] < 60" "len(restores) == 3"
echo >"$T/go"
wait "$copier" || die "the restore failed"
wait "$holder"
status "running == [] and restores[0]['verdict'] == 'restored' and restores[0]['locked_seconds'] < restores[0]['seconds']"

note 'a database that is held exclusively, and one that is gone'
python3 - "$SRC/sub/roll.sqlite3" "$T/go2" <<'PY' &
import os, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN EXCLUSIVE")
os.mkfifo(sys.argv[2])
open(sys.argv[2]).read()
PY
holder=$!
CHILDREN+=("$holder")
wait_for 10 test -p "$T/go2" || die "no lock"
cat "$MNT/sub/roll.sqlite3" >/dev/null 2>&1 & # waits
waiter=$!
CHILDREN+=("$waiter")
status "source('sub/roll.sqlite3')['last_opened']['command'] == 'cp'"
wait "$waiter" && die "it was read"
status "source('sub/roll.sqlite3')['last_error']['text']" \
	"[w for w in warnings if w.startswith('\"sub/roll.sqlite3\" cannot be read: ' + source('sub/roll.sqlite3')['last_error']['text'])]"
echo >"$T/go2"
wait "$holder"
mv "$SRC/sub/roll.sqlite3" "$T/gone"
status "[s for s in sources if s['path'] == 'sub/roll.sqlite3'] == []"
mv "$T/gone" "$SRC/sub/roll.sqlite3"

note 'a database that cannot be read is a warning until it is opened'
cat "$MNT/sub/roll.sqlite3" >/dev/null
status "source('sub/roll.sqlite3')['last_error']['text'] and not [w for w in warnings if 'roll.sqlite3\" cannot be read' in w]"
ln "$SRC/sub/roll.sqlite3" "$SRC/sub/second"
# One that has never been tried, too.
status "len([w for w in warnings if 'cannot be read: ' in w and '2 hard links' in w]) == 2" "'2 hard links' in source('sub/second')['last_error']['text']"
must_fail 1 'Too many links' cat "$MNT/sub/roll.sqlite3"
rm "$SRC/sub/second"
cat "$MNT/sub/roll.sqlite3" >/dev/null
mv "$SRC/garbage.sqlite3" "$T/garbage"

note 'a refused restore is a warning until a later one succeeds'
status 'len(warnings) == 1' "'sub/roll.sqlite3\" at' in warnings[0]"
cp "$T/copy" "$MNT/sub/roll.sqlite3"
status "restores[0]['path'] == 'sub/roll.sqlite3' and restores[0]['verdict'] == 'unchanged'" 'warnings == []'

note 'a snapshot that is read counts as old as it is'
held write >/dev/null
cp "$T/good" "$MNT/wal.sqlite3"
before=$(status -p "source('wal.sqlite3')['last_opened']['time']")
undo=$(status -p "restores[0]['undo']")
old=$(status -p "snapshots[0]['name']")
for name in "$undo" "$old"; do # the newest state counts, not the last that was read
	cat "$MNT/.sqlsnapfs/snapshots/$name/wal.sqlite3" >/dev/null
	status "'$old' < '$undo'" "source('wal.sqlite3')['last_opened']['snapshot'] == '$undo'" \
		"source('wal.sqlite3')['last_opened']['time'] == [s for s in snapshots if s['name'] == '$undo'][0]['made'] >= '$before'"
done

note 'the mark of the WAL-reset bug'
# shellcheck disable=SC2016 # its own shell's
wait_for 15 bash -c '[ ! -s "$1" ]' - "$SRC/wal.sqlite3-wal" || die 'the WAL that the restore wrote stays'
held write >/dev/null
exec {one}<"$MNT/wal.sqlite3"
# It is looked at while it is connected, which it is not any more some seconds after it was opened: then it is opened anew.
open_and_status() {
	status "$@" && return
	exec {one}<&-
	exec {one}<"$MNT/wal.sqlite3"
	return 1
}
until_open_and_status() { wait_for 15 open_and_status "$@" || die "never: $*: $(status "$@" 2>&1) $(cat "$STATUS")"; }
python3 - "$SRC/wal.sqlite3-shm" <<'PY'
import struct, sys
with open(sys.argv[1], "r+b", buffering=0) as shm:
    frames = struct.unpack("=I", shm.read(20)[16:])[0]
    shm.seek(96)
    shm.write(struct.pack("=I", frames + 19))
PY
until_open_and_status "source('wal.sqlite3')['wal_marked'] and any('wal.sqlite3' in w and 'WAL-reset' in w for w in warnings)"
grep -q 'its wal-index says' "$MNT/.sqlsnapfs/log" || die 'not logged'
python3 - "$SRC/wal.sqlite3-shm" <<'PY'
import sys
with open(sys.argv[1], "r+b", buffering=0) as shm:
    shm.seek(96)
    shm.write(bytes(4))
PY
until_open_and_status "not source('wal.sqlite3')['wal_marked'] and warnings == []"
exec {one}<&-

note 'a remount knows who had what; the alert'
mv "$T/garbage" "$SRC/garbage.sqlite3"
opened=$(status -p "[(s['path'], s['last_opened'] and (s['last_opened']['time'], s['last_opened']['pid'], s['last_opened']['command'])) for s in sources]")
held_stop
unmount "$MNT"
mount_fs "$SRC"
equal "who had what" "$(status -p "[(s['path'], s['last_opened'] and (s['last_opened']['time'], s['last_opened']['pid'], s['last_opened']['command'])) for s in sources]")" "$opened"
alert() { jq -e '.sources != [] and all(.sources[]; (.last_opened.seconds_ago // 1e9) < 26 * 3600)' "$STATUS" >/dev/null; }
status=0
alert || status=$?
equal "two were never backed up" "$status" 1
for name in "$SRC"/odd*; do cat "$MNT/${name##*/}" >/dev/null; done
rm "$SRC/garbage.sqlite3"
alert || die "all were opened just now: $(cat "$STATUS")"

note 'a snapshot is seen while it is written, and counts as a backup from then on'
mkdir "$MNT/.sqlsnapfs/snapshots/now"
cat "$MNT/.sqlsnapfs/snapshots/now/wal.sqlite3" >/dev/null
status "snapshots[-1]['name'] == 'now' and snapshots[-1]['state'] in ('writing', 'kept')" "len(snapshots[-1]['databases']) == len(sources) == 3" \
	"source('wal.sqlite3')['last_opened']['snapshot'] == 'now' and source('wal.sqlite3')['last_opened']['time'] == snapshots[-1]['made']" \
	"source('sub/roll.sqlite3')['last_opened']['snapshot'] is None"
until_status "snapshots[-1]['state'] == 'kept' and snapshots[-1]['share'] == 1 and snapshots[-1]['size'] == sum(s['size'] for s in sources)"
rmdir "$MNT/.sqlsnapfs/snapshots/now"
status "'now' not in [s['name'] for s in snapshots]" "len(snapshots) == 3"

# Which of them is caught is chance; that none of twenty is, is a fault.
sqlite3 "$SRC/large.sqlite3" 'CREATE TABLE t(a); INSERT INTO t VALUES(zeroblob(100000000))'
python3 - "$MNT/.sqlsnapfs" <<'EOF' || die "none was seen while it was written"
import json, os, sys
for i in range(20):
    folder = f"{sys.argv[1]}/snapshots/seen-{i}"
    os.mkdir(folder)
    with open(f"{sys.argv[1]}/status.json") as f:
        seen = [s for s in json.load(f)["snapshots"] if s["name"] == f"seen-{i}"]
    os.rmdir(folder)
    assert len(seen) == 1, seen
    if seen[0]["state"] == "writing":
        assert 0 <= seen[0]["share"] < 1 and seen[0]["apart"] == 0, seen
        sys.exit(0)
sys.exit(1)
EOF
