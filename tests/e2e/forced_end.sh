#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# forced_end.sh - a mount that ends by force, while descriptors are open that nobody will close in time and opens wait for a locked
# database: status 0, nothing left behind, whoever has something open gets an error or the right bytes.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
allow_log '"locked\.sqlite3" cannot be opened: .*(database is locked|another process holds it)'
allow_log 'restore of "kept\.sqlite3" refused, .*: the mount has ended before it was written'
allow_log '"\.kept\.sqlite3\.tmp", .* was never renamed'
need jq
export MALLOC_PERTURB_=90 # what is used after it was freed is not what it was

make_db "$SRC/cold.sqlite3" --rows 20000 # nobody has it open: sidecars beside it are ours
make_db "$SRC/roll.sqlite3" --journal delete
mkdir "$SRC/folder"
head -c 3000000 /dev/urandom >"$SRC/folder/plain"
writer_start app --db "$SRC/live.sqlite3" --rate 200 --busy-timeout 0
writer_start locked --db "$SRC/locked.sqlite3" --exclusive --paused
writer_do locked 'commit 30'
made=$T/made # removed again with the mount

begin() {
	note "$1"
	mount_at "$made" "$SRC"
}

# ended WHAT: the daemon has closed what it had open, as far as others can tell.
ended() {
	wait_daemon "$made"
	not_mounted "$made" || die "$1: still mounted"
	[ ! -e "$made" ] || die "$1: the mountpoint that was made is still there"
	[ -z "$(find "$SRC" -name 'cold*-*')" ] || die "$1: left beside the database: $(ls "$SRC")"
	[ -z "$(find "$STORE" -type f -size +100k)" ] || die "$1: left in the store: $(find "$STORE" -type f -size +100k)"
	writer_do app pause
	writer_do app 'exec PRAGMA wal_checkpoint(TRUNCATE)'
	[ ! -s "$SRC/live.sqlite3-wal" ] || die "$1: something still reads the WAL"
	writer_do app resume
}

term() { kill -TERM "$(fs_pid "$made")"; }
# Told to end twice: files that are open are waited for only until the second time.
term_twice() {
	term
	wait_for 40 not_mounted "$made" || die "SIGTERM does not detach the mount"
	wait_for 40 grep -q 'told to end by' "$LOG" # else the two signals are one
	term 2>/dev/null || gone_or_zombie "$(fs_pid "$made")" || die 'it cannot be told again'
}
lazily_then_term_twice() {
	umount -l "$made"
	term_twice
}
by_force() { umount -f -l "$made"; }

# ---- descriptors that are open

cat >"$T/hold.py" <<'PY'
import os, sys
mnt, src = sys.argv[1:3]
names = ["cold.sqlite3", "live.sqlite3", "roll.sqlite3", "folder/plain", "cold.sqlite3-wal", "folder", "."]
fds = {}
for name in names:
    fds[name] = [os.open(f"{mnt}/{name}", os.O_RDONLY) for i in range(3)]
same = {name: open(f"{src}/{name}", "rb").read() for name in ("cold.sqlite3", "roll.sqlite3", "folder/plain")}
for name in same:
    assert os.pread(fds[name][0], 4096, 0) == same[name][:4096], name
print("held", flush=True)
sys.stdin.read()
errors = 0
for name in names:
    for fd in fds[name]:
        try:
            got = b""
            if name in ("folder", "."):
                os.listdir(fd)
            else:
                got = os.pread(fd, 1 << 24, 0)
            assert name not in same or same[name].startswith(got), name
        except OSError:
            errors += 1
assert errors > 0
print("errors", errors, flush=True)
PY

# hold: a process that has one of everything open, has read its beginning, and reads the rest once it is told to.
hold() {
	rm -f "$T/go" "$T/holder.out" # or it says that the one before holds
	mkfifo "$T/go"
	python3 "$T/hold.py" "$made" "$SRC" <"$T/go" >"$T/holder.out" 2>"$LOGS/holder.err" &
	holder=$!
	CHILDREN+=("$holder")
	exec {go}>"$T/go"
	wait_for 20 grep -q held "$T/holder.out" || die "nothing is held: $(cat "$LOGS/holder.err")"
}
let_go() {
	exec {go}>&-
	wait "$holder" || die "$1: the holder: $(cat "$LOGS/holder.err")"
}

for way in term_twice lazily_then_term_twice by_force; do
	begin "descriptors are open: $way"
	hold
	"$way"
	ended "$way"
	let_go "$way"
done

# Killed: nobody has closed anything. The next one does, and no lock of the first one's is in anybody's way.
begin 'descriptors are open: kill -9'
hold
kill -9 "$(fs_pid "$made")"
expect_daemon_end "$made"
let_go 'kill -9'
begin 'after kill -9'
cmp "$made/cold.sqlite3" "$SRC/cold.sqlite3" || die "other bytes"
umount "$made"
ended 'after kill -9'

# ---- opens that wait

cat >"$T/wait.py" <<'PY'
import errno, os, sys
looked = os.open(sys.argv[1], os.O_PATH)  # what follows is an OPEN alone
print("looked", flush=True)
try:
    os.read(os.open(f"/proc/self/fd/{looked}", os.O_RDONLY), 1)
    sys.exit("raw bytes of a database that is held exclusively")
except OSError as e:
    print("answer", errno.errorcode[e.errno], flush=True)
PY
looked_all() { [ "$(cat "$T"/waiter.* | grep -c looked)" -eq 10 ]; }
# One of them at least waits for an answer from the mount, or all of them have had theirs already.
asked() {
	local i
	for i in "${waiters[@]}"; do ! grep -qs request_wait_answer "/proc/$i/wchan" || return 0; done
	[ "$(cat "$T"/waiter.* | grep -c answer)" -eq 10 ]
}

for way in term_twice lazily_then_term_twice by_force; do
	begin "opens wait: $way"
	rm -f "$T"/waiter.*
	waiters=()
	for i in $(seq 10); do
		python3 "$T/wait.py" "$made/locked.sqlite3" >"$T/waiter.$i" 2>"$LOGS/waiter.$i.err" &
		waiters+=($!)
		CHILDREN+=($!)
	done
	wait_for 20 looked_all || die "nobody has looked: $(cat "$LOGS"/waiter.*)"
	wait_for 40 asked || die "nobody waits"
	"$way"
	ended "$way"
	for i in "${!waiters[@]}"; do
		wait "${waiters[i]}" || die "$way: a waiter: $(cat "$LOGS"/waiter.*.err)"
	done
	note "$(sort "$T"/waiter.* | uniq -c | tr -s ' \n' ' ')"
done

# ---- restores that wait

# Whoever closes what is to be restored waits for the application's lock, and is told that it failed. So it does.
writer_start keeper --db "$SRC/kept.sqlite3" --journal delete --paused
writer_do keeper 'commit 30'
make_db "$T/backup" --rows 40
cat >"$T/restore.py" <<'PY'
import errno, os, sys
mnt, backup, way = sys.argv[1:4]
name = f"{mnt}/kept.sqlite3"
fd = os.open(f"{mnt}/.kept.sqlite3.tmp" if way == "rename" else name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
os.write(fd, open(backup, "rb").read())
try:
    os.close(fd)
    if way == "rename":
        os.rename(f"{mnt}/.kept.sqlite3.tmp", name)
except OSError as e:
    print("answer", errno.errorcode[e.errno], flush=True)
    sys.exit(0)
sys.exit("restored")
PY
# It waits for the lock, as far as the mount itself knows: nothing of it can be written before the application lets go.
locking() { jq -e '.running[] | select(.path == "kept.sqlite3" and .phase == "locking")' "$made/.sqlsnapfs/status.json" >/dev/null; }
begin_waiting() { # is at it: WAY
	# During a RENAME the kernel keeps the directory locked: it finds there what it knows already.
	[ -e "$made/.sqlsnapfs/status.json" ] || die 'there is no status'
	python3 "$T/restore.py" "$made" "$T/backup" "$1" >"$T/restorer" 2>"$LOGS/restorer.err" &
	restorer=$!
	CHILDREN+=("$restorer")
	wait_for 20 locking || die "it does not wait: $(cat "$T/restorer" "$LOGS/restorer.err")"
}
abort_connection() { umount -f "$made" || true; } # in use, and over all the same
for way in close rename; do
	for how in term_twice by_force abort_connection; do
		begin "a restore waits: $way, $how"
		before=$(sha "$SRC/kept.sqlite3")
		pid=$(fs_pid "$made")
		writer_do keeper 'exec BEGIN IMMEDIATE'
		begin_waiting "$way"
		"$how"
		wait "$restorer" || die "$way, $how: $(cat "$LOGS/restorer.err")"
		wait_for 30 gone_or_zombie "$pid" || die "$way, $how: the daemon waits for the lock"
		writer_do keeper 'exec ROLLBACK'
		ended "$way, $how"
		equal "$way, $how: the live database" "$(sha "$SRC/kept.sqlite3")" "$before"
		grep -q 'the mount has ended before it was written' "$LOG" || die "$way, $how: it is not said why it was not restored"
		note "$(tail -n 1 "$T/restorer")"
	done
done

# The same where a COMMAND was told that it failed, and goes on for as long as it likes.
note 'a restore waits: a COMMAND goes on'
before=$(sha "$SRC/kept.sqlite3")
writer_do keeper 'exec BEGIN IMMEDIATE'
mkfifo "$T/until"
run_fs "$SRC" "$made" -- sh -c "python3 '$T/restore.py' '$made' '$T/backup' close >'$T/restorer' 2>&1; read -r end <'$T/until'" \
	>"$LOGS/command" 2>&1 &
command=$!
CHILDREN+=("$command")
wait_for 20 locking || die "it does not wait: $(cat "$LOGS/command" "$T/restorer")"
abort_connection
wait_for 20 grep -q 'answer E' "$T/restorer" || die "it is not told that it failed: $(cat "$T/restorer")"
ended_in_log() { grep -q 'the mount has ended before it was written' "$LOGS/command"; }
wait_for 40 ended_in_log || note 'the restore is not given up'
writer_do keeper 'exec ROLLBACK'
wait_for 40 ended_in_log || die "restored, though its writer was told that it failed: $(sha "$SRC/kept.sqlite3")"
equal 'a COMMAND goes on: the live database' "$(sha "$SRC/kept.sqlite3")" "$before"
echo over >"$T/until"
wait "$command" || die "status $? of the command: $(cat "$LOGS/command")"

# What close(2) says is so, at whatever moment the mount is told to end at once.
note 'a restore is under way: term_twice'
allow_log '"kept\.sqlite3" (was closed before it was whole|was given up): thrown away'
make_db "$T/other" --rows 60
next=$T/backup
for _ in $(seq 30); do
	mount_at "$made" "$SRC"
	before=$(sha "$SRC/kept.sqlite3")
	status=0
	rm -f "$T/there"
	# By its working folder: who comes late to a name would write to what is below the mount.
	(cd "$made" && : >"$T/there" && exec cp "$next" kept.sqlite3 2>/dev/null) &
	copier=$!
	CHILDREN+=("$copier")
	wait_for 40 test -e "$T/there"
	sleep "0.0$((RANDOM % 4))$((RANDOM % 10))"
	term_twice
	wait "$copier" || status=1
	wait_daemon "$made"
	if [ "$(sha "$SRC/kept.sqlite3")" = "$before" ]; then
		[ "$status" -ne 0 ] || die 'cp was told that it was restored'
	else
		[ "$status" -eq 0 ] || die 'restored, though cp was told that it failed'
		if [ "$next" = "$T/backup" ]; then next=$T/other; else next=$T/backup; fi
	fi
done
