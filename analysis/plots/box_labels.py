"""Place the labels of boxes in a picture: at a corner of their box, within the picture, on no other label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from analysis.plots.figure_text import shorten, text_width_in

POINTS = 4.6
LINE, PAD = 5.8, 0.9
"""Height of a label, and the room left and right of its text, points."""
MAY_COVER = 0.12
"""Part of a label that may lie on another one; with more it is left out."""


@dataclass(frozen=True)
class BoxLabel:
    """A line of text.

    Attributes:
        text: class and score.
        verdict: of its box.
        left, top, width: in points, from the upper left corner of the picture.
    """

    text: str
    verdict: str
    left: float
    top: float
    width: float


def place_box_labels(
    boxes: Sequence[dict[str, Any]], across: float, down: float, wide: float, high: float
) -> list[BoxLabel]:
    """Place the labels of all boxes that have room for one, the first box first.

    Args:
        boxes: x, y, w, h in pixels of the image, class, score (NaN: none), verdict.
        across, down: points per pixel, in both directions.
        wide, high: size of the picture, points.
    """
    placed: list[BoxLabel] = []
    corners = [(box["x"] * across, box["y"] * down, (box["x"] + box["w"]) * across, (box["y"] + box["h"]) * down)
               for box in boxes]  # fmt: skip
    for box, corner in zip(boxes, corners, strict=True):
        text, width = _text(box, wide)
        choices = [
            BoxLabel(text, str(box["verdict"]), left, top, width)
            for left, top in _places(corner, width)
            if -0.01 <= left <= wide - width + 0.01 and -0.01 <= top <= high - LINE + 0.01
        ]
        if not choices:
            continue
        covers = [sum(_shared(choice, other) for other in placed) for choice in choices]
        best = min(range(len(choices)), key=lambda at: (round(covers[at], 1), at))
        if covers[best] <= MAY_COVER * width * LINE:
            placed.append(choices[best])
    return placed


def _text(box: dict[str, Any], room: float) -> tuple[str, float]:
    """(class and score, width in points): the class as long as half the picture lets it be."""
    score = "" if box["score"] != box["score"] else f" {box['score']:.2f}".replace(" 0.", " .")
    for limit in (18, 14, 11, 8, 6):
        text = shorten(str(box["class"]), limit) + score
        width = text_width_in(text, POINTS) * 72 + 2 * PAD
        if width <= 0.6 * room:
            break
    return text, width


def _places(corner: tuple[float, float, float, float], width: float) -> list[tuple[float, float]]:
    """(left, top) of a label at a box, the usual place first: above, inside above, below, inside below."""
    left, top, right, bottom = corner
    rows = (top - LINE, top, bottom, bottom - LINE)
    columns = (left, right - width, (left + right - width) / 2)
    outside = [(left, max(top - LINE, 0.0)), (max(right - width, 0.0), max(top - LINE, 0.0))]
    beside = [(right, top), (left - width, top), (right, bottom - LINE), (left - width, bottom - LINE)]
    return [*((x, y) for y in rows for x in columns), *outside, *beside]


def _shared(a: BoxLabel, b: BoxLabel) -> float:
    """Area that two labels share, square points."""
    across = min(a.left + a.width, b.left + b.width) - max(a.left, b.left)
    down = LINE - abs(a.top - b.top)
    return max(across, 0.0) * max(down, 0.0)
