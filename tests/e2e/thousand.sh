#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# thousand.sh - a tree of a thousand databases: it can be listed and archived, and costs the daemon neither descriptors nor threads.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

make_db "$T/one.sqlite3" --rows 50
for i in $(seq 20); do mkdir "$SRC/$i"; done
for i in $(seq 1000); do cp "$T/one.sqlite3" "$SRC/$((i % 20 + 1))/$i.sqlite3"; done
want=$(sha "$T/one.sqlite3")
mount_fs "$SRC"
grep -q ': at least 1000 databases,' "$LOG" || die "it has more than it counts: $(cat "$LOG")"
pid=$(fs_pid "$MNT")

# The most descriptors and threads that are ever seen go to $T/most.
watch_daemon() {
	local fds threads most_fds=0 most_threads=0
	while :; do
		fds=$(find "/proc/$pid/fd" -maxdepth 1 -type l | wc -l)
		threads=$(find "/proc/$pid/task" -ignore_readdir_race -mindepth 1 -maxdepth 1 | wc -l)
		[ "$fds" -le "$most_fds" ] || most_fds=$fds
		[ "$threads" -le "$most_threads" ] || most_threads=$threads
		echo "$most_fds $most_threads" >"$T/most"
		kill -0 "$1" 2>/dev/null || return 0
		read -r -t 0.02 <> <(:) || :
	done
}
watched() {
	local child
	"$@" &
	child=$! # a process substitution changes $!
	CHILDREN+=("$child")
	watch_daemon "$child"
	wait "$child" || die "$1: status $?"
	read -r fds threads <"$T/most"
	note "$1: at most $fds descriptors, $threads threads"
	[ "$fds" -lt 500 ] || die "$1: $fds descriptors"
	[ "$threads" -lt 100 ] || die "$1: $threads threads"
}

memory() { sed -n "s/^$1:[^0-9]*\([0-9]*\) kB/\1/p" "/proc/$pid/status"; } # KiB: RssAnon, VmRSS, or VmHWM, the most of it
list() { ls -lR "$MNT" >"$T/list"; }
archive() { tar -C "$MNT" -cf "$T/all.tar" . 2>"$LOGS/tar.err"; }
extract_and_compare() {
	mkdir "$T/out"
	tar -C "$T/out" -xf "$T/all.tar"
	find "$T/out" -type f -exec sha256sum {} + | cut -d' ' -f1 | sort | uniq -c | tr -s ' '
}
watched list
equal 'databases listed' "$(grep -c '\.sqlite3$' "$T/list")" 1000
listed=$(memory RssAnon)
equal 'sidecars after ls' "$(find "$SRC" -name '*-*' | wc -l)" 0
watched archive
[ ! -s "$LOGS/tar.err" ] || die "tar complains: $(cat "$LOGS/tar.err")"
equal 'what was archived' "$(extract_and_compare)" " 1000 $want"

# Many at once: half of them read in parallel.
parallel() { find "$MNT" -name '*.sqlite3' | sed -n 1,500p | xargs -P 24 -n 10 sha256sum >"$T/sums"; }
watched parallel
equal 'what was read in parallel' "$(cut -d' ' -f1 "$T/sums" | sort | uniq -c | tr -s ' ')" " 500 $want"

no_sidecars() { [ -z "$(find "$SRC" -name '*-*')" ]; }
wait_for 20 no_sidecars || die "sidecars stay: $(find "$SRC" -name '*-*' | head -5)"
few_descriptors() { [ "$(find "/proc/$pid/fd" -maxdepth 1 -type l | wc -l)" -lt 60 ]; }
wait_for 20 few_descriptors || die "descriptors stay open: $(find "/proc/$pid/fd" -maxdepth 1 -type l | wc -l)"
# What all those threads have freed is the system's again (not for a build whose memory is the sanitizer's).
given_back() { [ $(($(memory RssAnon) * 2)) -lt $((listed * 5)) ]; }
[ "$FACTOR" -gt 1 ] || wait_for 20 given_back || die "$(memory RssAnon) KiB stay, $listed were used after the first listing"
note "memory: at most $(memory VmHWM) KiB, idle $(memory VmRSS)"
