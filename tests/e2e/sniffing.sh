#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# sniffing.sh - what is a database is told by its content, never by its name; everything else is shown as it is.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

echo 'no database at all' >"$SRC/notes.sqlite3"
: >"$SRC/empty.db"
echo short >"$SRC/notes.sqlite3-wal" # beside what is no database: an ordinary file
mkdir -p "$SRC/sub/deep"
make_db "$SRC/sub/deep/.odd name,%without-suffix" --commits 31
writer_start app --db "$SRC/live" --paused
writer_do app 'commit 41'
[ -e "$SRC/live-wal" ] || die "no WAL"
make_db "$SRC/x-wal" --commits 51 # a database whose name looks like a sidecar
echo journal >"$SRC/lonely-journal"
ln -s deep "$SRC/sub/to-folder"
ln -s sub/deep/'.odd name,%without-suffix' "$SRC/link.db"
ln -s ../../live "$SRC/sub/deep/up.db"
ln -s nowhere "$SRC/dangling"
ln -s /etc/hostname "$SRC/leaves"
mkfifo "$SRC/fifo"
python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "$SRC/socket"
mknod "$SRC/null" c 1 3
make_db "$SRC/linked.db"
ln "$SRC/linked.db" "$SRC/sub/linked-too.db"
allow_log 'linked' # several names: refused, and logged
allow_log 'leaves'
make_db "$T/outside.db" --commits 61
ln -s "$T/outside.db" "$SRC/outside.db"
allow_log 'outside'
listed=$(cd "$SRC" && find . ! -name 'live-wal' ! -name 'live-shm' | sort)
mount_fs "$SRC"

cmp "$SRC/notes.sqlite3" "$MNT/notes.sqlite3" || die "a text file"
cmp "$SRC/notes.sqlite3-wal" "$MNT/notes.sqlite3-wal" || die "a file beside a text file"
cmp "$SRC/lonely-journal" "$MNT/lonely-journal" || die "a journal of nothing"
equal 'empty file' "$(wc -c <"$MNT/empty.db")" 0
equal 'odd name' "$(commits_of "$MNT/sub/deep/.odd name,%without-suffix")" 31
equal 'without a suffix' "$(commits_of "$MNT/live")" 41
equal 'named like a sidecar' "$(commits_of "$MNT/x-wal")" 51
equal 'through a symlink' "$(commits_of "$MNT/link.db")" 31
equal 'through a symlink upwards' "$(commits_of "$MNT/sub/deep/up.db")" 41
equal 'a symlink that leaves' "$(commits_of "$MNT/outside.db")" 61
[ ! -L "$MNT/link.db" ] || die "a symlink to a database is shown as a symlink"
equal 'symlink to a folder' "$(readlink "$MNT/sub/to-folder")" deep
equal 'dangling symlink' "$(readlink "$MNT/dangling")" nowhere
equal 'symlink out' "$(readlink "$MNT/leaves")" /etc/hostname
equal 'special files' "$(stat -c %F "$MNT/fifo" "$MNT/socket" "$MNT/null" | tr '\n' ' ')" 'fifo socket character special file '
must_fail any 'Too many links' cat "$MNT/linked.db"
must_fail any 'Too many links' cat "$MNT/sub/linked-too.db"
must_fail any '.' cat "$MNT/live-journal"

# Everything but sidecars is listed.
equal 'list' "$(cd "$MNT" && find . | sort)" "$listed"
equal 'types' "$(cd "$MNT" && find . -type l | sort | tr '\n' ' ')" './dangling ./leaves ./sub/to-folder '

# A text file becomes a database, and a database becomes a text file.
cp "$SRC/x-wal" "$T/new"
mv "$T/new" "$SRC/notes.sqlite3"
equal 'what was text' "$(commits_of "$MNT/notes.sqlite3")" 51
echo text again >"$T/new"
mv "$T/new" "$SRC/x-wal"
cmp "$SRC/x-wal" "$MNT/x-wal" || die "what was a database"

# The link count goes down again: it can be read.
rm "$SRC/sub/linked-too.db"
equal 'one name left' "$(commits_of "$MNT/linked.db")" 50
allow_sidecars # notes.sqlite3-wal and lonely-journal are the test's own
