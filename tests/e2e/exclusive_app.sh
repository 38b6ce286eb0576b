#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# exclusive_app.sh - an application that holds its database exclusively, as Firefox does: it can be looked at, opening it says EBUSY
# soon, never raw bytes, writing it, too, and nobody else has to wait for it, whoever crowds at the door.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
allow_log 'cannot be opened: .*(database is locked|another process holds it|too many opens and restores)'
allow_log 'refused, live database unchanged: (another process holds the live database exclusively|.*locked)'

writer_start wal --db "$SRC/wal.sqlite3" --exclusive --paused
writer_do wal 'commit 30'
writer_start roll --db "$SRC/roll.sqlite3" --exclusive --journal delete --paused
writer_do roll 'commit 30'
writer_start other --db "$SRC/other.sqlite3" --rate 200 --busy-timeout 0
mount_fs -o busy_timeout=1 "$SRC"
make_db "$T/up.sqlite3" --commits 7
taken() { python3 -c "import sys; t = $EPOCHREALTIME - $start; print(t); sys.exit(t > $1)"; } # at most SECONDS

for name in wal roll; do
	stat "$MNT/$name.sqlite3" >/dev/null || die "stat"
	start=$EPOCHREALTIME
	must_fail any 'busy' cat "$MNT/$name.sqlite3"
	taken $((30 * FACTOR)) || die "EBUSY of $name took longer"
	state=$(sha "$SRC/$name.sqlite3")
	must_fail 1 'busy' cp "$T/up.sqlite3" "$MNT/$name.sqlite3"
	equal "$name: what cannot be restored" "$(sha "$SRC/$name.sqlite3")" "$state"
done
[ -z "$(ls -A "$MNT/.sqlsnapfs/snapshots")" ] || die "kept: $(ls "$MNT/.sqlsnapfs/snapshots")"

# A crowd at the locked door does not keep others from their own. A machine that was busy with something else is given another try: who
# waits for the crowd waits each time, for two seconds.
for _ in 1 2 3 4 5; do
	crowd=()
	for i in $(seq 40); do
		cat "$MNT/wal.sqlite3" >/dev/null 2>"$LOGS/crowd.$i" &
		crowd+=($!)
		CHILDREN+=($!)
	done
	start=$EPOCHREALTIME
	for i in 1 2 3 4 5; do cat "$MNT/other.sqlite3" >/dev/null || die "the other database"; done
	ls -l "$MNT" >/dev/null
	waits=0
	taken "$FACTOR" || waits=1
	for pid in "${crowd[@]}"; do ! wait "$pid" || die "raw bytes of a database that is held exclusively"; done
	grep -L busy "$LOGS"/crowd.* | grep . && die "another error than EBUSY"
	[ "$waits" -ne 0 ] || break
done
[ "$waits" -eq 0 ] || die 'five reads of another database and a list wait for the crowd'

# Nor does one other user with a larger crowd, nor do several of them.
cat >"$T/crowd.py" <<'PY'
import os, sys, threading, time

def come():
    while True:
        try:
            os.close(os.open(sys.argv[1], os.O_RDONLY))
        except OSError:
            if not turned_away.is_set():
                turned_away.set()
                print("turned away", flush=True)
            time.sleep(0.05)

os.setgroups([])
os.setgid(int(sys.argv[3]))
os.setuid(int(sys.argv[3]))
turned_away = threading.Event()
for _ in range(int(sys.argv[2])):
    threading.Thread(target=come, daemon=True).start()
time.sleep(300)
PY
# crowd_of SIZE UID...: returns when some of each have been turned away.
crowd_of() {
	local size=$1 uid
	shift
	crowd=()
	for uid; do
		python3 "$T/crowd.py" "$MNT/roll.sqlite3" "$size" "$uid" >"$LOGS/crowd.$uid" 2>&1 &
		crowd+=($!)
		CHILDREN+=($!)
	done
	for uid; do wait_for 20 grep -q 'turned away' "$LOGS/crowd.$uid" || die "user $uid: $(cat "$LOGS/crowd.$uid")"; done
}
crowd_goes() {
	kill "${crowd[@]}"
	wait "${crowd[@]}" || :
}
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
	chmod 711 "$T"
	crowd_of 160 5004
	for i in $(seq 10); do
		cat "$MNT/other.sqlite3" >/dev/null || die "another database beside one user's crowd"
		setpriv --reuid=5005 --regid=5005 --clear-groups cat "$MNT/other.sqlite3" >/dev/null || die "another user's beside it"
	done
	crowd_goes
	crowd_of 40 5004 5005 5006 5007 5008
	for i in $(seq 10); do cat "$MNT/other.sqlite3" >/dev/null || die "another database beside the crowds of several"; done
	crowd_goes
fi

# The applications work on, and once they are gone everything can be read.
for name in wal roll; do
	writer_do "$name" 'commit 10'
	writer_stop "$name"
	equal "$name: commits" "$(commits_of "$MNT/$name.sqlite3")" 40
done
