# SPDX-License-Identifier: MIT
"""figures.py - what a bench measures, by stable keys: the unit is the end of a key. Values are noted once a round; from them come
medians with least and most, ratios, which are taken within each round so that a slow minute hits both sides, and growth.

Of a size that was not measured for a group (the database with the long WAL is only read) the group's keys are absent; a figure
of a measured group for which there was nothing to measure is null."""

import math
import statistics

WHO = {"alone": "alone", "raw": "beside cat of the raw file", "passthrough": "beside cat, passthrough_ll", "backup": "beside .backup",
       "reader": "beside a reader", "readers4": "beside four readers"}

READING = {
    "cp_raw_ms": "cp, raw file (no backup), ms",
    "cp_changed_ms": "cp, mount, changed since, ms",
    "cp_unchanged_ms": "cp, mount, unchanged since, ms",
    "cp_kept_ms": "cp, kept snapshot, ms",
    "cp_passthrough_ms": "cp, passthrough_ll of libfuse, ms",
    "backup_ms": "sqlite3 .backup --async, ms",
    "backup_synced_ms": "sqlite3 .backup, with its fsync, ms",
    "vacuum_ms": "VACUUM INTO, ms",
    "python_backup_ms": "Connection.backup of Python, ms",
    "cat_raw_ms": "cat, raw file, ms",
    "cat_changed_ms": "cat, mount, changed since, ms",
    "cat_unchanged_ms": "cat, mount, unchanged since, ms",
    "cat_kept_ms": "cat, kept snapshot, ms",
    "first_raw_ms": "first byte, raw file, ms",
    "first_changed_ms": "first byte, mount, changed, ms",
    "first_unchanged_ms": "first byte, mount, unchanged, ms",
    "first_passthrough_ms": "first byte, passthrough_ll, ms",
    "open_raw_ms": "open, read, close, raw file, ms",
    "open_changed_ms": "open..close, mount, changed, ms",
    "open_unchanged_ms": "open..close, mount, unchanged, ms",
    "opens_raw_per_s": "opens a second, raw file",
    "opens_changed_per_s": "opens a second, mount, changed",
    "opens_unchanged_per_s": "opens a second, mount, unchanged",
    "snapshot_ms": "mkdir of a snapshot, ms",
    "find_raw_ms": "find -size, 1,000 files, raw, ms",
    "find_mount_ms": "find -size, 1,000 files, mount, ms",
    "find_passthrough_ms": "find -size, passthrough_ll, ms",
    "tar_raw_ms": "tar of 1,000 files, raw, ms",
    "tar_mount_ms": "tar of 1,000 files, mount, ms",
    "tar_passthrough_ms": "tar, passthrough_ll, ms",
    "memory_reading_mib": "daemon's memory, reading, MiB",
    "memory_backup_mib": "sqlite3's memory, .backup, MiB",
    "scratch_store_reading_mib": "scratch in store, reading, MiB",
    "scratch_beside_reading_mib": "scratch beside it, reading, MiB",
}
RESTORING = {
    "upload_cp_ms": "cp of the upload, ms",
    "upload_check_ms": "PRAGMA quick_check of it, ms",
    "restore_sqlite_ms": "sqlite3 .restore of it, ms",
    "by_hand_ms": "the three together, ms",
    "restore_mount_ms": "restore by cp into the mount, ms",
    "locked_sqlite_ms": "writers locked out, .restore, ms",
    "locked_mount_ms": "writers locked out, mount, ms",
    "memory_restoring_mib": "daemon's memory, restoring, MiB",
    "memory_checking_mib": "its checking child's memory, MiB",
    "memory_restore_sqlite_mib": "sqlite3's memory, .restore, MiB",
    "scratch_store_restoring_mib": "scratch in store, restoring, MiB",
    "scratch_beside_restoring_mib": "scratch beside it, restoring, MiB",
}
APPLICATION = {
    **{f"commits_{who}_per_s": f"commits/s {label}" for who, label in WHO.items()},
    **{f"worst_{who}_ms": f"worst {label}, ms" for who, label in WHO.items()},
    **{f"p99_{who}_ms": f"p99 {label}, ms" for who, label in WHO.items()},
    **{f"wal_{who}_mib": f"WAL {label}, MiB" for who, label in WHO.items()},
    **{f"copies_{who}": f"copies {label}" for who, label in WHO.items() if who != "alone"},
    **{f"failed_{who}": f"failed {label}" for who, label in WHO.items() if who != "alone"},
    "slow_percent": "what a slow reader got, percent",
    "memory_slow_mib": "daemon's memory, slow reader, MiB",
    "scratch_store_slow_mib": "scratch in store, slow reader, MiB",
    "scratch_beside_slow_mib": "scratch beside it, slow reader, MiB",
}
GROUPS = {"copying out": READING, "restoring": RESTORING, "an application that commits as fast as it can": APPLICATION}
FIGURES = {**READING, **RESTORING, **APPLICATION}

# What costs less the lower it is: label, above, below.
RATIOS = {
    "cp_to_raw": ("cp, mount / raw file", "cp_changed_ms", "cp_raw_ms"),
    "cp_to_passthrough": ("cp, mount / passthrough_ll", "cp_changed_ms", "cp_passthrough_ms"),
    "cp_to_backup": ("cp, mount / .backup --async", "cp_changed_ms", "backup_ms"),
    "cp_to_backup_synced": ("cp, mount / .backup with its fsync", "cp_changed_ms", "backup_synced_ms"),
    "cp_to_vacuum": ("cp, mount / VACUUM INTO", "cp_changed_ms", "vacuum_ms"),
    "cp_to_python_backup": ("cp, mount / Connection.backup", "cp_changed_ms", "python_backup_ms"),
    "cp_unchanged_to_raw": ("cp, unchanged, mount / raw file", "cp_unchanged_ms", "cp_raw_ms"),
    "cp_kept_to_raw": ("cp, kept snapshot / raw file", "cp_kept_ms", "cp_raw_ms"),
    "cat_to_raw": ("cat, mount / raw file", "cat_changed_ms", "cat_raw_ms"),
    "cat_unchanged_to_raw": ("cat, unchanged, mount / raw file", "cat_unchanged_ms", "cat_raw_ms"),
    "cat_kept_to_raw": ("cat, kept snapshot / raw file", "cat_kept_ms", "cat_raw_ms"),
    "find_to_raw": ("find -size, mount / raw", "find_mount_ms", "find_raw_ms"),
    "find_to_passthrough": ("find -size, mount / passthrough_ll", "find_mount_ms", "find_passthrough_ms"),
    "tar_to_raw": ("tar, mount / raw", "tar_mount_ms", "tar_raw_ms"),
    "tar_to_passthrough": ("tar, mount / passthrough_ll", "tar_mount_ms", "tar_passthrough_ms"),
    "first_to_passthrough": ("first byte, mount / passthrough_ll", "first_changed_ms", "first_passthrough_ms"),
    "first_to_backup": ("first byte, mount / all of .backup", "first_changed_ms", "backup_ms"),
    "restore_to_by_hand": ("restore / cp, check and .restore", "restore_mount_ms", "by_hand_ms"),
    "locked_to_sqlite": ("locked out, restore / .restore", "locked_mount_ms", "locked_sqlite_ms"),
    "commit_reader_to_alone": ("a commit, beside a reader / alone", "commits_alone_per_s", "commits_reader_per_s"),
    "commit_reader_to_raw": ("a commit, beside a reader / raw cat", "commits_raw_per_s", "commits_reader_per_s"),
    "commit_reader_to_passthrough": ("a commit, a reader / passthrough_ll", "commits_passthrough_per_s", "commits_reader_per_s"),
    "commit_reader_to_backup": ("a commit, beside a reader / .backup", "commits_backup_per_s", "commits_reader_per_s"),
    "commit_readers4_to_alone": ("a commit, beside 4 readers / alone", "commits_alone_per_s", "commits_readers4_per_s"),
    "worst_reader_to_raw": ("worst commit, a reader / raw cat", "worst_reader_ms", "worst_raw_ms"),
    "worst_reader_to_passthrough": ("worst commit, reader / passthrough_ll", "worst_reader_ms", "worst_passthrough_ms"),
    "worst_reader_to_backup": ("worst commit, a reader / .backup", "worst_reader_ms", "worst_backup_ms"),
}


def rounded(value):
    return float(f"{value:.4g}")


def spread(values):
    """{median, least, most, n}; null where there is nothing."""
    if not values:
        return None
    return {"median": rounded(statistics.median(values)), "least": rounded(min(values)), "most": rounded(max(values)),
            "n": len(values)}


class Figures:
    """The values of one size, in the order of the rounds."""

    def __init__(self, *groups):
        self.values = {key: [] for group in groups for key in group}

    def note(self, key, value):
        self.values[key].append(value)

    def last(self, key):
        return self.values[key][-1]

    def ratio(self, above, below):
        return [a / b for a, b in zip(self.values[above], self.values[below]) if b]

    def document(self):
        return {
            "figures": {key: spread(values) for key, values in self.values.items()},
            "ratios": {key: spread(self.ratio(above, below)) for key, (_, above, below) in RATIOS.items()
                       if above in self.values and below in self.values},
        }


def growth(databases):
    """key -> x where the figure grows as size to the power of x, from the smallest to the largest: 0 does not grow, 1 is in
    proportion. null: there is one size, or nothing to divide by."""
    plain = sorted((d for d in databases.values() if "upload_cp_ms" in d["figures"]), key=lambda d: d["bytes"])
    found = {}
    for key in FIGURES:
        ends = [d["figures"][key]["median"] for d in (plain[0], plain[-1]) if d["figures"].get(key)] if plain else []
        usable = len(ends) == 2 and min(ends) > 0 and plain[0]["bytes"] < plain[-1]["bytes"]
        found[key] = round(math.log(ends[1] / ends[0]) / math.log(plain[-1]["bytes"] / plain[0]["bytes"]), 2) if usable else None
    return found
