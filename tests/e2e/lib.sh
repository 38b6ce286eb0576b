# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# lib.sh - sourced by every end-to-end script: a folder of its own, mounts, writers, and an end that is judged too.
#
# A script does its work under set -e and simply ends. What must stay true is then checked for every one of them: each mount
# can be unmounted, each daemon ends with status 0 and has logged nothing suspicious, no sanitizer has reported, every
# writer has ended without an error, and no -wal, -shm or -journal is left in $SRC. A script that expects otherwise says so
# (allow_log, allow_sidecars, expect_daemon_end). Exit status: 0 passed, 77 skipped after a probe, else failed.
#
# Waiting is polling with a deadline (wait_for), never a sleep that hopes.

set -eu -o pipefail

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BUILD=${BUILD:-$TOP/build}
SQLSNAPFS=${SQLSNAPFS:-$BUILD/fs/sqlsnapfs}
TEST_BIN=${TEST_BIN:-$BUILD/tests}
SLOW=${SLOW:-0}
NAME=$(basename "$0" .sh)
# Everything is slower below a sanitizer; deadlines and counts are scaled by this.
FACTOR=${FACTOR:-1}

T=$(mktemp -d "${TMPDIR:-/tmp}/sqlsnapfs-$NAME.XXXXXX")
SRC=$T/src
MNT=$T/mnt
STORE=$T/store
LOGS=$T/logs
mkdir "$SRC" "$MNT" "$STORE" "$LOGS"

declare -A DAEMON_PID=() WRITER_PID=() WRITER_IN=() WRITER_OUT=()
LOG=$LOGS/daemon.1.log # of the mount made last
MOUNTS=0
LOOPS=()
PLAIN_MOUNTS=()
CHILDREN=()
ALLOWED_LOG=()
ALLOW_SIDECARS=0
FAULTS=0

note() { printf '# %s\n' "$*"; }

fault() {
	printf 'FAULT: %s: %s\n' "$NAME" "$*" >&2
	FAULTS=$((FAULTS + 1))
}

die() {
	printf 'FAULT: %s: line %s: %s\n' "$NAME" "${BASH_LINENO[-2]}" "$*" >&2
	exit 1
}

skip() {
	printf 'SKIP: %s: %s\n' "$NAME" "$*" >&2
	exit 77
}

# allow_log REGEX: log lines that match are no fault of this test.
allow_log() { ALLOWED_LOG+=("$1"); }
allow_sidecars() { ALLOW_SIDECARS=1; }

# wait_for SECONDS COMMAND...: polls until it succeeds, which takes SECONDS at most where nobody disturbs. A machine that others
# use too may stand still for some, and so may a disk: 1 after four times that, when it has been asked once more.
wait_for() {
	local deadline=$((SECONDS + $1 * 4 * FACTOR + 1)) late=0
	shift
	until "$@" 2>/dev/null; do
		[ "$late" = 0 ] || return 1
		[ "$SECONDS" -lt "$deadline" ] || late=1
		read -r -t 0.02 <> <(:) || :
	done
}

# look_anew FOLDER: has the kernel ask for its attributes now (AT_STATX_FORCE_SYNC). Those of a mount's root may be a moment
# old, see walk.sh.
look_anew() {
	python3 -c 'import ctypes, sys
if ctypes.CDLL(None).statx(-100, sys.argv[1].encode(), 0x2000, 0x7ff, ctypes.create_string_buffer(256)) != 0:
    sys.exit("statx")' "$1"
}

# must_fail STATUS|any PATTERN COMMAND...: the command ends with that status (any: not 0, no signal, no timeout) and what
# it printed matches the extended regular expression.
must_fail() {
	local want=$1 pattern=$2 status=0 text
	shift 2
	text=$("$@" 2>&1 </dev/null) || status=$?
	[ "$status" -ne 0 ] || die "succeeded, should have failed: $*"
	[ "$status" -lt 124 ] || die "status $status: $*: $text"
	[ "$want" = any ] || [ "$status" -eq "$want" ] || die "status $status, not $want: $*: $text"
	grep -qE -- "$pattern" <<<"$text" || die "said '$text', not /$pattern/: $*"
}

# equal WHAT A B
equal() { [ "$2" = "$3" ] || die "$1: '$2' is not '$3'"; }

# json FILE KEY: a value of the last JSON line of the file.
json() {
	python3 -c 'import json, sys
lines = [l for l in open(sys.argv[1]) if l.startswith("{")]
print(json.loads(lines[-1])[sys.argv[2]])' "$1" "$2"
}

# Reports of sanitizers go to files of their own: a daemon has no stderr.
SANITIZED=(env "ASAN_OPTIONS=log_path=$LOGS/asan:detect_leaks=1:exitcode=99:abort_on_error=0"
	"UBSAN_OPTIONS=log_path=$LOGS/ubsan:print_stacktrace=1:halt_on_error=1:exitcode=99"
	"LSAN_OPTIONS=log_path=$LOGS/lsan:exitcode=99"
	"TSAN_OPTIONS=log_path=$LOGS/tsan:halt_on_error=0:exitcode=66:second_deadlock_stack=1")

# run_fs ARGS...: the program in the foreground of the script (it daemonises, refuses or runs a COMMAND).
run_fs() { timeout $((60 * FACTOR)) "${SANITIZED[@]}" "$SQLSNAPFS" -o "store=$STORE" "$@"; }

is_mounted() { grep -qF " $1 fuse" /proc/self/mounts; }
not_mounted() { ! is_mounted "$1"; }
answers() { is_mounted "$1" && [ -d "$1/." ]; }
gone() { ! kill -0 "$1" 2>/dev/null; }
gone_or_zombie() { gone "$1" || ! grep -qs '^State:[[:space:]]*[^Z[:space:]]' "/proc/$1/status"; } # the shell may reap it in between

# mount_at MOUNTPOINT ARGS...: a daemon with -f in the background; returns when the mount answers.
mount_at() {
	local mnt=$1
	shift
	MOUNTS=$((MOUNTS + 1))
	LOG=$LOGS/daemon.$MOUNTS.log
	"${SANITIZED[@]}" "$SQLSNAPFS" -o "store=$STORE" -f "$@" "$mnt" </dev/null >"$LOG" 2>&1 &
	DAEMON_PID[$mnt]=$!
	wait_for 15 answers_or_ended "$mnt" "$!" || die "the mount at $mnt does not answer"
	answers "$mnt" || die "the daemon of $mnt ended: $(cat "$LOG")"
}
# What it says comes last: what it has itself asked the mount is over, and the mount is no dead one from before.
answers_or_ended() { gone_or_zombie "$2" || { answers "$1" && grep -qF " on $1: " "$LOG"; }; }

# mount_fs ARGS...: the ordinary case: mount_fs "$SRC", or with options before it.
mount_fs() { mount_at "$MNT" "$@"; }

held_elsewhere() { ! is_mounted "$1" && grep -qsF " $1 " /proc/[0-9]*/mountinfo; }
# wait_daemon MOUNTPOINT: the daemon ends with status 0.
wait_daemon() {
	local status=0 pid=${DAEMON_PID[$1]} deadline=$((SECONDS + 180))
	# A process in a mount namespace that was copied meanwhile keeps the mount, and so the daemon, alive: not ours to judge.
	while ! wait_for 40 gone_or_zombie "$pid" && [ "$SECONDS" -lt "$deadline" ] && held_elsewhere "$1"; do
		note "$1 is still mounted in another mount namespace"
	done
	gone_or_zombie "$pid" || {
		fault "the daemon of $1 does not end"
		grep -H . "/proc/$pid/task/"*/{comm,wchan,syscall} >"$LOGS/hanging" || :
		! command -v gdb >/dev/null || gdb -p "$pid" -batch -ex 'thread apply all bt 12' >>"$LOGS/hanging" 2>&1 || :
		kill -9 "$pid" 2>/dev/null || :
	}
	wait "$pid" || status=$?
	[ "$status" -eq 0 ] || fault "the daemon of $1 ended with status $status"
	unset "DAEMON_PID[$1]"
}

# expect_daemon_end MOUNTPOINT: the script has killed it; its status is no fault.
expect_daemon_end() {
	wait "${DAEMON_PID[$1]}" 2>/dev/null || :
	unset "DAEMON_PID[$1]"
}

# unmount [MOUNTPOINT]: umount must succeed and the daemon end with status 0.
unmount() {
	local mnt=${1:-$MNT}
	umount "$mnt" || {
		fault "umount $mnt failed"
		return # tear_down ends it
	}
	wait_daemon "$mnt"
}

fs_pid() { echo "${DAEMON_PID[$1]}"; }

# writer_start NAME ARGS...: the writing application under control (see tests/app/writer.c); the number that it is
# ready with goes to REPLY. Its acknowledgements are in $T/NAME.ack.
writer_start() {
	local name=$1 in out
	shift
	mkfifo "$T/$name.in" "$T/$name.out"
	"$TEST_BIN/writer" --control --ack "$T/$name.ack" "$@" <"$T/$name.in" >"$T/$name.out" 2>"$LOGS/$name.err" &
	WRITER_PID[$name]=$!
	exec {in}>"$T/$name.in" {out}<"$T/$name.out"
	WRITER_IN[$name]=$in
	WRITER_OUT[$name]=$out
	writer_reply "$name"
	[ "${REPLY%% *}" = ready ] || die "writer $name said '$REPLY'"
	rm "$T/$name.in" "$T/$name.out"
}
writer_reply() {
	read -r -t $((300 * FACTOR)) -u "${WRITER_OUT[$1]}" REPLY || die "writer $1: no answer: $(cat "$LOGS/$1.err")"
}
# writer_do NAME COMMAND: one command, one answer, in REPLY.
writer_do() {
	(printf '%s\n' "$2" >&"${WRITER_IN[$1]}") || die "writer $1 has ended: $(head -5 "$LOGS/$1.err")"
	writer_reply "$1"
	case $REPLY in error*) [ "${3:-}" = may_fail ] || die "writer $1: $2: $REPLY: $(cat "$LOGS/$1.err")" ;; esac
}
# writer_stop NAME: it ends without any error. Its last line stands in $T/NAME.json.
writer_stop() {
	local status=0
	writer_do "$1" stop
	read -r -t $((300 * FACTOR)) -u "${WRITER_OUT[$1]}" REPLY || die "writer $1: no report"
	printf '%s\n' "$REPLY" >"$T/$1.json"
	wait "${WRITER_PID[$1]}" || status=$?
	writer_forget "$1"
	note "$1: $(cat "$T/$1.json")"
	[ "$status" -eq 0 ] || fault "writer $1 ended with status $status: $(head -5 "$LOGS/$1.err")"
}
writer_forget() {
	local in=${WRITER_IN[$1]} out=${WRITER_OUT[$1]}
	exec {in}>&- {out}<&-
	unset "WRITER_PID[$1]"
}
# writer_kill NAME: kill -9, as a crash would.
writer_kill() {
	kill -9 "${WRITER_PID[$1]}"
	wait "${WRITER_PID[$1]}" 2>/dev/null || :
	writer_forget "$1"
}

# make_db PATH [WRITER ARGS...]: a database of some commits that nobody has open.
make_db() {
	local path=$1
	shift
	"$TEST_BIN/writer" --db "$path" --commits 50 --sync off "$@" >"$LOGS/make_db.out" || die "cannot make $path"
}

# acked NAME: the last commit that has returned to the application.
acked() { od -An -tu8 -N8 "$T/$1.ack" | tr -d ' '; }

# sqlite3(1) gives up at once where somebody else has the lock: a checkpoint of ours, or our last close, takes as long as the disk.
sqlite3() { command sqlite3 -cmd ".timeout $((30000 * FACTOR))" "$@"; }

check_copy() { "$TEST_BIN/check_copy" "$@"; }
# commits_of FILE: copies it to $T/copy, judges that, prints its commit number.
commits_of() { cp "$1" "$T/copy" && check_copy "$T/copy"; }
copyloop() { "$TEST_BIN/copyloop" "$@"; }
reader() { "$TEST_BIN/reader" "$@"; }
sha() { sha256sum "$@" | cut -d' ' -f1; }

# need COMMAND...: tools that the machine must have; scripts/test installs them.
need() {
	local tool
	for tool; do command -v "$tool" >/dev/null || skip "$tool is not installed"; done
}

# loop_mount FSTYPE SIZE FOLDER [OPTION...]: a file system of its own in an image; the options are mkfs's.
loop_mount() {
	local image=$T/$1.img device
	truncate -s "$2" "$image"
	"mkfs.$1" -q "${@:4}" "$image" >/dev/null 2>&1 || "mkfs.$1" "${@:4}" "$image" >/dev/null || skip "mkfs.$1 fails"
	device=$(losetup -f --show "$image") || skip "no loop device"
	LOOPS+=("$device")
	mkdir -p "$3"
	mount -t "$1" "$device" "$3" 2>/dev/null || skip "this kernel mounts no $1"
	PLAIN_MOUNTS+=("$3")
}

# plain_mount ARGS... FOLDER: any other mount; undone at the end.
plain_mount() {
	mount "$@"
	PLAIN_MOUNTS+=("${!#}")
}

# What a daemon must not have said.
SUSPICIOUS='error|warning|sanitizer|runtime error|leak|assert|panic|abort|segfault|corrupt|uninitiali|use-after'

check_logs() {
	local file text expression filter=(grep -vE -e '^$')
	for expression in "${ALLOWED_LOG[@]}"; do filter+=(-e "$expression"); done
	for file in "$LOGS"/daemon*.log; do
		[ -e "$file" ] || continue
		text=$(sed "s|$T||g" "$file" | "${filter[@]}" | grep -iE "$SUSPICIOUS" | head -20) || :
		[ -z "$text" ] || fault "suspicious words in the log: $text"
	done
	for file in "$LOGS"/*san.*; do
		[ -e "$file" ] || continue
		fault "a sanitizer has reported: $(head -c 6000 "$file")"
	done
}

check_sidecars() {
	local left
	[ "$ALLOW_SIDECARS" = 0 ] || return 0
	left=$(find "$SRC" -xdev \( -name '*-wal' -o -name '*-shm' -o -name '*-journal' \) | sort)
	[ -z "$left" ] || fault "left behind: $left"
}

# The regular end of a test whose body has passed.
finish_well() {
	local key
	for key in "${!WRITER_PID[@]}"; do writer_stop "$key"; done
	for key in "${!DAEMON_PID[@]}"; do unmount "$key"; done
	check_sidecars
	check_logs
}

# Undoes what is left, whatever the state. Ends only processes that this script has started.
tear_down() {
	local key i
	for key in "${CHILDREN[@]}" "${WRITER_PID[@]}"; do kill -9 "$key" 2>/dev/null || :; done
	while read -r key; do umount -l "$key" || :; done < <(awk -v t="$T/" 'index($2, t) == 1 && $3 ~ /^fuse/ {print $2}' /proc/self/mounts)
	for key in "${DAEMON_PID[@]}"; do kill -9 "$key" 2>/dev/null || :; done
	for ((i = ${#PLAIN_MOUNTS[@]} - 1; i >= 0; i--)); do umount -l "${PLAIN_MOUNTS[i]}" || :; done
	for key in "${LOOPS[@]}"; do losetup -d "$key" || :; done
}

on_exit() {
	local status=$?
	set +e
	trap 'last_exit $?' EXIT # finish_well may die
	[ "$status" -ne 0 ] || finish_well
	last_exit "$status"
}

last_exit() {
	local status=$1 file
	set +e
	trap - EXIT
	tear_down 2>/dev/null
	[ "$status" -ne 0 ] || [ "$FAULTS" -eq 0 ] || status=1
	if [ "$status" -ne 0 ] && [ "$status" -ne 77 ]; then
		for file in "$LOGS"/*; do
			[ ! -s "$file" ] || { printf -- '--- %s\n' "${file##*/}" && tail -n 60 "$file"; } >&2
		done
		status=1
	fi
	if [ -n "${KEEP:-}" ]; then
		note "kept: $T"
	else
		rm -rf --one-file-system "$T"
	fi
	exit "$status"
}
trap on_exit EXIT
trap 'exit 1' INT TERM HUP PIPE

[ -c /dev/fuse ] || die "/dev/fuse is missing: nothing can be tested"
[ -x "$SQLSNAPFS" ] || die "$SQLSNAPFS is missing"
