#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# files.sh TOP BUILD: what is installed beside the program. The manual page is well-formed; the unit names the program where it
# is installed, and keeps off what would hide the mount or break the program; the examples name files that there are.
set -eu -o pipefail
top=$1 build=$2
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
faults=0
fault() {
	printf '%s\n' "$*"
	faults=$((faults + 1))
}

DESTDIR=$root meson install -C "$build" --no-rebuild --quiet
# find_one END: sets found to the one file that is installed as that.
find_one() {
	found=$(find "$root" -type f -path "*$1")
	[[ $found && $found != *$'\n'* ]] || fault "installed as $1: ${found:-nothing}"
}
find_one /bash-completion/completions/sqlsnapfs
find_one /bin/sqlsnapfs && program=$found
find_one /man/man8/sqlsnapfs.8 && manual=$found
find_one /systemd/system/sqlsnapfs@.service && unit=$found
find_one /examples/app-backup.service && example=$found
[ "$faults" = 0 ] || exit 1
cmp -s "$manual" "$top/fs/sqlsnapfs.8" || fault 'the installed manual page is another'

# The manual
if command -v mandoc >/dev/null; then
	said=$(mandoc -Tlint -W warning "$manual" 2>&1 | grep -vE 'outdated mandoc.db|referenced manual not found' || :)
	[ -z "$said" ] || fault "mandoc: $said"
elif command -v groff >/dev/null; then
	said=$(groff -ww -mdoc -Tascii "$manual" 2>&1 >/dev/null || :)
	[ -z "$said" ] || fault "groff: $said"
fi

# The unit
value() { sed -n "s/^$1=//p" "$unit"; }
[ "$root$(value ExecStart | cut -d' ' -f1)" = "$program" ] || fault "ExecStart: $(value ExecStart)"
# shellcheck disable=SC2016 # systemd's
[[ $(value ExecStart) == *' -f -o norestore -o ${OPTIONS} '* ]] || fault 'norestore does not come first'
[ "$(value Type)" = notify ] || fault "Type: $(value Type)"
[ "$(value TimeoutStopSec)" = 45 ] || fault "TimeoutStopSec: $(value TimeoutStopSec)"
[ "$(value RuntimeDirectoryPreserve)" = yes ] || fault 'the end of one instance would remove what the others are mounted on'
# systemd.exec(5): each of these gives the unit a table of mounts of its own. PrivateUsers= takes the right to mount, and
# RestrictSUIDSGID= openat2(2).
for setting in BindPaths BindReadOnlyPaths DynamicUser ExecPaths ExtensionDirectories ExtensionImages InaccessiblePaths \
	LogNamespace MountFlags MountImages NoExecPaths PrivateDevices PrivateIPC PrivateMounts PrivateNetwork PrivatePIDs PrivateTmp \
	PrivateUsers ProcSubset ProtectControlGroups ProtectHome ProtectKernelLogs ProtectKernelModules ProtectKernelTunables \
	ProtectProc ProtectSystem ReadOnlyPaths ReadWritePaths RestrictSUIDSGID RootDirectory RootImage TemporaryFileSystem; do
	[ -z "$(value "$setting")" ] || fault "the unit must not say $setting="
done

# The examples
for line in BindsTo=sqlsnapfs@app.service 'ExecStartPre=/usr/bin/mountpoint -q /run/sqlsnapfs/app'; do
	grep -qxF "$line" "$example" || fault "the example does not say $line"
	grep -qxF "$line" "$manual" || fault "the manual does not say $line"
done
grep -qE '^After=.*sqlsnapfs@app\.service' "$example" || fault 'the example is not ordered behind the mount'
# systemd.unit(5): what these keep from starting stays inactive, does not fail, and triggers no OnFailure=.
! grep -nE '^(Condition|Assert)' "$example" "$unit" || fault 'a unit does not fail where it should'
[ "$(value EnvironmentFile)" = /etc/sqlsnapfs/%i.conf ] || fault "EnvironmentFile: $(value EnvironmentFile)"

exit "$((faults > 0))"
