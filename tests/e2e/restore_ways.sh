#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# restore_ways.sh - every way in which people and tools write a file restores it exactly once, under an application that holds its
# connection open, and leaves nothing else behind.
# shellcheck disable=SC2016 # sh -c: the text is for the shell that is called, with its own arguments
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=restore_lib.sh
. "$TOP/tests/e2e/restore_lib.sh"

DB=$SRC/db.sqlite3
SEEN=$MNT/db.sqlite3
UP=$T/up
mkdir "$UP"
allow_sidecars
allow_log 'refused, live database unchanged: shorter than its header says' # what head leaves to the next writer
make_marked "$DB" first wal
chmod 640 "$DB"
mount_fs -o keep=1 "$SRC"
held_start "$DB"
before=$(live_state "$DB")

need setfacl rsync cpio curl rclone borg restic openssl sftp
restores() { grep -c ' was restored by ' "$LOG" || :; }

restored_once() { [ "$(restores)" -eq $((count + 1)) ]; }

# way NAME COMMAND...: the command restores $UP/db.sqlite3, whose marker is NAME and which has $rows rows.
rows=200
ways=0
way() {
	local name=$1 count
	shift
	note "$name"
	make_marked "$UP/db.sqlite3" "$name" delete 4096 "$rows"
	# rsync passes over what has the size, and the second, of what is shown.
	touch -d "@$((1700000000 + 60 * ++ways))" "$UP/db.sqlite3"
	count=$(restores)
	"$@" || die "$name: status $?"
	restored "$name" "$name"
	wait_for 5 restored_once || die "$name: $(restores) restores instead of $((count + 1))"
	equal "$name: the live file" "$(live_state "$DB")" "$before"
	equal "$name: files" "$(ls -A "$SRC")" "$(printf 'db.sqlite3\ndb.sqlite3-shm\ndb.sqlite3-wal')"
	equal "$name: files of the mount" "$(ls -A "$MNT")" db.sqlite3
	equal "$name: journal mode" "$(held journal)" '"wal"'
}
# as uploaded, until somebody writes
exact() { make_marked "$UP/db.sqlite3" "$1"; cp "$UP/db.sqlite3" "$SEEN"; cmp "$UP/db.sqlite3" "$SEEN"; }

F=$UP/db.sqlite3
way cp cp "$F" "$SEEN"
way cp_p cp -p "$F" "$SEEN"
way cp_remove cp --remove-destination "$F" "$SEEN"
way cat sh -c 'cat "$1" >"$2"' - "$F" "$SEEN"
way dd dd if="$F" of="$SEEN" bs=4096 status=none
way dd_fsync dd if="$F" of="$SEEN" bs=64k conv=fsync status=none
way dd_notrunc_whole dd if="$F" of="$SEEN" bs=1M conv=notrunc status=none
way install install -m 600 "$F" "$SEEN"
way tee sh -c 'tee "$2" <"$1" >/dev/null' - "$F" "$SEEN"
way rsync rsync "$F" "$SEEN"
way rsync_a rsync -a --no-o --no-g "$F" "$MNT/"
way rsync_inplace_whole rsync --inplace --whole-file "$F" "$SEEN"
way mv sh -c 'cp "$1" "$1.x" && mv "$1.x" "$2"' - "$F" "$SEEN"
way tar sh -c 'tar -C "${1%/*}" -cf - db.sqlite3 | tar -C "$2" -xf -' - "$F" "$MNT"
way cp_a_acl sh -c 'setfacl -m u:5999:r "$1" && cp -a "$1" "$2"' - "$F" "$SEEN"
if python3 -c 'import os, sys; os.setxattr(sys.argv[1], "user.x", b"y")' "$T"; then
	attributed='import os, sys; os.setxattr(sys.argv[1], "user.x", b"y")'
	way cp_a_xattr sh -c 'python3 -c "$3" "$1" && cp -a --preserve=xattr "$1" "$2"' - "$F" "$SEEN" "$attributed"
	way tar_xattrs sh -c 'python3 -c "$3" "$1" && tar --xattrs --xattrs-include="*" -C "${1%/*}" -cf - db.sqlite3 | tar --xattrs --xattrs-include="*" -C "$2" -xf -' - "$F" "$MNT" "$attributed"
else
	note 'no attributes of users here'
fi
way mknod python3 -c 'import os, shutil, sys
os.unlink(sys.argv[2])
os.mknod(sys.argv[2], 0o600)
assert os.stat(sys.argv[2]).st_size == 0
with open(sys.argv[2], "wb") as to:
    to.write(open(sys.argv[1], "rb").read())
assert os.stat(sys.argv[2]).st_size > 0' "$F" "$SEEN"
way mknod_temporary python3 -c 'import os, shutil, sys
os.mknod(sys.argv[2] + ".tmp", 0o600)
shutil.copyfile(sys.argv[1], sys.argv[2] + ".tmp")
os.rename(sys.argv[2] + ".tmp", sys.argv[2])' "$F" "$SEEN"
way tar_overwrite sh -c 'tar -C "${1%/*}" -cf - db.sqlite3 | tar -C "$2" --overwrite -xf -' - "$F" "$MNT"
way cpio sh -c 'cd "${1%/*}" && echo db.sqlite3 | cpio -o -H newc --quiet >../archive && cd "$2" && cpio -iu --quiet <"$3"' - "$F" "$MNT" "$T/archive"
way shutil_copy python3 -c 'import shutil, sys; shutil.copy(sys.argv[1], sys.argv[2])' "$F" "$SEEN"
way shutil_copy2 python3 -c 'import shutil, sys; shutil.copy2(sys.argv[1], sys.argv[2])' "$F" "$SEEN"
way os_replace python3 -c 'import os, shutil, sys; t = sys.argv[2] + ".tmp"; shutil.copyfile(sys.argv[1], t); os.replace(t, sys.argv[2])' "$F" "$SEEN"
way named_temporary python3 -c '
import os, sys, tempfile
with tempfile.NamedTemporaryFile(dir=os.path.dirname(sys.argv[2]), delete=False) as f:
    f.write(open(sys.argv[1], "rb").read())
    f.flush()
    os.replace(f.name, sys.argv[2])' "$F" "$SEEN"
way never_closed python3 -c '
import os, sys
fd = os.open(sys.argv[2], os.O_WRONLY | os.O_TRUNC)
os.write(fd, open(sys.argv[1], "rb").read())
os._exit(0)' "$F" "$SEEN"
way stdout_never_closed sh -c 'python3 -c "import os, sys; os.write(1, open(sys.argv[1], \"rb\").read()); os._exit(0)" "$1" >"$2"' - "$F" "$SEEN"
way two_writers sh -c '(head -c 8192; cat) <"$1" >"$2" || :' - "$F" "$SEEN"
way mtime_after python3 -c 'import os, shutil, sys; shutil.copyfile(sys.argv[1], sys.argv[2]); os.utime(sys.argv[2], (1e9, 1e9))' "$F" "$SEEN"
way curl curl -sS -o "$SEEN" "file://$F"
# sftp_server BATCH: what scp(1) and its like say over ssh, without the ssh.
sftp_server() { sftp -q -b - -D /usr/lib/openssh/sftp-server <<<"$1" >/dev/null; }
way sftp sftp_server "put $F $SEEN"
way sftp_filepart sftp_server "put $F $SEEN.filepart
rename $SEEN.filepart $SEEN"
way openssl sh -c 'openssl enc -aes-256-cbc -pbkdf2 -pass pass:x <"$1" >"$3" && openssl enc -d -aes-256-cbc -pbkdf2 -pass pass:x <"$3" >"$2"' - "$F" "$SEEN" "$T/enc"
export RCLONE_CONFIG=$T/rclone.conf
way rclone rclone copyto "$F" "$SEEN"
export BORG_BASE_DIR=$T/borg BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes
way borg sh -c 'cd "${1%/*}" && rm -rf ../repo && borg init -e none ../repo && borg create ../repo::a db.sqlite3 && cd "$2" && borg extract "$3/repo::a"' - "$F" "$MNT" "$T"
export RESTIC_PASSWORD=x RESTIC_REPOSITORY=$T/restic RESTIC_CACHE_DIR=$T/restic-cache
restic -q init
restic_restore() { (cd "$UP" && restic -q backup db.sqlite3 && restic -q restore latest --target "$1"); }
way restic_dump sh -c 'restic -q backup "$1" && restic -q dump latest "$1" >"$2"' - "$F" "$SEEN"
# Many packs: restic announces the length, and opens the file anew for each of them. From 0.17 on it compares with what stands
# there first, and writes what differs: hence a mount where nothing stands.
if restic version | awk '{ split($2, v, "."); exit v[1] == 0 && v[2] < 17 }'; then
	note 'restic that compares'
	make_marked "$F" compared delete 4096 90000
	cp "$F" "$SEEN"
	sqlite3 "$F" "UPDATE marker SET value = 'differs'"
	allow_log 'refused, live database unchanged: parts of it were never written'
	if restic_restore "$MNT" 2>"$T/err"; then # from 0.19 on it does not say so
		restic version | awk '{ split($2, v, "."); exit v[1] == 0 && v[2] < 19 }' || die 'restic took a part for the whole'
	fi
	grep -q 'parts of it were never written.*written by .*restic' "$LOG" || die 'the log does not say so'
	restored 'restic that compares' compared
else
	way restic restic_restore "$MNT"
	rows=90000
	way restic_60_mib restic_restore "$MNT"
	rows=200
fi
mkdir "$T/hidden"
mount_at "$T/hidden" -o hide_databases,keep=1 "$SRC"
way restic_hidden restic_restore "$T/hidden"
rows=90000
way restic_hidden_60_mib restic_restore "$T/hidden"
[ "$(stat -c %s "$F")" -ge 60000000 ] || die "not as large as it should be: $(stat -c %s "$F")"
rows=200
unmount "$T/hidden"

# What was uploaded is what the name reads, bytes and mtime, until the database changes.
exact bytes
rsync -a --no-o --no-g --no-p "$F" "$MNT/"
equal "a second rsync" "$(rsync -ai --no-o --no-g --no-p "$F" "$MNT/")" ""
held_stop
