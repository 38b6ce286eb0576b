#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# bench.sh - scripts/bench in its shortest form: that it measures all that it says, leaves nothing, and that table, JSON and picture are
# whole (tests/check/bench.py). What the figures are is nobody's concern here.
set -eu
[ -c /dev/fuse ] || {
	echo '/dev/fuse is missing: nothing can be tested' >&2
	exit 1
}
top=$(cd "$(dirname "$0")/../.." && pwd)
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
export PYTHONDONTWRITEBYTECODE=1
mkdir "$T/work"
"$top/scripts/bench" --build "$BUILD" --folder "$T/work" --sizes 1M,2M --wal 8M --rounds 1 --seconds 0.1 --no-fill --svg "$T/svg" >"$T/printed"
"$top/scripts/bench" --from "$T/printed" --svg "$T/svg.again" >"$T/again"
python3 "$top/tests/check/bench.py" "$T/printed" "$T/svg" "$T/again" "$T/svg.again" 1
[ -z "$(ls -A "$T/work")" ] || {
	find "$T/work"
	exit 1
}
