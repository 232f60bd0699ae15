"""Pascal VOC's AP, one detection at a time, from the text of its protocol. Imports nothing of ours.

Boxes are (left, top, right, bottom). `border` is added to every width: 0 for pixel edges, 1 for pixel numbers.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

Box = tuple[float, float, float, float]


def iou(a: Box, b: Box, border: float) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0]) + border
    height = min(a[3], b[3]) - max(a[1], b[1]) + border
    if width <= 0 or height <= 0:
        return 0.0
    inter = width * height
    own = (a[2] - a[0] + border) * (a[3] - a[1] + border)
    other = (b[2] - b[0] + border) * (b[3] - b[1] + border)
    return inter / (own + other - inter)


def curve(
    objects: list[dict[str, Any]], detections: list[dict[str, Any]], border: float = 0.0
) -> list[tuple[int, int]]:
    """(true, false) positives so far, after every detection of one class.

    objects: {"image", "box", "difficult"}; detections: {"image", "box", "score"}, those of one image in their order.
    """
    taken: set[int] = set()
    true = false = 0
    points = []
    for one in sorted(detections, key=lambda d: (-d["score"], d["image"])):
        best, which = float("-inf"), None
        for number, thing in enumerate(objects):
            if thing["image"] == one["image"] and iou(one["box"], thing["box"], border) > best:
                best, which = iou(one["box"], thing["box"], border), number
        if which is None or best < 0.5:
            false += 1
        elif objects[which]["difficult"]:
            pass
        elif which in taken:
            false += 1
        else:
            taken.add(which)
            true += 1
        points.append((true, false))
    return points


def average_precisions(objects: list[dict[str, Any]], points: list[tuple[int, int]]) -> tuple[float, float] | None:
    """(11-point AP, AP as area) of one class; None without an object that is not difficult."""
    n = sum(not thing["difficult"] for thing in objects)
    if n == 0:
        return None
    recall = [Fraction(true, n) for true, _ in points]
    precision = [true / (true + false) if true + false else 0.0 for true, false in points]
    eleven = 0.0
    for tenth in range(11):
        reached = [p for p, r in zip(precision, recall, strict=True) if r >= Fraction(tenth, 10)]
        eleven += (max(reached) if reached else 0.0) / 11
    area, before = 0.0, Fraction(0)
    for at, r in enumerate(recall):
        if r > before:
            area += float(r - before) * max(precision[at:])
            before = r
    return eleven, area
