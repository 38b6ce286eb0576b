# SPDX-License-Identifier: MIT
"""plot.py - the picture of a bench's document, as SVG without scripts, fonts or images of elsewhere. It has its own background and
follows the reader's light or dark, so that it is readable on any page.

Above, ratios: each mark a size, its line from the least to the most of the rounds; to the left of 1 the mount costs less. Below,
how figures grow, each as a multiple of its own at the smallest size. Both axes of both are logarithmic. No absolute times: they
are of one machine."""

import math
from html import escape

WIDTH, LEFT, RIGHT, ROW = 960, 290, 40, 22
RATIOS = ["cp_to_raw", "cp_to_passthrough", "cp_to_backup", "cp_to_backup_synced", "cp_to_vacuum", "cp_to_python_backup",
          "cp_unchanged_to_raw", "cat_to_raw", "cat_unchanged_to_raw", "find_to_passthrough", "tar_to_passthrough",
          "restore_to_by_hand", "locked_to_sqlite", "commit_reader_to_alone", "commit_reader_to_raw", "commit_reader_to_backup",
          "worst_reader_to_raw", "worst_reader_to_backup"]
GROWING = {"cp_changed_ms": "cp, mount", "cp_raw_ms": "cp, raw file", "backup_ms": ".backup", "first_changed_ms": "first byte",
           "snapshot_ms": "mkdir of a snapshot", "restore_mount_ms": "restore", "locked_mount_ms": "locked out by a restore",
           "memory_reading_mib": "memory, reading", "memory_restoring_mib": "memory, restoring"}
STYLE = """
.back { fill: #ffffff } text { fill: #24292f; font: 13px sans-serif } .title { font-weight: bold; font-size: 15px }
.grid { stroke: #d0d7de; stroke-width: 1 } .one { stroke: #57606a; stroke-width: 2 } .end { text-anchor: end }
.middle { text-anchor: middle } .s0 { fill: #0969da; stroke: #0969da } .s1 { fill: #bc4c00; stroke: #bc4c00 }
.s2 { fill: #1a7f37; stroke: #1a7f37 } .s3 { fill: #8250df; stroke: #8250df } .line { fill: none; stroke-width: 2 }
.whisker { stroke-width: 1.5; opacity: 0.6 }
@media (prefers-color-scheme: dark) {
.back { fill: #0d1117 } text { fill: #e6edf3 } .grid { stroke: #30363d } .one { stroke: #8b949e }
.s0 { fill: #58a6ff; stroke: #58a6ff } .s1 { fill: #f0883e; stroke: #f0883e } .s2 { fill: #3fb950; stroke: #3fb950 }
.s3 { fill: #bc8cff; stroke: #bc8cff } .line { fill: none }
}"""


class Axis:
    """A logarithmic one, from FIRST to LAST, between two places in the picture."""

    def __init__(self, values, first, last):
        self.low, self.high = min(values) / 1.1, max(values) * 1.1
        self.first, self.last = first, last

    def at(self, value):
        part = math.log(value / self.low) / math.log(self.high / self.low)
        return round(self.first + part * (self.last - self.first), 1)

    def ticks(self):
        """1, 2, 5, 10...; only powers of ten where those would be too many."""
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        steps = (1, 2, 5) if math.log10(self.high / self.low) < 3.2 else (1,)
        return [t for d in decades for s in steps if self.low <= (t := s * 10.0 ** d) <= self.high]


class Picture:
    def __init__(self):
        self.parts, self.height = [], 0

    def text(self, x, y, text, kind=""):
        self.parts.append(f'<text x="{x}" y="{y}" class="{kind}">{escape(text)}</text>')

    def line(self, x1, y1, x2, y2, kind):
        self.parts.append(f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" class="{kind}"/>')

    def mark(self, x, y, series, what):
        """Another form for each size, for those who see colours alike."""
        forms = [f'<circle cx="{x}" cy="{y}" r="4.5"', f'<rect x="{x - 4}" y="{y - 4}" width="8" height="8"',
                 f'<path d="M{x} {y - 6}L{x + 6} {y}L{x} {y + 6}L{x - 6} {y}Z"', f'<path d="M{x} {y - 5}L{x + 5} {y + 4}L{x - 5} {y + 4}Z"']
        self.parts.append(f'{forms[series % 4]} class="s{series % 4}"><title>{escape(what)}</title>{closing(forms[series % 4])}')

    def document(self):
        return (f'<!-- SPDX-License-Identifier: MIT -->\n<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}" width="{WIDTH}" height="{self.height}"'
                f' role="img" aria-label="sqlsnapfs beside other ways of copying a live SQLite database">\n<style>{STYLE}\n</style>\n'
                f'<rect class="back" width="{WIDTH}" height="{self.height}" rx="8"/>\n' + "\n".join(self.parts) + "\n</svg>\n")


def closing(form):
    return f"</{form[1:form.index(' ')]}>"


def draw_ratios(picture, labels, sizes):
    """LABELS: key -> (label, ...). SIZES: (name, its part of the document)."""
    rows = [key for key in RATIOS if any(part["ratios"].get(key) for _, part in sizes)]
    top = 90
    bottom = top + ROW * len(rows)
    values = [part["ratios"][key][end] for _, part in sizes for key in rows if part["ratios"].get(key) for end in ("least", "most")]
    axis = Axis([v for v in values if v > 0] + [0.5, 2], LEFT, WIDTH - RIGHT)
    picture.text(20, 28, "What the mount costs, beside something else (mount / the other)", "title")
    picture.text(20, 48, "marks are medians of the rounds, lines go from the least to the most")
    for i, (name, _) in enumerate(sizes):
        picture.mark(LEFT + 10 + 110 * i, 67, i, name)
        picture.text(LEFT + 22 + 110 * i, 71, name)
    picture.text(20, 71, "size of the database:")
    for tick in axis.ticks():
        picture.line(axis.at(tick), top, axis.at(tick), bottom, "one" if tick == 1 else "grid")
        picture.text(axis.at(tick), bottom + 18, f"{tick:g}", "middle")
    picture.text(LEFT, bottom + 38, "\u2190 the mount costs less")
    picture.text((LEFT + WIDTH - RIGHT) / 2, bottom + 38, "ratio of times, logarithmic", "middle")
    picture.text(WIDTH - RIGHT, bottom + 38, "it costs more \u2192", "end")
    for row, key in enumerate(rows):
        y = top + ROW * row + ROW / 2
        picture.text(LEFT - 12, y + 4, labels[key][0], "end")
        for i, (name, part) in enumerate(sizes):
            found = part["ratios"].get(key)
            if not found or found["least"] <= 0:
                continue
            shifted = round(y + (i - (len(sizes) - 1) / 2) * 5, 1)
            picture.line(axis.at(found["least"]), shifted, axis.at(found["most"]), shifted, f"s{i % 4} whisker")
            picture.mark(axis.at(found["median"]), shifted, i, f"{labels[key][0]}, {name}: {found['median']:.3g}")
    return bottom + 60


def spread_out(places, distance):
    """The same places, lowest first, moved down until none is nearer than DISTANCE to the next."""
    moved = []
    for place in sorted(places):
        moved.append(max(place, moved[-1] + distance) if moved else place)
    return moved


def draw_growth(picture, sizes, top):
    lines = {}
    for key, label in GROWING.items():
        found = [(part["bytes"], part["figures"][key]["median"]) for _, part in sizes if part["figures"].get(key)]
        if len(found) == len(sizes) and min(value for _, value in found) > 0:
            lines[label] = [(size, value / found[0][1]) for size, value in found]
    if not lines:
        return top
    picture.text(20, top + 20, f"How that grows with the size, as a multiple of the same at {sizes[0][0]}", "title")
    left, right, low, high = 90, WIDTH - 230, top + 40, top + 340
    x = Axis([part["bytes"] for _, part in sizes], left, right)
    y = Axis([value for line in lines.values() for _, value in line] + [0.5, 2], high, low)
    for name, part in sizes:
        picture.line(x.at(part["bytes"]), low, x.at(part["bytes"]), high, "grid")
        picture.text(x.at(part["bytes"]), high + 18, name, "middle")
    for tick in y.ticks():
        picture.line(left, y.at(tick), right, y.at(tick), "one" if tick == 1 else "grid")
        picture.text(left - 8, y.at(tick) + 4, f"{tick:g}", "end")
    picture.text((left + right) / 2, high + 38, "size of the database (logarithmic)", "middle")
    picture.text(-(low + high) / 2, 30, "multiple (logarithmic)", 'middle" transform="rotate(-90)')
    ordered = sorted(lines.items(), key=lambda item: y.at(item[1][-1][1]))
    places = spread_out([y.at(line[-1][1]) for _, line in ordered], 16)
    for i, ((label, line), place) in enumerate(zip(ordered, places)):
        points = " ".join(f"{x.at(size)},{y.at(value)}" for size, value in line)
        picture.parts.append(f'<polyline points="{points}" class="s{i % 4} line"><title>{escape(label)}</title></polyline>')
        picture.line(x.at(line[-1][0]), y.at(line[-1][1]), right + 14, place, f"s{i % 4} whisker")
        picture.text(right + 18, place + 4, f"{label}: {line[-1][1]:.3g}")
    return max(high + 60, places[-1] + 30)


def draw(document, labels):
    """The SVG's text. Sizes with a long WAL are left out: they are no size of a database."""
    sizes = sorted(((name, part) for name, part in document["databases"].items() if part["plain"]), key=lambda item: item[1]["bytes"])
    picture = Picture()
    bottom = draw_ratios(picture, labels, sizes)
    if len(sizes) > 1:
        bottom = draw_growth(picture, sizes, bottom)
    picture.height = round(bottom)
    return picture.document()
