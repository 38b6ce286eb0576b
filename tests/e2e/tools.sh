#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# tools.sh - the tools that people copy with, over a tree with two busy databases: each succeeds without a murmur, and what it
# made is good. Nothing is sent a second time when nothing changed.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
need rsync restic borg tar cpio

mkdir "$SRC/a" "$SRC/b"
echo plain >"$SRC/a/plain.txt"
writer_start one --db "$SRC/a/one.sqlite3" --rate 400 --busy-timeout 0
writer_start two --db "$SRC/b/two.db" --rate 400 --busy-timeout 0 --page-size 1024 --auto-vacuum 1
mount_fs "$SRC"

# good TOOL FOLDER: both databases and the plain file are there, and no sidecar.
good() {
	check_copy --min-seq "$one" "$2/a/one.sqlite3" >/dev/null || die "$1: one.sqlite3"
	check_copy --min-seq "$two" "$2/b/two.db" >/dev/null || die "$1: two.db"
	cmp -s "$SRC/a/plain.txt" "$2/a/plain.txt" || die "$1: plain.txt"
	equal "$1: files" "$(cd "$2" && find . -type f | sort | tr '\n' ' ')" './a/one.sqlite3 ./a/plain.txt ./b/two.db '
	rm -rf "$T/out"
}
# run TOOL COMMAND...: status 0 and nothing on stderr; commits acknowledged before must be in the copy.
run() {
	local tool=$1
	shift
	one=$(acked one) two=$(acked two)
	mkdir -p "$T/out"
	"$@" >"$LOGS/$tool.out" 2>"$LOGS/$tool.err" || die "$tool: status $?: $(cat "$LOGS/$tool.err")"
	[ ! -s "$LOGS/$tool.err" ] || die "$tool complains: $(cat "$LOGS/$tool.err")"
}

for round in 1 2 3; do
	note "round $round"
	run cp cp -a "$MNT/." "$T/out"
	good cp "$T/out"
	run rsync rsync -a "$MNT/" "$T/out/"
	good rsync "$T/out"
	run rsync_c rsync -ac --inplace "$MNT/" "$T/out/"
	good rsync_c "$T/out"
	run tar tar -C "$MNT" -cf "$T/all.tar" .
	tar -C "$T/out" -xf "$T/all.tar"
	good tar "$T/out"
	run tar_S tar -C "$MNT" -cSf "$T/all.tar" .
	tar -C "$T/out" -xf "$T/all.tar"
	good tar_S "$T/out"
	run dd sh -c "mkdir -p '$T/out/a' '$T/out/b' && cat '$MNT/a/plain.txt' >'$T/out/a/plain.txt' &&
		dd status=none if='$MNT/a/one.sqlite3' of='$T/out/a/one.sqlite3' bs=64k && cat '$MNT/b/two.db' >'$T/out/b/two.db'"
	good dd "$T/out"
	rm -rf "$T/out"
	run shutil python3 -c 'import shutil, sys; shutil.copytree(sys.argv[1], sys.argv[2], dirs_exist_ok=True)' "$MNT" "$T/out"
	good shutil "$T/out"
	run zip python3 -c 'import shutil, sys; shutil.make_archive(sys.argv[2], "zip", sys.argv[1])' "$MNT" "$T/all"
	python3 -c 'import shutil, sys; shutil.unpack_archive(sys.argv[1], sys.argv[2])' "$T/all.zip" "$T/out"
	good zip "$T/out"
done

# cpio takes the size from before it opens the file, of whatever file, so a database that grows in that moment is cut: it says so,
# and its users have to stop the writer.
writer_do one pause
writer_do two pause
run cpio sh -c "cd '$MNT' && find . | cpio --quiet -o -H newc >'$T/all.cpio'"
(cd "$T/out" && cpio --quiet -idm <"$T/all.cpio")
good cpio "$T/out"
writer_do one resume
writer_do two resume

export RESTIC_REPOSITORY=$T/restic RESTIC_PASSWORD=x RESTIC_CACHE_DIR=$T/restic-cache
restic init -q
run restic restic backup -q "$MNT"
restic check -q >"$LOGS/restic_check.out" 2>&1 || die "restic check: $(cat "$LOGS/restic_check.out")"
restic restore -q latest --target "$T/restored"
good restic "$T/restored/$MNT"

export BORG_REPO=$T/borg BORG_BASE_DIR=$T/borg-base BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes
borg init -e none
run borg borg create ::one "$MNT"
borg check --verify-data >"$LOGS/borg_check.out" 2>&1 || die "borg check: $(cat "$LOGS/borg_check.out")"
mkdir "$T/extracted"
(cd "$T/extracted" && borg extract ::one)
good borg "$T/extracted/$MNT"

# Nothing changes any more: the second run of each tool reads and sends nothing.
writer_do one pause
writer_do two pause
run rsync rsync -a "$MNT/" "$T/still/"
run rsync rsync -a --stats "$MNT/" "$T/still/"
grep -q 'Number of regular files transferred: 0$' "$LOGS/rsync.out" || die "rsync sent again: $(cat "$LOGS/rsync.out")"
run restic restic backup -q "$MNT"
run restic restic backup --json "$MNT"
equal 'files that restic found changed' "$(json "$LOGS/restic.out" files_changed)" 0
equal 'files that restic found new' "$(json "$LOGS/restic.out" files_new)" 0
