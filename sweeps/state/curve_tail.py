"""The end of a run's metrics.jsonl: its last losses, its last AP and its pace. A long file is never read whole."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from c2d.core.json_values import TIMES, number, whole
from c2d.core.regular_file import FormatError, read_bytes

TAIL_BYTES = 65536
"""Bytes at the end of metrics.jsonl that are read."""
SCORE_BYTES = 2**19
"""Bytes at its end in which the last evaluation is searched, where TAIL_BYTES have none."""
MOST_POINTS = 256
"""Newest `train` events that are kept."""
_VAL = b'"event": "val"'


class CurvePoint(NamedTuple):
    """One `train` event.

    Attributes:
        iteration: steps that were done.
        time: seconds since the epoch; None where the event has none.
        loss: sum of the terms; NaN where it was not finite, None where the event has none.
    """

    iteration: int
    time: float | None
    loss: float | None


@dataclass(frozen=True)
class CurveTail:
    """What the end of a curve says.

    Attributes:
        points: the newest `train` events of the newest attempt, oldest first, at most MOST_POINTS.
        ap: AP (0-1) of the last `val` event; None if there is none.
        ap_iteration: of that event.
    """

    points: tuple[CurvePoint, ...] = ()
    ap: float | None = None
    ap_iteration: int | None = None

    @property
    def pace_s(self) -> float | None:
        """Seconds per iteration over the points, evaluations between them included; None where these are too few."""
        timed = [(point.iteration, point.time) for point in self.points if point.time is not None]
        if len(timed) < 2:
            return None
        (first, began), (last, ended) = timed[0], timed[-1]
        return (ended - began) / (last - first) if ended > began else None

    @property
    def iteration(self) -> int | None:
        """Iteration of the last event."""
        return self.points[-1].iteration if self.points else None


NO_CURVE = CurveTail()


def read_curve_tail(path: Path) -> CurveTail:
    """Return the end of a metrics.jsonl; NO_CURVE where it is missing or cannot be read."""
    try:
        # The first line may be cut off; it is no JSON then, and is skipped.
        lines = read_bytes(path, TAIL_BYTES).splitlines()
    except (OSError, FormatError):
        return NO_CURVE
    return with_lines(NO_CURVE, lines)


def with_last_score(tail: CurveTail, path: Path) -> CurveTail:
    """Return the tail with the AP of the last evaluation, which may lie before it."""
    with suppress(OSError, FormatError):
        if tail.ap is None and path.stat().st_size > TAIL_BYTES:
            earlier = read_bytes(path, SCORE_BYTES)
            if (at := earlier.rfind(_VAL)) >= 0:
                line = earlier[earlier.rfind(b"\n", 0, at) + 1 :].split(b"\n", 1)[0]
                found = with_lines(NO_CURVE, [line])
                return replace(tail, ap=found.ap, ap_iteration=found.ap_iteration)
    return tail


def with_lines(tail: CurveTail, lines: Iterable[bytes]) -> CurveTail:
    """Return the tail with further lines of its file; a line that is no event is skipped.

    Args:
        tail: of the lines before.
        lines: whole lines.
    """
    points, ap, ap_iteration = list(tail.points), tail.ap, tail.ap_iteration
    for line in lines:
        event = _event(line)
        with suppress(FormatError):
            iteration = whole(event.get("iteration"), "iteration")
            if iteration is None:
                continue
            if event.get("event") == "val":
                value = number(event.get("AP"), "AP", 0, 1)
                ap, ap_iteration = (value, iteration) if value is not None else (ap, ap_iteration)
            elif event.get("event") == "train":
                if points and iteration <= points[-1].iteration:  # a new attempt continued from a checkpoint
                    points.clear()
                points.append(CurvePoint(iteration, number(event.get("time"), "time", *TIMES), _loss(event)))
    return CurveTail(tuple(points[-MOST_POINTS:]), ap, ap_iteration)


def _event(line: bytes) -> dict[str, Any]:
    # Not c2d.core.json_values: a loss that is not finite is written as NaN, and is worth showing.
    with suppress(ValueError, RecursionError):
        event = json.loads(line)
        if isinstance(event, dict):
            return event
    return {}


def _loss(event: dict[str, Any]) -> float | None:
    value = event.get("loss")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    with suppress(OverflowError):
        return float(value) if math.isfinite(value) else math.nan
    return math.nan
