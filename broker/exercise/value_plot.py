"""What sharing buys, as a picture: SVG by ourselves, without scripts, readable in light and dark and by ear.

A panel for each kind of launch: how large the impact area is against the time since burnout, on a logarithmic scale,
a line for every set of nations. Lines differ in dash and width as well as in colour.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from broker.exercise.value import AFTER_BURNOUT_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from broker.exercise.value import Known, Value

__all__ = ["svg"]

COLUMNS: Final = 2
PANEL: Final = (400, 250)  # of one panel, with what stands around it
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 30, 40  # of a panel, outside its axes
HEAD: Final = 64  # of the picture, above the panels
DECADES: Final = (1, 5)  # of km2, lower and upper edge
AFTER_TICKS_S: Final = (0, 30, 60, 90, 120)
# Which of those who are as many: dash and colour. How many they are: width. More sets than these go round again.
DASHES: Final = ("7 3", "2 3", "12 3 2 3")
# Okabe and Ito's colours, told apart by nearly everybody, here once for each set of nations.
STYLE: Final = """
text { font: 12px system-ui, sans-serif; fill: #1f2328; }
.head { font-size: 15px; font-weight: 600; }
.kind { font-weight: 600; }
.paper { fill: #ffffff; }
.grid { stroke: #d1d9e0; stroke-width: 1; }
.line { fill: none; stroke-linejoin: round; }
.a { stroke: #0072b2; } .b { stroke: #b04a00; } .c { stroke: #007a5a; } .all { stroke: #1f2328; }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc; }
  .paper { fill: #0d1117; }
  .grid { stroke: #3d444d; }
  .a { stroke: #56b4e9; } .b { stroke: #f0a030; } .c { stroke: #2bc79a; } .all { stroke: #f0f6fc; }
}
""".strip()


def svg(values: Sequence[Value]) -> str:
    """Return the picture. There must be at least one kind of launch."""
    rows = math.ceil(len(values) / COLUMNS)
    width, height = COLUMNS * PANEL[0], HEAD + rows * PANEL[1]
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title told">',
        '<title id="title">Impact area against time since burnout, by who shares with whom</title>',
        f'<desc id="told">{escape(" ".join(_told(value) for value in values))}</desc>',
        f"<style>{STYLE}</style>",
        f'<rect class="paper" width="{width}" height="{height}"/>',
        '<text class="head" x="16" y="24">Impact area (95 %, km²) against seconds since burnout</text>',
        *_legend(values[0].known),
        *(line for index, value in enumerate(values) for line in _panel(value, index)),
        "</svg>",
        "",
    ])  # fmt: skip


def _told(value: Value) -> str:
    """Return a panel in words: its lines half a minute after burnout."""
    at = AFTER_BURNOUT_S.index(30)
    parts = [
        f"{'-'.join(known.nations)} {'no area yet' if math.isinf(area) else f'{area:.0f} km²'}"
        for known in value.known
        for area in (known.areas_km2[at],)
    ]
    return f"{value.kind.name}, 30 s after burnout: {', '.join(parts)}."


def _legend(known: Sequence[Known]) -> Iterator[str]:
    x = 16
    for index, one in enumerate(known):
        name = "-".join(one.nations)
        yield f'<path {_look(index, known)} d="M{x} 46h34"/><text x="{x + 39}" y="50">{escape(name)}</text>'
        x += 54 + 8 * len(name)


def _look(index: int, known: Sequence[Known]) -> str:
    """Return how a set's line looks: broken, the thicker the more share; all together whole."""
    sizes = [len(one.nations) for one in known]
    size = sizes[index]
    if size == max(sizes):
        return 'class="line all" stroke-width="3"'
    which = (index - sizes.index(size)) % len(DASHES)
    return f'class="line {"abc"[which]}" stroke-width="{size}" stroke-dasharray="{DASHES[which]}"'


def _panel(value: Value, index: int) -> Iterator[str]:
    left = index % COLUMNS * PANEL[0] + LEFT
    top = HEAD + index // COLUMNS * PANEL[1] + TOP
    wide, high = PANEL[0] - LEFT - RIGHT, PANEL[1] - TOP - BOTTOM
    lowest, highest = DECADES

    def across(after_s: float) -> float:
        return round(left + wide * after_s / AFTER_BURNOUT_S[-1], 1)

    def down(area_km2: float) -> float:
        share = (math.log10(area_km2) - lowest) / (highest - lowest)
        return round(top + high * (1 - min(max(share, 0.0), 1.0)), 1)

    yield f'<text class="kind" x="{left}" y="{top - 9}">{escape(value.kind.name)}</text>'
    for decade in range(lowest, highest + 1):
        y = down(10.0**decade)
        yield f'<path class="grid" d="M{left} {y}h{wide}"/>'
        yield f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{10**decade:,}</text>'
    for after_s in AFTER_TICKS_S:
        yield f'<text x="{across(after_s)}" y="{top + high + 18}" text-anchor="middle">{after_s} s</text>'
    for place, known in enumerate(value.known):
        points = [
            f"{across(after_s)} {down(area_km2)}"
            for after_s, area_km2 in zip(AFTER_BURNOUT_S, known.areas_km2, strict=True)
            if math.isfinite(area_km2)
        ]
        if points:
            yield f'<path {_look(place, value.known)} d="M{"L".join(points)}"/>'
