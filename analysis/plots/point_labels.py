"""Write names beside points, so that the figure needs no legend: all names, or none.

Each name is tried at eight sides and growing distances of its point. It may not overlap another name or a point, or
leave the axes; it avoids lines and bars if possible. If one name has no free place, the caller draws a legend.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.plots.figure_layout import draw_as_math
from analysis.plots.figure_text import text_width_in

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POINTS = 6.5
_MARKER = 3.2  # half of the side of the square that a marker takes, points
_SIDES = ((1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1), (-1, 0), (0, 1), (0, -1))
_DISTANCES = (4.5, 8.0, 13.0, 19.0, 26.0)  # of a name from its point, points


@dataclass(frozen=True)
class PointLabel:
    """The name of one point.

    Attributes:
        x, y: of the point, in data units.
        text: the name.
        color: of the text.
    """

    x: float
    y: float
    text: str
    color: str


@dataclass(frozen=True)
class _Box:
    """A rectangle in points, from the lower left corner of the figure."""

    left: float
    bottom: float
    right: float
    top: float

    def meets(self, other: _Box, gap: float = 0.0) -> bool:
        return (
            self.left - gap < other.right
            and other.left - gap < self.right
            and self.bottom - gap < other.top
            and other.bottom - gap < self.top
        )

    def wider(self, by: float) -> _Box:
        return _Box(self.left - by, self.bottom - by, self.right + by, self.top + by)

    def inside(self, other: _Box) -> bool:
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.bottom >= other.bottom
            and self.top <= other.top
        )


def place_point_labels(
    figure: Figure,
    axes: Axes,
    names: Sequence[PointLabel],
    segments: Sequence[tuple[float, float, float, float]] = (),
    label_math: Mapping[str, str] | None = None,
) -> bool:
    """Write every name beside its point, or none. Call it when limits and layout are final (`add_legend_and_notes`).

    Args:
        figure, axes: with all points drawn.
        names: one a point.
        segments: (x0, y0, x1, y1) in data units, lines and bars that a name avoids if possible.
        label_math: of `analysis.spec.labels.math_of`: names that are drawn as math.

    Returns:
        Whether the names were written.
    """
    figure.draw_without_rendering()
    scale = 72 / figure.dpi
    frame = axes.get_window_extent()
    room = _Box(frame.x0 * scale, frame.y0 * scale, frame.x1 * scale, frame.y1 * scale)
    at = [tuple(axes.transData.transform((name.x, name.y)) * scale) for name in names]
    points = [_Box(x - _MARKER, y - _MARKER, x + _MARKER, y + _MARKER) for x, y in at]
    lines = []
    for x0, y0, x1, y1 in segments:
        (a, b), (c, d) = axes.transData.transform([(x0, y0), (x1, y1)]) * scale
        lines.append((a, b, c, d))
    sizes = [(text_width_in(name.text, POINTS) * 72, POINTS * 1.25) for name in names]
    placed = _arranged(at, sizes, points, lines, room)
    if placed is None:
        return False
    for name, (x, y), box in zip(names, at, placed, strict=True):
        middle = (box.left + box.right) / 2 - x, (box.bottom + box.top) / 2 - y
        near = _nearest(x, y, box)
        far = math.hypot(near[0] - x, near[1] - y) > 8.5
        note = axes.annotate(
            name.text, (name.x, name.y), xytext=middle, textcoords="offset points", ha="center", va="center",
            fontsize=POINTS, color=name.color, zorder=6, annotation_clip=False,
        )  # fmt: skip
        draw_as_math(note, label_math or {})
        note.set_in_layout(False)
        if far:
            leader = axes.annotate(
                "", (name.x, name.y), xytext=(near[0] - x, near[1] - y), textcoords="offset points",
                arrowprops={"arrowstyle": "-", "color": name.color, "linewidth": 0.4, "shrinkA": 0, "shrinkB": 2.5},
            )  # fmt: skip
            leader.set_in_layout(False)
    return True


def _arranged(
    at: Sequence[tuple[float, ...]],
    sizes: Sequence[tuple[float, float]],
    points: Sequence[_Box],
    lines: Sequence[tuple[float, float, float, float]],
    room: _Box,
) -> list[_Box] | None:
    """A place for each name, the name with the fewest choices first; None where one has no free place."""
    choices = []
    for (x, y), (width, height) in zip(at, sizes, strict=True):
        found = []
        for distance in _DISTANCES:
            for rank, (side_x, side_y) in enumerate(_SIDES):
                length = distance / math.hypot(side_x, side_y)
                left = x + side_x * length - (0 if side_x > 0 else width if side_x < 0 else width / 2)
                bottom = y + side_y * length - (0 if side_y > 0 else height if side_y < 0 else height / 2)
                box = _Box(left, bottom, left + width, bottom + height)
                if box.inside(room) and not any(box.meets(point) for point in points):
                    crossed = sum(_crosses(line, box.wider(2.0)) for line in lines)
                    # A crossed line costs about as much as the largest distance; the order of the sides breaks ties.
                    found.append((crossed * 25 + distance + 0.3 * rank, box))
        choices.append(sorted(found, key=lambda pair: pair[0]))
    out: list[_Box | None] = [None] * len(at)
    for index in sorted(range(len(at)), key=lambda i: len(choices[i])):
        taken = [box for box in out if box is not None]
        free = (box for _, box in choices[index] if not any(box.meets(other, 1.0) for other in taken))
        out[index] = next(free, None)
        if out[index] is None:
            return None
    return [box for box in out if box is not None]


def _nearest(x: float, y: float, box: _Box) -> tuple[float, float]:
    return min(max(x, box.left), box.right), min(max(y, box.bottom), box.top)


def _crosses(line: tuple[float, float, float, float], box: _Box) -> bool:
    """Whether a segment passes through a box (Liang and Barsky)."""
    x0, y0, x1, y1 = line
    enter, leave = 0.0, 1.0
    for p, q in (
        (x0 - x1, x0 - box.left),
        (x1 - x0, box.right - x0),
        (y0 - y1, y0 - box.bottom),
        (y1 - y0, box.top - y0),
    ):
        if p == 0:
            if q < 0:
                return False
        elif p < 0:
            enter = max(enter, q / p)
        else:
            leave = min(leave, q / p)
    return enter <= leave
