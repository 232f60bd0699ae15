"""The losses of a run from its first step on, in a few numbers: a curve shows where a run comes from, not noise alone.

Of a long metrics.jsonl, its end and some places before it are read, once; later only its new lines.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from sweeps.state.curve_tail import NO_CURVE, CurvePoint, with_lines

WHOLE_BYTES = 2**18
"""A file up to this size is read whole."""
PLACES, PLACE_BYTES = 12, 4096
"""Places of a longer one that are read, and bytes of each."""
MOST_POINTS = 512
"""More of them are replaced by the means of neighbours."""


class LossPoint(NamedTuple):
    """The loss of one step, or the mean of some. It is NaN where one of them was not finite."""

    iteration: float
    loss: float


def read_early_losses(path: Path, end: int) -> list[CurvePoint]:
    """Return losses of a metrics.jsonl before a place, of all lines or of some of them; [] where it cannot be read.

    Args:
        path: of the file.
        end: bytes; where the end begins that was read before.
    """
    places = [(0, end)]
    if end > WHOLE_BYTES:
        places = [(place * (end - PLACE_BYTES) // (PLACES - 1), PLACE_BYTES) for place in range(PLACES)]
    found: list[CurvePoint] = []
    try:
        with path.open("rb") as stream:
            for begin, size in places:
                stream.seek(begin)
                # The lines at both ends may be cut off; they are no JSON then, and are skipped.
                found += with_lines(NO_CURVE, stream.read(size).splitlines()).points
    except OSError:
        return []
    return found


def with_losses(history: tuple[LossPoint, ...], points: Iterable[CurvePoint]) -> tuple[LossPoint, ...]:
    """Return a history with the losses of further events; those that it has already are left out.

    Args:
        history: of rising iterations.
        points: of rising iterations.
    """
    found = list(history)
    for point in points:
        if point.loss is not None and (not found or point.iteration > found[-1].iteration):
            found.append(LossPoint(point.iteration, point.loss))
    while len(found) > MOST_POINTS:
        # The newest stays as it is: its loss is shown.
        *older, last = found
        found = [*(_mean_point(older[place : place + 2]) for place in range(0, len(older), 2)), last]
    return tuple(found)


def mean_losses(history: tuple[LossPoint, ...], count: int) -> list[float]:
    """Return means over equal parts of the iterations, at most `count`; a part without a point has the value before.

    Args:
        history: of rising iterations.
        count: of parts.
    """
    if len(history) < 2:
        return [point.loss for point in history]
    parts = min(count, len(history))
    first, last = history[0].iteration, history[-1].iteration
    edges = [first + (last - first) * place / parts for place in range(parts + 1)]
    edges[-1] = math.inf
    return list(_means(history, edges))


def _means(history: tuple[LossPoint, ...], edges: list[float]) -> Iterator[float]:
    at, before = 0, history[0].loss
    for _, end in pairwise(edges):
        chosen = []
        while at < len(history) and history[at].iteration < end:
            chosen.append(history[at])
            at += 1
        before = _mean_point(chosen).loss if chosen else before
        yield before


def _mean_point(points: list[LossPoint]) -> LossPoint:
    count = len(points)
    return LossPoint(sum(one.iteration / count for one in points), sum(one.loss / count for one in points))
