#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# limits.sh - out of descriptors, out of room for the spool: a clear error for whom it concerns, recovery when there is room again,
# and the application notices nothing.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
allow_log 'Too many open files|unable to open database file|No space left|cannot be opened: .*a spool needs|cannot be spooled: a spool needs|held back for a slow reader|the snapshot was given up'

note 'few descriptors'
for i in $(seq 100); do make_db "$SRC/$i.sqlite3" --rows 20 --commits 3; done
mount_fs "$SRC"
prlimit --pid "$(fs_pid "$MNT")" --nofile=200:200
python3 - "$MNT" <<'PY' || die "descriptors"
import errno, os, sys
held, errors = [], {}
for i in range(1, 101):
    try:
        fd = os.open(f"{sys.argv[1]}/{i}.sqlite3", os.O_RDONLY)
        held.append(fd)
        assert os.pread(fd, 16, 0) == b"SQLite format 3\0", i
    except OSError as e:
        errors[e.errno] = errors.get(e.errno, 0) + 1
print("#", len(held), "opened;", {errno.errorcode[k]: v for k, v in errors.items()})
if set(errors) - {errno.EMFILE}:
    sys.exit("another error than EMFILE")
for fd in held:
    assert len(os.pread(fd, 1 << 20, 0)) == os.fstat(fd).st_size
    os.close(fd)
PY
grep -q 'Too many open files' "$LOG" || fault "the log does not say why they could not be opened: $(tail -n 2 "$LOG")"
has_remedy() { ! grep -E ' (ops|restore): .*Too many open files' "$LOG" | grep -v '; raise the limit of open files'; }
has_remedy || die 'the log does not say what to do'
readable() { sha256sum "$MNT"/*.sqlite3 >"$T/sums" && [ "$(wc -l <"$T/sums")" -eq 100 ]; }
wait_for 20 readable || die "does not recover: $(sha256sum "$MNT"/*.sqlite3 2>&1 | grep -v sqlite3$ | head -3)"
(cd "$MNT" && sha256sum ./*.sqlite3) >"$T/seen"
unmount
(cd "$SRC" && sha256sum ./*.sqlite3) | cmp - "$T/seen" || die "other bytes"

note 'ended while its readers need every descriptor'
mkfifo "$T/held" "$T/release"
hold_all() {
	for i in $(seq 20); do exec {_}<"$MNT/$i.sqlite3" || :; done 2>"$LOGS/held"
	echo >"$T/held"
	read -r <"$T/release"
}
for few in {56..68}; do
	mount_fs "$SRC"
	old=$(fs_pid "$MNT")
	prlimit --pid "$old" --nofile="$few:$few"
	hold_all &
	holder=$!
	CHILDREN+=("$holder")
	read -r <"$T/held"
	kill "$old"
	wait_for 40 not_mounted "$MNT" || die "$few: SIGTERM does not detach it"
	mount_fs "$SRC" # where it was
	kill "$old"
	status=0
	wait "$old" || status=$?
	equal "status below a limit of $few" "$status" 0
	is_mounted "$MNT" || die "$few: it took the next one's mount down, too"
	echo >"$T/release"
	wait "$holder"
	unmount
done
rm "$SRC"/*

note 'a restore at each number of descriptors says what it lacks, and nothing else'
ladder() { # JOURNAL
	local few done=0 said
	# A restore that has answered still has its checkpoint before it.
	writer_start held --db "$SRC/db.sqlite3" --journal "$1" --busy-timeout 10000 --follow --paused
	writer_do held 'commit 50'
	mount_fs "$SRC" -o keep=1
	cp "$MNT/db.sqlite3" "$T/backup"
	for ((few = 8; done < 5; few++)); do
		[ "$few" -lt 100 ] || die "no restore with $few descriptors"
		writer_do held 'commit 1' # what the mount has open beside it is the same each time
		prlimit --pid "$(fs_pid "$MNT")" --nofile="$few:1000"
		if said=$(cp "$T/backup" "$MNT/db.sqlite3" 2>&1); then
			done=$((done + 1))
		else
			done=0
			grep -q 'Too many open files' <<<"$said" || die "$1, $few: $said: $(tail -n 1 "$LOG")"
		fi
	done
	note "$1: restores below a limit of $few"
	! grep -E 'replaced|removed|Invalid' "$LOG" || die "$1: nothing of it is so"
	has_remedy || die "$1: the log does not say what to do"
	writer_stop held
	unmount
	rm "$SRC"/*
}
ladder wal
ladder delete

note 'names that are too long for what SQLite puts beside them'
allow_log 'its name is too long for its -journal or -wal'
printf -v long '%0252d' 0
for journal in wal delete; do make_db "$T/old" --journal "$journal" && mv "$T/old" "$SRC/${journal:0:1}${long:1}"; done
make_db "$T/new" --rows 300
mount_fs "$SRC"
must_fail any 'File name too long' cat "$MNT/w${long:1}"
for name in "w${long:1}" "d${long:1}"; do
	state=$(sha "$SRC/$name")
	must_fail 1 'File name too long' cp "$T/new" "$MNT/$name"
	tail -n 1 "$LOG" | grep -q 'refused, live database unchanged: .*its name is too long' || die "the log: $(tail -n 1 "$LOG")"
	equal 'what cannot be restored' "$(sha "$SRC/$name")" "$state"
done
grep -q 'cannot be opened: .*its name is too long' "$LOG" || die "the log does not say why it cannot be opened"
unmount
rm "$SRC"/*

note 'a store without room'
mkdir "$T/tiny"
plain_mount -t tmpfs -o size=24m none "$T/tiny"
STORE=$T/tiny/store
mkdir "$STORE"
make_db "$SRC/large.sqlite3" --journal delete --big-row 2000000 --big-every 5
make_db "$SRC/small.sqlite3" --journal delete --rows 100
writer_start app --db "$SRC/app.sqlite3" --busy-timeout 0 --big-row 100000 --big-every 10 --keep 2000 --rate 300 --paused
writer_do app 'commit 2000'
writer_do app resume
mount_fs -o wal_limit=4M,wal_max=32M "$SRC"
[ "$(stat -c %s "$SRC/large.sqlite3")" -gt $((8 << 20)) ] || die "not large"
must_fail any 'No space left' cat "$MNT/large.sqlite3"
commits_of "$MNT/small.sqlite3" >/dev/null || die "a small one beside it"

# A reader that cannot be spooled ends with an error at last; the WAL stays bounded and the application goes on.
status=0
reader --file "$MNT/app.sqlite3" --ack "$T/app.ack" --hold 6 --out "$T/held" >"$T/reader.out" 2>"$LOGS/reader.err" || status=$?
note "the reader that could not be spooled: status $status"
[ "$status" -eq 0 ] || [ "$status" -eq 4 ] || [ "$status" -eq 135 ] || die "status $status: $(cat "$LOGS/reader.err")"
# 135: SIGBUS, by which a mapping says the same.
[ "$status" -ne 4 ] || grep -q 'Input/output error' "$LOGS/reader.err" || die "$(cat "$LOGS/reader.err")"
wal=$(stat -c %s "$SRC/app.sqlite3-wal")
[ "$wal" -lt $((64 << 20)) ] || die "the WAL grew to $wal bytes"
copyloop --file "$MNT/app.sqlite3" --ack "$T/app.ack" --copies 20 --styles read,pread --min-distinct 3 || die "bad copies"

note 'room again'
mount -o remount,size=200m "$T/tiny"
commits_of "$MNT/large.sqlite3" >/dev/null || die "does not recover"
copyloop --file "$MNT/app.sqlite3" --ack "$T/app.ack" --copies 10 --slow-ms 300 || die "bad copies"
