#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""bench.py PRINTED SVG AGAIN SVG_AGAIN ROUNDS - whether what scripts/bench has printed and drawn is whole: each figure of each group
was measured in each round, the table fits 120 columns, the picture is XML that needs nothing from elsewhere and shows every
size; printed and drawn again from the JSON it is the same."""

import json
import os
import sys
import xml.etree.ElementTree as ElementTree

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scripts", "benchlib"))
import figures  # noqa: E402

# What others may read: these do not change. Not to be had everywhere: libfuse's example, and a look at the child while it lives.
OPTIONAL = {key for key in {**figures.FIGURES, **figures.RATIOS} if "passthrough" in key} | {"memory_checking_mib"}
TOP = {"format", "version", "machine", "rounds", "seconds", "databases", "growth"}
SOME = {"cp_raw_ms", "cp_changed_ms", "cp_unchanged_ms", "cat_changed_ms", "backup_ms", "vacuum_ms", "python_backup_ms", "first_changed_ms",
        "opens_changed_per_s", "opens_unchanged_per_s", "scratch_store_reading_mib", "scratch_beside_reading_mib",
        "memory_reading_mib", "memory_restoring_mib", "restore_mount_ms", "by_hand_ms", "locked_mount_ms", "locked_sqlite_ms",
        "commits_alone_per_s", "commits_raw_per_s", "commits_backup_per_s", "commits_reader_per_s", "commits_readers4_per_s",
        "worst_alone_ms", "worst_readers4_ms"}


def check(right, what):
    if not right:
        sys.exit(f"bench: {what}")


def check_values(where, found, keys, n):
    check(found.keys() == keys, f"{where}: {sorted(found.keys() ^ keys)}")
    for key, value in found.items():
        if value is None or value["n"] != n:
            check(key in OPTIONAL, f"{where}: {key} was measured as {value}, not {n} times")
        else:
            check(0 <= value["least"] <= value["median"] <= value["most"], f"{where}: {key}: {value}")


def check_document(document, rounds):
    check(document.keys() == TOP, f"keys: {sorted(document.keys() ^ TOP)}")
    check(SOME <= figures.FIGURES.keys(), f"figures that are gone: {sorted(SOME - figures.FIGURES.keys())}")
    databases = document["databases"]
    check([name for name in databases if "WAL" in name] and len(databases) == 3, f"databases: {list(databases)}")
    for name, part in databases.items():
        keys = figures.READING if "WAL" in name else figures.FIGURES
        check_values(name, part["figures"], keys.keys(), rounds)
        check_values(name, part["ratios"], {key for key, (_, above, below) in figures.RATIOS.items() if {above, below} <= keys.keys()},
                     rounds)
        size = int(name.split("M")[0]) << 20
        check(0.8 * size < part["bytes"] < 1.3 * size, f"{name} has {part['bytes']} bytes")
        if "WAL" not in name:
            needed = part["figures"]["scratch_store_restoring_mib"]["least"]
            given_up = {key: part["figures"][key] for key in ("failed_raw", "failed_reader", "failed_readers4")
                        if part["figures"][key]["most"] > 0}
            check(not given_up and part["figures"]["slow_percent"]["least"] == 100, f"{name}: readers got EIO: {given_up}")
            check(needed * (1 << 20) > 1.5 * part["bytes"], f"{name}: an upload and what it replaces in {needed} MiB")
        check(part["figures"]["memory_reading_mib"]["least"] > 1, f"{name}: a daemon without memory")
    check(document["growth"].keys() == figures.FIGURES.keys(), "growth of other figures")


def check_table(text, document):
    wide = [line for line in text.splitlines()[:-1] if len(line) > 120]
    check(not wide, f"wider than 120 columns: {wide}")
    lines = {line[:37].strip() for line in text.splitlines()}
    missing = [label for label in figures.FIGURES.values() if label not in lines]
    check(not missing, f"not in the table, or cut: {missing}")
    check(all(name in text for name in document["databases"]), "a database is not in the table")


def check_picture(path, document):
    root = ElementTree.parse(path).getroot()
    tags = [element.tag.split("}")[1] for element in root.iter()]
    check(root.tag == "{http://www.w3.org/2000/svg}svg", root.tag)
    check(not {"image", "script", "use", "a"} & set(tags), f"the picture has {set(tags)}")
    words = " ".join("".join(element.itertext()) for element in root.iter() if element.tag.endswith("}text"))
    for text in [name for name in document["databases"] if "WAL" not in name] + ["logarithmic", "size of the database", "cp, mount / raw"]:
        check(text in words, f"the picture does not say {text!r}")
    check("prefers-color-scheme: dark" in open(path).read(), "no colours for the dark")
    width, height = (float(root.get(side)) for side in ("width", "height"))
    for element in root.iter():
        at = [float(element.get(name, 1)) for name in ("x", "cx", "x1", "x2")], [float(element.get(name, 1)) for name in ("cy", "y1", "y2")]
        check(element.get("transform") or all(0 <= x <= width for x in at[0]) and all(0 <= y <= height for y in at[1]),
              f"outside of the picture: {element.attrib}")
    check(tags.count("polyline") >= 5 and tags.count("title") >= 20, f"{tags.count('polyline')} lines, {tags.count('title')} marks")


def main(printed, svg, again, svg_again, rounds):
    text = open(printed).read()
    document = json.loads(text.splitlines()[-1])
    check_document(document, int(rounds))
    check_table(text, document)
    check_picture(svg, document)
    check(open(again).read() == text, "from the JSON it prints something else")
    check(open(svg_again).read() == open(svg).read(), "from the JSON it draws something else")


main(*sys.argv[1:])
