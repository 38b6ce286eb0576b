# SPDX-License-Identifier: MIT
"""status.py FILE [-p] EXPRESSION...: whether each expression, over the members of a status.json, is true.

The members are names; source(PATH) is the source of that path; "schema" alone checks that every member that
fs/status.h documents is there, with its type, and no other. -p prints the last expression's value instead.
"""

import json
import re
import sys

NUMBER, TEXT, FLAG, NONE = (int, float), str, bool, type(None)
ACTOR = {"uid": int, "pid": (int, NONE), "command": (TEXT, NONE)}
OPENED = {"time": TEXT, "seconds_ago": NUMBER, "snapshot": (TEXT, NONE), **ACTOR}
SOURCE = {
    "path": (TEXT, NONE), "file": (TEXT, NONE), "kind": ["wal", "rollback", "unknown"], "page_size": (int, NONE),
    "size": int, "generation": (int, NONE), "connected": FLAG, "readers": int,
    "pins": [[{"age": NUMBER, "wal_bytes": int}]], "pin_count": int, "wal_bytes": (int, NONE), "held_bytes": (int, NONE),
    "spool_bytes": int, "wal_marked": FLAG, "last_error": ({"time": TEXT, "text": TEXT}, NONE),
    "last_opened": (OPENED, NONE),
}
RUNNING = {
    "kind": ["restore"], "path": TEXT, "phase": ["waiting", "checking", "keeping", "locking", "writing", "settling"],
    "done": int, "total": (int, NONE), "share": NUMBER, "seconds": NUMBER, **ACTOR,
}
RESTORE = {
    "path": TEXT, "time": TEXT, "verdict": ["restored", "unchanged", "refused", "cancelled", "doubtful"],
    "error": (TEXT, NONE), "reason": (TEXT, NONE), "size": int, "seconds": NUMBER, "locked_seconds": NUMBER,
    "undo": (TEXT, NONE), "undo_path": (TEXT, NONE), "undo_raw": FLAG, **ACTOR,
}
SNAPSHOT = {
    "name": TEXT, "made": TEXT, "state": ["writing", "kept"], "share": NUMBER, "apart": (*NUMBER, NONE), "size": int,
    "why": (TEXT, NONE),
    "databases": [[{"path": TEXT, "size": int}]],
}
STATUS = {
    "schema": int, "time": TEXT, "started": TEXT, "version": TEXT, "pid": int, "mountpoint": TEXT, "read_only": FLAG,
    "options": {
        "store": (TEXT, NONE), "wal_limit": int, "wal_max": int, "busy_timeout": NUMBER, "check": ["quick", "full"],
        "keep": int, "force": FLAG, "norestore": FLAG, "frozen": FLAG, "shared_locks": FLAG, "databases_only": FLAG,
        "hide_databases": FLAG,
    },
    "sqlite": {"version": TEXT, "wal_reset_bug": FLAG}, "passed_through": int, "sources": [[SOURCE]],
    "complete": FLAG, "running": [[RUNNING]], "restores": [[RESTORE]], "snapshots": [[SNAPSHOT]], "warnings": [[TEXT]],
}


def fits(value, shape, at):
    """SHAPE: a type, alternatives (tuple), words (list), an array's element (list in a list), or members."""
    if isinstance(shape, tuple):
        wrong = [fits(value, one, at) for one in shape]
        return None if None in wrong else wrong[0]
    if isinstance(shape, dict):
        if not isinstance(value, dict) or set(value) != set(shape):
            return f"{at}: {value!r} has not the members {sorted(shape)}"
        return next((w for key in shape if (w := fits(value[key], shape[key], f"{at}.{key}"))), None)
    if isinstance(shape, list) and isinstance(shape[0], list):
        if not isinstance(value, list):
            return f"{at}: {value!r} is no array"
        return next((w for i, one in enumerate(value) if (w := fits(one, shape[0][0], f"{at}[{i}]"))), None)
    if isinstance(shape, list):
        return None if value in shape else f"{at}: {value!r} is none of {shape}"
    good = isinstance(value, shape) and (shape is bool or not isinstance(value, bool))
    if good and re.search(r"(time|made|started)$", at):
        good = re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", value)
    return None if good else f"{at}: {value!r} is no {shape}"


def main():
    path, *expressions = sys.argv[1:]
    printing = expressions[0] == "-p"
    text = open(path, encoding="utf-8", newline="").read()  # UTF-8, or this fails
    status = json.loads(text, parse_constant=lambda word: sys.exit(f"{word} is no JSON"))
    wrong = fits(status, STATUS, "status")
    if wrong:
        sys.exit(wrong)
    names = dict(status, source=lambda name: next(s for s in status["sources"] if s["path"] == name))
    if printing:
        print(eval(expressions[1], names))
        return
    for expression in expressions:
        if not eval(expression, names):
            sys.exit(f"{text}not so: {expression}")


main()
