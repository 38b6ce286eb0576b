#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# mmap_sendfile.sh - mmap, sendfile, O_DIRECT, random preads and overlapping descriptors of different generations, each in
# a process of its own at the same time: none sees bytes of another's generation.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

writer_start app --db "$SRC/db.sqlite3" --rate 500 --busy-timeout 0 --big-row 500000 --big-every 20
mount_fs "$SRC"

moved_on() { [ "$(acked app)" -gt "$1" ]; }
holders=()
for i in 1 2 3 4 5 6; do
	reader --file "$MNT/db.sqlite3" --ack "$T/app.ack" --hold "$i" --style mmap >"$T/held.$i" 2>"$LOGS/held.$i" &
	holders+=($!)
	CHILDREN+=($!)
	wait_for 40 grep -q held "$T/held.$i" || die "reader $i: $(cat "$LOGS/held.$i")"
	wait_for 40 moved_on "$(acked app)" || die "the application stands still"
done
for style in mmap sendfile direct pread odd; do
	copyloop --file "$MNT/db.sqlite3" --ack "$T/app.ack" --copies 20 --threads 3 --styles "$style" \
		--keep-bad "$T/bad" || die "$style"
done
for i in 0 1 2 3 4 5; do
	wait "${holders[i]}" || die "a held mapping: status $?: $(cat "$LOGS"/held.*)"
done
[ "$(sort -u "$T"/held.* | wc -l)" -gt 1 ] || die "all readers had the same generation: nothing was tested"
