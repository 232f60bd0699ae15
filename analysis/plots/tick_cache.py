"""Ticks and the boxes of their labels, computed once for each place of an axis.

matplotlib computes them for every question: for spines, titles, labels of axes, twice in a layout and in each
file. They follow from the limits, the place and the resolution of an axis; while these stay, the answer stays.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

KNOWN = {"_update_ticks": ["self"], "_get_ticklabel_bboxes": ["self", "ticks", "renderer"]}
"""Methods of matplotlib's Axis that are replaced, and their parameters."""


@contextmanager
def settled_ticks() -> Iterator[None]:
    """Lay out or save a figure inside it; ticks, formats and labels must not be changed there.

    Where matplotlib has other methods than the known ones, nothing is kept.
    """
    from matplotlib.axis import Axis

    own: dict[str, Any] = {name: vars(Axis).get(name) for name in KNOWN}
    if any(method is None or list(inspect.signature(method).parameters) != KNOWN[name] for name, method in own.items()):
        yield
        return
    ticks: dict[Any, tuple[Any, list[Any]]] = {}
    boxes: dict[Any, tuple[Any, Any]] = {}

    def update_ticks(axis: Any) -> list[Any]:
        place = _place(axis)
        if axis not in ticks or ticks[axis][0] != place:
            ticks[axis] = place, own["_update_ticks"](axis)
        return list(ticks[axis][1])

    def label_boxes(axis: Any, drawn: Sequence[Any], renderer: Any) -> tuple[list[Any], list[Any]]:
        place = _place(axis), renderer, list(drawn)
        if axis not in boxes or boxes[axis][0] != place:
            boxes[axis] = place, own["_get_ticklabel_bboxes"](axis, drawn, renderer)
        first, second = boxes[axis][1]
        return list(first), list(second)

    Axis._update_ticks = update_ticks  # type: ignore[attr-defined]
    Axis._get_ticklabel_bboxes = label_boxes  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for name, method in own.items():
            setattr(Axis, name, method)


def _place(axis: Any) -> tuple[Any, ...]:
    """All that the ticks of an axis and the boxes of their labels follow from."""
    makers = axis.get_major_locator(), axis.get_minor_locator(), axis.get_major_formatter(), axis.get_minor_formatter()
    limits = tuple(float(end) for end in axis.get_view_interval())
    return (limits, axis.axes.bbox.bounds, axis.axes.figure.dpi, axis.get_scale(), *map(id, makers))
