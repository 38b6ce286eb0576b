# SPDX-License-Identifier: MIT
"""report.py - a bench's document as a table of at most 120 columns: a line for each figure, a column for each database."""

from figures import GROUPS, RATIOS

LABEL, CELL, COLUMNS = 37, 19, 4  # and 6 for growth: 119


def number(value):
    """Three digits that count at least, never an exponent."""
    if value >= 100000:
        return f"{value / 1000:.0f}k"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def cell(found):
    if not found:
        return "-".rjust(CELL)
    return f"{number(found['median'])} {number(found['least'])}..{number(found['most'])}".rjust(CELL)


def lines(title, labels, parts, growth):
    """PARTS: what each column has by key. GROWTH: key -> exponent, or {}."""
    found = [key for key in labels if any(key in part for part in parts)]
    if not found:
        return []
    text = ["", title]
    for key in found:
        grows = growth.get(key)
        tail = "" if grows is None else f"{grows:6.2f}"
        text.append((f" {labels[key]}".ljust(LABEL) + "".join(cell(part.get(key)) for part in parts) + tail).rstrip())
    return text


def table(document):
    names = list(document["databases"])
    text = [f"{document['rounds']} rounds: median least..most. Grows: as the size to the power of it, from the smallest to the largest."]
    for first in range(0, len(names), COLUMNS):
        some = names[first:first + COLUMNS]
        parts = [document["databases"][name] for name in some]
        text += ["", "".ljust(LABEL) + "".join(name.rjust(CELL) for name in some) + " grows"]
        for title, labels in GROUPS.items():
            text += lines(title, labels, [part["figures"] for part in parts], document["growth"])
        labels = {key: label for key, (label, _, _) in RATIOS.items()}
        text += lines("ratios, each within a round: below 1 the mount costs less", labels, [part["ratios"] for part in parts], {})
    return "\n".join(text)
