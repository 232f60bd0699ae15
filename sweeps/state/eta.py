"""Time left of a run and of a sweep, from the measured pace of running runs and the length of finished ones."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

from c2d.core.json_values import TIMES, number, parse_json, whole
from c2d.core.regular_file import FormatError, read_bytes
from sweeps.state.plan import Row

METRICS_BYTES = 65536
"""Bytes at the end of metrics.jsonl that are read."""


def left_s(row: Row, elapsed_s: float) -> float | None:
    """Return the seconds to the last iteration; None if unknown.

    The pace is that of the last iterations in metrics.jsonl, or that of the whole run where these are too few.

    Args:
        row: a running run.
        elapsed_s: seconds of all its attempts so far.
    """
    done, total = row.status.get("iteration") or 0, row.status.get("iterations") or 0
    if not total:
        return None
    pace_s = _pace_s(row.run.metrics)
    if pace_s is None and done and elapsed_s:
        pace_s = elapsed_s / done
    return None if pace_s is None else round(pace_s * max(0, total - done), 1)


def _pace_s(metrics: Path) -> float | None:
    """Return the seconds per iteration over the last lines of metrics.jsonl, of the newest attempt only."""
    try:
        # The first line may be cut off; it is no JSON then, and is skipped below.
        lines = read_bytes(metrics, METRICS_BYTES).splitlines()
    except (OSError, FormatError):
        return None
    points: list[tuple[int, float]] = []
    for line in lines:
        with suppress(FormatError):
            event = parse_json(line)
            if isinstance(event, dict) and event.get("event") == "train":
                iteration, at = whole(event.get("iteration"), "iteration"), number(event.get("time"), "time", *TIMES)
                if iteration is None or at is None:
                    continue
                point = iteration, at
                if points and point[0] <= points[-1][0]:  # a new attempt continued from a checkpoint
                    points.clear()
                points.append(point)
    if len(points) < 2:
        return None
    (first, began), (last, ended) = points[0], points[-1]
    return (ended - began) / (last - first) if ended > began else None


def eta_s(runs: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the seconds until the last run is done if as many run at once as now; None where a length is unknown.

    Args:
        runs: see `sweeps.state.status.summarize`.
    """
    durations: dict[str, list[float]] = {}
    for run in runs:
        whole = run["elapsed_s"]
        if run["state"] == "running":
            whole = whole + run["left_s"] if whole and run["left_s"] is not None else None
        if whole and run["state"] in ("running", "done"):
            durations.setdefault(_student_and_method(run), []).append(whole)
            durations.setdefault(run["kind"], []).append(whole)
    running = [run for run in runs if run["state"] == "running"]
    left: list[float | None] = []
    for run in runs:
        if run["state"] == "running":
            left.append(run["left_s"])
        elif run["state"] in ("new", "waiting"):
            lengths = durations.get(_student_and_method(run)) or durations.get(run["kind"])
            done_share = (run["iteration"] or 0) / run["iterations"] if run["iterations"] else 0.0
            left.append(median(lengths) * max(0.0, 1 - done_share) if lengths else None)
    if any(value is None for value in left):
        return None
    known_s = [value for value in left if value is not None]
    # At least the time of the longest run: more processes do not shorten it.
    return round(max([sum(known_s) / max(1, len(running)), *known_s], default=0.0), 1)


def _student_and_method(run: Mapping[str, Any]) -> str:
    """Return student and method: the run id without its hash and seed."""
    return re.sub(r"-[0-9a-f]{12}-s\d+$", "", str(run["run"]))
