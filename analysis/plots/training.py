"""Losses over the iterations: a line of panels a row, its losses on the left, the ratio of distillation on the right.

  left    `loss` (the sum that is trained), every task loss (`loss_*`) and every weighted distillation term
          (`loss_kd_<method>_<term>`)
  right   each distillation term over the sum of the task losses; the loss weight sets this ratio

and below, where runs were validated during training, AP in a panel with a line a row. A curve is the moving average of
every seed, then their mean and the band from the lowest to the highest. Finished runs count; of a row without any, runs
that have begun.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from analysis.loading.columns import quantity
from analysis.plots.figure_parts import Limits
from analysis.plots.points import run_columns
from analysis.plots.rows import LOOK_COLUMNS, problem_note, rows_of
from analysis.spec.labels import math_of
from analysis.spec.report_item import SeriesFigureSpec
from c2d.core.run_folder import METRICS_FILE

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from analysis.loading.schema import Study
    from analysis.plots.rows import Row
    from c2d.metrics.coco_data import Array

KD = "loss_kd_"
PARTS = ("total", "task", "kd", "ratio", "validation")
SMOOTH = 50
"""A moving average spans 1/50 of the training."""
MOST_LINES, LEAST_POINTS = 12_000, 50
"""Points of all curves together, which bound the size of the CSV and the figure; and the fewest points of one curve."""
MOST_ROWS = 5
"""Rows of one figure, by the height of a page."""
COLUMNS = ("row", "baseline", "part", "term", "iteration", "value", "low", "high", "window", "n", "promised", "seeds",
           "runs", "missing", "note", *LOOK_COLUMNS)  # fmt: skip


class Spec(SeriesFigureSpec):
    """Loss curves with the KD terms, and their ratio to the task loss.

    Attributes:
        points: largest number of points of a curve.
    """

    kind: Literal["training"]
    points: Annotated[int, Field(ge=10)] = 400


def data(study: Study, spec: Spec, sweep: str) -> pd.DataFrame:
    """Return lines (row, part, term, iteration): `value` is the mean over seeds, low and high are the extreme seeds.

    part: total, task, kd (losses as they are trained), ratio (kd over the sum of task losses) or validation (AP in
    percent). window: iterations that a moving average spans, 1 where nothing was averaged. Each row begins with a line
    of part "row" without a value, which names its seeds and runs; to keep the file small the others name the runs on
    the first line of a curve only, and many rows get fewer points than the spec's.
    """
    import pandas as pd

    from analysis.loading.loss_curves import read_metrics

    begun, rows = [], rows_of(study, spec, sweep)
    for row in rows:
        paths = {seed: study.folder(run) / METRICS_FILE for seed, run in (row.done or row.run_of).items()}
        begun.append((row, {seed: found for seed, path in paths.items() if len(found := read_metrics(path))}))
    lines = sum(len(_wanted(events)) for _, events in begun)
    points = min(spec.points, max(LEAST_POINTS, MOST_LINES // max(lines, 1)))
    frames = [_row(study, row, events, points) for row, events in begun]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(COLUMNS))


def limits(data: pd.DataFrame, spec: Spec) -> Limits:
    """Return what one figure can show: two panels a row, and one for the validation of all rows."""
    return Limits(rows=MOST_ROWS)


def draw(data: pd.DataFrame, spec: Spec) -> Figure:
    """Draw two panels a row; all rows share both scales."""
    from analysis.plots.training_curves import draw_training_curves

    return draw_training_curves(data, math_of(spec))


def _row(study: Study, row: Row, events: Mapping[int, pd.DataFrame], points: int) -> pd.DataFrame:
    import pandas as pd

    from analysis.loading.loss_curves import read_validation

    skipped = sum(found.attrs.get("skipped", 0) for found in events.values())
    behind = run_columns(row.group, list(events), "metrics")
    same = {**row.columns, "n": behind["n"], "promised": behind["promised"]}
    notes = [
        f"{row.name}: no run is finished; shown are those that have begun." if events and not row.done else "",
        f"{row.name}: {skipped} damaged lines left out." if skipped else "",
        _thinned_note(study, row),
        problem_note([problem for problem in study.problems if problem.path.name == METRICS_FILE], row.run_of.values()),
    ]
    head = {**same, **behind, "part": "row", "term": "", "iteration": 0, "window": 1,
            "note": " ".join(note for note in notes if note)}  # fmt: skip
    parts = [pd.DataFrame([head])]
    curves = _curves(events, points)
    validated = {
        seed: found for seed in events if len(found := read_validation(study.folder(row.run_of[seed]) / METRICS_FILE))
    }
    if validated:
        curves[("validation", "AP")] = _validation(validated)
    for (part, term), lines in curves.items():
        frame = lines.assign(**same, part=part, term=term, seeds="", runs="", missing="", note="")
        frame.loc[0, ["seeds", "runs", "missing"]] = [behind["seeds"], behind["runs"], behind["missing"]]
        parts.append(frame)
    return pd.concat(parts, ignore_index=True).reindex(columns=list(COLUMNS))


def _thinned_note(study: Study, row: Row) -> str:
    """Return which part of the recorded steps an export kept; "" where it kept all."""
    from analysis.loading.loss_curves import read_thinned

    found = [read_thinned(study.folder(run) / METRICS_FILE) for run in (row.done or row.run_of).values()]
    kept, recorded = min((one for one in found if one), default=(0, 0))
    return f"{row.name}: curves thinned by an export, {kept} of {recorded} recorded steps." if recorded else ""


def split_losses(columns: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return (task losses, distillation terms) among the columns of metrics.jsonl. `loss` itself is their sum."""
    losses = [name for name in columns if name.startswith("loss_")]
    return [name for name in losses if not name.startswith(KD)], [name for name in losses if name.startswith(KD)]


def _wanted(events: Mapping[int, pd.DataFrame]) -> list[tuple[str, str]]:
    """(part, term) of the curves that the train events of a row's seeds make."""
    task, terms = split_losses(list(dict.fromkeys(str(name) for found in events.values() for name in found.columns)))
    wanted = [("total", "loss"), *(("task", name) for name in task), *(("kd", name) for name in terms)]
    return [*wanted, *(("ratio", name) for name in terms if task)] if events else []


def _curves(events: Mapping[int, pd.DataFrame], points: int) -> dict[tuple[str, str], pd.DataFrame]:
    """{(part, term): columns iteration, value, low, high, window} from the train events of the seeds."""
    if not events:
        return {}
    longest = max(events.values(), key=lambda found: (len(found), int(found["iteration"].iloc[-1])))
    iterations = longest["iteration"].to_numpy(float)
    grid = iterations[np.unique(np.linspace(0, len(iterations) - 1, min(points, len(iterations))).round().astype(int))]
    window = max(1, int(iterations[-1]) // SMOOTH)
    wanted = _wanted(events)
    task = [name for part, name in wanted if part == "task"]
    curves = {}
    for part, name in wanted:
        seeds = []
        for found in events.values():
            if name not in found:
                continue
            at, values = found["iteration"].to_numpy(float), found[name].to_numpy(float)
            smooth = moving_average(at, values, window)
            if part == "ratio":
                # min_count: the sum of no value is NaN, not 0.
                whole = found[[term for term in task if term in found]].sum(axis=1, min_count=1).to_numpy(float)
                below = moving_average(at, whole, window)
                smooth = np.divide(smooth, below, out=np.full(len(at), np.nan), where=below > 0)
            seeds.append(np.interp(grid, at, smooth, left=np.nan, right=np.nan))
        curves[(part, name)] = _over_seeds(grid, np.array(seeds), window)
    return curves


def moving_average(at: Array, values: Array, window: int) -> Array:
    """Return the mean (n,) of the finite values within `window` iterations around each event; NaN where there is none.

    The window is cut at both ends of the training.

    Args:
        at: (n,) float64, iterations in ascending order.
        values: (n,) float64, losses or ratios.
        window: iterations.
    """
    finite = np.isfinite(values)
    total = np.concatenate([[0.0], np.cumsum(np.where(finite, values, 0.0))])
    count = np.concatenate([[0], np.cumsum(finite)])
    first = np.searchsorted(at, at - window / 2, side="left")
    last = np.searchsorted(at, at + window / 2, side="right")
    n = count[last] - count[first]
    return np.divide(total[last] - total[first], n, out=np.full(len(at), np.nan), where=n > 0)


def _validation(found: Mapping[int, pd.DataFrame]) -> pd.DataFrame:
    """AP in percent at the iterations of any seed; nothing is averaged over iterations."""
    scale = quantity("AP").scale
    grid = np.unique(np.concatenate([frame["iteration"].to_numpy(float) for frame in found.values()]))
    seeds = np.full((len(found), len(grid)), np.nan)
    for line, frame in zip(seeds, found.values(), strict=True):
        line[np.searchsorted(grid, frame["iteration"].to_numpy(float))] = scale * frame["AP"].to_numpy(float)
    return _over_seeds(grid, seeds, 1)


def _over_seeds(grid: Array, seeds: Array, window: int) -> pd.DataFrame:
    """Mean, lowest and highest of the seeds that have a value at an iteration; seeds: (n, points)."""
    import pandas as pd

    there = np.isfinite(seeds)
    n = there.sum(axis=0)
    mean = np.divide(np.where(there, seeds, 0).sum(axis=0), n, out=np.full(len(grid), np.nan), where=n > 0)
    low = np.where(n > 0, np.where(there, seeds, np.inf).min(axis=0), np.nan)
    high = np.where(n > 0, np.where(there, seeds, -np.inf).max(axis=0), np.nan)
    return pd.DataFrame({"iteration": grid.astype(int), "value": mean, "low": low, "high": high, "window": window})
