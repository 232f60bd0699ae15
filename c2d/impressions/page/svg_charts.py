"""Charts of the diagnostics page as SVG elements: bars in both directions and lines. Colours are classes of its CSS.

A drawing is 360 units wide, the width of a phone, so that its text can be read there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

WIDTH = 360
ROW, BAR = 18, 12
NAME_WIDTH, VALUE_WIDTH = 112, 52
LONGEST_NAME = 18
"""Characters of a name; the whole one is in the tooltip."""
PLOT_HEIGHT, MARGIN_LEFT, MARGIN_BOTTOM, MARGIN_TOP = 150, 40, 34, 8
SERIES = 6
"""Colours of lines, s0 to s5; more lines start again, dashed."""


class Bar(NamedTuple):
    """One bar.

    Attributes:
        name: beside it.
        value: its length; None: there is none, and the text says so.
        text: of the value.
        style: CSS class: `good`, `bad`, or "".
    """

    name: str
    value: float | None
    text: str
    style: str = ""


class Line(NamedTuple):
    """One curve: its name, and points of rising x."""

    name: str
    points: Sequence[tuple[float, float]]


def horizontal_bars(bars: Sequence[Bar], most: float, reference: float | None, label: str) -> str:
    """Return bars under each other, with a line at a reference value.

    Args:
        bars: from above.
        most: value of the full length.
        reference: of the line; None draws none.
        label: for a screen reader.
    """
    length = WIDTH - NAME_WIDTH - VALUE_WIDTH
    height = len(bars) * ROW + 6
    parts = []
    for row, bar in enumerate(bars):
        y = row * ROW + 3
        shown = bar.name if len(bar.name) <= LONGEST_NAME else bar.name[: LONGEST_NAME - 1] + "…"
        parts.append(
            f'<text x="{NAME_WIDTH - 6}" y="{y + 10}" class="end">{escape(shown)}'
            f"<title>{escape(bar.name)}</title></text>"
            f'<rect x="{NAME_WIDTH}" y="{y}" width="{length}" height="{BAR}" class="track"/>'
        )
        if bar.value is not None and most > 0:
            width = length * min(bar.value / most, 1)
            parts.append(f'<rect x="{NAME_WIDTH}" y="{y}" width="{width:.2f}" height="{BAR}" class="bar {bar.style}"/>')
        parts.append(f'<text x="{NAME_WIDTH + length + 6}" y="{y + 10}" class="value">{escape(bar.text)}</text>')
    if reference is not None and most > 0:
        x = NAME_WIDTH + length * min(reference / most, 1)
        parts.append(f'<line x1="{x:.2f}" x2="{x:.2f}" y1="0" y2="{height}" class="reference"/>')
    return _svg(height, parts, label)


def vertical_bars(names: Sequence[str], counts: Sequence[int], axis: str, label: str) -> str:
    """Return a histogram.

    Args:
        names: of the bars, below them; where there are many, only some are written.
        counts: their heights.
        axis: what the names are.
        label: for a screen reader.
    """
    most = max(counts, default=0) or 1
    step = (WIDTH - MARGIN_LEFT - 4) / max(len(counts), 1)
    base = MARGIN_TOP + PLOT_HEIGHT
    parts = list(_grid(0, most, False))
    every = math.ceil(len(names) / 11)
    for place, (name, count) in enumerate(zip(names, counts, strict=True)):
        x, height = MARGIN_LEFT + place * step, PLOT_HEIGHT * count / most
        parts.append(
            f'<rect x="{x + 1:.2f}" y="{base - height:.2f}" width="{max(step - 2, 1):.2f}" height="{height:.2f}" '
            f'class="bar"><title>{escape(name)}: {count}</title></rect>'
        )
        if place % every == 0:
            parts.append(f'<text x="{x + step / 2:.2f}" y="{base + 14}" class="middle">{escape(name)}</text>')
    parts.append(_axis_name(axis))
    return _svg(base + MARGIN_BOTTOM, parts, label)


def line_chart(lines: Sequence[Line], axis: str, label: str, is_log: bool) -> str:
    """Return curves, on a logarithmic axis without the points that are not above 0.

    Args:
        lines: of at most a few hundred points each, values of 0 or more.
        axis: what x is.
        label: for a screen reader.
        is_log: of the y axis; otherwise it begins at 0.
    """
    drawn = [[(x, y) for x, y in line.points if y > 0 or not is_log] for line in lines]
    values = [y for points in drawn for _, y in points]
    if not values:
        return _svg(40, ['<text x="180" y="24" class="middle">no value above 0</text>'], label)
    if is_log:
        low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
        high = max(high, low + 1)
    else:
        low, high = 0, max(1, math.ceil(max(values)))
    last = max(x for points in drawn for x, _ in points) or 1
    width, base = WIDTH - MARGIN_LEFT - 8, MARGIN_TOP + PLOT_HEIGHT
    parts = list(_grid(low, high, is_log))
    for place, points in enumerate(drawn):
        path = " ".join(
            f"{MARGIN_LEFT + width * x / last:.1f},"
            f"{base - PLOT_HEIGHT * ((math.log10(y) if is_log else y) - low) / (high - low):.1f}"
            for x, y in points
        )
        title = f"<title>{escape(lines[place].name)}</title>"
        parts.append(f'<polyline points="{path}" class="{line_style(place)}">{title}</polyline>')
    for share in (0, 0.5, 1):
        anchor = "end" if share == 1 else "middle"
        parts.append(
            f'<text x="{MARGIN_LEFT + width * share:.1f}" y="{base + 14}" class="{anchor}">{round(last * share)}</text>'
        )
    parts.append(_axis_name(axis))
    return _svg(base + MARGIN_BOTTOM, parts, label)


def line_style(place: int) -> str:
    """Return the CSS classes of a line and of its entry in a legend."""
    return f"line s{place % SERIES}{' dashed' if place >= SERIES else ''}"


def _grid(low: float, high: float, is_log: bool) -> Iterator[str]:
    """Lines across with their values: powers of ten, or counts."""
    base = MARGIN_TOP + PLOT_HEIGHT
    span = high - low
    ticks = range(int(low), int(high) + 1, max(1, math.ceil(span / 6))) if is_log else _counts_of_axis(high)
    for tick in ticks:
        y = base - PLOT_HEIGHT * (tick - low) / span
        text = f"{tick:g}" if not is_log else f"{10.0**tick:g}" if abs(tick) <= 3 else f"1e{tick}"
        yield f'<line x1="{MARGIN_LEFT}" x2="{WIDTH - 4}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
        yield f'<text x="{MARGIN_LEFT - 5}" y="{y + 4:.1f}" class="end">{text}</text>'


def _counts_of_axis(most: float) -> list[int]:
    """0 and multiples of 1, 2 or 5 times a power of ten, up to `most`: at most six of them."""
    power = 10 ** max(0, math.floor(math.log10(most / 5)) if most > 5 else 0)
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power * 5 >= most)
    return list(range(0, int(most) + 1, step))


def _axis_name(text: str) -> str:
    middle = MARGIN_LEFT + (WIDTH - MARGIN_LEFT) / 2
    return f'<text x="{middle:g}" y="{MARGIN_TOP + PLOT_HEIGHT + 29}" class="middle muted">{escape(text)}</text>'


def _svg(height: float, parts: Sequence[str], label: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(label, quote=True)}">'
        f"{''.join(parts)}</svg>"
    )
