"""Curves of a synthesis from its metrics.jsonl: a term over the iterations of a stage, mean over the batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from c2d.impressions.page.svg_charts import Line

STAGES = ("draft", "final")
LOSS, TERM = "loss", "loss_"
TARGETS = "targets"
MOST_POINTS = 200
"""Of a curve; a longer one has every n-th point."""


def loss_curves(events: Sequence[Mapping[str, Any]]) -> dict[str, list[Line]]:
    """Return {stage: curves of the sum and of each weighted term}, stages without events left out.

    Args:
        events: lines of metrics.jsonl.
    """
    found = {}
    for stage in STAGES:
        rows = _rows_of_stage(events, stage)
        # The sum first: its curve is behind that of a term that is nearly all of it.
        keys = dict.fromkeys([LOSS, *(key for row in rows for key in row if key.startswith(TERM))])
        lines = [Line("sum" if key == LOSS else key.removeprefix(TERM), mean_curve(rows, key)) for key in keys]
        if lines := [line for line in lines if line.points]:
            found[stage] = lines
    return found


def target_curve(events: Sequence[Mapping[str, Any]], stage: str) -> list[tuple[float, float]]:
    """Return the mean number of objects of an image over the iterations of a stage."""
    return mean_curve(_rows_of_stage(events, stage), TARGETS)


def mean_curve(rows: Sequence[Mapping[str, Any]], key: str) -> list[tuple[float, float]]:
    """Return (iteration, mean over the batches) of one key, at most MOST_POINTS of them with the last.

    Args:
        rows: events of one stage, see `_rows_of_stage`.
        key: of the events. Values that are no number, as of a step that was not finite, are left out.
    """
    values: dict[float, list[float]] = {}
    for row in rows:
        if isinstance(row.get(key), int | float) and not isinstance(row.get(key), bool):
            values.setdefault(row["step"], []).append(float(row[key]))
    points = [(step, sum(found) / len(found)) for step, found in sorted(values.items())]
    every = -(-len(points) // MOST_POINTS) if points else 1
    return points[::-1][::every][::-1]


def _rows_of_stage(events: Sequence[Mapping[str, Any]], stage: str) -> list[dict[str, Any]]:
    """The events of a stage with `step`: iterations since the first event of the same batch and stage."""
    first: dict[Any, float] = {}
    rows = []
    for event in events:
        if event.get("stage") == stage and isinstance(event.get("iteration"), int | float):
            begun = first.setdefault(event.get("batch"), event["iteration"])
            rows.append({**event, "step": event["iteration"] - begun})
    return rows
