"""Time left of a run and of a sweep, from the measured pace of running runs and the length of finished ones."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from c2d.core.run_state import time_stamp
from sweeps.state.curve_tail import CurveTail
from sweeps.state.plan import Row

LATELY_S = 600.0
"""Time over which the runs at once are averaged."""


def left_s(row: Row, elapsed_s: float, curve: CurveTail) -> float | None:
    """Return the seconds to the last iteration; None if unknown.

    The pace is that of the last iterations in metrics.jsonl, or that of the whole run where these are too few.

    Args:
        row: a running run.
        elapsed_s: seconds of all its attempts so far.
        curve: the end of its metrics.jsonl.
    """
    done, total = row.status.get("iteration") or 0, row.status.get("iterations") or 0
    # The heartbeat, which writes status.json, may be some seconds older than the last event.
    done = max(done, curve.iteration or 0)
    if not total:
        return None
    pace_s = curve.pace_s
    if pace_s is None and done and elapsed_s:
        pace_s = elapsed_s / done
    return None if pace_s is None else round(pace_s * max(0, total - done), 1)


def run_left_s(runs: Sequence[Mapping[str, Any]]) -> list[float | None]:
    """Return the seconds that each run still takes; None where its length is unknown, 0 where it has ended.

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
    lengths = {key: median(found) for key, found in durations.items()}
    left: list[float | None] = []
    for run in runs:
        length = lengths.get(_student_and_method(run), lengths.get(run["kind"]))
        if run["state"] == "running":
            # Before its first steps it is as long as the others.
            begins = None if length is None else max(0.0, length - (run["elapsed_s"] or 0.0))
            left.append(begins if run["left_s"] is None else run["left_s"])
        elif run["state"] in ("new", "waiting"):
            done_share = (run["iteration"] or 0) / run["iterations"] if run["iterations"] else 0.0
            left.append(None if length is None else length * max(0.0, 1 - done_share))
        else:
            left.append(0.0)
    return left


def eta_s(runs: Sequence[Mapping[str, Any]], left: Sequence[float | None], now: float) -> float | None:
    """Return the seconds until the last run is done if as many run at once as lately; None where a length is unknown.

    Args:
        runs: see `sweeps.state.status.summarize`.
        left: of each run, see `run_left_s`.
        now: seconds since the epoch.
    """
    known_s = [value for value in left if value is not None]
    if len(known_s) < len(left):
        return None
    # At least the time of the longest run: more processes do not shorten it.
    return round(max([sum(known_s) / _runs_at_once(runs, now), *known_s], default=0.0), 1)


def _runs_at_once(runs: Sequence[Mapping[str, Any]], now: float) -> float:
    """Return how many runs run now, or did on average in the last LATELY_S, whichever is more; at least 1.

    Between the end of a run and the first step of the next one lie some seconds, in which fewer run.
    """
    spans = []
    for run in runs:
        begun, ended = run["begun"], now if run["state"] == "running" else time_stamp(run["heartbeat"])
        if begun is not None and ended is not None and run["state"] in ("running", "done", "failed"):
            spans.append((begun, min(ended, now)))
    first = max(min((begun for begun, _ in spans), default=now), now - LATELY_S)
    active_s = sum(max(0.0, ended - max(begun, first)) for begun, ended in spans)
    lately = active_s / (now - first) if now > first else 0.0
    return max(1.0, float(sum(run["state"] == "running" for run in runs)), lately)


def expected_hours(
    runs: Sequence[Mapping[str, Any]], left: Sequence[float | None]
) -> tuple[float | None, float | None]:
    """Return (GPU hours, hours) of the whole sweep: what the runs took, and what they still take; None if unknown.

    Args:
        runs: see `sweeps.state.status.summarize`. One that was never launched gets as many GPUs as most others have.
        left: of each run, see `run_left_s`.
    """
    if any(value is None for value in left):
        return None, None
    given = [run["gpus"] for run in runs if run["gpus"] is not None]
    usual = max(set(given), key=given.count, default=None)
    hours = sum(run["hours"] for run in runs)
    gpu_hours: float | None = sum(run["gpu_hours"] for run in runs)
    for run, left_s in zip(runs, left, strict=True):
        gpus = usual if run["gpus"] is None else run["gpus"]
        hours += (left_s or 0.0) / 3600
        if left_s and gpu_hours is not None:
            gpu_hours = None if gpus is None else gpu_hours + left_s * gpus / 3600
    return gpu_hours, hours


def _student_and_method(run: Mapping[str, Any]) -> str:
    """Return student and method: the run id without its hash and seed."""
    return re.sub(r"-[0-9a-f]{12}-s\d+$", "", str(run["run"]))
