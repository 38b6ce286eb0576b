#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# layout.sh TOP: what the build cannot see of the shape of the sources. Dependencies point one way, fs/ to src/, through
# sqlsnap.h alone; every test that stands in the folders is run.
set -eu -o pipefail
cd "$1"
faults=0

refuse() {
	[ -z "$2" ] || { printf '%s:\n%s\n' "$1" "$2" && faults=$((faults + 1)); }
}
includes() { grep -nE "^[[:space:]]*#[[:space:]]*include[[:space:]]*[<\"]$1[>\"]" "${@:2}" || :; }

refuse 'src/ includes a FUSE header' "$(includes '[^>"]*fuse[^>"]*' src/*.[ch])"
refuse 'fs/ includes sqlite3.h' "$(includes 'sqlite3\.h' fs/*.[ch])"
for header in src/*.h; do
	name=$(basename "$header")
	# The others know neither SQLite nor FUSE.
	case $name in sqlsnap.h | bytes.h | cleanup.h | clock.h | hash.h | thread.h) continue ;; esac
	[ ! -e "fs/$name" ] || continue
	refuse "fs/ includes a header of src/ other than sqlsnap.h" "$(includes "[^>\"]*${name/./\\.}" fs/*.[ch] | grep -E "[</\"]${name/./\\.}[>\"]" || :)"
done
for file in tests/unit/test_*.c; do
	name=${file##*/test_}
	grep -qE "^  '${name%.c}':" tests/unit/meson.build || refuse 'a unit test that nobody runs' "$file"
done
for file in tests/fuzz/fuzz_*.c; do
	name=${file##*/fuzz_} name=${name%.c}
	grep -qE "^  '$name':" tests/fuzz/meson.build || refuse 'a fuzz target that nobody runs' "$file"
	[ -n "$(find "tests/fuzz/corpus/$name" -type f 2>/dev/null)" ] || refuse 'a fuzz target without a corpus' "$file"
done
for file in tests/e2e/*.sh; do
	name=$(basename "$file" .sh)
	case $name in lib | *_lib) continue ;; esac # they are sourced
	grep -qE "^  '$name':" tests/meson.build || refuse 'an end-to-end test that nobody runs' "$file"
	[ -x "$file" ] || refuse 'not executable' "$file"
done
exit "$((faults > 0))"
