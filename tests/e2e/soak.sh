#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# soak.sh - everything at once against one mount, in its short form: see scripts/soak.
set -eu
[ -c /dev/fuse ] || {
	echo '/dev/fuse is missing: nothing can be tested' >&2
	exit 1
}
PYTHONDONTWRITEBYTECODE=1 exec "$(dirname "$0")/../../scripts/soak" --short
