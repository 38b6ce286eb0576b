#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# read_only.sh - nothing can be changed through the mount, and the live folder shows no trace of the attempts.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

make_db "$SRC/db.sqlite3"
mkdir "$SRC/sub"
echo text >"$SRC/sub/plain.txt"
ln -s plain.txt "$SRC/sub/link"
chmod 666 "$SRC/db.sqlite3" "$SRC/sub/plain.txt"
tree() { (cd "$SRC" && find . -printf '%p %s %m %U %T@ %y\n' | sort && sha256sum db.sqlite3 sub/plain.txt); }
before=$(tree)
mount_fs -o ro "$SRC"

python3 - "$MNT" <<'PY' || die "something could be written"
import errno, os, sys
mnt = sys.argv[1]
db, plain, sub = mnt + "/db.sqlite3", mnt + "/sub/plain.txt", mnt + "/sub"
attempts = {
    "open for writing": lambda p: os.open(p, os.O_WRONLY),
    "open for both": lambda p: os.open(p, os.O_RDWR),
    "open with O_TRUNC": lambda p: os.open(p, os.O_WRONLY | os.O_TRUNC),
    "open for appending": lambda p: os.open(p, os.O_WRONLY | os.O_APPEND),
    "truncate": lambda p: os.truncate(p, 0),
    "unlink": os.unlink,
    "rename away": lambda p: os.rename(p, p + ".old"),
    "rename over": lambda p: os.rename(sub + "/link", p),
    "chmod": lambda p: os.chmod(p, 0o600),
    "chown": lambda p: os.chown(p, 1, 1),
    "utime": lambda p: os.utime(p, (1, 1)),
    "link": lambda p: os.link(p, p + ".link"),
    "setxattr": lambda p: os.setxattr(p, "user.x", b"y"),
}
folder_attempts = {
    "create": lambda p: os.open(p + "/new", os.O_WRONLY | os.O_CREAT),
    "create a journal": lambda p: os.open(mnt + "/db.sqlite3-journal", os.O_RDWR | os.O_CREAT),
    "mkdir": lambda p: os.mkdir(p + "/newdir"),
    "rmdir": lambda p: os.rmdir(sub),
    "symlink": lambda p: os.symlink("x", p + "/newlink"),
    "mknod": lambda p: os.mkfifo(p + "/fifo"),
}
bad = 0
for path, table in ((db, attempts), (plain, attempts), (mnt, folder_attempts), (sub, folder_attempts)):
    for name, act in table.items():
        try:
            act(path)
            print(f"{name} {path}: succeeded")
        except OSError as e:
            if e.errno == errno.EROFS or (name == "setxattr" and e.errno == errno.EOPNOTSUPP):
                continue
            print(f"{name} {path}: {e.strerror}, not EROFS")
        bad += 1
sys.exit(bad != 0)
PY
must_fail any 'Read-only file system' cp /etc/passwd "$MNT/new"
must_fail any 'Read-only file system' rm "$MNT/db.sqlite3"
must_fail any 'Read-only file system' touch "$MNT/db.sqlite3"
must_fail any 'Read-only file system' mv "$MNT/db.sqlite3" "$MNT/other.sqlite3"
findmnt -no OPTIONS "$MNT" | grep -qw nosuid || die "no nosuid: $(findmnt -no OPTIONS "$MNT")"
findmnt -no OPTIONS "$MNT" | grep -qw nodev || die "no nodev: $(findmnt -no OPTIONS "$MNT")"
unmount
equal 'the live folder' "$(tree)" "$before"
